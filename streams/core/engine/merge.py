"""The order in which a task applies what it reads: a level merges its inputs by time, as far as nothing earlier may be
to come.

A task has one level, or with linking three. What it reads of sources is merged by the lowest, which passes through to
the others what lives there (`streams.core.identity.aliases`): these wait for it, and for what they are passed of any
task, but not for one another. So levels are merged from the lowest up.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from streams.core.event_time.inputs import Input
from streams.core.identity.aliases import resolution_stage_of
from streams.core.model.event import LINK
from streams.core.model.outputs import Effects
from streams.core.processing.processor import SOURCE_LABELS, Processor


class MergeStage:
    """One level of one task. Owned by its engine."""

    def __init__(self, inputs: list[Input], through: Input | None) -> None:
        """`inputs` are all of them; `through`, which the lowest has not, is what that one passes through."""
        # What is of the same time is applied in this order: `through` first.
        self.inputs = sorted(inputs, key=_rank)
        self.through = through
        self.higher: list[Input] = []
        """Of the lowest of several levels: what it passes through to each of the others."""

    def merge(self, applier: Processor, now: int, most: int, effects: Effects) -> int:
        """Apply what waits, by time, input and offset, but no more than `most` records; how many more may be.

        It stops short where the applier is full.
        """
        inputs = self.inputs
        heads: list[tuple[int, str, int]] = []  # time, order at that time and place, of what is next of each
        limit: tuple[int, int] | None = None  # the least progress of those that may still have records, and which
        for place, one in enumerate(inputs):
            if one.queue:
                heads.append(self._head(one, place))
            else:
                limit = _limited(limit, one, place, now)
        heapify(heads)
        while not applier.full and most > 0 and heads:
            at, whom, place = heads[0]
            # At equal times the lower place goes first, also if what it has of that time is still to come. Of what is
            # about a device, all of that time must be there.
            if limit is not None and (limit < (at, place) or (whom and limit[0] == at)):
                break
            # Take a run: up to the next head of another one, and to the limit.
            heappop(heads)
            one, bound = inputs[place], limit
            if heads and (bound is None or (heads[0][0], heads[0][2]) < bound):
                bound = heads[0][0], heads[0][2]
            if self.through is None:
                until = None if bound is None else bound[0] - (bound[1] < place)
                if self.higher:
                    most -= self._sort_run(one, until, most, applier, effects)
                else:
                    most -= _apply_run(one, until, most, applier, effects)
            elif bound is None or at < bound[0]:
                most -= self._higher_run(one, None if bound is None else bound[0] - 1, most, applier, effects)
            else:  # others may have something of that time too
                most -= self._higher_run(one, at, most, applier, effects, alone=True)
            if one.queue:
                heappush(heads, self._head(one, place))
            else:
                limit = _limited(limit, one, place, now)
        if self.higher:
            reached, drained = self.frontier(now), self._drained(now)
            for through in self.higher:
                through.reached, through.all_caught_up = reached, drained
        return most

    def frontier(self, now: int) -> int | None:
        """The least time of what this level may still apply, unless it comes late; None: any."""
        least: int | None = None
        for one in self.inputs:
            progress = one.progress(now)
            if progress is None:
                return None
            if one.queue and one.queue[0].at < progress:
                progress = one.queue[0].at
            if least is None or progress < least:
                least = progress
        return least

    def caught_up_at(self) -> int | None:
        """As of when nothing more was in what it reads itself, if nothing waits; None: there may be."""
        least: int | None = None
        for one in self.inputs:
            if one.queue:
                return None
            if one is self.through:
                continue
            at = one.caught_up_at()
            if at is None:
                return None
            if least is None or at < least:
                least = at
        return least

    def note_first(self) -> None:
        """Note what waits first of each input: here, of what came by inputs of the lowest level."""
        for one in self.inputs:
            if one is self.through:
                for record, by, read_at in zip(one.queue, one.by, one.read_at, strict=True):
                    by.note_waiting(record, read_at)
            else:
                one.note_first()

    def _head(self, one: Input, place: int) -> tuple[int, str, int]:
        """What is of the same time goes by the devices that it is about, events first: which task has passed it on, and
        whether it was passed on at all, is no matter of theirs."""
        first = one.queue[0]
        if self.through is None:
            return first.at, "", place
        if first.role == LINK:
            return first.at, first.customer, place
        return first.at, "" if one is self.through or first.other is None else first.other, place

    def _drained(self, now: int) -> bool:
        return all(one.is_caught_up(now) and not one.queue for one in self.inputs)

    def _sort_run(self, one: Input, until: int | None, most: int, applier: Processor, effects: Effects) -> int:
        """As `_apply_run`, of the lowest of several levels: what lives at a higher one is passed through to it."""
        queue, read_at, higher, taken, moved = one.queue, one.read_at, self.higher, 0, False
        while queue and (until is None or queue[0].at <= until):
            record = queue.popleft()
            at = read_at.popleft() if read_at else -1
            level = resolution_stage_of(record)
            if level:
                through = higher[level - 1]
                through.queue.append(record)
                through.read_at.append(at)
                through.by.append(one)
                moved = True
                continue
            one.bytes -= record.size
            taken += 1
            applier.apply(record, one, at, effects)
            if taken >= most or applier.full:
                break
        applier.changed = applier.changed or moved or taken > 0
        return taken

    def _higher_run(
        self, one: Input, until: int | None, most: int, applier: Processor, effects: Effects, *, alone: bool = False
    ) -> int:
        """As `_apply_run`, of a higher level: each record came by an input of its own. `alone`: the first only."""
        queue, is_through, taken = one.queue, one is self.through, 0
        applied = [0] * len(SOURCE_LABELS)
        while queue and (until is None or queue[0].at <= until):
            record = queue.popleft()
            by = one.by.popleft() if is_through else one
            by.bytes -= record.size
            taken += 1
            if applier.apply(record, by, one.read_at.popleft(), effects):
                applied[record.source] += 1
            if alone or taken >= most or applier.full:
                break
        for source, count in enumerate(applied):
            if count:
                effects.counts["applied", SOURCE_LABELS[source]] += count
        applier.changed = applier.changed or taken > 0
        return taken


def _apply_run(one: Input, until: int | None, most: int, applier: Processor, effects: Effects) -> int:
    """Apply of an input what is not later than `until`, but no more than `most` records; how many were taken."""
    queue, read_at, taken, size, applied = one.queue, one.read_at, 0, 0, 0
    forwarded = one.own is None
    while queue and (until is None or queue[0].at <= until):
        record = queue.popleft()
        size += record.size
        taken += 1
        if applier.apply(record, one, read_at.popleft() if forwarded else -1, effects):
            applied += 1
        if taken >= most or applier.full:
            break
    one.bytes -= size
    if applied:
        effects.counts["applied", SOURCE_LABELS[one.rank]] += applied
        applier.changed = True
    return taken


def _limited(limit: tuple[int, int] | None, one: Input, place: int, now: int) -> tuple[int, int] | None:
    """The limit, with an input that has nothing at present."""
    if one.is_caught_up(now):
        return limit
    progress = one.progress(now)
    if progress is None:
        return -1, place
    return (progress, place) if limit is None or (progress, place) < limit else limit


def _rank(one: Input) -> tuple[int, int]:
    return one.rank, one.number
