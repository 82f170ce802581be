"""Dead letters: records that a task rejects, on their way to the dead-letter topic."""

from __future__ import annotations

from streams.contracts.dead_letters import dead_letter
from streams.contracts.rejected import Rejected
from streams.core.model.sources import RawRecord
from streams.observe.prometheus import Metrics
from streams.shell.commit.guarantee import OutputChannel
from streams.shell.commit.outbox import OutgoingRecord
from streams.transport.chunks import LostBatch


class DeadLetters:
    """The dead letters of one partition of one topic. They leave as outputs do."""

    def __init__(
        self, channel: OutputChannel, metrics: Metrics, to: str, topic: str, partition: int, source: str | None
    ) -> None:
        """`to` is the dead-letter topic, `topic` the one that is read, `source` its label if it is a source's."""
        self._channel = channel
        self._metrics = metrics
        self._to = to
        self._topic = topic
        self._partition = partition
        self._source = source

    def put(self, record: RawRecord, rejected: Rejected) -> None:
        """Put the dead letter of a record that was rejected."""
        self._put(rejected, record.offset, record.timestamp, record.key, record.value)

    def put_lost(self, lost: LostBatch, now: int) -> None:
        """Put the dead letter of a batch that cannot be read."""
        detail = f"offsets {lost.offset} to {lost.next - 1}: {lost.why}"
        self._put(Rejected("corrupt_batch", detail), lost.offset, now, None, None)

    def _put(self, rejected: Rejected, offset: int, timestamp: int, key: bytes | None, value: bytes | None) -> None:
        content = dead_letter(
            rejected,
            key=key,
            value=value,
            timestamp=timestamp,
            topic=self._topic,
            partition=self._partition,
            offset=offset,
        )
        self._metrics.dead_letter(self._topic, rejected.reason)
        if rejected.reason == "wrong_partition":
            self._metrics.wrong_partition(self._topic)
        if self._source is not None:
            self._metrics.engine_counts({("rejected", self._source): 1})
        self._channel.put(OutgoingRecord(self._to, content.key, content.value, content.headers, content.timestamp))
