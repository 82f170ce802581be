"""All inputs of one task: own sources, upstream partitions, and the resolution stages that merge them.

Positions, progress, the watermark and the report that the task is caught up are derived here from the inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from streams.core.engine.config import EngineConfig, LastCommit
from streams.core.engine.merge import MergeStage
from streams.core.engine.reorder_buffer import ReorderBuffer
from streams.core.event_time.inputs import (
    FIRST_MESSAGES,
    MESSAGE_STREAMS,
    PASS_THROUGH,
    REPARTITION,
    REPORTED,
    Input,
    UpstreamProgress,
    message_rank,
    partition_of,
    upstream_id,
)
from streams.core.event_time.watermark import FETCH_FRESH, CaughtUp, SourceProgress
from streams.core.identity.aliases import RESOLUTION_STAGES
from streams.core.model.event import Source
from streams.core.model.policy import SECOND
from streams.core.model.sources import (
    NO_UPSTREAM,
    Fetch,
    ProgressReport,
    Rank,
    RepartitionedRecord,
    SourceSpec,
    StoredProgress,
    StoredUpstream,
    UpstreamId,
    rank_of,
)
from streams.core.store.task_state import TaskState

SOURCES: Final = tuple(Source)

MESSAGES_BEHIND: Final = 10 * SECOND
"""A stream of internal messages is named as blocking the watermark only if it is behind the sources by more than this,
ms: it always follows them commit by commit."""


class TaskInputs:
    """The inputs of one task. Owned by its engine."""

    def __init__(self, config: EngineConfig, last: LastCommit, state: TaskState, lateness: int) -> None:
        self.now = 0
        """The time, ms, of the last call of the engine."""
        self.progress: dict[Source, SourceProgress] = {
            source: SourceProgress(
                config.sources.get(source, SourceSpec()),
                last.positions.get(source, 0),
                last.progress.get(source, StoredProgress()),
            )
            for source in SOURCES
            if source in config.own
        }
        """Progress of the own sources."""
        self.own: dict[Source, Input] = {
            source: Input(rank_of(source), NO_UPSTREAM, progress, None, lateness=lateness)
            for source, progress in self.progress.items()
        }
        stored = (
            {} if last.repartition is None else {upstream.number: upstream for upstream in last.repartition.upstreams}
        )
        self.upstreams = self._make_upstreams(config, stored, lateness)
        self._all = [*self.own.values(), *self.upstreams.values()]
        for input_ in self._all:
            input_.event_time_ordering = config.event_time_ordering
        self._sources = [input_ for input_ in self._all if input_.rank < FIRST_MESSAGES]
        self._streams = [input_ for input_ in self._all if input_.rank >= FIRST_MESSAGES]
        self.reorder_buffer = ReorderBuffer(self._sources, state) if config.event_time_ordering else None
        self.stages = _make_stages(self._all, RESOLUTION_STAGES if config.tasks else 1, self.reorder_buffer)
        """The resolution stages of the task, lowest first."""
        self.repartition_position = 0 if last.repartition is None else last.repartition.position
        """The next offset of the repartition topic: everything before it was handed to the engine."""
        self._unread_upstreams = [upstream for number, upstream in stored.items() if number not in self.upstreams]
        """The stored upstream partitions that do not forward at present: they may do so again."""
        self._silent: frozenset[Source] = frozenset()
        self._caught_up = [CaughtUp() for _ in range(MESSAGE_STREAMS if config.tasks else 0)]
        """For each stream of internal messages of this task, the time to report."""

    def _make_upstreams(
        self, config: EngineConfig, stored: Mapping[UpstreamId, StoredUpstream], lateness: int
    ) -> dict[UpstreamId, Input]:
        """Return the upstream partitions by id: those of sources first."""
        upstreams: dict[UpstreamId, Input] = {}
        for source, partition in sorted(config.upstreams):
            number = upstream_id(rank_of(source), partition)
            upstreams[number] = Input(
                rank_of(source),
                number,
                None,
                UpstreamProgress(stored.get(number)),
                formerly_own=partition == config.partition and source not in self.own,
                lateness=lateness,
                delay=config.sources.get(source, SourceSpec()).delay,
            )
        for stream in range(MESSAGE_STREAMS):
            for task in range(config.tasks):
                number = upstream_id(message_rank(stream), task)
                upstreams[number] = Input(
                    message_rank(stream),
                    number,
                    None,
                    UpstreamProgress(stored.get(number), FETCH_FRESH + (stream + 1) * REPORTED),
                    # In event-time order the progress of the lowest stage is less the lateness already.
                    lateness=0 if config.event_time_ordering else lateness,
                )
        return upstreams

    # -- reading

    def receive(
        self, read: Iterable[tuple[int, RepartitionedRecord | ProgressReport]], position: int
    ) -> tuple[int, int]:
        """Take in what was read, with its offsets, from the repartition topic up to `position`.

        Records that do not follow on what was taken are skipped: they were here before, or will be sent again. Return
        the numbers of records taken and skipped.
        """
        taken = skipped = 0
        for offset, message in read:
            input_ = self.upstreams.get(upstream_id(message.rank, message.partition))
            upstream = None if input_ is None else input_.upstream
            if isinstance(message, ProgressReport):
                if upstream is not None:
                    upstream.observe_report(message)
                continue
            before = -1 if upstream is None else upstream.taken
            if input_ is None or upstream is None or not upstream.take(message.offset, message.previous):
                skipped += 1
                continue
            taken += 1
            for event in message.events:
                # A run of parts may have been cut elsewhere when it was sent before; then some of them are here.
                if event.offset > before:
                    input_.queue.append(event)
                    input_.read_at.append(offset)
                    input_.bytes += event.size
        self.repartition_position = position
        return taken, skipped

    def repartition_records_lost(self) -> None:
        """Note that records of the repartition topic could not be read: the next ones need not follow on those
        taken."""
        for input_ in self.upstreams.values():
            if input_.upstream is not None:
                input_.upstream.lost = True

    def observe(self, fetches: Mapping[Source, Fetch] | None, silent: frozenset[Source], clock_trusted: bool) -> None:
        """Note what the fetches showed. See `PartitionEngine.advance`."""
        for source, own in self.own.items():
            if clock_trusted is not own.clock_trusted or (source in self._silent and source not in silent):
                self.progress[source].distrust()
                for caught_up in self._caught_up:
                    caught_up.forget()
            own.silence_counts = clock_trusted and source not in silent
            own.clock_trusted = clock_trusted
        self._silent = silent
        for source, fetch in (fetches or {}).items():
            self.progress[source].observe_fetch(fetch)

    def complete(self, before: int) -> None:
        """Note that nothing earlier than `before` (ms) comes any more by own sources."""
        for own in self.own.values():
            own.complete_until = max(own.complete_until, before)

    # -- positions and what to store

    def positions(self) -> dict[Source, int]:
        """Return for each own source the offset up to which everything is applied."""
        for stage in self.stages:
            stage.note_first()
        return {
            source: self.progress[source].position if own.first_waiting is None else own.first_waiting.offset
            for source, own in self.own.items()
        }

    def committable(self) -> dict[Rank, int]:
        """Return the positions by rank, with that of the repartition topic if there are upstream partitions."""
        positions: dict[Rank, int] = {rank_of(source): position for source, position in self.positions().items()}
        if self.upstreams:
            waiting = [
                input_.first_waiting_read_at for input_ in self.upstreams.values() if input_.first_waiting is not None
            ]
            positions[REPARTITION] = min(waiting, default=self.repartition_position)
        return positions

    def stored_progress(self) -> dict[Source, StoredProgress]:
        """Return the progress of own sources to store. As of the last `positions`."""
        return {source: progress.stored(self.own[source].resumes_at()) for source, progress in self.progress.items()}

    def stored_upstreams(self) -> list[StoredUpstream]:
        """Return the upstream partitions to store, also those that do not forward at present. As of the last
        `positions`."""
        return [*(input_.stored_upstream() for input_ in self.upstreams.values()), *self._unread_upstreams]

    # -- progress

    def watermark(self) -> int | None:
        """Return the least watermark of all inputs; None if one has none."""
        return _least(input_.watermark(self.now) for input_ in self._all)

    def slowest(self) -> int | None:
        """Return the least progress of the own sources."""
        return _least(own.progress(self.now) for own in self.own.values())

    def slowest_anywhere(self) -> int | None:
        """Return the least progress of the own sources and of those of the upstream tasks, as far as they reported."""
        others = (
            input_.upstream.slowest
            for input_ in self.upstreams.values()
            if input_.upstream and input_.rank < FIRST_MESSAGES
        )
        return _least([*(own.progress(self.now) for own in self.own.values()), *others])

    def watermark_blocked_by(self) -> tuple[Rank, int | None]:
        """Return the rank of the input with the least progress, which blocks the watermark. With its partition if that
        is another task's, from which no newer report has come.

        It is a stream of internal messages only if that is behind all sources by more than it normally is.
        """
        now = self.now
        source = min(self._sources, key=lambda input_: _comparable(input_.watermark(now)))
        stream = min(self._streams, key=lambda input_: _comparable(input_.watermark(now)), default=source)
        behind = _comparable(stream.watermark(now)) < _comparable(source.watermark(now)) - MESSAGES_BEHIND
        blocking = stream if behind else source
        return blocking.rank, None if blocking.upstream is None else partition_of(blocking.number)

    def waits_for_more(self, source: Source) -> bool:
        """Return True if the source must not be paused.

        That is so if the waiting records are of the very time that the source has reached, and no other source is
        behind: only the next record of the source shows that all of that time is here. In event-time order it is so if
        the records wait for later ones of the source itself.
        """
        if self.reorder_buffer is not None:
            return self.reorder_buffer.waits_for(self.own[source], self.now)
        reached, slowest = self.progress[source].reached, self.slowest_anywhere()
        if reached is None or slowest is None or slowest < reached:
            return False
        waiting = [self.own[source], *(stage.from_lowest for stage in self.stages if stage.from_lowest is not None)]
        return all([input_.queue[0].at >= reached for input_ in waiting if input_.queue])  # noqa: C419

    # -- reports to other tasks

    def note_caught_up(self) -> None:
        """Note which own sources and streams hold nothing more, if there are tasks to report it to."""
        if not self.upstreams:
            return
        now, backfilling = self.now, False
        for progress in self.progress.values():
            progress.reported_caught_up_at(now)
            backfilling = backfilling or progress.backfilling
        for stream, caught_up in enumerate(self._caught_up):
            if backfilling:
                caught_up.forget()
            caught_up.observe(_least(stage.caught_up_at() for stage in self.stages[: stream + 1]), now)

    def source_report(self, source: Source) -> tuple[int | None, int | None]:
        """Return the progress of an own source to report, and the time as of which it is caught up."""
        own = self.own[source]
        proves = self.reorder_buffer is None or own.clock_trusted
        caught_up_at = self.progress[source].reported_caught_up_at(self.now) if proves else None
        return own.progress(self.now), caught_up_at

    def stream_report(self, stream: int) -> tuple[int | None, int | None]:
        """Return the same for a stream of internal messages of this task, as if all its messages were sent."""
        return self.stages[stream].frontier(self.now), self._caught_up[stream].reported(self.now)


def _make_stages(inputs: list[Input], number: int, reorder_buffer: ReorderBuffer | None) -> list[MergeStage]:
    """Return the stages, each with its inputs.

    The lowest, which is the reorder buffer if there is one, has the sources. A higher one has its pass-through input
    and the streams of internal messages that the stage below it sends.
    """
    stages: list[MergeStage] = [] if reorder_buffer is None else [reorder_buffer]
    for number_of_stage in range(len(stages), number):
        from_lowest = Input(PASS_THROUGH, NO_UPSTREAM, None, None) if number_of_stage else None
        of_stage = [input_ for input_ in inputs if max(0, input_.rank - FIRST_MESSAGES + 1) == number_of_stage]
        stages.append(MergeStage(of_stage if from_lowest is None else [from_lowest, *of_stage], from_lowest))
        if from_lowest is not None:
            from_lowest.event_time_ordering = reorder_buffer is not None
            stages[0].to_higher.append(from_lowest)
    return stages


def _comparable(progress: int | None) -> int:
    return -1 if progress is None else progress


def _least(progresses: Iterable[int | None]) -> int | None:
    """Return the least of these; None if one is not known."""
    result: int | None = None
    for progress in progresses:
        if progress is None:
            return None
        if result is None or progress < result:
            result = progress
    return result
