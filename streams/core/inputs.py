"""What an engine merges: one queue of activities for each source that its task reads, and for each origin: a partition
of a source whose task forwards what belongs here.

Used by `streams.core.engine` only. How far an own source has come is judged by its fetches (`watermark`); how far an
origin has come, its task says (`Report`), and nobody else: without news of it, it stands still.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from streams.core.activity import Activity, Source
from streams.core.sources import OriginMark, Report
from streams.core.watermark import FETCH_FRESH, SourceProgress

FORWARDED: Final = len(Source)
"""The rank of the activity topic among what a task reads: the place of its offsets beside those of the sources."""


def number_of(source: Source, partition: int) -> int:
    """The number of an origin, by which profiles keep what was applied of it."""
    return partition << 4 | int(source)


class OriginProgress:
    """How far an origin has come, by its own account, and what was taken of what it forwarded."""

    def __init__(self, mark: OriginMark | None) -> None:
        self.reached: int | None = None if mark is None else mark.progress
        """The time up to which it has spoken. Never goes back."""
        self.taken = -1 if mark is None else mark.taken
        """The offset, in the origin's topic, of the last record taken from it."""
        self.drained_at: int | None = None
        """As of when it held nothing more, if it last said so."""
        self.slowest: int | None = None
        """See `Report`."""
        self.lost = False
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

    def hear(self, report: Report) -> bool:
        """Take in what the origin says, unless it covers records that are not here; whether it was."""
        if report.covers > self.taken and not self.lost:
            return False
        if report.progress is not None and (self.reached is None or report.progress > self.reached):
            self.reached = report.progress
        self.drained_at, self.slowest = report.drained_at, report.slowest
        return True

    def drained(self, now: int) -> bool:
        """Whether the origin may be taken to hold nothing more at present."""
        return self.drained_at is not None and now - self.drained_at <= FETCH_FRESH


class Input:
    """A queue of activities of one source, in the order of one of its partitions."""

    def __init__(
        self,
        source: Source,
        own: SourceProgress | None,
        origin: OriginProgress | None,
        number: int,
        once_own: bool = False,
    ) -> None:
        """One of `own` and `origin` is given. `once_own`: the task may have read this origin itself in former times."""
        self.source = source
        self.rank = int(source)
        self.label = source.name.lower()
        self.number = number
        self.own = own
        self.origin = origin
        self.once_own = once_own
        self.queue: deque[Activity] = deque()
        self.read_at: deque[int] = deque()
        """Of an origin: the offsets in the activity topic at which those in the queue were read."""
        self.bytes = 0

    def drained(self, now: int) -> bool:
        """Whether there may be nothing more at present."""
        own = self.own
        if own is not None:
            return own.drained(now)
        assert self.origin is not None
        return self.origin.drained(now)

    def origin_mark(self) -> OriginMark:
        """What to store of an origin: as if those that wait had not been taken yet."""
        origin = self.origin
        assert origin is not None
        taken, progress = origin.taken, origin.reached
        if self.queue:
            first = self.queue[0]
            taken = first.offset - 1
            if progress is not None:
                progress = min(progress, first.at)
        return OriginMark(self.number, taken, progress)
