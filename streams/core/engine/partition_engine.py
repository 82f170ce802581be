"""The engine of one partition task: merges its sources in time order, applies, fires deadlines, says what to emit.

One engine serves the worker, the replay, the tests and the benchmarks. It does no I/O and asks no clock: `apply` gives
it records, `advance` tells it the time and what the fetches showed, `snapshot` takes what a commit has to write.

What other tasks forward or pass on comes by one topic, and is taken apart again into one queue for each origin
(`receive`). With linking, the engine works in levels (`streams.core.engine.merge`), and passes items on itself.
Requests to erase somebody come by another topic, and are carried out as they come (`erase`).

`streams.core.model.counters` lists the counters of `Effects.counts`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from streams.core.engine.merge import MergeStage
from streams.core.engine.reorder_buffer import ReorderBuffer
from streams.core.event_time.inputs import (
    ERASURES,
    FIRST_MESSAGES,
    MESSAGE_STREAMS,
    REPARTITION,
    REPORTED,
    Input,
    UpstreamProgress,
    upstream_number,
)
from streams.core.event_time.watermark import FETCH_FRESH, CaughtUp, SourceProgress
from streams.core.identity.aliases import RESOLUTION_STAGES
from streams.core.identity.erasure_sweep import KEYS_PER_CALL as SWEEP
from streams.core.identity.erasure_sweep import ErasureSweep
from streams.core.identity.resolver import IdentityResolver
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.counters import STREAM_LABELS
from streams.core.model.event import Event, Source
from streams.core.model.internal_messages import InternalMessage
from streams.core.model.outputs import Effects, EmissionPolicy, Snapshot
from streams.core.model.policy import SECOND
from streams.core.model.sources import (
    Erasure,
    Fetch,
    ProgressReport,
    RepartitionedRecord,
    SourceSpec,
    StoredProgress,
    StoredRepartition,
)
from streams.core.processing.budget import UNLIMITED, Budget
from streams.core.processing.output_filter import OutputFilter
from streams.core.processing.processor import LABELS as LABELS
from streams.core.processing.processor import SOURCE_LABELS, Processor
from streams.core.store.task_state import TaskState, record_key

SOURCES: Final = tuple(Source)
RANK_LABELS: Final = [*SOURCE_LABELS, *[""] * (FIRST_MESSAGES - len(SOURCE_LABELS)), *STREAM_LABELS]
"""By rank, of sources and streams."""

BEHIND: Final = 10 * SECOND
"""So far, ms, a stream may be behind the sources without being what holds time: it follows them commit by commit."""


class PartitionEngine:
    """One partition's profiles, timers and watermark. Not thread-safe; no call awaits.

    `own` are the sources whose partition of the number `partition` is read here; another one comes from origins alone.
    `positions` are the offsets at which reading starts, `marks` what was stored with them. `state` may hold what
    recovery restored. `origins` are the partitions from which what belongs here is forwarded; `arrivals` what was
    stored of them, with the position at which reading of what they forward starts. With a `step`, a call may leave
    things undone (`unfinished`), and they may wait for a commit (`full`): whoever gives one looks at both after each
    call.

    `tasks` says that whose an id is is to be found out, and how many tasks there are that pass items on, this one among
    them; 0: customers and devices are what their ids say. `flushed` is the commit of the last whole flush. `by_time`:
    nothing is applied before everything earlier must have come, unless it is late.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        *,
        partition: int = -1,
        own: Collection[Source] = SOURCES,
        sources: Mapping[Source, SourceSpec] | None = None,
        emission: EmissionPolicy = EmissionPolicy(),
        state: TaskState | None = None,
        positions: Mapping[Source, int] | None = None,
        marks: Mapping[Source, StoredProgress] | None = None,
        commit: int = 0,
        step: Budget = UNLIMITED,
        origins: Collection[tuple[Source, int]] = (),
        arrivals: StoredRepartition | None = None,
        tasks: int = 0,
        flushed: int = 0,
        erasures: int = 0,
        event_time_ordering: bool = False,
    ) -> None:
        self.unfinished = False
        """Whether the last call has left something undone: `advance` goes on with it."""
        self.state = TaskState() if state is None else state
        specs, positions, marks = sources or {}, positions or {}, marks or {}
        self._lateness = lifecycle.policy.lateness
        self._gate = OutputFilter(emission)
        self._progress = {
            source: SourceProgress(
                specs.get(source, SourceSpec()), positions.get(source, 0), marks.get(source, StoredProgress())
            )
            for source in SOURCES
            if source in own
        }
        self._own = {
            source: Input(int(source), -1, progress, None, lateness=self._lateness)
            for source, progress in self._progress.items()
        }
        stored = {mark.number: mark for mark in arrivals.upstreams} if arrivals is not None else {}
        of_sources = [(int(source), other, FETCH_FRESH) for source, other in origins]
        of_streams = [
            (FIRST_MESSAGES + stream, task, FETCH_FRESH + (stream + 1) * REPORTED)
            for stream in range(MESSAGE_STREAMS)
            for task in range(tasks)
        ]
        self._origins: dict[int, Input] = {}
        self._partition_of: dict[int, int] = {}
        for rank, other, fresh in sorted(of_sources) + of_streams:
            number = upstream_number(rank, other)
            origin = UpstreamProgress(stored.get(number), fresh)
            once_own = other == partition and rank < REPARTITION and rank not in self._own  # and no stream
            self._origins[number] = Input(
                rank,
                number,
                None,
                origin,
                once_own=once_own,
                # What comes by a stream was held already.
                lateness=0 if event_time_ordering and rank >= FIRST_MESSAGES else self._lateness,
                delay=0 if rank >= FIRST_MESSAGES else specs.get(SOURCES[rank], SourceSpec()).delay,
            )
            self._partition_of[number] = other
        inputs = [*self._own.values(), *self._origins.values()]
        for one in inputs:
            one.event_time_ordering = event_time_ordering
        self._held = (
            ReorderBuffer([one for one in inputs if one.rank < FIRST_MESSAGES], self.state)
            if event_time_ordering
            else None
        )
        self._levels = _levels(inputs, RESOLUTION_STAGES if tasks else 1, self._held)
        self.repartition_position = 0 if arrivals is None else arrivals.position
        """The next offset of the activity topic: everything before it was handed to the engine."""
        self.erasures_position = erasures
        """The next offset of the topic of erasure requests: everything before it was handed to the engine."""
        self._swept = self._sweeps_to = erasures
        """As far as whoever was to be erased is taken out of what is known of other ids: what may be committed."""
        self._sweep: ErasureSweep | None = None
        self._committed = self.committable()
        """As of the last snapshot: its commit is taken to have gone through when the next one is taken."""
        self._taken: dict[int, int] = {number: mark.taken for number, mark in stored.items()}
        """By origin, what was applied as of the last snapshot, like `_committed`."""
        self._unheard = [mark for number, mark in stored.items() if number not in self._origins]
        """What is known of origins that do not forward at present: they may do so again."""
        numbers = [] if arrivals is None else arrivals.numbers
        unsent, cut = self.state.unsent_items(commit, flushed) if tasks else ([], [])
        self.unsent: list[InternalMessage] = unsent
        """Items of a whole flush, which may never have been sent: they go before anything else (`sent`), and no flush
        is written before they have arrived, since it may replace the records that keep them."""
        self._linker: IdentityResolver | None = None
        if tasks:
            self._linker = IdentityResolver(lifecycle, self.state, self._gate, step.pending, numbers, unsent, cut)
        self._drained = [CaughtUp() for _ in range(MESSAGE_STREAMS if tasks else 0)]
        """By stream, as it is told."""
        self._applier = self._linker or Processor(lifecycle, self.state, self._gate, step.pending)
        self._applier.in_doubt = self.state.markers.number > 0
        self._numbers = numbers
        self.state.commit = max(self.state.commit, commit, flushed)
        if self.state.commit:
            self.state.commit += 1  # a zombie may still write a flush under that number, which must not pass for ours
        self.first_commit = self.state.commit + 1
        """The number of the first commit."""
        self._silent: frozenset[Source] = frozenset()
        self._firing = False
        """Whether the last call has left deadlines that the watermark has reached. Until they have fired nothing else
        happens, so that what comes late finds them fired, as it would have without a bound."""
        self._step_records, self._step_deadlines = step.records, step.deadlines
        self._moved = False
        """Whether a position has, since the last snapshot."""
        self._now = 0

    # -- the interface

    @property
    def watermark(self) -> int | None:
        """Everything up to it (ms) is taken to have arrived. Never goes back."""
        return self._applier.watermark

    @property
    def full(self) -> bool:
        """Whether nothing goes on before a `snapshot`: a profile keeps as many outputs as a record may hold."""
        return self._applier.full

    def apply(self, source: Source, records: list[Event], position: int, now: int) -> Effects:
        """Take in the records read from `source` up to `position` (the next offset), with their parts that live here,
        and apply what is due.

        Records wait here while a source that may still have earlier ones is behind.
        """
        progress, own, size = self._progress[source], self._own[source], 0
        progress.observe_all(records, now)
        own.queue.extend(records)
        for record in records:
            size += record.size
        own.bytes += size
        self._moved = self._moved or position != progress.position
        progress.position = position
        return self._go_on(now)

    def observe_forwarded(self, source: Source, records: list[Event], now: int) -> None:
        """Records of `source` were forwarded to other partitions: they show its progress. Before the `apply` that they
        were read with."""
        self._progress[source].observe_all(records, now)

    def receive(
        self, read: Iterable[tuple[int, RepartitionedRecord | ProgressReport]], position: int, now: int
    ) -> Effects:
        """Take in what other tasks forwarded here and say of themselves, and what any passed on, read (with its offset)
        up to `position`.

        What does not follow on what was taken is passed over: it was here before, or will be sent again.
        """
        taken = repeated = 0
        for offset, news in read:
            one = self._origins.get(upstream_number(news.rank, news.partition))
            origin = None if one is None else one.upstream
            if isinstance(news, ProgressReport):
                if origin is not None:
                    origin.observe_report(news)
                continue
            before = -1 if origin is None else origin.taken
            if one is None or origin is None or not origin.take(news.offset, news.previous):
                repeated += 1
                continue
            taken += 1
            for activity in news.events:
                if (
                    activity.offset > before
                ):  # of a run of parts, which was cut elsewhere the last time, some may be here
                    one.queue.append(activity)
                    one.read_at.append(offset)
                    one.bytes += activity.size
        self._moved = self._moved or position != self.repartition_position
        self.repartition_position = position
        effects = self._go_on(now)
        if taken:
            effects.counts["repartition_received", "taken"] += taken
        if repeated:
            effects.counts["repartition_received", "repeated"] += repeated
        return effects

    def erase(self, requests: Iterable[Erasure], position: int) -> Effects:
        """Erase who is asked for in what was read up to `position` (the next offset).

        At once, not in event time: nothing waits for it, and it waits for nothing.
        """
        effects, marks = Effects.none(), self.state.markers
        for request in requests:
            key = record_key(request.customer, request.identified)
            repeated = request.at <= marks.erased_at(key)
            if request.home:
                effects.counts["erasures", "repeated" if repeated else "applied"] += 1
            if repeated:
                continue
            if request.home:
                self._applier.erase(request, key, effects)
            marks.set(key, request.at)
        self._applier.in_doubt = self._applier.in_doubt or marks.number > 0
        self._moved = self._moved or position != self.erasures_position
        self.erasures_position = position
        self._go_on_sweeping(0)
        return effects

    def repartition_records_lost(self) -> None:
        """Records of the activity topic cannot be read, and are given up. Before the `receive` of what follows them."""
        for one in self._origins.values():
            if one.upstream is not None:
                one.upstream.lost = True

    def advance(
        self,
        now: int,
        fetches: Mapping[Source, Fetch] | None = None,
        *,
        silent: frozenset[Source] = frozenset(),
        clock_trusted: bool = True,
    ) -> Effects:
        """Let time pass to `now` with what the fetches showed: apply what was waiting, fire what has come due.

        `silent`: sources whose whole topic has been silent for longer than their owner believes (`idle_timeout`).
        `clock_trusted` is False while `now` may be wrong: events go on, but silence proves nothing.
        """
        for source, own in self._own.items():
            if clock_trusted is not self._gate.clock_trusted or (source in self._silent and source not in silent):
                self._progress[source].distrust()
                for drained in self._drained:
                    drained.forget()
            own.silence_counts = clock_trusted and source not in silent
            own.clock_trusted = clock_trusted
        self._now, self._silent, self._gate.clock_trusted = now, silent, clock_trusted
        self._applier.silent = bool(silent)
        for source, fetch in (fetches or {}).items():
            self._progress[source].observe_fetch(fetch)
        effects = Effects.none()
        self._gate.now = now
        self._go_on_sweeping(SWEEP)
        if self._firing:
            self._fire_due(effects)
        if not self._firing:
            self._merge(effects)
            if self._linker is not None:
                self._linker.go_without(self._committed, self._taken, effects)
            if not self.unfinished:
                self._fire(effects)
        self._look_for_ends()
        return effects

    def complete(self, before: int) -> None:
        """Nothing more comes that is earlier (ms): what was held for that is applied with the next call. Of a replay,
        which knows; `by_time` only."""
        for own in self._own.values():
            own.complete = max(own.complete, before)

    def snapshot(self, *, force: bool = False) -> Snapshot | None:
        """What a commit has to write now, None if nothing happened since the last one (unless `force`).

        The commit must be carried through before the next call, or this engine be dropped.
        """
        applier, linker = self._applier, self._linker
        if not (force or self._moved or applier.changed or self.state.owes(self._committed)):
            return None
        self._moved = False
        applier.committing()
        outputs, applier.by_deadline = applier.by_deadline, []
        passed, applier.messages = applier.messages, []
        commit = self.state.commit + 1
        if self._held is not None:
            self._held.note_offset_gaps()
        changes = self.state.changes(commit, self._committed, self._taken)
        self._committed = self.committable()
        marks = {source: progress.stored(self._own[source].resumes_at()) for source, progress in self._progress.items()}
        arrivals: StoredRepartition | None = None
        if self._origins or self._unheard:
            origins = [*(origin.stored_upstream() for origin in self._origins.values()), *self._unheard]
            numbers = list(self._numbers if linker is None else linker.numbers)
            arrivals = StoredRepartition(self._committed.get(REPARTITION, self.repartition_position), origins, numbers)
            self._taken = {mark.number: mark.taken for mark in origins}
        positions = {source: self._committed[int(source)] for source in self._progress}
        return Snapshot(commit, changes, outputs, passed, positions, marks, arrivals, self._swept)

    def messages_sent(self) -> None:
        """The items of the last snapshot are on their way: what is reported from now on goes behind them."""
        if self._linker is not None:
            self._linker.messages_sent()

    # -- what the shell looks at

    def positions(self) -> dict[Source, int]:
        """Per source the offset up to which everything is applied: what may be committed."""
        self._look()
        return {
            source: self._progress[source].position if own.first is None else own.first.offset
            for source, own in self._own.items()
        }

    def committable(self) -> dict[int, int]:
        """As `positions`, by rank, with that of the activity topic if there is one, and that of erasure requests."""
        positions: dict[int, int] = {int(source): position for source, position in self.positions().items()}
        positions[ERASURES] = self._swept
        if self._origins:
            waiting = [one.first_read_at for one in self._origins.values() if one.first is not None]
            positions[REPARTITION] = min(waiting, default=self.repartition_position)
        return positions

    @property
    def erasures_done(self) -> int:
        """The offset of the topic of erasure requests up to which all are carried out: what may be committed."""
        return self._swept

    def buffered_bytes(self, source: Source) -> int:
        """Bytes of records read here that wait for another source: the shell pauses a source at a bound."""
        return self._own[source].bytes

    def waits_for_more(self, source: Source) -> bool:
        """Whether what waits here is of the very time that the source has reached, which no other is behind: only what
        comes next of the source shows that all of that time is there. So the source must not be paused.

        Where records are held: whether they are for what may come by the source itself.
        """
        if self._held is not None:
            return self._held.waits_for(self._own[source], self._now)
        reached, slowest = self._progress[source].reached, self.slowest_anywhere()
        if reached is None or slowest is None or slowest < reached:
            return False
        waiting = [self._own[source], *(level.through for level in self._levels if level.through is not None)]
        return all([one.queue[0].at >= reached for one in waiting if one.queue])  # noqa: C419

    def repartition_buffered_bytes(self) -> int:
        """Bytes of what was forwarded here or passed on and waits for another source, or for another origin."""
        return sum(origin.bytes for origin in self._origins.values())

    def progress(self, source: Source) -> SourceProgress:
        """A source's progress, to look at."""
        return self._progress[source]

    def report(self, rank: int) -> tuple[int | None, int | None]:
        """What to tell other tasks of an own source, or of a stream of this task (`FIRST_MESSAGES` and up): the time
        up to which it has spoken, and as of when it is drained.

        A stream has spoken up to the earliest item that is not on its way. Items that wait for their commit do not make
        it undrained unless they are older than what may come late.
        """
        if rank < FIRST_MESSAGES:
            own = self._own[SOURCES[rank]]
            proves = self._held is None or own.clock_trusted
            drained_at = self._progress[SOURCES[rank]].reported_caught_up_at(self._now) if proves else None
            return own.progress(self._now), drained_at
        assert self._linker is not None
        stream = rank - FIRST_MESSAGES
        progress = self._levels[stream].frontier(self._now)
        drained_at = self._drained[stream].reported(self._now)
        waiting = self._linker.waiting_since(stream)
        if waiting is not None:
            if progress is not None and waiting < progress:
                progress = waiting
            if waiting < self._now - self._lateness:
                drained_at = None
        return progress, drained_at

    @property
    def has_messages(self) -> bool:
        """Whether items wait for a commit."""
        return bool(self._applier.messages)

    def slowest(self) -> int | None:
        """The least progress of the sources of this task."""
        return _least(own.progress(self._now) for own in self._own.values())

    def slowest_anywhere(self) -> int | None:
        """The least progress of the sources of this task, and of those that forward to it, as far as is known."""
        others = (one.upstream.slowest for one in self._origins.values() if one.upstream and one.rank < FIRST_MESSAGES)
        return _least([*(own.progress(self._now) for own in self._own.values()), *others])

    def watermark_blocked_by(self) -> tuple[int, int | None]:
        """The rank of the source whose progress is the least: it holds the watermark. With the partition if that is
        another one, whose task has not said more.

        Of a stream if that is behind all sources by more than it takes until what follows from them is told.
        """
        inputs, now = [*self._own.values(), *self._origins.values()], self._now
        source = min((one for one in inputs if one.rank < FIRST_MESSAGES), key=lambda one: _known(one.watermark(now)))
        streams = [one for one in inputs if one.rank >= FIRST_MESSAGES]
        stream = min(streams, key=lambda one: _known(one.watermark(now)), default=source)
        behind = _known(stream.watermark(now)) < _known(source.watermark(now)) - BEHIND
        held = stream if behind else source
        return held.rank, self._partition_of.get(held.number)

    # -- inside

    def _look(self) -> None:
        for level in self._levels:
            level.note_first()

    def _go_on(self, now: int) -> Effects:
        effects = Effects.none()
        self._now = self._gate.now = now
        if not self._firing:
            self._merge(effects)
        self._look_for_ends()
        return effects

    def _look_for_ends(self) -> None:
        """Note which sources and streams hold nothing more, if others are to be told."""
        if not self._origins:
            return
        now, backfilling = self._now, False
        for progress in self._progress.values():
            progress.reported_caught_up_at(now)
            backfilling = backfilling or progress.backfilling
        for stream, drained in enumerate(self._drained):
            if backfilling:
                drained.forget()
            drained.observe(_least(level.caught_up_at() for level in self._levels[: stream + 1]), now)

    def _go_on_sweeping(self, most: int) -> None:
        """Take who was erased out of what is known of other ids, looking at so many records at most."""
        applier = self._applier
        if not applier.in_doubt and self._swept == self.erasures_position:
            return
        if self._sweep is None:
            self._sweep, self._sweeps_to = ErasureSweep(self.state), self.erasures_position
        if not self.state.aliases or self._sweep.step(most):
            self._sweep, self._swept, self._moved = None, self._sweeps_to, True
            applier.in_doubt = self._swept != self.erasures_position

    def _merge(self, effects: Effects) -> None:
        """Apply what waits, by time, source, partition and offset, as far as nothing earlier may be to come."""
        left = self._step_records
        for level in self._levels:
            left = level.merge(self._applier, self._now, left, effects)
            self.unfinished = self._applier.full or left <= 0
            if self.unfinished:
                return

    def _fire(self, effects: Effects) -> None:
        """Move the watermark, fire every deadline it has reached. Not by a clock that may be wrong."""
        if not self._gate.clock_trusted:
            return
        watermark = _least(one.watermark(self._now) for inputs in (self._own, self._origins) for one in inputs.values())
        if watermark is None or (self.watermark is not None and watermark <= self.watermark):
            return
        self._applier.watermark = watermark
        self._fire_due(effects)

    def _fire_due(self, effects: Effects) -> None:
        self._firing = self.unfinished = self._applier.fire_due(self._step_deadlines, effects)


def _levels(inputs: list[Input], number: int, held: ReorderBuffer | None) -> list[MergeStage]:
    """The levels of a task, each with its inputs: of the lowest, which may be one that holds them, the sources; of
    another one what the streams of the one below bring, and what is passed through."""
    levels: list[MergeStage] = [] if held is None else [held]
    for place in range(len(levels), number):
        through = Input(-1, -1, None, None) if place else None
        of_level = [one for one in inputs if max(0, one.rank - FIRST_MESSAGES + 1) == place]
        levels.append(MergeStage(of_level if through is None else [through, *of_level], through))
        if through is not None:
            through.event_time_ordering = held is not None
            levels[0].higher.append(through)
    return levels


def _known(progress: int | None) -> int:
    """A progress to be compared."""
    return -1 if progress is None else progress


def _least(progresses: Iterable[int | None]) -> int | None:
    """The least of these; None if one is not known."""
    least: int | None = None
    for progress in progresses:
        if progress is None:
            return None
        if least is None or progress < least:
            least = progress
    return least
