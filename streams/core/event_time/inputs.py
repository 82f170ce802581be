"""The inputs that an engine merges: one queue for each source that its task reads, and one for each upstream partition.

An upstream partition is a partition of a source whose records another task forwards here, or a stream of internal
messages of a task. Own sources are judged by their fetches (`watermark`). The progress of an upstream partition is what
its task reports (`ProgressReport`) and nothing else: without a report it stands still.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from streams.core.event_time.watermark import FETCH_FRESH, SourceProgress
from streams.core.model.event import Event, Source
from streams.core.model.policy import SECOND
from streams.core.model.sources import ProgressReport, Rank, StoredUpstream, UpstreamId

REPARTITION: Final = Rank(len(Source))
"""Rank of the repartition topic: the place of its offset beside those of the sources."""
ERASURES: Final = Rank(REPARTITION + 1)
"""Rank of the topic of erasure requests."""
FIRST_MESSAGES: Final = Rank(8)
"""Rank of stream 0 of internal messages: those that resolution stage 0 of a task sends to stage 1 of any task. Stream 1
is that of stage 1 to stage 2. The ranks below leave room for further topics that a task reads."""
MESSAGE_STREAMS: Final = 2
REPORTED: Final = 2 * SECOND
"""Longest time, ms, until others know a change that a task reports. It adds up over the stages: a stage can report only
the progress that was reported to it."""

PASS_THROUGH: Final = Rank(-1)
"""Rank of a pass-through input: see `Input`."""

_RANK_BITS: Final = 4


def message_rank(stream: int) -> Rank:
    """Return the rank of a stream of internal messages."""
    return Rank(FIRST_MESSAGES + stream)


def upstream_id(rank: Rank, partition: int) -> UpstreamId:
    """Return the id of an upstream partition. Profiles and commit markers store it, so the encoding never changes."""
    return UpstreamId(partition << _RANK_BITS | rank)


def partition_of(upstream: UpstreamId) -> int:
    """Return the partition of the source; for a stream of internal messages, the task."""
    return upstream >> _RANK_BITS


class UpstreamProgress:
    """Progress of an upstream partition as its task reports it, and the offset up to which its records were taken."""

    def __init__(self, stored: StoredUpstream | None, fresh: int = FETCH_FRESH) -> None:
        """`fresh`: the time, ms, for which a report that it is caught up counts."""
        self.reached: int | None = None if stored is None else stored.progress
        """Its reported progress, event time in ms. Never goes back."""
        self.taken = -1 if stored is None else stored.taken
        """Offset, in the upstream partition, of the last record taken from it."""
        self.caught_up_at: int | None = None
        """The time as of which it held nothing more, if its last report gave one."""
        self.slowest: int | None = None
        """See `ProgressReport`."""
        self._fresh = fresh
        self.lost = stored is not None and stored.lost
        """True if records of the repartition topic could not be read: then the next one need not follow `taken`."""

    def take(self, offset: int, previous: int) -> bool:
        """Return True if a forwarded record is the next one, and note it as taken.

        `previous` is the offset of the record that the upstream task sent to this partition before it. A record that a
        restarted task forwards again is refused. So is one whose predecessor is not here: a send has failed, and
        everything from there on will be forwarded again.
        """
        if offset <= self.taken or (previous > self.taken and not self.lost):
            return False
        self.taken, self.lost = offset, False
        return True

    def observe_report(self, report: ProgressReport) -> bool:
        """Take in a report, unless it covers records that are not here. Return True if it counted."""
        if report.covers > self.taken and not self.lost:
            return False
        if report.progress is not None and (self.reached is None or report.progress > self.reached):
            self.reached = report.progress
        self.caught_up_at, self.slowest = report.caught_up_at, report.slowest
        return True

    def is_caught_up(self, now: int) -> bool:
        """Return True if a fresh report shows that nothing more is there."""
        return self.caught_up_at is not None and now - self.caught_up_at <= self._fresh


class Input:
    """A queue of events in the order of one input: an own source, an upstream partition, or the pass-through input by
    which the lowest resolution stage hands records to a higher one. The latter has neither `own` nor `upstream`."""

    def __init__(
        self,
        rank: Rank,
        number: UpstreamId,
        own: SourceProgress | None,
        upstream: UpstreamProgress | None,
        formerly_own: bool = False,
        lateness: int = 0,
        delay: int = 0,
    ) -> None:
        """`formerly_own`: the task may have read this upstream partition itself at an earlier time. `lateness`: how far
        its events may be behind its progress. `delay`: the delay of its source. Both in ms."""
        self.rank = rank
        self.number = number
        """Id of the upstream partition; `NO_UPSTREAM` for others."""
        self.own = own
        self.upstream = upstream
        self.formerly_own = formerly_own
        self.lateness = lateness
        self._delay = delay
        self.silence_counts = True
        """For an own source: see `SourceProgress.progress`."""
        self.clock_trusted = True
        """For an own source: see `PartitionEngine.advance`."""
        self.complete_until = -1
        """For an own source: the time (ms) before which nothing more comes, if a caller declared one."""
        self.reached: int | None = None
        """For a pass-through input: progress of the lowest stage."""
        self.all_caught_up = False
        """For a pass-through input: True if the lowest stage is caught up."""
        self.queue: deque[Event] = deque()
        self.read_at: deque[int] = deque()
        """For each record in the queue of an upstream partition: the offset of the repartition topic at which it was
        read. On a pass-through input -1 for records of an own source."""
        self.arrived_by: deque[Input] = deque()
        """On a pass-through input: for each record in the queue the input that it arrived by."""
        self.bytes = 0
        """Bytes of all records that arrived by this input and wait, in this stage or in a higher one."""
        self.event_time_ordering = False
        """True if nothing is applied before everything earlier must have arrived. Then an input that is caught up still
        blocks the ones that are ahead of it."""
        self.applied_before: set[tuple[bytes, int]] | None = None
        """For an input of a reorder buffer (`streams.core.engine.reorder_buffer`): key and offset of waiting records
        that were applied before a restart."""
        self.first_waiting: Event | None = None
        self.first_waiting_read_at = -1
        """The waiting record with the least offset, as of the last `note_first`."""
        self.earliest_waiting = 0
        """Least time of the waiting records, if there are any."""

    def progress(self, now: int) -> int | None:
        """Return the event time up to which the input is known, None if it never showed anything."""
        own = self.own
        if own is not None:
            return own.progress(now, silence_counts=self.silence_counts)
        return self.reached if self.upstream is None else self.upstream.reached

    def watermark(self, now: int) -> int | None:
        """Return the time up to which all its events are taken to have arrived; None without any progress."""
        progress = self.progress(now)
        return None if progress is None else progress - self.lateness

    def complete_before(self, now: int) -> int | None:
        """Return the time before which no event of a source comes any more, unless it is late.

        This decides about the order of events only. Deadlines go by `progress`: a source that is silent beyond its idle
        timeout proves nothing about customers, but everything that there is to read is known.
        """
        own, upstream = self.own, self.upstream
        if own is not None:
            self.progress(now)
            reached = own.complete_up_to(now, clock_trusted=self.clock_trusted)
            if self.complete_until >= 0:
                return self.complete_until if reached is None else max(self.complete_until, reached - self.lateness)
        else:
            assert upstream is not None
            reached, caught_up_at = upstream.reached, upstream.caught_up_at
            if caught_up_at is not None and (reached is None or caught_up_at - self._delay > reached):
                reached = caught_up_at - self._delay
        return None if reached is None else reached - self.lateness

    def is_caught_up(self, now: int) -> bool:
        """Return True if nothing more is there at present, so that no other input waits for this one."""
        if self.event_time_ordering:
            return False
        own = self.own
        if own is not None:
            return own.is_caught_up(now)
        return self.all_caught_up if self.upstream is None else self.upstream.is_caught_up(now)

    def caught_up_at(self) -> int | None:
        """Return the time as of which an own source or an upstream partition held nothing more; None if unknown."""
        own = self.own
        if own is not None:
            return own.caught_up_at()
        return None if self.upstream is None else self.upstream.caught_up_at

    def note_first(self) -> None:
        """Note the first waiting record of the queue."""
        self.first_waiting, self.first_waiting_read_at = None, -1
        if self.queue:
            self.first_waiting = self.queue[0]
            self.first_waiting_read_at = self.read_at[0] if self.read_at else -1
            self.earliest_waiting = self.first_waiting.at

    def note_waiting(self, record: Event, read_at: int) -> None:
        """Note that a record which arrived by this input waits outside its queue."""
        first = self.first_waiting
        if first is None or record.at < self.earliest_waiting:
            self.earliest_waiting = record.at
        if first is None or record.offset < first.offset:
            self.first_waiting, self.first_waiting_read_at = record, read_at

    def resumes_at(self) -> int | None:
        """Return the most that its progress may be after a restart, as of the last `note_first`; None: no limit.

        Waiting records are read again after a restart. Until then the source has not come further than to them.
        """
        if self.first_waiting is None:
            return None
        return self.first_waiting.at if self.applied_before is None else self.earliest_waiting + self.lateness

    def stored_upstream(self) -> StoredUpstream:
        """Return the state of an upstream partition to store, as if no waiting record had been taken yet. As of the
        last `note_first`."""
        upstream = self.upstream
        assert upstream is not None
        taken, progress = upstream.taken, upstream.reached
        if self.first_waiting is not None:
            taken = self.first_waiting.offset - 1
            resumes_at = self.resumes_at()
            if progress is not None and resumes_at is not None:
                progress = min(progress, resumes_at)
        return StoredUpstream(self.number, taken, progress, upstream.lost)
