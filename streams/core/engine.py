"""The engine of one partition task: merges its sources in time order, applies, fires deadlines, says what to emit.

One engine serves the worker, the replay, the tests and the benchmarks. It does no I/O and asks no clock: `apply` gives
it records, `advance` tells it the time and what the fetches showed, `snapshot` takes what a commit has to write.

Names in `Effects.counts`: applied, duplicate, replayed, late, out_of_order (label: the source's name in lower case),
withheld (label: output type/reason), trimmed (label: what), ignored (label: which correction of an order).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Final

from streams.core.activity import Activity, Source
from streams.core.customer import Lifecycle
from streams.core.effects import Abandonment, Effects, Emission, Output, Snapshot, StageChange, Triggered
from streams.core.packing import packed_size
from streams.core.profile import Profile
from streams.core.sources import Fetch, Mark, SourceSpec
from streams.core.state import TaskState, record_key
from streams.core.step import WHOLE, Step
from streams.core.watermark import SourceProgress

SOURCES: Final = tuple(Source)
LABELS: Final = {source: source.name.lower() for source in Source}


class PartitionEngine:
    """One partition's profiles, timers and watermark. Not thread-safe; no call awaits.

    `positions` are the offsets at which reading starts, `marks` what was stored with them. `state` may hold what
    recovery restored. With a `step`, a call may leave things undone (`unfinished`), and they may wait for a commit
    (`full`): whoever gives one looks at both after each call.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        *,
        sources: Mapping[Source, SourceSpec] | None = None,
        emission: Emission = Emission(),
        state: TaskState | None = None,
        positions: Mapping[Source, int] | None = None,
        marks: Mapping[Source, Mark] | None = None,
        commit: int = 0,
        step: Step = WHOLE,
    ) -> None:
        self.unfinished = False
        """Whether the last call has left something undone: `advance` goes on with it."""
        self.full = False
        """Whether nothing goes on before a `snapshot`: a profile keeps as many outputs as a record may hold."""
        self.state = TaskState() if state is None else state
        self.state.commit = max(self.state.commit, commit)
        self.watermark: int | None = None
        """Everything up to it (ms) is taken to have arrived. Never goes back."""
        self._lifecycle = lifecycle
        self._emission = emission
        self._lateness = lifecycle.policy.lateness
        specs, positions, marks = sources or {}, positions or {}, marks or {}
        self._progress = {
            source: SourceProgress(specs.get(source, SourceSpec()), positions.get(source, 0), marks.get(source, Mark()))
            for source in SOURCES
        }
        self._queues: dict[Source, deque[Activity]] = {source: deque() for source in SOURCES}
        self._buffered = dict.fromkeys(SOURCES, 0)
        self._committed = self.positions()
        """As of the last snapshot: its commit is taken to have gone through when the next one is taken."""
        self._silent: frozenset[Source] = frozenset()
        self._clock_trusted = True
        self._by_deadline: list[Output] = []
        self._firing = False
        """Whether the last call has left deadlines that the watermark has reached. Until they have fired nothing else
        happens, so that what comes late finds them fired, as it would have without a bound."""
        self._step_records, self._step_deadlines, self._step_pending = step.records, step.deadlines, step.pending
        self._pending: dict[bytes, int] = {}
        """Bytes of the outputs that profiles keep for the next commit, where these are bounded."""
        self._changed = False
        self._now = 0

    # -- the interface

    def apply(self, source: Source, records: Iterable[Activity], position: int, now: int) -> Effects:
        """Take in the records read from `source` up to `position` (the next offset), apply what is due.

        Records wait here while a source that may still have earlier ones is behind.
        """
        progress, queue, size = self._progress[source], self._queues[source], 0
        for record in records:
            progress.saw(record.at, record.timestamp, now)
            queue.append(record)
            size += record.size
        self._buffered[source] += size
        self._changed = self._changed or position != progress.position
        progress.position = position
        effects = Effects.none()
        self._now = now
        if not self._firing:
            self._merge(effects)
        return effects

    def advance(
        self,
        now: int,
        fetches: Mapping[Source, Fetch] | None = None,
        *,
        silent: frozenset[Source] = frozenset(),
        clock_trusted: bool = True,
    ) -> Effects:
        """Let time pass to `now` with what the fetches showed: apply what was waiting, fire what has come due.

        `silent`: sources whose whole topic has been silent for longer than their owner believes (`hold_after`).
        `clock_trusted` is False while `now` may be wrong: events go on, but silence proves nothing.
        """
        for source in SOURCES:
            if clock_trusted is not self._clock_trusted or (source in self._silent and source not in silent):
                self._progress[source].fetch = None  # from now on, only a fetch of from now on shows an end
        self._now, self._silent, self._clock_trusted = now, silent, clock_trusted
        for source, fetch in (fetches or {}).items():
            self._progress[source].fetched(fetch)
        effects = Effects.none()
        if self._firing:
            self._fire_due(effects)
        if not self._firing:
            self._merge(effects)
            if not self.unfinished:
                self._fire(effects)
        return effects

    def snapshot(self, *, force: bool = False) -> Snapshot | None:
        """What a commit has to write now, None if nothing happened since the last one (unless `force`).

        The commit must be carried through before the next call, or this engine be dropped.
        """
        if not (force or self._changed or self.state.owes(self._committed)):
            return None
        self._changed = self.full = False
        self._pending.clear()
        marks = {
            source: progress.mark(self._queues[source][0].at if self._queues[source] else None)
            for source, progress in self._progress.items()
        }
        outputs, self._by_deadline = self._by_deadline, []
        commit, positions = self.state.commit + 1, self.positions()
        changes = self.state.changes(commit, self._committed)
        self._committed = positions
        return Snapshot(commit, changes, outputs, positions, marks)

    # -- what the shell looks at

    def positions(self) -> dict[Source, int]:
        """Per source the offset up to which everything is applied: what may be committed."""
        return {
            source: queue[0].offset if (queue := self._queues[source]) else self._progress[source].position
            for source in SOURCES
        }

    def buffered_bytes(self, source: Source) -> int:
        """Bytes of records that wait for another source: the shell pauses a source at a bound."""
        return self._buffered[source]

    def progress(self, source: Source) -> SourceProgress:
        """A source's progress, to look at."""
        return self._progress[source]

    def held_by(self) -> Source:
        """The source whose progress is the least: it holds the watermark."""
        return min(SOURCES, key=lambda source: (-1 if (p := self._progress_of(source)) is None else p, source))

    # -- merging

    def _progress_of(self, source: Source) -> int | None:
        silence_counts = self._clock_trusted and source not in self._silent
        return self._progress[source].progress(self._now, silence_counts=silence_counts)

    def _merge(self, effects: Effects) -> None:
        """Apply buffered records in (time, source, offset) order, as far as no source can still have an earlier one."""
        queues, now, left = self._queues, self._now, self._step_records
        while True:
            self.unfinished = self.full or left <= 0
            if self.unfinished:
                return
            best: Source | None = None
            limits: list[tuple[int, Source]] = []  # of sources that may still have records: nothing newer is applied
            best_at = 0
            empty_unknown = False
            for source in SOURCES:
                queue = queues[source]
                if queue:
                    at = queue[0].at
                    if best is None or at < best_at:
                        best, best_at = source, at
                elif not self._progress[source].drained(now):
                    progress = self._progress_of(source)
                    if progress is None:
                        empty_unknown = True
                    else:
                        limits.append((progress, source))
            if best is None or empty_unknown:
                return
            # Take a run from this source: up to the next head of another one, and to the limits. At equal times the
            # source of lower rank goes first, also if what it has of that time is still to come.
            heads = [(queues[source][0].at, source) for source in SOURCES if source is not best and queues[source]]
            bound = min((at - (source < best) for at, source in heads + limits), default=None)
            queue, rank, label, taken, applied = queues[best], int(best), LABELS[best], 0, 0
            while queue and (bound is None or queue[0].at <= bound):
                record = queue.popleft()
                taken += record.size
                left -= 1
                if self._apply_one(record, rank, label, effects):
                    applied += 1
                if left <= 0 or self.full:
                    break
            self._buffered[best] -= taken
            if applied:
                effects.counts["applied", label] += applied
                self._changed = True
            if not taken:
                return

    def _apply_one(self, record: Activity, rank: int, label: str, effects: Effects) -> bool:
        """Apply a record, unless it was applied already; whether it was."""
        state, lifecycle, counts = self.state, self._lifecycle, effects.counts
        key = record_key(record.customer, record.identified)
        profile = state.get(key)
        if profile is None:
            profile = lifecycle.new(record.customer, record.identified)
            state.put(key, profile)
        elif record.offset <= profile.last_applied(rank):
            counts["replayed", label] += 1
            return False
        elif profile.stage is not None and lifecycle.is_duplicate(profile, record):
            profile.note_applied(rank, record.offset)  # a duplicate also should it come again after a forgetting
            counts["duplicate", label] += 1
            return False
        before, deadline_before = profile.stage, profile.next_deadline
        if self.watermark is not None and record.at < self.watermark:
            counts["late", label] += 1
        if profile.sequence and record.at < profile.last_seen_at:
            counts["out_of_order", label] += 1
        while (deadline := profile.next_deadline) is not None and deadline <= record.at:
            self._fire_one(profile, key, effects)
        if profile.stage is None and profile.sequence:  # forgotten: this event starts afresh
            applied, pending, commit = profile.applied, profile.pending, profile.commit
            profile = lifecycle.new(record.customer, record.identified)
            profile.applied, profile.pending, profile.commit = applied, pending, commit
            state.put(key, profile)
        outputs: list[Output] = []
        lifecycle.apply(profile, record, outputs, counts)
        profile.note_applied(rank, record.offset)
        for output in outputs:
            if self._leaves(profile, output, False, counts):
                # Behind an output that waits for the commit, the customer's next ones wait too: subscribers see each
                # customer's outputs in the order they were made.
                if profile.pending:
                    self._keep(profile, key, output)
                else:
                    effects.outputs.append(output)
        state.touched(key, profile, before, deadline_before)
        return True

    # -- deadlines

    def _fire(self, effects: Effects) -> None:
        """Move the watermark, fire every deadline it has reached. Not by a clock that may be wrong."""
        if not self._clock_trusted:
            return
        least: int | None = None
        for source in SOURCES:
            progress = self._progress_of(source)
            if progress is None:
                return
            least = progress if least is None else min(least, progress)
        assert least is not None
        watermark = least - self._lateness
        if self.watermark is not None and watermark <= self.watermark:
            return
        self.watermark = watermark
        self._fire_due(effects)

    def _fire_due(self, effects: Effects) -> None:
        """Fire what the watermark has reached, as far as one call may."""
        watermark, state, left = self.watermark, self.state, self._step_deadlines
        assert watermark is not None
        while True:
            self._firing = self.unfinished = self.full or left <= 0
            if self._firing or (key := state.timers.due(watermark)) is None:
                return
            left -= 1
            deadline = state.next_deadline(key)
            if deadline is None:
                continue
            if deadline > watermark:
                state.timers.arm(key, deadline)
                continue
            profile = state.get(key)
            assert profile is not None
            before, deadline_before = profile.stage, deadline
            while (deadline := profile.next_deadline) is not None and deadline <= watermark:
                effects.deadlines.append(deadline)
                self._fire_one(profile, key, effects, by_watermark=True)
            state.touched(key, profile, before, deadline_before, came_up=True)
            self._changed = True

    def _fire_one(self, profile: Profile, key: bytes, effects: Effects, *, by_watermark: bool = False) -> None:
        outputs: list[Output] = []
        self._lifecycle.fire(profile, outputs, effects.counts)
        for output in outputs:
            if self._leaves(profile, output, not by_watermark and bool(self._silent), effects.counts):
                self._keep(profile, key, output)

    def _keep(self, profile: Profile, key: bytes, output: Output) -> None:
        """The output waits for the commit, in the profile."""
        profile.pending.append(output)
        self._by_deadline.append(output)
        if self._step_pending < WHOLE.pending:
            kept = self._pending.get(key, 0) + packed_size(output)
            self._pending[key] = kept
            self.full = self.full or kept > self._step_pending

    # -- what is emitted

    def _leaves(self, profile: Profile, output: Output, held: bool, counts: Counter[tuple[str, str]]) -> bool:
        reason: str | None = None
        emission = self._emission
        before_start = emission.emit_after is not None and output.occurred_at < emission.emit_after
        if isinstance(output, StageChange):
            reason = "before_emit_after" if before_start else None
            kind = "stage_changed"
        elif isinstance(output, Triggered):
            kind = "triggered"
            if output.output_id is not None and profile.is_withheld(output.output_id):
                reason = "follows_withheld"
            else:
                reason = "before_emit_after" if before_start else self._untimely(output, held)
        else:
            kind = output.type
            if output.type == "abandoned" and output.step == 1:
                reason = "before_emit_after" if before_start else self._untimely(output, held)
                profile.note_withheld(output.abandonment_id, reason is not None)
            elif profile.is_withheld(output.abandonment_id):
                reason = "follows_withheld"
            elif output.type == "abandoned":
                reason = self._untimely(output, held)
            # What became of an abandonment that was sent is always sent: it takes it back or closes it.
        if reason is None:
            return True
        counts["withheld", f"{kind}/{reason}"] += 1
        return False

    def _untimely(self, output: Abandonment | Triggered, held: bool) -> str | None:
        limit = self._emission.max_delay
        if limit is not None and self._clock_trusted and self._now - output.occurred_at > limit:
            return "delayed"
        return "source_silent" if held else None
