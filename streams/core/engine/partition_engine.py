"""The engine of one partition task: merges its inputs in event-time order, applies events, fires deadlines.

One engine serves the worker, the replay, the tests and the benchmarks. It does no I/O and reads no clock: `ingest` and
`receive` take records, `advance` takes the time and what the fetches showed, `snapshot` returns what a commit has to
write. `erase` carries out requests of erasure as they come.

`streams.core.model.counters` lists the counters of `Effects.counts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from streams.core.engine.config import EngineConfig, LastCommit
from streams.core.engine.task_inputs import SOURCES, TaskInputs
from streams.core.event_time.inputs import ERASURES, FIRST_MESSAGES, REPARTITION
from streams.core.event_time.watermark import SourceProgress
from streams.core.identity.erasure_sweep import KEYS_PER_CALL, ErasureSweep
from streams.core.identity.resolver import IdentityResolver
from streams.core.identity.shared_ids import SharedId
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.counters import STREAM_LABELS
from streams.core.model.event import Event, Source
from streams.core.model.internal_messages import InternalMessage
from streams.core.model.outputs import Effects, Snapshot
from streams.core.model.sources import (
    Erasure,
    Fetch,
    ProgressReport,
    Rank,
    RepartitionedRecord,
    StoredRepartition,
    UpstreamId,
    rank_of,
)
from streams.core.processing.output_filter import OutputFilter
from streams.core.processing.processor import LABELS as LABELS
from streams.core.processing.processor import SOURCE_LABELS, Processor
from streams.core.store.task_state import TaskState, record_key

RANK_LABELS: Final = [*SOURCE_LABELS, *[""] * (FIRST_MESSAGES - len(SOURCE_LABELS)), *STREAM_LABELS]
"""Names of sources and of streams of internal messages, by rank."""


class PartitionEngine:
    """One partition's profiles, timers and watermark. Not thread-safe; no call awaits. `state` may be a recovered
    one."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        config: EngineConfig = EngineConfig(),
        last: LastCommit = LastCommit(),
        *,
        state: TaskState | None = None,
    ) -> None:
        self.unfinished = False
        """True if the last call has left work undone: `advance` goes on with it."""
        self.state = TaskState() if state is None else state
        self._lateness = lifecycle.policy.lateness
        self._filter = OutputFilter(config.emission)
        self._inputs = TaskInputs(config, last, self.state, self._lateness)
        self._sweep = ErasureSweep(self.state, last.erasures)
        self._committed = self.committable()
        """Positions as of the last snapshot: its commit is taken to be complete when the next one is taken."""
        stored = last.repartition
        self._taken: dict[UpstreamId, int] = (
            {} if stored is None else {input_.number: input_.taken for input_ in stored.upstreams}
        )
        """For each upstream partition the last offset applied as of the last snapshot, like `_committed`."""
        self._message_numbers = [] if stored is None else stored.numbers
        self.unsent: list[InternalMessage] = []
        """Internal messages of a complete flush that may never have been sent. They go before all others
        (`messages_sent`), and no flush is written before they have arrived, since it may replace the records that keep
        them."""
        self._resolver: IdentityResolver | None = None
        if config.tasks:
            self.unsent, cut = self.state.unsent_messages(last.commit, last.flushed)
            self._resolver = IdentityResolver(
                lifecycle, self.state, self._filter, config.budget.pending, self._message_numbers, self.unsent, cut
            )
        self._processor = self._resolver or Processor(lifecycle, self.state, self._filter, config.budget.pending)
        self._processor.in_doubt = self.state.markers.number > 0
        self.state.commit = max(self.state.commit, last.commit, last.flushed)
        if self.state.commit:
            # A stale owner may still write a flush under the next number. It must not pass for one of this task.
            self.state.commit += 1
        self.first_commit = self.state.commit + 1
        """The number of the first commit."""
        self._firing = False
        """True if the last call has left deadlines that the watermark has reached. Until they have fired nothing else
        happens, so that late events find them fired, as they would without a budget."""
        self._record_budget, self._deadline_budget = config.budget.records, config.budget.deadlines
        self._moved = False
        """True if a position has moved since the last snapshot."""

    # -- the interface

    @property
    def watermark(self) -> int | None:
        """The event time (ms) up to which everything is taken to have arrived. Never goes back."""
        return self._processor.watermark

    @property
    def full(self) -> bool:
        """True if nothing goes on before a `snapshot`: a profile keeps as many outputs as a record may hold."""
        return self._processor.full

    def ingest(self, source: Source, records: list[Event], position: int, now: int) -> Effects:
        """Take in the records read from `source` up to `position` (the next offset), with their parts that live here,
        and apply what is due. Records wait while another input that may still have earlier ones is behind."""
        progress, own, size = self._inputs.progress[source], self._inputs.own[source], 0
        progress.observe_all(records, now)
        own.queue.extend(records)
        for record in records:
            size += record.size
        own.bytes += size
        self._moved = self._moved or position != progress.position
        progress.position = position
        return self._proceed(now)

    def observe_forwarded(self, source: Source, records: list[Event], now: int) -> None:
        """Note records of `source` that were forwarded to other partitions: they show its progress. Called before the
        `ingest` of the records that were read with them."""
        self._inputs.progress[source].observe_all(records, now)

    def receive(
        self, read: Iterable[tuple[int, RepartitionedRecord | ProgressReport]], position: int, now: int
    ) -> Effects:
        """Take in the repartitioned records, internal messages and progress reports that were read, with their offsets,
        from the repartition topic up to `position`, and apply what is due.

        Records that do not follow on what was taken are skipped: they were here before, or will be sent again.
        """
        self._moved = self._moved or position != self._inputs.repartition_position
        taken, repeated = self._inputs.receive(read, position)
        effects = self._proceed(now)
        if taken:
            effects.counts["repartition_received", "taken"] += taken
        if repeated:
            effects.counts["repartition_received", "repeated"] += repeated
        return effects

    def erase(self, requests: Iterable[Erasure], position: int) -> Effects:
        """Carry out the erasure requests that were read up to `position` (the next offset).

        At once, not in event time: nothing waits for an erasure, and it waits for nothing.
        """
        effects, markers, sweep = Effects.none(), self.state.markers, self._sweep
        for request in requests:
            key = record_key(request.customer, request.identified)
            repeated = request.at <= markers.erased_at(key)
            if request.home:
                effects.counts["erasures", "repeated" if repeated else "applied"] += 1
            if repeated:
                continue
            if request.home:
                self._processor.erase(request, key, effects)
            markers.set(key, request.at)
        self._processor.in_doubt = self._processor.in_doubt or markers.number > 0
        self._moved = self._moved or position != sweep.position
        sweep.position = position
        self._sweep_erased(0)
        return effects

    def repartition_records_lost(self) -> None:
        """Note that unreadable records of the repartition topic are given up, before the `receive` of later ones."""
        self._inputs.repartition_records_lost()

    def advance(
        self,
        now: int,
        fetches: Mapping[Source, Fetch] | None = None,
        *,
        silent: frozenset[Source] = frozenset(),
        clock_trusted: bool = True,
    ) -> Effects:
        """Move the time to `now`, with what the fetches showed: apply records that waited, fire deadlines that are due.

        `silent`: sources whose whole topic has been silent for longer than its idle timeout. `clock_trusted` is False
        while `now` may be wrong: events are applied, but silence proves nothing and no deadline fires.
        """
        self._inputs.observe(fetches, silent, clock_trusted)
        self._inputs.now = self._filter.now = now
        self._filter.clock_trusted = clock_trusted
        self._processor.silent = bool(silent)
        effects = Effects.none()
        self._sweep_erased(KEYS_PER_CALL)
        if self._firing:
            self._fire_due(effects)
        if not self._firing:
            self._merge(effects)
            if self._resolver is not None:
                self._resolver.release_orphans(self._committed, self._taken, effects)
            if not self.unfinished:
                self._move_watermark(effects)
        self._inputs.note_caught_up()
        return effects

    def complete(self, before: int) -> None:
        """Note that nothing earlier than `before` (ms) comes any more; the next call applies what waited for that. For
        a replay, which knows it, in event-time order only."""
        self._inputs.complete(before)

    def snapshot(self, *, force: bool = False) -> Snapshot | None:
        """Return what a commit has to write now, None if nothing happened since the last one (unless `force`).

        The commit must be carried through before the next call, or this engine be dropped.
        """
        processor, resolver, inputs = self._processor, self._resolver, self._inputs
        if not (force or self._moved or processor.changed or self.state.has_changes(self._committed)):
            return None
        self._moved = False
        messages = processor.begin_commit()
        outputs, processor.waiting_outputs = processor.waiting_outputs, []
        commit = self.state.commit + 1
        if inputs.reorder_buffer is not None:
            inputs.reorder_buffer.note_offset_gaps()
        changes = self.state.changes(commit, self._committed, self._taken)
        self._committed = self.committable()
        progress = inputs.stored_progress()
        repartition: StoredRepartition | None = None
        upstreams = inputs.stored_upstreams()
        if upstreams:
            numbers = list(self._message_numbers if resolver is None else resolver.outbox.numbers)
            position = self._committed.get(REPARTITION, inputs.repartition_position)
            repartition = StoredRepartition(position, upstreams, numbers)
            self._taken = {upstream.number: upstream.taken for upstream in upstreams}
        positions = {source: self._committed[rank_of(source)] for source in inputs.progress}
        return Snapshot(commit, changes, outputs, messages, positions, progress, repartition, self._sweep.done)

    def messages_sent(self) -> None:
        """Note that the internal messages of the last snapshot are sent: later reports go behind them."""
        if self._resolver is not None:
            self._resolver.outbox.note_sent()

    # -- what the shell reads

    @property
    def repartition_position(self) -> int:
        """The next offset of the repartition topic: everything before it was handed to the engine."""
        return self._inputs.repartition_position

    @property
    def erasures_position(self) -> int:
        """The next offset of the topic of erasure requests: everything before it was handed to the engine."""
        return self._sweep.position

    @property
    def erasures_done(self) -> int:
        """The offset of the topic of erasure requests up to which all are carried out: may be committed."""
        return self._sweep.done

    def positions(self) -> dict[Source, int]:
        """Return for each own source the offset up to which everything is applied: may be committed."""
        return self._inputs.positions()

    def committable(self) -> dict[Rank, int]:
        """Return the positions by rank, with those of the topic of erasure requests and, if this task has upstream
        partitions, of the repartition topic."""
        positions = self._inputs.committable()
        positions[ERASURES] = self._sweep.done
        return positions

    def buffered_bytes(self, source: Source) -> int:
        """Return the bytes of records read here that wait for other inputs: the shell pauses a source at a bound."""
        return self._inputs.own[source].bytes

    def waits_for_more(self, source: Source) -> bool:
        """Return True if the source must not be paused: only its next record lets the waiting ones go on."""
        return self._inputs.waits_for_more(source)

    def repartition_buffered_bytes(self) -> int:
        """Return the bytes of repartitioned records and internal messages that wait for other inputs."""
        return sum(input_.bytes for input_ in self._inputs.upstreams.values())

    def progress(self, source: Source) -> SourceProgress:
        """Return the progress of an own source, for reading only."""
        return self._inputs.progress[source]

    def report(self, rank: Rank) -> tuple[int | None, int | None]:
        """Return what to report to other tasks about an own source, or about a stream of internal messages of this task
        (`FIRST_MESSAGES` and up): its progress, and the time as of which it is caught up.

        The progress of a stream ends at the earliest message that is not sent. A stream with messages that wait for
        their commit still counts as caught up, unless they are older than the lateness.
        """
        inputs = self._inputs
        if rank < FIRST_MESSAGES:
            return inputs.source_report(SOURCES[rank])
        assert self._resolver is not None
        stream = rank - FIRST_MESSAGES
        progress, caught_up_at = inputs.stream_report(stream)
        waiting = self._resolver.outbox.waiting_since(stream)
        if waiting is not None:
            if progress is not None and waiting < progress:
                progress = waiting
            if waiting < inputs.now - self._lateness:
                caught_up_at = None
        return progress, caught_up_at

    @property
    def has_messages(self) -> bool:
        """True if internal messages wait for a commit."""
        return self._resolver is not None and bool(self._resolver.outbox.messages)

    def take_shared_ids(self, most: int) -> list[SharedId]:
        """Return the customer ids to which more than `most` devices were linked here, each once."""
        return [] if self._resolver is None else self._resolver.shared_ids.take(most)

    def slowest(self) -> int | None:
        """Return the least progress of the sources of this task."""
        return self._inputs.slowest()

    def slowest_anywhere(self) -> int | None:
        """Return the least progress of the sources of this task and of its upstream tasks, as far as reported."""
        return self._inputs.slowest_anywhere()

    def watermark_blocked_by(self) -> tuple[Rank, int | None]:
        """Return the rank of the input that blocks the watermark, with its partition if that is another task's."""
        return self._inputs.watermark_blocked_by()

    # -- inside

    def _proceed(self, now: int) -> Effects:
        effects = Effects.none()
        self._inputs.now = self._filter.now = now
        if not self._firing:
            self._merge(effects)
        self._inputs.note_caught_up()
        return effects

    def _sweep_erased(self, limit: int) -> None:
        """Remove erased ids from aliases, in at most `limit` records."""
        processor, sweep = self._processor, self._sweep
        if (processor.in_doubt or not sweep.is_complete) and sweep.advance(limit):
            self._moved = True
            processor.in_doubt = not sweep.is_complete

    def _merge(self, effects: Effects) -> None:
        """Apply waiting records, as far as nothing earlier can come and the budget allows."""
        left, processor, now = self._record_budget, self._processor, self._inputs.now
        for stage in self._inputs.stages:
            left = stage.merge(processor, now, left, effects)
            self.unfinished = processor.full or left <= 0
            if self.unfinished:
                return

    def _move_watermark(self, effects: Effects) -> None:
        """Move the watermark, and fire the deadlines that it has reached. Not by a clock that may be wrong."""
        if not self._filter.clock_trusted:
            return
        watermark = self._inputs.watermark()
        if watermark is None or (self.watermark is not None and watermark <= self.watermark):
            return
        self._processor.watermark = watermark
        self._fire_due(effects)

    def _fire_due(self, effects: Effects) -> None:
        self._firing = self.unfinished = self._processor.fire_due(self._deadline_budget, effects)
