"""What an engine merges: one queue of activities for each source that its task reads, and for each origin: a partition
of a source whose task forwards what belongs here, or a stream of items that a task passes on.

Used by `streams.core.engine.partition_engine` and `levels` only. How far an own source has come is judged by its
fetches (`watermark`); how far an origin has come, its task says (`ProgressReport`), and nobody else: without news of
it, it stands still.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from streams.core.event_time.watermark import FETCH_FRESH, SourceProgress
from streams.core.model.event import Event, Source
from streams.core.model.policy import SECOND
from streams.core.model.sources import ProgressReport, StoredUpstream

REPARTITION: Final = len(Source)
"""The rank of the activity topic among what a task reads: the place of its offsets beside those of the sources."""
ERASURES: Final = REPARTITION + 1
"""That of the topic of erasure requests."""


FIRST_MESSAGES: Final = 8
"""The rank of stream 0: what a task's level 0 passes on to level 1 of any task. Stream 1 is that of level 1 to level 2.
Below it is room for further topics that a task reads."""
MESSAGE_STREAMS: Final = 2
REPORTED: Final = 2 * SECOND
"""What it takes at most, ms, until what a task says of itself is known to others: each level says what it was told."""


def upstream_number(rank: int, partition: int) -> int:
    """The number of an origin, by which profiles keep what was applied of it."""
    return partition << 4 | rank


class UpstreamProgress:
    """How far an origin has come, by its own account, and what was taken of what it forwarded."""

    def __init__(self, mark: StoredUpstream | None, fresh: int = FETCH_FRESH) -> None:
        """`fresh`: how long, in ms, it is taken to hold nothing more once it has said so."""
        self.reached: int | None = None if mark is None else mark.progress
        """The time up to which it has spoken. Never goes back."""
        self.taken = -1 if mark is None else mark.taken
        """The offset, in the origin's topic, of the last record taken from it."""
        self.caught_up_at: int | None = None
        """As of when it held nothing more, if it last said so."""
        self.slowest: int | None = None
        """See `ProgressReport`."""
        self._fresh = fresh
        self.lost = mark is not None and mark.lost
        """What comes next need not follow on what was taken: records of the activity topic could not be read."""

    def take(self, offset: int, previous: int) -> bool:
        """Whether a forwarded record is the next one. `previous` is what went before it to this partition.

        Not if it was forwarded again by a task that began anew. And not if what went before it is not here: then a
        send has failed, and all that follows will be forwarded again.
        """
        if offset <= self.taken or (previous > self.taken and not self.lost):
            return False
        self.taken, self.lost = offset, False
        return True

    def observe_report(self, report: ProgressReport) -> bool:
        """Take in what the origin says, unless it covers records that are not here; whether it was."""
        if report.covers > self.taken and not self.lost:
            return False
        if report.progress is not None and (self.reached is None or report.progress > self.reached):
            self.reached = report.progress
        self.caught_up_at, self.slowest = report.caught_up_at, report.slowest
        return True

    def is_caught_up(self, now: int) -> bool:
        """Whether the origin may be taken to hold nothing more at present."""
        return self.caught_up_at is not None and now - self.caught_up_at <= self._fresh


class Input:
    """A queue of activities, in the order of one partition of a source, of a stream, or of what the lowest level passes
    through: that one has neither `own` nor `origin`."""

    def __init__(
        self,
        rank: int,
        number: int,
        own: SourceProgress | None,
        origin: UpstreamProgress | None,
        once_own: bool = False,
        lateness: int = 0,
        delay: int = 0,
    ) -> None:
        """`once_own`: the task may have read this origin itself in former times. `lateness`: how far what comes by it
        may be behind what it has shown, and `delay` that of its source, both in ms."""
        self.rank = rank
        self.number = number
        """Of an origin: see `upstream_number`; -1 of others."""
        self.own = own
        self.upstream = origin
        self.once_own = once_own
        self.lateness = lateness
        self._delay = delay
        self.silence_counts = True
        """Of an own source: see `SourceProgress.progress`."""
        self.clock_trusted = True
        """Of an own source: see `PartitionEngine.advance`."""
        self.complete = -1
        """Of an own source: the time (ms) before which nothing more comes, if somebody has said so."""
        self.reached: int | None = None
        self.all_caught_up = False
        """Of what is passed through: how far the lowest level has come, and whether there is nothing more in it."""
        self.queue: deque[Event] = deque()
        self.read_at: deque[int] = deque()
        """Of those in the queue, the offsets in the activity topic at which they were read; -1: in a source."""
        self.by: deque[Input] = deque()
        """Of what is passed through: the inputs that those in the queue came by."""
        self.bytes = 0
        """Of all that came by it and waits, here or at a level above."""
        self.event_time_ordering = False
        """Whether nothing is applied before all that is earlier must be there: then being drained says nothing."""
        self.again: set[tuple[bytes, int]] | None = None
        """Of an input that is held (`streams.core.engine.reorder_buffer`): of what waits, what was applied already:
        key, offset."""
        self.first: Event | None = None
        self.first_read_at = -1
        """What waits of it with the least offset, as of the last `look`."""
        self.earliest = 0
        """The least time of what waits, if anything does."""

    def progress(self, now: int) -> int | None:
        """The time up to which it has spoken, None if it never did."""
        own = self.own
        if own is not None:
            return own.progress(now, silence_counts=self.silence_counts)
        return self.reached if self.upstream is None else self.upstream.reached

    def watermark(self, now: int) -> int | None:
        """The time up to which it is taken to have told everything, None if it never spoke."""
        progress = self.progress(now)
        return None if progress is None else progress - self.lateness

    def complete_before(self, now: int) -> int | None:
        """The time before which nothing more comes of a source, unless it is late. For the order of what comes; what
        the silence of a source says of people is another matter (`progress`)."""
        own, origin = self.own, self.upstream
        if own is not None:
            self.progress(now)
            reached = own.complete_up_to(now, clock_trusted=self.clock_trusted)
            if self.complete >= 0:
                return self.complete if reached is None else max(self.complete, reached - self.lateness)
        else:
            assert origin is not None
            reached, drained_at = origin.reached, origin.caught_up_at
            if drained_at is not None and (reached is None or drained_at - self._delay > reached):
                reached = drained_at - self._delay
        return None if reached is None else reached - self.lateness

    def is_caught_up(self, now: int) -> bool:
        """Whether there may be nothing more at present, so that nothing waits for it."""
        if self.event_time_ordering:
            return False
        own = self.own
        if own is not None:
            return own.is_caught_up(now)
        return self.all_caught_up if self.upstream is None else self.upstream.is_caught_up(now)

    def caught_up_at(self) -> int | None:
        """As of when it held nothing more, if that is known. Of an own source or an origin."""
        own = self.own
        if own is not None:
            return own.caught_up_at()
        return None if self.upstream is None else self.upstream.caught_up_at

    def note_first(self) -> None:
        """Note what waits first, as far as it waits here."""
        self.first, self.first_read_at = None, -1
        if self.queue:
            self.first = self.queue[0]
            self.first_read_at = self.read_at[0] if self.read_at else -1
            self.earliest = self.first.at

    def note_waiting(self, record: Event, read_at: int) -> None:
        """Note that a record that came by it waits, apart from its queue."""
        first = self.first
        if first is None or record.at < self.earliest:
            self.earliest = record.at
        if first is None or record.offset < first.offset:
            self.first, self.first_read_at = record, read_at

    def resumes_at(self) -> int | None:
        """What its progress is at most once it begins again, as of the last `look`: what waits is read again then, and
        until it is, the source has not come further. None: any."""
        if self.first is None:
            return None
        return self.first.at if self.again is None else self.earliest + self.lateness

    def stored_upstream(self) -> StoredUpstream:
        """What to store of an origin: as if those that wait had not been taken yet. As of the last `look`."""
        origin = self.upstream
        assert origin is not None
        taken, progress = origin.taken, origin.reached
        if self.first is not None:
            taken = self.first.offset - 1
            resumes_at = self.resumes_at()
            if progress is not None and resumes_at is not None:
                progress = min(progress, resumes_at)
        return StoredUpstream(self.number, taken, progress, origin.lost)
