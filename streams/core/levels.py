"""The order in which a task applies what it reads: a level merges its inputs by time, as far as nothing earlier may be
to come, and passes through to the next level what lives there (`streams.core.identity`).

A task has one level, or with linking three. Levels are merged from the lowest up, so that each finds what the one below
has passed through, and how far it has come.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from streams.core.activity import LINK
from streams.core.applying import SOURCE_LABELS, Applier
from streams.core.effects import Effects
from streams.core.identity import level_of
from streams.core.inputs import Input


class Level:
    """One level of one task. Owned by its engine."""

    def __init__(self, number: int, inputs: list[Input], through: Input | None) -> None:
        """`inputs` are all of them; `through`, which is none of the lowest, is what the level below passes through."""
        self.number = number
        # What is of the same time is applied in this order: `through` first.
        self.inputs = sorted(inputs, key=_rank)
        self.through = through
        self.above: Level | None = None

    def merge(self, applier: Applier, now: int, most: int, effects: Effects) -> int:
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
                if self.above is None:
                    most -= _apply_run(one, until, most, applier, effects)
                else:
                    most -= self._sort_run(one, until, most, applier, effects)
            elif bound is None or at < bound[0]:
                most -= self._sort_run(one, None if bound is None else bound[0] - 1, most, applier, effects)
            else:  # others may have something of that time too
                most -= self._sort_run(one, at, most, applier, effects, alone=True)
            if one.queue:
                heappush(heads, self._head(one, place))
            else:
                limit = _limited(limit, one, place, now)
        if self.above is not None and self.above.through is not None:
            self.above.through.reached = self.frontier(now)
            self.above.through.all_drained = self._drained(now)
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

    def drained_at(self) -> int | None:
        """As of when nothing more was in what it reads itself, if nothing waits; None: there may be."""
        least: int | None = None
        for one in self.inputs:
            if one.queue:
                return None
            if one is self.through:
                continue
            at = one.drained_at()
            if at is None:
                return None
            if least is None or at < least:
                least = at
        return least

    def look(self) -> None:
        """Note what waits first of each input: here, of what came by inputs of levels below."""
        for one in self.inputs:
            if one is self.through:
                for record, by, read_at in zip(one.queue, one.by, one.read_at, strict=True):
                    by.waits(record, read_at)
            else:
                one.look()

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
        return all(one.drained(now) and not one.queue for one in self.inputs)

    def _sort_run(
        self, one: Input, until: int | None, most: int, applier: Applier, effects: Effects, *, alone: bool = False
    ) -> int:
        """As `_apply_run`, of a task with several levels: what lives at a higher one is passed through. `alone`: the
        first record only."""
        queue, is_through, taken = one.queue, one is self.through, 0
        through = None if self.above is None else self.above.through
        applied = [0] * len(SOURCE_LABELS)
        while queue and (until is None or queue[0].at <= until):
            record = queue.popleft()
            read_at = one.read_at.popleft() if one.read_at else -1
            by = one.by.popleft() if is_through else one
            if through is not None and level_of(record) > self.number:
                through.queue.append(record)
                through.read_at.append(read_at)
                through.by.append(by)
                if alone:
                    break
                continue
            by.bytes -= record.size
            taken += 1
            if applier.apply(record, by, read_at, effects):
                applied[record.source] += 1
            if alone or taken >= most or applier.full:
                break
        for source, count in enumerate(applied):
            if count:
                effects.counts["applied", SOURCE_LABELS[source]] += count
        applier.changed = applier.changed or taken > 0
        return taken


def _apply_run(one: Input, until: int | None, most: int, applier: Applier, effects: Effects) -> int:
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
    if one.drained(now):
        return limit
    progress = one.progress(now)
    if progress is None:
        return -1, place
    return (progress, place) if limit is None or (progress, place) < limit else limit


def _rank(one: Input) -> tuple[int, int]:
    return one.rank, one.number
