"""The engine of one partition task: merges its sources in time order, applies, fires deadlines, says what to emit.

One engine serves the worker, the replay, the tests and the benchmarks. It does no I/O and asks no clock: `apply` gives
it records, `advance` tells it the time and what the fetches showed, `snapshot` takes what a commit has to write.

What other tasks forward comes by one topic, and is taken apart again into one queue for each origin (`arrive`).

Names in `Effects.counts`: applied, duplicate, replayed, late, out_of_order (label: the source's name in lower case),
withheld (label: output type/reason), trimmed (label: what), ignored (label: which correction of an order), arrived
(label: taken, repeated).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from heapq import heapify, heappop, heappush
from typing import Final

from streams.core.activity import Activity, Source
from streams.core.customer import Lifecycle
from streams.core.effects import (
    Abandonment,
    Effects,
    Emission,
    IdentityChange,
    Output,
    Snapshot,
    StageChange,
    Triggered,
)
from streams.core.inputs import FORWARDED, Input, OriginProgress, number_of
from streams.core.packing import packed_size
from streams.core.profile import Profile
from streams.core.sources import Arrivals, Fetch, Forwarded, Mark, Report, SourceSpec
from streams.core.state import TaskState, record_key
from streams.core.step import WHOLE, Step
from streams.core.watermark import SourceProgress

SOURCES: Final = tuple(Source)
LABELS: Final = {source: source.name.lower() for source in Source}


class PartitionEngine:
    """One partition's profiles, timers and watermark. Not thread-safe; no call awaits.

    `own` are the sources whose partition of the number `partition` is read here; another one comes from origins alone.
    `positions` are the offsets at which reading starts, `marks` what was stored with them. `state` may hold what
    recovery restored. `origins` are the partitions from which what belongs here is forwarded; `arrivals` what was
    stored of them, with the position at which reading of what they forward starts. With a `step`, a call may leave
    things undone (`unfinished`), and they may wait for a commit (`full`): whoever gives one looks at both after each
    call.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        *,
        partition: int = -1,
        own: Collection[Source] = SOURCES,
        sources: Mapping[Source, SourceSpec] | None = None,
        emission: Emission = Emission(),
        state: TaskState | None = None,
        positions: Mapping[Source, int] | None = None,
        marks: Mapping[Source, Mark] | None = None,
        commit: int = 0,
        step: Step = WHOLE,
        origins: Collection[tuple[Source, int]] = (),
        arrivals: Arrivals | None = None,
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
            if source in own
        }
        self._own = {source: Input(source, progress, None, -1) for source, progress in self._progress.items()}
        stored = {mark.number: mark for mark in arrivals.origins} if arrivals is not None else {}
        self._origins: dict[int, Input] = {}
        for source, other in sorted(origins):
            number = number_of(source, other)
            origin = OriginProgress(stored.get(number))
            self._origins[number] = Input(source, None, origin, number, once_own=other == partition)
        # What is of the same time is applied in this order.
        self._inputs = sorted([*self._own.values(), *self._origins.values()], key=_rank)
        self._partition_of = {number_of(source, other): other for source, other in origins}
        self.arrived_position = 0 if arrivals is None else arrivals.position
        """The next offset of the activity topic: everything before it was handed to the engine."""
        self._committed = self.committable()
        """As of the last snapshot: its commit is taken to have gone through when the next one is taken."""
        self._taken: dict[int, int] = {number: mark.taken for number, mark in stored.items()}
        """By origin, what was applied as of the last snapshot, like `_committed`."""
        self._unheard = [mark for number, mark in stored.items() if number not in self._origins]
        """What is known of origins that do not forward at present: they may do so again."""
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
        progress, own, size = self._progress[source], self._own[source], 0
        queue = own.queue
        for record in records:
            progress.saw(record.at, record.timestamp, now)
            queue.append(record)
            size += record.size
        own.bytes += size
        self._changed = self._changed or position != progress.position
        progress.position = position
        effects = Effects.none()
        self._now = now
        if not self._firing:
            self._merge(effects)
        return effects

    def forwarded(self, source: Source, records: Iterable[Activity], now: int) -> None:
        """Records of `source` were forwarded to other partitions: they show its progress. Before the `apply` that they
        were read with."""
        progress = self._progress[source]
        for record in records:
            progress.saw(record.at, record.timestamp, now)

    def arrive(self, read: Iterable[tuple[int, Forwarded | Report]], position: int, now: int) -> Effects:
        """Take in what other tasks forwarded here and say of themselves, read (with its offset) up to `position`.

        What does not follow on what was taken is passed over: it was here before, or will be forwarded again.
        """
        effects = Effects.none()
        for offset, news in read:
            if isinstance(news, Report):
                origin = self._origins.get(number_of(news.source, news.partition))
                if origin is not None and origin.origin is not None:
                    origin.origin.hear(news)
                continue
            origin = self._origins.get(number_of(news.source, news.partition))
            if origin is None or origin.origin is None or not origin.origin.take(news.offset, news.previous):
                effects.counts["arrived", "repeated"] += 1
                continue
            effects.counts["arrived", "taken"] += 1
            activity = news.activity
            if activity is None:
                continue
            origin.queue.append(activity)
            origin.read_at.append(offset)
            origin.bytes += activity.size
        self._changed = self._changed or position != self.arrived_position
        self.arrived_position = position
        self._now = now
        if not self._firing:
            self._merge(effects)
        return effects

    def lost(self) -> None:
        """Records of the activity topic cannot be read, and are given up. Before the `arrive` of what follows them."""
        for origin in self._origins.values():
            if origin.origin is not None:
                origin.origin.lost = True

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
        for source in self._progress:
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
            source: progress.mark(self._own[source].queue[0].at if self._own[source].queue else None)
            for source, progress in self._progress.items()
        }
        outputs, self._by_deadline = self._by_deadline, []
        commit = self.state.commit + 1
        changes = self.state.changes(commit, self._committed, self._taken)
        self._committed = self.committable()
        arrivals: Arrivals | None = None
        if self._origins or self._unheard:
            origins = [*(origin.origin_mark() for origin in self._origins.values()), *self._unheard]
            arrivals = Arrivals(self._committed.get(FORWARDED, self.arrived_position), origins)
            self._taken = {mark.number: mark.taken for mark in origins}
        return Snapshot(commit, changes, outputs, self.positions(), marks, arrivals)

    # -- what the shell looks at

    def positions(self) -> dict[Source, int]:
        """Per source the offset up to which everything is applied: what may be committed."""
        return {
            source: queue[0].offset if (queue := self._own[source].queue) else self._progress[source].position
            for source in self._own
        }

    def committable(self) -> dict[int, int]:
        """As `positions`, by rank, with that of the activity topic if there is one."""
        waiting = [origin.read_at[0] for origin in self._origins.values() if origin.read_at]
        positions: dict[int, int] = {int(source): position for source, position in self.positions().items()}
        if self._origins:
            positions[FORWARDED] = min(waiting, default=self.arrived_position)
        return positions

    def buffered_bytes(self, source: Source) -> int:
        """Bytes of records read here that wait for another source: the shell pauses a source at a bound."""
        return self._own[source].bytes

    def arrived_bytes(self) -> int:
        """Bytes of records forwarded here that wait for another source, or for another origin."""
        return sum(origin.bytes for origin in self._origins.values())

    def progress(self, source: Source) -> SourceProgress:
        """A source's progress, to look at."""
        return self._progress[source]

    def report(self, source: Source) -> tuple[int | None, int | None]:
        """What to tell other tasks of a source: the time up to which it has spoken, and as of when it is drained."""
        return self._progress_of(self._own[source]), self._progress[source].drained_at()

    def slowest(self) -> int | None:
        """The least progress of the sources of this task."""
        return _least(self._progress_of(own) for own in self._own.values())

    def slowest_anywhere(self) -> int | None:
        """The least progress of the sources of this task, and of those that forward to it, as far as is known."""
        own = (self._progress_of(own) for own in self._own.values())
        return _least([*own, *(one.origin.slowest for one in self._origins.values() if one.origin)])

    def held_by(self) -> tuple[Source, int | None]:
        """The source whose progress is the least: it holds the watermark. With the partition if that is another one,
        whose task has not said more."""
        least = min(self._inputs, key=lambda one: -1 if (p := self._progress_of(one)) is None else p)
        return least.source, self._partition_of.get(least.number)

    # -- merging

    def _progress_of(self, one: Input) -> int | None:
        own = one.own
        if own is not None:
            silence_counts = self._clock_trusted and one.source not in self._silent
            return own.progress(self._now, silence_counts=silence_counts)
        assert one.origin is not None
        return one.origin.reached

    def _merge(self, effects: Effects) -> None:
        """Apply what waits, by time, source, partition and offset, as far as nothing earlier may be to come."""
        inputs, now, left = self._inputs, self._now, self._step_records
        heads: list[tuple[int, int]] = []  # time and place in the order, of what is next of each
        limit: tuple[int, int] | None = None  # the least progress of those that may still have records
        for place, one in enumerate(inputs):
            if one.queue:
                heads.append((one.queue[0].at, place))
            elif not one.drained(now):
                progress = self._progress_of(one)
                if progress is None:
                    limit = (-1, place)
                elif limit is None or (progress, place) < limit:
                    limit = (progress, place)
        heapify(heads)
        while True:
            self.unfinished = self.full or left <= 0
            if self.unfinished or not heads or (limit is not None and limit < heads[0]):
                return
            # Take a run: up to the next head of another one, and to the limit. At equal times the lower place goes
            # first, also if what it has of that time is still to come.
            place, bound = heappop(heads)[1], limit
            if heads and (bound is None or heads[0] < bound):
                bound = heads[0]
            one = inputs[place]
            left -= self._apply_run(one, None if bound is None else bound[0] - (bound[1] < place), left, effects)
            if one.queue:
                heappush(heads, (one.queue[0].at, place))
            elif not one.drained(now):
                progress = self._progress_of(one)
                if progress is None:
                    limit = (-1, place)
                elif limit is None or (progress, place) < limit:
                    limit = (progress, place)

    def _apply_run(self, one: Input, bound: int | None, most: int, effects: Effects) -> int:
        """Apply of an input what is not later than `bound`, but no more than `most` records; how many were taken."""
        queue, read_at, taken, size, applied = one.queue, one.read_at, 0, 0, 0
        forwarded = one.own is None
        while queue and (bound is None or queue[0].at <= bound):
            record = queue.popleft()
            size += record.size
            taken += 1
            if self._apply_one(record, one, read_at.popleft() if forwarded else -1, effects):
                applied += 1
            if taken >= most or self.full:
                break
        one.bytes -= size
        if applied:
            effects.counts["applied", one.label] += applied
            self._changed = True
        return taken

    def _apply_one(self, record: Activity, one: Input, read_at: int, effects: Effects) -> bool:
        """Apply a record, unless it was applied already; whether it was. `read_at`: see `Input.read_at`."""
        state, lifecycle, counts, label = self.state, self._lifecycle, effects.counts, one.label
        key = record_key(record.customer, record.identified)
        profile = state.get(key)
        if profile is None:
            profile = lifecycle.new(record.customer, record.identified)
            state.put(key, profile)
        elif record.offset <= _last_applied(profile, one):
            counts["replayed", label] += 1
            return False
        elif profile.stage is not None and lifecycle.is_duplicate(profile, record):
            _note(profile, one, record.offset, read_at)  # a duplicate also should it come again after a forgetting
            counts["duplicate", label] += 1
            return False
        before, deadline_before = profile.stage, profile.next_deadline
        places_before = profile.places()
        if self.watermark is not None and record.at < self.watermark:
            counts["late", label] += 1
        if profile.sequence and record.at < profile.last_seen_at:
            counts["out_of_order", label] += 1
        while (deadline := profile.next_deadline) is not None and deadline <= record.at:
            self._fire_one(profile, key, effects)
        if profile.stage is None and profile.sequence:  # forgotten: this event starts afresh
            before_it = profile
            profile = lifecycle.new(record.customer, record.identified)
            profile.applied, profile.of_origins = before_it.applied, before_it.of_origins
            profile.pending, profile.commit = before_it.pending, before_it.commit
            state.put(key, profile)
        outputs: list[Output] = []
        lifecycle.apply(profile, record, outputs, counts)
        _note(profile, one, record.offset, read_at)
        for output in outputs:
            if self._leaves(profile, output, False, counts):
                # Behind an output that waits for the commit, the customer's next ones wait too: subscribers see each
                # customer's outputs in the order they were made.
                if profile.pending:
                    self._keep(profile, key, output)
                else:
                    effects.outputs.append(output)
        state.touched(key, profile, before, places_before, deadline_before)
        return True

    # -- deadlines

    def _fire(self, effects: Effects) -> None:
        """Move the watermark, fire every deadline it has reached. Not by a clock that may be wrong."""
        if not self._clock_trusted:
            return
        least: int | None = None
        for one in self._inputs:
            progress = self._progress_of(one)
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
            before, places_before, deadline_before = profile.stage, profile.places(), deadline
            while (deadline := profile.next_deadline) is not None and deadline <= watermark:
                effects.deadlines.append(deadline)
                self._fire_one(profile, key, effects, by_watermark=True)
            state.touched(key, profile, before, places_before, deadline_before, came_up=True)
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
        elif isinstance(output, IdentityChange):
            reason = "before_emit_after" if before_start and output.type != "erased" else None
            kind = output.type
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


def _least(progresses: Iterable[int | None]) -> int | None:
    """The least of these; None if one is not known."""
    least: int | None = None
    for progress in progresses:
        if progress is None:
            return None
        if least is None or progress < least:
            least = progress
    return least


def _rank(one: Input) -> tuple[int, int]:
    return one.rank, one.number


def _last_applied(profile: Profile, one: Input) -> int:
    """The last offset applied of an input; -1: none."""
    if one.own is not None:
        return profile.last_applied(one.rank)
    last = -1 if profile.of_origins is None else profile.of_origins.get(one.number, -1)
    return max(last, profile.last_applied(one.rank)) if one.once_own else last


def _note(profile: Profile, one: Input, offset: int, read_at: int) -> None:
    """An offset of an input was applied."""
    if one.own is not None:
        profile.note_applied(one.rank, offset)
    else:
        profile.note_forwarded(one.number, offset, read_at)
