"""What an engine does with a record once it is its turn, and with a deadline once the watermark has reached it.

The engine holds one `Processor` and hands it records in the order in which they are to be applied; `linking` has one
that knows whose an id is.
"""

from __future__ import annotations

from typing import Final

from streams.core.event_time.inputs import Input
from streams.core.event_time.offset_gaps import fill, is_gap
from streams.core.lifecycle.lifecycle import Lifecycle, successor_of
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
    """Applies to the profiles of a state. What it says of itself, the engine looks at after each call."""

    def __init__(self, lifecycle: Lifecycle, state: TaskState, gate: OutputFilter, most_pending: int) -> None:
        """`most_pending`: see `Step.pending`."""
        self.state = state
        self.watermark: int | None = None
        """See `PartitionEngine.watermark`."""
        self.silent = False
        """Whether some source is silent for longer than its owner believes."""
        self.full = False
        """Whether nothing may go on before a commit: a profile keeps as many outputs as a record may hold."""
        self.changed = False
        """Whether anything was applied or has fired since the last commit."""
        self.in_doubt = False
        """Whether what is known of whose an id is may name somebody who was erased: who uses it looks first."""
        self.by_deadline: list[Output] = []
        """What waits for the commit."""
        self.messages: list[InternalMessage] = []
        """Items that do."""
        self._lifecycle = lifecycle
        self._gate = gate
        self._most_pending = most_pending
        self._pending: dict[bytes, int] = {}
        """Bytes of the outputs that profiles keep for the next commit, where these are bounded."""

    def committing(self) -> None:
        """A commit takes all that waits for it, from the profiles too."""
        self.changed = self.full = False
        self._pending.clear()

    def apply(self, record: Event, one: Input, read_at: int, effects: Effects) -> bool:
        """Apply a record that came by an input, unless it was applied already; whether an event was.

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
        elif record.offset <= last_applied(profile, one) and self._is_again(record, one, profile, key):
            self.skipped(record, one, profile, key, effects)
            return False
        elif record.at <= profile.erased_at:
            counts["erased", SOURCE_LABELS[record.source]] += 1
            return False
        elif profile.stage is not None and lifecycle.is_duplicate(profile, record):
            note_applied(
                profile, one, record.offset, read_at
            )  # a duplicate also should it come again after a forgetting
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
            if profile.alias is not None:  # linking was on, and is no more
                profile.alias = None
                state.aliases -= 1
            elif profile.sequence:  # forgotten or erased: this event starts afresh
                profile = self._afresh(key, profile)
        outputs: list[Output] = []
        lifecycle.apply(profile, record, outputs, counts)
        note_applied(profile, one, record.offset, read_at)
        for output in outputs:
            self._emit(profile, key, output, effects)
        state.note_change(key, profile, before, places_before, deadline_before)
        return True

    def skipped(self, record: Event, one: Input, profile: Profile, key: bytes, effects: Effects) -> None:
        """A record was applied to this profile before."""
        effects.counts["replayed", SOURCE_LABELS[record.source]] += 1

    def erase(self, request: Erasure, key: bytes, effects: Effects) -> None:
        """The record of this key ends, and its customer's outputs with a notice. They wait for the commit: nobody is to
        hear of an erasure that a crash could undo."""
        state, lifecycle = self.state, self._lifecycle
        profile = state.get(key)
        if profile is None:
            effects.outputs.append(lifecycle.erasure_notice(request))
            state.delete_again(key)
            return
        before, places_before, deadline_before = profile.stage, profile.places(), profile.next_deadline
        state.aliases -= profile.alias is not None
        outputs: list[Output] = []
        empty = lifecycle.erase(profile, request, outputs)
        state.put(key, empty)
        for output in outputs:
            if self._gate.passes(empty, output, False, effects.counts):
                self._keep(empty, key, output)
        state.note_change(key, empty, before, places_before, deadline_before)

    def fire_due(self, most: int, effects: Effects) -> bool:
        """Fire what the watermark has reached, of so many customers at most; whether some is left."""
        watermark, state = self.watermark, self.state
        assert watermark is not None
        while True:
            unfinished = self.full or most <= 0
            if unfinished or (key := state.timers.due(watermark)) is None:
                return unfinished
            most -= 1
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

    def _is_again(self, record: Event, one: Input, profile: Profile, key: bytes) -> bool:
        """Whether a record was applied, whose offset is not later than the last one applied to the profile."""
        offset, again = record.offset, one.again
        if again is None:
            applied = profile.offset_gaps is None or not is_gap(profile.offset_gaps, one, offset)
        else:
            applied = (key, offset) in again
            again.discard((key, offset))
        if not applied and profile.offset_gaps is not None:
            fill(profile.offset_gaps, one, offset)
        return applied

    def _afresh(self, key: bytes, before_it: Profile) -> Profile:
        """An empty profile in the place of one that has ended, which does not forget what was applied."""
        profile = successor_of(before_it)
        self.state.put(key, profile)
        return profile

    def _fire_up_to(self, at: int, profile: Profile, key: bytes, effects: Effects) -> None:
        """A profile's own deadlines go before what happens to it."""
        while (deadline := profile.next_deadline) is not None and deadline <= at:
            self._fire_one(profile, key, effects)

    def _fire_one(self, profile: Profile, key: bytes, effects: Effects, *, by_watermark: bool = False) -> None:
        if profile.alias is not None:  # nobody is told
            profile.alias = profile.next_deadline = None
            self.state.aliases -= 1
            return
        outputs: list[Output] = []
        self._lifecycle.fire(profile, outputs, effects.counts)
        for output in outputs:
            if self._gate.passes(profile, output, not by_watermark and self.silent, effects.counts):
                self._keep(profile, key, output)

    def _emit(self, profile: Profile, key: bytes, output: Output, effects: Effects) -> None:
        """An output of a record leaves at once, unless it is withheld."""
        if not self._gate.passes(profile, output, False, effects.counts):
            return
        # Behind an output that waits for the commit, the customer's next ones wait too: subscribers see each customer's
        # outputs in the order they were made.
        if profile.pending:
            self._keep(profile, key, output)
        else:
            effects.outputs.append(output)

    def _keep(self, profile: Profile, key: bytes, output: Output) -> None:
        """The output waits for the commit, in the profile."""
        profile.pending.append(output)
        self.by_deadline.append(output)
        self._weigh(key, output)

    def _weigh(self, key: bytes, kept: Output | InternalMessage) -> None:
        if self._most_pending < UNLIMITED.pending:
            size = self._pending.get(key, 0) + packed_size(kept)
            self._pending[key] = size
            self.full = self.full or size > self._most_pending


def last_applied(profile: Profile, one: Input) -> int:
    """The last offset applied of an input; -1: none."""
    if one.own is not None:
        return profile.last_applied(one.rank)
    last = -1 if profile.of_upstreams is None else profile.of_upstreams.get(one.number, -1)
    return max(last, profile.last_applied(one.rank)) if one.once_own else last


def was_applied(profile: Profile, one: Input, offset: int) -> bool:
    """Whether an offset of an input was applied, as far as the profile as it was written tells."""
    if offset > last_applied(profile, one):
        return False
    return profile.offset_gaps is None or not is_gap(profile.offset_gaps, one, offset)


def note_applied(profile: Profile, one: Input, offset: int, read_at: int) -> None:
    """An offset of an input was applied."""
    if one.own is not None:
        profile.note_applied(one.rank, offset)
    else:
        profile.note_forwarded(one.number, offset, read_at)
