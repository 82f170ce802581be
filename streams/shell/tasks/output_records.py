"""The records that a partition task sends to subscribers: outputs and profile documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import orjson

from streams.contracts.outputs import Encoder
from streams.contracts.profiles import profile_document
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.outputs import IdentityChange, Output, StageChange, Triggered
from streams.core.profile.codec import unpack
from streams.core.store.task_state import TaskState, record_key
from streams.observe.prometheus import Metrics
from streams.settings import Settings
from streams.shell.commit.agreement import playbook_fingerprint
from streams.shell.commit.changelog import Change
from streams.shell.commit.outbox import OutgoingRecord


class OutputRecords:
    """Encodes outputs and documents, and counts outputs that are acknowledged."""

    def __init__(
        self,
        settings: Settings,
        lifecycle: Lifecycle,
        profiles: TaskState,
        metrics: Metrics,
        clock: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._lifecycle = lifecycle
        self._profiles = profiles
        self._metrics = metrics
        self._clock = clock
        self._encoder = Encoder(settings.ce_source, playbook_fingerprint(lifecycle.playbook))

    def output(self, output: Output, caused_at: int | None) -> OutgoingRecord:
        """Return the record of an output. `caused_at` is the Kafka timestamp (ms) of the record that caused it, if one
        did.
        """
        encoded = self._encoder.encode(output)
        return OutgoingRecord(
            self._topic_of(output), encoded.key, encoded.value, encoded.headers, None, output, caused_at
        )

    def _topic_of(self, output: Output) -> str:
        if isinstance(output, StageChange):
            return self._settings.stage_changes_topic
        if isinstance(output, IdentityChange):
            return self._settings.identities_topic
        return self._settings.triggers_topic if isinstance(output, Triggered) else self._settings.abandonments_topic

    def sent(self, records: Sequence[OutgoingRecord]) -> None:
        """Count outputs that are acknowledged. `records` are of one topic."""
        outputs = [record.output for record in records if record.output is not None]
        if outputs:
            now = self._clock()
            self._metrics.outputs_sent(outputs)
            self._metrics.output_latency(
                records[0].topic,
                [(now - record.caused_at) / 1000 for record in records if record.caused_at is not None],
            )

    def documents(self, changes: Iterable[Change]) -> Iterator[OutgoingRecord]:
        """Return the profile documents that follow from changes of the state."""
        for key, value in changes:
            if key.startswith((b"a", b"c")):  # not of a cart or a checkout, and no erasure marker
                yield self._document(key, value)

    def _document(self, key: bytes, value: bytes | None) -> OutgoingRecord:
        """Return the document of a customer or a device whose state record is now `value`.

        A profile that has ended has no document: its customer was forgotten or erased, or the device now belongs to a
        customer. The document is then deleted, also where there is no state record any more, since a stale owner may
        have published one. But a device and a customer may have the same id, and so the same key on the topic: then the
        document of the profile that has not ended stays.
        """
        customer = key[1:]
        for record in (value, self._profiles.written(record_key(customer.decode(), not key.startswith(b"c")))):
            if record is not None and (profile := unpack(record)).stage is not None:
                document = orjson.dumps(profile_document(profile, self._lifecycle.summary(profile)))
                return OutgoingRecord(self._settings.profiles_topic, customer, document)
        return OutgoingRecord(self._settings.profiles_topic, customer, None)
