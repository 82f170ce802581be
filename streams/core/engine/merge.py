"""The merge of a task's inputs in event-time order.

Theory of operation
-------------------

A task reads several inputs: its own sources, and upstream partitions that other tasks forward to it. Each is a queue in
the order of its offsets. A `MergeStage` applies, again and again, the earliest of the records at the heads of these
queues. So different inputs are merged in time order, and records of one input keep the order of that input.

An input with an empty queue has no head. Its **progress** stands in for one: the event time up to which it is known, at
or beyond which its next records are. The least progress of such inputs is the **limit**, and the merge stops there; an
input that never showed anything blocks all others. An input that is **caught up** sets no limit: a fresh fetch, or a
fresh report of its task, proves that it holds nothing. So while all inputs are caught up, live records are applied at
once. Earlier records can therefore come in two ways only: out of order within their input, or by an input that was
caught up before. They are applied as soon as they are at the head of their queue, and `lifecycle` puts them in their
place by time (docs/adr/0010). With `LIFECYCLE_ORDERING=event_time` no input counts as caught up, and the lowest stage
is a `ReorderBuffer`, which sorts within inputs too (docs/adr/0029).

**Ties.** At equal times the input of the lower place goes first: the pass-through input, then by rank, own sources
before upstream partitions, then by partition. That holds even if the records of that time are still to come, so the
limit is a pair of time and place. In a higher stage, records of one time that concern devices are ordered by device,
and are applied only once no input can bring more of that time: it must not matter for a device which task sent a
record, and whether it was sent at all. For speed, records are taken from one queue in runs, up to the next head and the
limit.

**Resolution stages.** Without identity resolution there is one stage. With it there are three (carts, devices,
customers; `streams.core.identity.aliases`). The lowest reads all sources. It applies parts about carts, and passes the
other records to the higher stages, each through a pass-through input that carries the progress of the lowest stage.
Stage 1 also has the internal messages that stage 0 of every task sends, and stage 2 those of stage 1 of every task;
both come by the repartition topic, also from the task itself. So a higher stage waits for the lowest one, and for the
stage below it *of all tasks*, and the lowest one waits for topics alone: there is no circle. One call merges the stages
from the lowest up. A stream's reported progress is the `frontier` of its stage, or the earliest message that is not
sent.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from streams.core.event_time.inputs import Input
from streams.core.identity.aliases import resolution_stage_of
from streams.core.model.event import LINK
from streams.core.model.outputs import Effects
from streams.core.processing.processor import SOURCE_LABELS, Processor

Head = tuple[int, str, int]
"""The first record of a queue, by what it is ordered: its time; among those of that time the device that it concerns in
a higher stage, else ""; the place of its input."""

Limit = tuple[int, int]
"""The least progress of the inputs that have an empty queue and may still have records, and the place of that input."""


class MergeStage:
    """One resolution stage of one task. Owned by its engine."""

    def __init__(self, inputs: list[Input], from_lowest: Input | None) -> None:
        """`inputs` includes `from_lowest`, the pass-through input of a higher stage; the lowest stage has none."""
        # At equal times, records are applied in this order: `from_lowest` first, since its rank is -1.
        self.inputs = sorted(inputs, key=_rank)
        self.from_lowest = from_lowest
        self.to_higher: list[Input] = []
        """The pass-through inputs of the higher stages, if this is the lowest of several."""

    def merge(self, processor: Processor, now: int, budget: int, effects: Effects) -> int:
        """Apply waiting records by time, input and offset, at most `budget` of them. Return the budget that is left.

        It stops early when the processor is full.
        """
        inputs = self.inputs
        heads: list[Head] = []
        limit: Limit | None = None
        for place, input_ in enumerate(inputs):
            if input_.queue:
                heads.append(self._head(input_, place))
            else:
                limit = _limited(limit, input_, place, now)
        heapify(heads)
        while not processor.full and budget > 0 and heads:
            at, device, place = heads[0]
            # At equal times the lower place goes first, even if its records of that time are still to come. Records
            # about a device wait until all records of their time are here.
            if limit is not None and (limit < (at, place) or (device and limit[0] == at)):
                break
            # Take a run: up to the next head of another input, and to the limit.
            heappop(heads)
            input_, bound = inputs[place], limit
            if heads and (bound is None or (heads[0][0], heads[0][2]) < bound):
                bound = heads[0][0], heads[0][2]
            if self.from_lowest is None:
                until = None if bound is None else bound[0] - (bound[1] < place)
                if self.to_higher:
                    budget -= self._sort_run(input_, until, budget, processor, effects)
                else:
                    budget -= _apply_run(input_, until, budget, processor, effects)
            elif bound is None or at < bound[0]:
                budget -= self._higher_run(input_, None if bound is None else bound[0] - 1, budget, processor, effects)
            else:  # other inputs may have records of that time too
                budget -= self._higher_run(input_, at, budget, processor, effects, single=True)
            if input_.queue:
                heappush(heads, self._head(input_, place))
            else:
                limit = _limited(limit, input_, place, now)
        if self.to_higher:
            reached, caught_up = self.frontier(now), self._is_caught_up(now)
            for passed in self.to_higher:
                passed.reached, passed.all_caught_up = reached, caught_up
        return budget

    def frontier(self, now: int) -> int | None:
        """Return the least time of the records that this stage may still apply, unless they come late; None: any."""
        least: int | None = None
        for input_ in self.inputs:
            progress = input_.progress(now)
            if progress is None:
                return None
            if input_.queue and input_.queue[0].at < progress:
                progress = input_.queue[0].at
            if least is None or progress < least:
                least = progress
        return least

    def caught_up_at(self) -> int | None:
        """Return the time as of which the inputs, without the pass-through one, held nothing more; None if a record
        waits or an input may hold more."""
        least: int | None = None
        for input_ in self.inputs:
            if input_.queue:
                return None
            if input_ is self.from_lowest:
                continue
            at = input_.caught_up_at()
            if at is None:
                return None
            if least is None or at < least:
                least = at
        return least

    def note_first(self) -> None:
        """Note for each input its first waiting record. Records of the pass-through input count for the inputs of the
        lowest stage that they arrived by; so the lowest stage comes first."""
        for input_ in self.inputs:
            if input_ is self.from_lowest:
                for record, arrived_by, read_at in zip(input_.queue, input_.arrived_by, input_.read_at, strict=True):
                    arrived_by.note_waiting(record, read_at)
            else:
                input_.note_first()

    def _head(self, input_: Input, place: int) -> Head:
        """Records of the same time are ordered by the device that they concern, events first. The task that sent a
        record, and whether it was sent at all, must not matter for a device."""
        first = input_.queue[0]
        if self.from_lowest is None:
            return first.at, "", place
        if first.role == LINK:
            return first.at, first.customer, place
        return first.at, "" if input_ is self.from_lowest or first.other is None else first.other, place

    def _is_caught_up(self, now: int) -> bool:
        return all(input_.is_caught_up(now) and not input_.queue for input_ in self.inputs)

    def _sort_run(self, input_: Input, until: int | None, budget: int, processor: Processor, effects: Effects) -> int:
        """Do the same as `_apply_run` in the lowest of several stages, and pass records of higher stages on to them."""
        queue, read_at, to_higher, taken, moved = input_.queue, input_.read_at, self.to_higher, 0, False
        while queue and (until is None or queue[0].at <= until):
            record = queue.popleft()
            at = read_at.popleft() if read_at else -1
            stage = resolution_stage_of(record)
            if stage:
                passed = to_higher[stage - 1]
                passed.queue.append(record)
                passed.read_at.append(at)
                passed.arrived_by.append(input_)
                moved = True
                continue
            input_.bytes -= record.size
            taken += 1
            processor.apply(record, input_, at, effects)
            if taken >= budget or processor.full:
                break
        processor.changed = processor.changed or moved or taken > 0
        return taken

    def _higher_run(
        self,
        input_: Input,
        until: int | None,
        budget: int,
        processor: Processor,
        effects: Effects,
        *,
        single: bool = False,
    ) -> int:
        """Do the same as `_apply_run` in a higher stage, where each passed record arrived by an input of its own.
        `single`: take the first record only."""
        queue, is_passed, taken = input_.queue, input_ is self.from_lowest, 0
        applied = [0] * len(SOURCE_LABELS)
        while queue and (until is None or queue[0].at <= until):
            record = queue.popleft()
            arrived_by = input_.arrived_by.popleft() if is_passed else input_
            arrived_by.bytes -= record.size
            taken += 1
            if processor.apply(record, arrived_by, input_.read_at.popleft(), effects):
                applied[record.source] += 1
            if single or taken >= budget or processor.full:
                break
        for source, count in enumerate(applied):
            if count:
                effects.counts["applied", SOURCE_LABELS[source]] += count
        processor.changed = processor.changed or taken > 0
        return taken


def _apply_run(input_: Input, until: int | None, budget: int, processor: Processor, effects: Effects) -> int:
    """Apply the records of an input that are not later than `until`, at most `budget`. Return the number taken."""
    queue, read_at, taken, size, applied = input_.queue, input_.read_at, 0, 0, 0
    forwarded = input_.own is None
    while queue and (until is None or queue[0].at <= until):
        record = queue.popleft()
        size += record.size
        taken += 1
        if processor.apply(record, input_, read_at.popleft() if forwarded else -1, effects):
            applied += 1
        if taken >= budget or processor.full:
            break
    input_.bytes -= size
    if applied:
        effects.counts["applied", SOURCE_LABELS[input_.rank]] += applied
        processor.changed = True
    return taken


def _limited(limit: Limit | None, input_: Input, place: int, now: int) -> Limit | None:
    """Return the limit after an input whose queue is empty was taken into account."""
    if input_.is_caught_up(now):
        return limit
    progress = input_.progress(now)
    if progress is None:
        return -1, place
    return (progress, place) if limit is None or (progress, place) < limit else limit


def _rank(input_: Input) -> tuple[int, int]:
    return input_.rank, input_.number
