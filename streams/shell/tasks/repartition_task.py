"""A reader: one partition of an input topic that is read independently, since it has not as many partitions as there
are tasks. Every record is forwarded to the task of its customer.

It has no state: its offset is committed behind what it forwarded, and the tasks know what they have had.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from faust.types import TP

from streams.contracts.native import Decoder, MisplacedRecord
from streams.contracts.partitioning import Partitioner
from streams.contracts.rejected import Rejected
from streams.core.engine.partition_engine import LABELS
from streams.core.event_time.watermark import SourceProgress
from streams.core.identity.aliases import home_key, parts_of
from streams.core.model.event import Source
from streams.core.model.sources import Fetch, SourceSpec, StoredProgress
from streams.observe.prometheus import Metrics
from streams.observe.readings import RepartitionTaskReadings, SourceReadings
from streams.settings import Settings
from streams.shell.clock import ClockTrust
from streams.shell.commit.guarantee import Commit, Offsets, OnSent, OutputChannel
from streams.shell.commit.metadata import OffsetMetadata, encode
from streams.shell.faults import ELECTION_MS, RecordsMissing, Truncated
from streams.shell.tasks.dead_letters import DeadLetters
from streams.shell.tasks.forwarder import Forwarder


def name_of(source: Source, partition: int) -> str:
    """What the reader of a partition is called, also in its transactional id: no name of an application has a slash."""
    return f"{LABELS[source]}/{partition}"


class RepartitionTask:
    """Owned by the app from the assignment of a partition to its revocation."""

    def __init__(
        self,
        source: Source,
        partition: int,
        *,
        decoder: Decoder,
        settings: Settings,
        spec: SourceSpec,
        position: int,
        mark: StoredProgress,
        taken: int,
        deliver: Callable[[OnSent], OutputChannel],
        slowest_anywhere: Callable[[], int | None],
        metrics: Metrics,
        clock: Callable[[], int],
        topic_ids: Mapping[str, str],
    ) -> None:
        """`position` is the offset at which reading starts, `mark` what was stored with it. `taken` is the last offset
        that tasks have had of it, as far as the worker knows, and `slowest_anywhere` the least progress of any source.
        """
        self.read = {int(source): TP(settings.source_topics[source], partition)}
        """What it reads, by rank."""
        self.unfinished = False
        """As for tasks."""
        self.source = source
        self.partition = partition
        self.topic = settings.source_topics[source]
        self.closed = False
        """Whether it was let go: then it says nothing any more."""
        self.trust = ClockTrust()
        self.slowest_anywhere = slowest_anywhere
        self._label = LABELS[source]
        self._decoder = decoder
        self._settings = settings
        self._partitioner = Partitioner(settings.partitions, settings.partitioner)
        self._progress = SourceProgress(spec, position, mark)
        self._metrics = metrics
        self._clock = clock
        self._topic_ids = topic_ids
        self._delivery = deliver(lambda records: None)
        # Nothing leaves before the first commit, which is when the first offset is committed: what has come from a
        # partition without one shows that it was lost.
        self._delivery.cut(outputs=True)
        self._letters = DeadLetters(
            self._delivery, metrics, settings.dead_letters_topic, self.topic, partition, self._label
        )
        self._forwarder = Forwarder(
            self, self._delivery, settings.repartition_topic, partition, range(settings.partitions), [source]
        )
        self._taken = taken
        self._short_since: int | None = None
        """When the topic was first seen to end before what was taken of it."""
        self._silence_counts = False
        self._changed = True

    # -- records in

    def process(self, source: Source, chunk: Any) -> None:
        """Decode a chunk of raw records, and forward each.

        A chunk from before a seek is passed over. Raises `RecordsMissing` if records between are missing.
        """
        position = self._progress.position
        if self.closed or chunk.start < position:
            return
        if chunk.start > position:
            raise RecordsMissing(self.topic, self.partition, position, chunk.start)
        started, began = self._clock(), time.perf_counter()
        if chunk.lost is not None:
            self._letters.put_lost(chunk.lost, started)
        decoder = self._decoder
        rejected_before, cut_before = decoder.rejected_identifiers, decoder.cut_strings
        away: list[MisplacedRecord] = []
        for record in chunk:
            try:
                activity = decoder.decode(
                    record.value, partition=self.partition, offset=record.offset, timestamp=record.timestamp
                )
            except Rejected as rejected:
                self._letters.put(record, rejected)
                continue
            self._progress.observe(activity.at, record.timestamp, started)
            home = self._partitioner.partition(activity.customer.encode())
            away.append((record, activity, home))
            for part in parts_of(activity) if self._settings.identity_resolution else ():
                of_part = self._partitioner.partition(home_key(part))
                if of_part != home:  # else it is found there, in the record
                    away.append((None, part, of_part))
        self._progress.position = chunk.next
        self._progress.reported_caught_up_at(started)
        self._changed = True
        if away:
            self._metrics.forwarded(self._label, *self._forwarder.forward(self.source, away))
        self._metrics.strings(
            self._label, decoder.rejected_identifiers - rejected_before, decoder.cut_strings - cut_before
        )
        self._metrics.chunk(self._label, len(chunk), time.perf_counter() - began)

    def advance(self, fetches: Mapping[int, Fetch], silent: frozenset[Source]) -> None:
        """Let time pass, and tell the tasks. As for tasks: raises `Truncated` if the topic ends before what was had."""
        if self.closed:
            return
        fetch = fetches.get(self.source)
        if fetch is not None and not self._reaches(fetch):
            fetch = None
        silence_counts = self.trust.given and self.source not in silent
        if silence_counts and not self._silence_counts:
            self._progress.distrust()
        self._silence_counts = silence_counts
        if fetch is not None and fetch.end >= self._progress.position:
            self._progress.observe_fetch(fetch)
        if self._forwarder.report(self._clock()):
            self._changed = True

    def _reaches(self, fetch: Fetch) -> bool:
        """As `PartitionTask._reaches`: what is put there until it does, the tasks take for what they had."""
        if self._taken < fetch.end:
            self._short_since = None
            return True
        if self._short_since is None:
            self._short_since = fetch.sent_at
        if fetch.sent_at - self._short_since >= ELECTION_MS:
            raise Truncated(self.topic, self.partition, self._taken, fetch.end)
        return False

    def must_pause(self, source: Source) -> bool:
        """Whether so much that it has forwarded lies ahead of others that it must be paused."""
        return self._forwarder.ahead_bytes(source) > self._settings.max_buffer_bytes

    def may_resume(self, source: Source) -> bool:
        """As for tasks."""
        return self._forwarder.ahead_bytes(source) <= self._settings.max_buffer_bytes // 2

    @property
    def must_commit(self) -> bool:
        """Whether it should not go on without a commit."""
        return self._delivery.full

    @property
    def forwards(self) -> bool:
        """Whether tasks may ever wait for what only a commit sends."""
        return True

    @property
    def awaited(self) -> bool:
        """Whether they do."""
        return self._forwarder.behind and self._delivery.owes

    # -- what the forwarder asks

    def progress(self, source: Source) -> SourceProgress:
        """As `streams.shell.tasks.forwarder.Reached`."""
        return self._progress

    def report(self, rank: int, /) -> tuple[int | None, int | None]:
        """As `streams.shell.tasks.forwarder.Reached`."""
        proves = self.trust.given or not self._settings.event_time_ordering
        return self.slowest(), self._progress.reported_caught_up_at(self._clock()) if proves else None

    def slowest(self) -> int | None:
        """As `streams.shell.tasks.forwarder.Reached`."""
        return self._progress.progress(self._clock(), silence_counts=self._silence_counts)

    # -- commits

    async def flush(self) -> None:
        """Send what need not wait for the commit. Does not wait for acknowledgements."""
        await self._delivery.flush()

    def snapshot(self, *, force: bool = False) -> Offsets | None:
        """The offset of a commit, by topic and partition, with metadata. `write` must follow."""
        if force:  # the acknowledgement of something is to show how far the clock is from the broker's
            self._changed = self._forwarder.report(self._clock(), at_once=True)
        if not self._changed:
            return None
        self._changed = False
        self._delivery.cut(outputs=False)
        mark = OffsetMetadata(
            0, 0, self._progress.stored(None), topic_id=self._topic_ids.get(self.topic, ""), reader=True
        )
        return {(self.topic, self.partition): (self._progress.position, encode(mark).decode())}

    async def write(self, snapshot: Offsets) -> Offsets:
        """Carry a commit through: what was forwarded is acknowledged, with the offset or before it."""
        as_of = self.trust.losses
        await self._delivery.write(Commit(snapshot))
        self.trust.judge(self.skew, as_of)
        return snapshot

    # -- what is to be seen

    def position(self, source: Source) -> int:
        """The next offset."""
        return self._progress.position

    def next_offsets(self) -> dict[TP, int]:
        """As for tasks."""
        return dict.fromkeys(self.read.values(), self._progress.position)

    def lag(self, fetches: Mapping[int, Fetch]) -> dict[tuple[str, int], int]:
        """Records not yet forwarded, by topic and partition; nothing before a fetch has shown the end."""
        fetch = fetches.get(self.source)
        return {} if fetch is None else {(self.topic, self.partition): max(0, fetch.end - self._progress.position)}

    @property
    def skew(self) -> int | None:
        """The worker's clock less the broker's, ms."""
        return self._delivery.skew

    def readings(self) -> RepartitionTaskReadings:
        """The reader as it stands."""
        progress = self._progress
        return RepartitionTaskReadings(
            self.partition,
            SourceReadings(
                self._label,
                progress.reached,
                progress.is_caught_up(self._clock()),
                progress.backfilling,
                self._forwarder.ahead_bytes(self.source),
            ),
        )
