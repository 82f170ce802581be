"""The base of both kinds of tasks: release, the checks of what is read, pausing, and lag."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from faust.types import TP

from streams.core.model.event import Source
from streams.core.model.sources import Fetch
from streams.observe.prometheus import Metrics
from streams.shell.clock import ClockTrust
from streams.shell.commit.checkpoint import TaskSnapshot
from streams.shell.commit.guarantee import OutputChannel
from streams.shell.faults import ELECTION_MS, RecordsMissing, Truncated
from streams.transport.chunks import Chunk


class Task(ABC):
    """Owned by the worker from the assignment of partitions to their release. Created from recovered state."""

    def __init__(self, read: Mapping[int, TP], channel: OutputChannel, max_buffer_bytes: int, metrics: Metrics) -> None:
        self.closed = False
        """True once the task was released: nothing may happen to its state any more, and it reports nothing. Its last
        commit is still made."""
        self.read = dict(read)
        """The partitions that the task reads, by rank."""
        self.trust = ClockTrust()
        """Trust in the worker's clock."""
        self._channel = channel
        self._max_buffer_bytes = max_buffer_bytes
        self._metrics = metrics
        self._short_since: dict[int, int] = {}
        """Time (ms) at which a topic was first found to end before what was applied from it, by rank."""

    def close(self) -> None:
        """Note that the task was released."""
        self.closed = True

    # -- records in

    @abstractmethod
    def process(self, source: Source, chunk: Chunk) -> None:
        """Decode a chunk of a source, apply or forward its records, and put out what follows.

        A chunk from before a seek is passed over. Raises `RecordsMissing` if records before it are missing.
        """

    @abstractmethod
    def advance(self, fetches: Mapping[int, Fetch], silent: frozenset[Source]) -> None:
        """Let time pass. `fetches` are the last ones, by rank; `silent` the sources beyond their idle timeout.

        Raises `Truncated` if a topic stays shorter than what was applied from it.
        """

    @property
    def unfinished(self) -> bool:
        """True if `advance` has more to do at once, after a commit if the task `must_commit`."""
        return False

    def _follows(self, rank: int, chunk: Chunk, position: int) -> bool:
        """Return True if a chunk comes next in its topic. Raise `RecordsMissing` if records before it are missing."""
        if self.closed:
            return False
        if chunk.start > position:
            tp = self.read[rank]
            raise RecordsMissing(tp.topic, tp.partition, position, chunk.start)
        return bool(chunk.start == position)

    def _reaches(self, rank: int, applied: int, fetch: Fetch) -> bool:
        """Return True if the end that a fetch shows may be the end: it lies behind the last applied offset.

        A leader that was just elected may show less for a moment. Raises `Truncated` if the end stays too low: records
        that come there would be taken for those that were applied.
        """
        if applied < fetch.end:
            self._short_since.pop(rank, None)
            return True
        if fetch.sent_at - self._short_since.setdefault(rank, fetch.sent_at) >= ELECTION_MS:
            tp = self.read[rank]
            raise Truncated(tp.topic, tp.partition, applied, fetch.end)
        return False

    # -- limits

    def must_pause(self, source: Source) -> bool:
        """Return True if a source is so far ahead of others that it must be paused."""
        return self._ahead_bytes(source) > self._max_buffer_bytes

    def may_resume(self, source: Source) -> bool:
        """Return True if a paused source may go on: at half the bound, so that it does not flutter."""
        return self._ahead_bytes(source) <= self._max_buffer_bytes // 2

    @abstractmethod
    def _ahead_bytes(self, source: Source) -> int:
        """Return the bytes of a source that are kept here, or at other tasks, because it is ahead of other sources."""

    # -- commits

    @property
    @abstractmethod
    def must_commit(self) -> bool:
        """True if the task should not go on without a commit."""

    @property
    @abstractmethod
    def forwards(self) -> bool:
        """True if other tasks may ever wait for records that only a commit sends."""

    @property
    @abstractmethod
    def awaited(self) -> bool:
        """True if other tasks wait for records that only a commit sends."""

    @abstractmethod
    def snapshot(self, *, force: bool = False) -> TaskSnapshot | None:
        """Return the task's part of a checkpoint; None if nothing has changed, unless `force`."""

    async def flush(self) -> None:
        """Send what need not wait for the commit. Does not wait for acknowledgements."""
        await self._channel.flush()

    # -- readings

    @property
    def skew(self) -> int | None:
        """The worker's clock less the broker's, ms; None where that is not known."""
        return self._channel.skew

    @abstractmethod
    def position(self, source: Source) -> int:
        """Return the offset up to which everything of a source is applied or forwarded, exclusive."""

    @abstractmethod
    def _read_positions(self) -> Mapping[int, int]:
        """Return the offsets up to which everything was read, exclusive, by rank."""

    @abstractmethod
    def _done_positions(self) -> Mapping[int, int]:
        """Return the offsets up to which everything is done, exclusive, by rank."""

    def next_offsets(self) -> dict[TP, int]:
        """Return the next offset to read of each partition."""
        positions = self._read_positions()
        return {tp: positions[rank] for rank, tp in self.read.items()}

    def lag(self, fetches: Mapping[int, Fetch]) -> dict[tuple[str, int], int]:
        """Return the number of records that are not done, by topic and partition, where a fetch has shown the end."""
        positions, lag = self._done_positions(), {}
        for rank, fetch in fetches.items():
            tp = self.read[rank]
            lag[tp.topic, tp.partition] = max(0, fetch.end - positions[rank])
        return lag
