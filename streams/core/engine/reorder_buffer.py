"""The lowest level of a task where everything is applied by time (`LIFECYCLE_ORDERING=event_time`): each record is
held until nothing earlier may come any more, unless it is late.

So the order in which records arrive, and by which partition, does not matter. What was applied before a crash is no
longer what came first: what is read again is judged when it is read, by what the profiles tell
(`streams.core.event_time.offset_gaps`).
"""

from __future__ import annotations

from heapq import heappop, heappush

from streams.core.engine.merge import MergeStage
from streams.core.event_time.inputs import REPARTITION, Input
from streams.core.event_time.offset_gaps import READ, add, cause_of
from streams.core.identity.aliases import part_key, resolution_stage_of
from streams.core.model.event import EVENT, Event
from streams.core.model.outputs import Effects
from streams.core.processing.processor import SOURCE_LABELS, Processor, last_applied, was_applied
from streams.core.store.task_state import TaskState, record_key

BufferedEvent = tuple[int, str, int, str, int, int, int, Event, Input, int]
"""A record that is held, behind what it is ordered by: its time, `_about`, its source, its event id, and for copies of
one the input, the offset and a number. With the input and the offset of the activity topic."""


class ReorderBuffer(MergeStage):
    """The lowest level of one task. Owned by its engine."""

    def __init__(self, inputs: list[Input], state: TaskState) -> None:
        super().__init__(inputs, None)
        self._waiting: list[BufferedEvent] = []
        self._state = state
        self._known = list(state.applied)
        """By rank, the highest offset that may have been applied when the task began."""
        self._number = 0
        for one in inputs:
            one.again = set()

    def merge(self, applier: Processor, now: int, most: int, effects: Effects) -> int:
        """As `MergeStage.merge`, by time, whom it is about, source and event id."""
        self._draw()
        waiting, higher, moved, taken = self._waiting, self.higher, False, 0
        applied = [0] * len(SOURCE_LABELS)
        complete = self._complete_before(now)
        while waiting and complete is not None and waiting[0][0] < complete and taken < most and not applier.full:
            _, _, _, _, _, _, _, record, one, read_at = heappop(waiting)
            level = resolution_stage_of(record) if higher else 0
            if level:
                through = higher[level - 1]
                through.queue.append(record)
                through.read_at.append(read_at)
                through.by.append(one)
                moved = True
                continue
            one.bytes -= record.size
            taken += 1
            if applier.apply(record, one, read_at, effects):
                applied[record.source] += 1
        for source, count in enumerate(applied):
            if count:
                effects.counts["applied", SOURCE_LABELS[source]] += count
        applier.changed = applier.changed or moved or taken > 0
        reached = self.frontier(now)
        for through in higher:
            through.reached = reached
        return most - taken

    def frontier(self, now: int) -> int | None:
        """Of `MergeStage`."""
        self._draw()
        complete = self._complete_before(now)
        return complete if complete is None or not self._waiting else min(complete, self._waiting[0][0])

    def caught_up_at(self) -> int | None:
        """Of `MergeStage`."""
        return None if self._waiting else super().caught_up_at()

    def note_first(self) -> None:
        """Of `MergeStage`."""
        self._draw()
        super().note_first()
        for _, _, _, _, _, _, _, record, one, read_at in self._waiting:
            one.note_waiting(record, read_at)

    def waits_for(self, one: Input, now: int) -> bool:
        """Whether no other input is behind this one."""
        return one.complete_before(now) == self._complete_before(now)

    def note_offset_gaps(self) -> None:
        """Profiles that are to be written are told what waits of theirs. Before each flush."""
        self._draw()
        for _, _, _, _, _, _, _, record, one, read_at in self._waiting:
            self._note_hole(record, one, read_at)
        for through in self.higher:
            for record, by, read_at in zip(through.queue, through.by, through.read_at, strict=True):
                self._note_hole(record, by, read_at)

    # -- inside

    def _complete_before(self, now: int) -> int | None:
        least: int | None = None
        for one in self.inputs:
            before = one.complete_before(now)
            if before is None:
                return None
            if least is None or before < least:
                least = before
        return least

    def _draw(self) -> None:
        """Take what was read. Whether it was applied before is looked at now: of its input nothing later has been read
        by this task, so that what is known to be applied at and beyond it is from before the task began."""
        for one in self.inputs:
            queue, read_at, again = one.queue, one.read_at, one.again
            assert again is not None
            while queue:
                record = queue.popleft()
                at = read_at.popleft() if read_at else -1
                known = self._known[one.rank] if one.own is not None else self._known[REPARTITION]
                if one.once_own or (record.offset if one.own is not None else at) <= known:
                    key = _key_of(record)
                    profile = self._state.get(key)
                    if profile is not None and was_applied(profile, one, record.offset):
                        again.add((key, record.offset))
                self._number += 1
                heappush(
                    self._waiting,
                    (
                        record.at,
                        _about(record),
                        int(record.source),
                        record.event_id,
                        one.number,
                        record.offset,
                        self._number,
                        record,
                        one,
                        at,
                    ),
                )

    def _note_hole(self, record: Event, one: Input, read_at: int) -> None:
        key = _key_of(record)
        profile = self._state.to_be_written(key)
        assert one.again is not None
        if profile is None or (key, record.offset) in one.again:
            return
        holes = {} if profile.offset_gaps is None else profile.offset_gaps
        if record.offset < last_applied(profile, one):
            add(holes, cause_of(one), record.offset)
        if 0 <= read_at <= profile.applied_forwarded:  # several are read at one
            add(holes, READ, read_at)
        if holes:
            profile.offset_gaps = holes


def _key_of(record: Event) -> bytes:
    """The key of the profile that a record, or a part of one, is for."""
    return record_key(record.customer, record.identified) if record.role == EVENT else part_key(record)


def _about(record: Event) -> str:
    """What is of the same time goes by this: events first, of customers before those of devices; then what links a
    device, by device, as a higher level takes it."""
    if record.role == EVENT:
        return "" if record.identified else f"{EVENT}{record.customer}"
    return f"{record.role}{record.customer}"
