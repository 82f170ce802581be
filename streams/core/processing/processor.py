"""Application of one record when it is its turn, and of one deadline once the watermark has reached it.

The engine has one `Processor` and passes it records in the order in which they are to be applied. With identity
resolution it is an `IdentityResolver` (`streams.core.identity.resolver`).
"""

from __future__ import annotations

from typing import Final

from streams.core.event_time.inputs import Input
from streams.core.event_time.offset_gaps import fill, is_gap
from streams.core.lifecycle.lifecycle import Lifecycle, replacement_of
from streams.core.model.event import Event, Source
from streams.core.model.internal_messages import InternalMessage
from streams.core.model.outputs import Effects, Output
from streams.core.model.sources import Erasure
from streams.core.processing.budget import UNLIMITED
from streams.core.processing.output_filter import OutputFilter
from streams.core.profile.codec import packed_size
from streams.core.profile.profile import Profile
from streams.core.store.task_state import CAME_UP, TaskState, record_key

LABELS: Final = {source: source.name.lower() for source in Source}
SOURCE_LABELS: Final = [source.name.lower() for source in Source]


class Processor:
    """Applies records and deadlines to the profiles of a state. The engine reads its flags after each call."""

    def __init__(
        self, lifecycle: Lifecycle, state: TaskState, output_filter: OutputFilter, pending_budget: int
    ) -> None:
        """`pending_budget`: see `Budget.pending`."""
        self.state = state
        self.watermark: int | None = None
        """See `PartitionEngine.watermark`."""
        self.silent = False
        """True while some source is silent beyond its idle timeout."""
        self.full = False
        """True if nothing may go on before a commit: a profile keeps as many outputs as a record may hold."""
        self.changed = False
        """True if anything was applied or has fired since the last commit."""
        self.in_doubt = False
        """True while aliases may name erased ids: an alias is checked before it is used (`forget_erased`)."""
        self.waiting_outputs: list[Output] = []
        """Outputs that wait for the commit: those of deadlines, erasures and merges, and the ones behind them."""
        self._lifecycle = lifecycle
        self._filter = output_filter
        self._pending_budget = pending_budget
        self._pending: dict[bytes, int] = {}
        """Bytes of the outputs that profiles keep for the next commit, where these are bounded."""

    def begin_commit(self) -> list[InternalMessage]:
        """Begin a commit, which takes everything that waits for it, also from the profiles. Return its internal
        messages."""
        self.changed = self.full = False
        self._pending.clear()
        return []

    def apply(self, record: Event, via: Input, read_at: int, effects: Effects) -> bool:
        """Apply a record that arrived by an input, unless it was applied before. Return True if an event was applied.

        `read_at`: see `Input.read_at`.
        """
        state, lifecycle, counts = self.state, self._lifecycle, effects.counts
        key = record_key(record.customer, record.identified)
        profile = state.get(key)
        if profile is None:
            erased_at = state.markers.erased_at(key)
            if record.at <= erased_at:
                counts["erased", SOURCE_LABELS[record.source]] += 1
                return False
            profile = lifecycle.new(record.customer, record.identified)
            profile.erased_at = erased_at
            state.put(key, profile)
        elif record.offset <= last_applied(profile, via) and self._is_repeated(record, via, profile, key):
            self.skip(record, via, profile, key, effects)
            return False
        elif record.at <= profile.erased_at:
            counts["erased", SOURCE_LABELS[record.source]] += 1
            return False
        elif profile.stage is not None and lifecycle.is_duplicate(profile, record):
            note_applied(profile, via, record.offset, read_at)  # so it stays a duplicate after a forgetting
            counts["duplicate", SOURCE_LABELS[record.source]] += 1
            return False
        before, deadline_before = profile.stage, profile.next_deadline
        places_before = profile.places()
        if self.watermark is not None and record.at < self.watermark:
            counts["late", SOURCE_LABELS[record.source]] += 1
        if profile.sequence and record.at < profile.last_seen_at:
            counts["out_of_order", SOURCE_LABELS[record.source]] += 1
        self._fire_up_to(record.at, profile, key, effects)
        if profile.stage is None:
            if profile.alias is not None:  # identity resolution was switched off
                profile.alias = None
                state.aliases -= 1
            elif profile.sequence:  # forgotten or erased: this event begins a new profile
                profile = self._replace_ended(key, profile)
        outputs: list[Output] = []
        lifecycle.apply(profile, record, outputs, counts)
        note_applied(profile, via, record.offset, read_at)
        for output in outputs:
            self._emit(profile, key, output, effects)
        state.note_change(key, profile, before, places_before, deadline_before)
        return True

    def skip(self, record: Event, via: Input, profile: Profile, key: bytes, effects: Effects) -> None:
        """Skip a record that was applied to this profile before."""
        effects.counts["replayed", SOURCE_LABELS[record.source]] += 1

    def erase(self, request: Erasure, key: bytes, effects: Effects) -> None:
        """End the profile of this key. The last of its outputs is a notice of the erasure.

        These outputs wait for the commit: subscribers must not receive an erasure that a crash could undo.
        """
        state, lifecycle = self.state, self._lifecycle
        profile = state.get(key)
        if profile is None:
            effects.outputs.append(lifecycle.erasure_notice(request))
            state.repeat_tombstone(key)
            return
        before, places_before, deadline_before = profile.stage, profile.places(), profile.next_deadline
        state.aliases -= profile.alias is not None
        outputs: list[Output] = []
        empty = lifecycle.erase(profile, request, outputs)
        state.put(key, empty)
        for output in outputs:
            if self._filter.passes(empty, output, False, effects.counts):
                self._keep(empty, key, output)
        state.note_change(key, empty, before, places_before, deadline_before)

    def fire_due(self, budget: int, effects: Effects) -> bool:
        """Fire the deadlines that the watermark has reached, of at most `budget` customers. Return True if some are
        left."""
        watermark, state = self.watermark, self.state
        assert watermark is not None
        while True:
            unfinished = self.full or budget <= 0
            if unfinished or (key := state.timers.due(watermark)) is None:
                return unfinished
            budget -= 1
            deadline = state.next_deadline(key)
            if deadline is None:
                continue
            if deadline > state.timers.came_up:  # too early: others may be due before it
                state.timers.schedule(key, deadline)
                continue
            profile = state.get(key)
            assert profile is not None
            before, places_before = profile.stage, profile.places()
            while (deadline := profile.next_deadline) is not None and deadline <= watermark:
                effects.deadlines.append(deadline)
                self._fire_one(profile, key, effects, by_watermark=True)
            state.note_change(key, profile, before, places_before, CAME_UP)
            self.changed = True

    # -- inside

    def _is_repeated(self, record: Event, via: Input, profile: Profile, key: bytes) -> bool:
        """Return True if a record was applied before. Its offset is not later than the last one applied to the profile.
        If it was not applied, its gap is filled."""
        offset, applied_before = record.offset, via.applied_before
        if applied_before is None:
            applied = profile.offset_gaps is None or not is_gap(profile.offset_gaps, via, offset)
        else:
            applied = (key, offset) in applied_before
            applied_before.discard((key, offset))
        if not applied and profile.offset_gaps is not None:
            fill(profile.offset_gaps, via, offset)
        return applied

    def _replace_ended(self, key: bytes, ended: Profile) -> Profile:
        """Put an empty profile in the place of one that has ended. It keeps the offsets that were applied."""
        profile = replacement_of(ended)
        self.state.put(key, profile)
        return profile

    def _fire_up_to(self, at: int, profile: Profile, key: bytes, effects: Effects) -> None:
        """Fire the profile's deadlines up to the time `at` of its next event, before that event is applied."""
        while (deadline := profile.next_deadline) is not None and deadline <= at:
            self._fire_one(profile, key, effects)

    def _fire_one(self, profile: Profile, key: bytes, effects: Effects, *, by_watermark: bool = False) -> None:
        if profile.alias is not None:  # the alias expires without an output
            profile.alias = profile.next_deadline = None
            self.state.aliases -= 1
            return
        outputs: list[Output] = []
        self._lifecycle.fire(profile, outputs, effects.counts)
        for output in outputs:
            if self._filter.passes(profile, output, not by_watermark and self.silent, effects.counts):
                self._keep(profile, key, output)

    def _emit(self, profile: Profile, key: bytes, output: Output, effects: Effects) -> None:
        """Emit an output of a record at once, unless it is withheld or has to wait behind others."""
        if not self._filter.passes(profile, output, False, effects.counts):
            return
        # Behind an output that waits for the commit, the customer's next ones wait too: subscribers see each customer's
        # outputs in the order they were made.
        if profile.pending:
            self._keep(profile, key, output)
        else:
            effects.outputs.append(output)

    def _keep(self, profile: Profile, key: bytes, output: Output) -> None:
        """Keep the output in the profile until the commit."""
        profile.pending.append(output)
        self.waiting_outputs.append(output)
        self._count_pending(key, output)

    def _count_pending(self, key: bytes, kept: Output | InternalMessage) -> None:
        if self._pending_budget < UNLIMITED.pending:
            size = self._pending.get(key, 0) + packed_size(kept)
            self._pending[key] = size
            self.full = self.full or size > self._pending_budget


def last_applied(profile: Profile, via: Input) -> int:
    """Return the last offset applied of an input; -1: none."""
    if via.own is not None:
        return profile.last_applied(via.rank)
    last = -1 if profile.of_upstreams is None else profile.of_upstreams.get(via.number, -1)
    return max(last, profile.last_applied(via.rank)) if via.formerly_own else last


def was_applied(profile: Profile, via: Input, offset: int) -> bool:
    """Return True if an offset of an input was applied, by the profile as it was written."""
    if offset > last_applied(profile, via):
        return False
    return profile.offset_gaps is None or not is_gap(profile.offset_gaps, via, offset)


def note_applied(profile: Profile, via: Input, offset: int, read_at: int) -> None:
    """Note in the profile that an offset of an input is applied."""
    if via.own is not None:
        profile.note_applied(via.rank, offset)
    else:
        profile.note_forwarded(via.number, offset, read_at)
