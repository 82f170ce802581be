"""The lowest stage of a task that applies everything in event-time order (`LIFECYCLE_ORDERING=event_time`): it keeps
each record until nothing earlier can come any more. Late records are applied at once.

So the order in which records arrive, and the partition by which, do not matter. After a crash the applied records are
not a prefix of the input: a record that is read again is judged when it is read, by the offsets and the gaps that its
profile keeps (`streams.core.event_time.offset_gaps`).
"""

from __future__ import annotations

from heapq import heappop, heappush

from mypy_extensions import mypyc_attr

from streams.core.engine.merge import MergeStage
from streams.core.event_time.inputs import REPARTITION, Input
from streams.core.event_time.offset_gaps import READ, add, input_id
from streams.core.identity.aliases import part_key, resolution_stage_of
from streams.core.model.event import EVENT, Event
from streams.core.model.outputs import Effects
from streams.core.processing.processor import SOURCE_LABELS, Processor, last_applied, was_applied
from streams.core.store.task_state import TaskState, record_key


@mypyc_attr(acyclic=True)  # the garbage collector need not know of it
class BufferedEvent:
    """A record in the buffer."""

    __slots__ = ("arrived_by", "read_at", "record")

    def __init__(self, record: Event, arrived_by: Input, read_at: int) -> None:
        self.record = record
        self.arrived_by = arrived_by
        self.read_at = read_at
        """Its offset in the repartition topic; -1: it came by an own source."""


Entry = tuple[int, str, int, str, int, int, int, BufferedEvent]
"""An entry of the heap. By what it is ordered: time, `_subject`, source and event id; for copies of one event the
input, the offset, and a number that no two entries share. Then the record."""


class ReorderBuffer(MergeStage):
    """The lowest stage of one task. Owned by its engine."""

    def __init__(self, inputs: list[Input], state: TaskState) -> None:
        super().__init__(inputs, None)
        self._waiting: list[Entry] = []
        self._state = state
        self._applied_at_start = list(state.applied)
        """The highest offset, by rank, that may have been applied when the task began."""
        self._number = 0
        for input_ in inputs:
            input_.applied_before = set()

    def merge(self, processor: Processor, now: int, budget: int, effects: Effects) -> int:
        """Implement `MergeStage.merge`, in the order of `Entry`."""
        self._draw()
        waiting, to_higher, moved, taken = self._waiting, self.to_higher, False, 0
        applied = [0] * len(SOURCE_LABELS)
        complete = self._complete_before(now)
        while waiting and complete is not None and waiting[0][0] < complete and taken < budget and not processor.full:
            buffered = heappop(waiting)[7]
            record, input_ = buffered.record, buffered.arrived_by
            stage = resolution_stage_of(record) if to_higher else 0
            if stage:
                passed = to_higher[stage - 1]
                passed.queue.append(record)
                passed.read_at.append(buffered.read_at)
                passed.arrived_by.append(input_)
                moved = True
                continue
            input_.bytes -= record.size
            taken += 1
            if processor.apply(record, input_, buffered.read_at, effects):
                applied[record.source] += 1
        for source, count in enumerate(applied):
            if count:
                effects.counts["applied", SOURCE_LABELS[source]] += count
        processor.changed = processor.changed or moved or taken > 0
        reached = self.frontier(now)
        for passed in to_higher:
            passed.reached = reached
        return budget - taken

    def frontier(self, now: int) -> int | None:
        """Implement `MergeStage.frontier`."""
        self._draw()
        complete = self._complete_before(now)
        return complete if complete is None or not self._waiting else min(complete, self._waiting[0][0])

    def caught_up_at(self) -> int | None:
        """Implement `MergeStage.caught_up_at`."""
        return None if self._waiting else super().caught_up_at()

    def note_first(self) -> None:
        """Implement `MergeStage.note_first`."""
        self._draw()
        super().note_first()
        for entry in self._waiting:
            buffered = entry[7]
            buffered.arrived_by.note_waiting(buffered.record, buffered.read_at)

    def waits_for(self, input_: Input, now: int) -> bool:
        """Return True if no other input is behind this one."""
        return input_.complete_before(now) == self._complete_before(now)

    def note_offset_gaps(self) -> None:
        """Note in the profiles that are to be written which of their records wait. Called before each flush."""
        self._draw()
        for entry in self._waiting:
            buffered = entry[7]
            self._note_gap(buffered.record, buffered.arrived_by, buffered.read_at)
        for passed in self.to_higher:
            for record, arrived_by, read_at in zip(passed.queue, passed.arrived_by, passed.read_at, strict=True):
                self._note_gap(record, arrived_by, read_at)

    # -- inside

    def _complete_before(self, now: int) -> int | None:
        least: int | None = None
        for input_ in self.inputs:
            before = input_.complete_before(now)
            if before is None:
                return None
            if least is None or before < least:
                least = before
        return least

    def _draw(self) -> None:
        """Move the records that were read into the buffer, and note those that were applied before a restart.

        That is decided now: this task has read nothing later of their input yet, so an applied offset at or beyond
        theirs is from before the task began.
        """
        for input_ in self.inputs:
            queue, read_at, applied_before = input_.queue, input_.read_at, input_.applied_before
            assert applied_before is not None
            while queue:
                record = queue.popleft()
                at = read_at.popleft() if read_at else -1
                known = self._applied_at_start[input_.rank if input_.own is not None else REPARTITION]
                if input_.formerly_own or (record.offset if input_.own is not None else at) <= known:
                    key = _key_of(record)
                    profile = self._state.get(key)
                    if profile is not None and was_applied(profile, input_, record.offset):
                        applied_before.add((key, record.offset))
                self._number += 1
                heappush(
                    self._waiting,
                    (
                        record.at,
                        _subject(record),
                        int(record.source),
                        record.event_id,
                        input_.number,
                        record.offset,
                        self._number,
                        BufferedEvent(record, input_, at),
                    ),
                )

    def _note_gap(self, record: Event, input_: Input, read_at: int) -> None:
        key = _key_of(record)
        profile = self._state.changed_profile(key)
        assert input_.applied_before is not None
        if profile is None or (key, record.offset) in input_.applied_before:
            return
        gaps = {} if profile.offset_gaps is None else profile.offset_gaps
        if record.offset < last_applied(profile, input_):
            add(gaps, input_id(input_), record.offset)
        if 0 <= read_at <= profile.applied_forwarded:  # several records are read at one offset
            add(gaps, READ, read_at)
        if gaps:
            profile.offset_gaps = gaps


def _key_of(record: Event) -> bytes:
    """Return the key of the profile that a record, or a part of one, is for."""
    return record_key(record.customer, record.identified) if record.role == EVENT else part_key(record)


def _subject(record: Event) -> str:
    """Return the key that orders records of the same time: events of customers first, then events by device, then parts
    by role and id. For a device that is the order in which a higher stage takes them."""
    if record.role == EVENT:
        return "" if record.identified else f"{EVENT}{record.customer}"
    return f"{record.role}{record.customer}"
