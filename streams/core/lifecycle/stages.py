"""The tracks of one customer: transitions by events, by deadlines, by time alone, and under a changed playbook.

Called by `Lifecycle` and the deadlines only. The stage of the first track, the lifecycle, is in attributes of the
profile, because every event needs them; those of further tracks are in `Profile.tracks`, in the playbook's order.
"""

from __future__ import annotations

import uuid
from typing import Final

from msgspec.structs import replace

from streams.core.lifecycle import aggregates
from streams.core.lifecycle.playbook import Playbook
from streams.core.lifecycle.rule_index import StateMachine
from streams.core.lifecycle.summary import summary
from streams.core.model import ids
from streams.core.model.event import Event
from streams.core.model.outputs import Cause, Output, StageChange
from streams.core.model.tracks import TrackState
from streams.core.profile.profile import Profile
from streams.core.rules.eval_context import EvalContext

BYTES_PER_TRACK: Final = 200
"""Estimate of the size of the state of a further track in a packed profile."""


class Stages:
    """Moves customers through the tracks of a playbook. Holds no state of any customer."""

    def __init__(self, playbook: Playbook, namespace: uuid.UUID) -> None:
        self._currency = playbook.policy.currency
        self._plan = playbook.plan
        self._namespace = namespace
        self._version = playbook.version
        self._tag = playbook.tag
        self._renamed = playbook.renamed
        self._machines = [StateMachine(track, playbook.cart) for track in playbook.tracks]
        self._lifecycle = self._machines[0]
        self._track_count = len(self._machines)
        self._timed = any(machine.timed for machine in self._machines)
        self.has_deadlines = self._timed or any(machine.has_timeouts for machine in self._machines)
        """False if `due` always returns None."""
        self._reads_cart = any(machine.reads_cart for machine in self._machines)
        self._context = EvalContext(Profile("", False), None, 0)

    # -- events

    def begin(self, profile: Profile, event: Event, active: bool, outputs: list[Output]) -> None:
        """Enter every track after the customer's first event."""
        self._prepare(profile)
        for track in range(self._track_count):
            initial = self._machines[track].initial
            self._enter(profile, track, initial, event.at, _caused_by(event, initial), outputs)
        self._move(profile, event, active, True, 0, outputs)

    def _prepare(self, profile: Profile) -> None:
        """Put a new profile under this playbook, in no stage yet."""
        profile.playbook_version, profile.playbook_tag = self._version, self._tag
        if self._track_count > 1:
            profile.tracks = [TrackState(machine.name) for machine in self._machines[1:]]

    def after_event(self, profile: Profile, event: Event, active: bool, outputs: list[Output]) -> None:
        """Make the transitions that follow from an event that is not the customer's first."""
        context, affects_next_change = self._context, False
        context.profile, context.event, context.active = profile, event, active
        for track in range(self._track_count):
            machine, stage = self._machines[track], _stage(profile, track)
            context.at = max(profile.last_seen_at, _entered_at(profile, track))
            if machine.next_after_event(context, stage, event) is not None:
                self._move(profile, event, active, False, 0, outputs)
                return
            affects_next_change = affects_next_change or machine.affects_next_change(stage, event)
        if affects_next_change:
            # Rules that the event does not affect change no sooner than `rules_due`: often only the affected ones are
            # computed.
            due, at = profile.rules_due, profile.last_seen_at
            affected = self._next_change_at(profile, at, event)
            if due is None or (affected is not None and affected <= due):
                profile.rules_due = affected
            else:
                profile.rules_due = self._next_change_at(profile, at)

    def after_merge(
        self,
        profile: Profile,
        active: bool,
        orders: int,
        renewals: int,
        at: int,
        cause: Cause,
        outputs: list[Output],
    ) -> None:
        """Make the transitions that the rules lead to after another profile was merged into this one at `at`.

        A new profile enters every track. `active`: the other profile had activity after all that was known of the
        customer. `orders`, `renewals`: how many orders and renewals it had completed after the last known order, or
        since the stage was entered.
        """
        if profile.stage is None:
            self._prepare(profile)
            for track in range(self._track_count):
                self._enter(profile, track, self._machines[track].initial, at, cause, outputs)
        else:
            profile.orders_in_stage += orders
            profile.renewals_in_stage += renewals
            for state in profile.tracks or ():
                state.orders_in_stage += orders
                state.renewals_in_stage += renewals
        self._move(profile, None, active, True, at, outputs, cause)

    # -- deadlines

    def due(self, profile: Profile) -> int | None:
        """Return the earliest time (ms) in any track of a timeout transition, or at which time alone may change a rule.

        None: never. Called after every event.
        """
        context = self._context
        context.profile, context.event, context.active, context.at = profile, None, False, profile.last_seen_at
        earliest = self._lifecycle.timeout_due(context, profile.stage)
        if self._timed:
            at = profile.rules_due
            if at is not None and (earliest is None or at < earliest):
                earliest = at
        for track in range(1, self._track_count):
            at = self._machines[track].timeout_due(context, _stage(profile, track))
            if at is not None and (earliest is None or at < earliest):
                earliest = at
        return earliest

    def fire(self, profile: Profile, due: int, outputs: list[Output]) -> None:
        """Make the timeout transitions that are due at `due`, in the order of the tracks; then try the rules.

        `due` is the time that method `due` returns.
        """
        context = self._context
        context.profile, context.event, context.active = profile, None, False
        context.at = max(due, profile.last_seen_at)
        for track in range(self._track_count):
            timeout = self._machines[track].timeout_transition(context, _stage(profile, track), due)
            if timeout is not None:
                cause = Cause(kind="inactivity", rule=timeout.target, deadline=due)
                self._enter(profile, track, timeout.target, context.at, cause, outputs)
        self._move(profile, None, False, True, due, outputs)

    def cart_expired(self, profile: Profile, due: int, outputs: list[Output]) -> None:
        """Try the rules again, if any reads the cart, after a deadline emptied it."""
        if self._reads_cart:
            self._move(profile, None, False, True, due, outputs)

    def end(self, profile: Profile, at: int, cause: Cause, outputs: list[Output]) -> None:
        """Leave every track: afterwards the profile is in no stage."""
        for track in range(self._track_count):
            self._enter(profile, track, None, at, cause, outputs)
        profile.tracks = None
        profile.rules_due = None

    # -- a changed playbook

    def has_other_playbook(self, profile: Profile) -> bool:
        """Return True if the profile was last processed under another playbook: it must adopt this one first."""
        return profile.playbook_tag != self._tag

    def adopt_playbook(self, profile: Profile, at: int, outputs: list[Output]) -> None:
        """Move the profile to the stages of this playbook, with an output for each change.

        Renamed stages get their new names. If a customer's stage is gone, or the track is new, the rules decide where
        the customer belongs now, from the initial stage on. Tracks that are gone are left.
        """
        maps = [self._renamed[v] for v in sorted(self._renamed) if profile.playbook_version < v <= self._version]
        profile.playbook_version, profile.playbook_tag = self._version, self._tag
        at = max(at, profile.last_seen_at)
        known = {state.track: state for state in profile.tracks or ()}
        states = [known.pop(machine.name, TrackState(machine.name)) for machine in self._machines[1:]]
        for gone in known.values():
            if gone.stage is not None:
                gone.sequence += 1
                self._emit(
                    profile, gone.track, gone.stage, None, max(at, gone.entered_at), gone.sequence, gone.cycle,
                    Cause(kind="playbook"), max(at, gone.entered_at) - gone.entered_at, outputs,
                )  # fmt: skip
        profile.tracks = states or None
        for track in range(self._track_count):
            machine = self._machines[track]
            stage = left = _stage(profile, track)
            for of_version in maps:
                if stage is not None:
                    stage = of_version.get(machine.name, {}).get(stage, stage)
            if stage is not None and machine.knows(stage):
                if stage != left:
                    self._rename(profile, track, stage, at, outputs)
            else:
                self._place(profile, track, at, outputs)
        self._move(profile, None, False, True, at, outputs, Cause(kind="playbook"))

    def _rename(self, profile: Profile, track: int, stage: str, at: int, outputs: list[Output]) -> None:
        """Give the present stage another name. The time at which it was entered and its orders stay."""
        entered_at, orders = _entered_at(profile, track), _orders_in_stage(profile, track)
        renewals = _renewals_in_stage(profile, track)
        self._enter(profile, track, stage, at, Cause(kind="playbook", rule=stage), outputs)
        if track == 0:
            profile.entered_at, profile.orders_in_stage, profile.renewals_in_stage = entered_at, orders, renewals
        else:
            state = _state(profile, track)
            state.entered_at, state.orders_in_stage, state.renewals_in_stage = entered_at, orders, renewals

    def _place(self, profile: Profile, track: int, at: int, outputs: list[Output]) -> None:
        """Enter the stage that the rules lead to from the initial stage, as one change."""
        machine, context = self._machines[track], self._context
        context.profile, context.event, context.active, context.at = profile, None, False, at
        left, stage = _stage(profile, track), machine.initial
        entered: tuple[str, ...] = (stage,)
        while True:
            _set_stage(profile, track, stage)
            row = machine.next(context, stage, entered)
            if row is None:
                break
            stage = row.target
            entered = (*entered, stage)
        _set_stage(profile, track, left)
        self._enter(profile, track, stage, at, Cause(kind="playbook", rule=stage), outputs)

    # -- inside

    def _move(
        self,
        profile: Profile,
        event: Event | None,
        active: bool,
        all_rules: bool,
        due: int,
        outputs: list[Output],
        cause: Cause | None = None,
    ) -> None:
        """Try the rules of each track from the top until none applies; then update the time at which one may change.

        `all_rules`: try all at first, not only those that the event can affect. Without an event, `due` is the deadline
        (ms).
        """
        context = self._context
        context.profile, context.event, context.active = profile, event, active
        at = profile.last_seen_at if event is not None else max(due, profile.last_seen_at)
        entered: list[tuple[str, ...]] = [()] * self._track_count
        again = True
        while again:
            again = False
            for track in range(self._track_count):
                machine, stage = self._machines[track], _stage(profile, track)
                context.at = max(at, _entered_at(profile, track))
                if all_rules or event is None:
                    row = machine.next(context, stage, entered[track])
                else:
                    row = machine.next_after_event(context, stage, event)
                while row is not None:
                    target = row.target
                    entered[track] = (*entered[track], target)
                    if row.starts_cycle:
                        _start_cycle(profile, track)
                    if event is not None:
                        self._enter(profile, track, target, event.at, _caused_by(event, target), outputs)
                    else:
                        if cause is None:
                            reason = Cause(kind="inactivity", rule=target, deadline=due)
                        elif cause.merged is not None:
                            reason = replace(cause, rule=target)
                        else:
                            reason = cause
                        self._enter(profile, track, target, at, reason, outputs)
                    context.at = max(at, _entered_at(profile, track))
                    # A rule of any track may read the stage of this one.
                    all_rules, again = True, self._track_count > 1
                    row = machine.next(context, target, entered[track])
        if self._timed:
            profile.rules_due = self._next_change_at(profile, at)

    def _next_change_at(self, profile: Profile, at: int, event: Event | None = None) -> int | None:
        """Return the time (ms) after `at` at which time alone next changes a rule; None: never.

        With an event: only of the rules that it affects. The result stays right until an event affects a rule that time
        changes (`StateMachine.affects_next_change`), or a transition is made. `_context` must be of the profile.
        """
        context = self._context
        earliest: int | None = None
        for track in range(self._track_count):
            context.at = max(at, _entered_at(profile, track))
            changes = self._machines[track].next_change_at(context, _stage(profile, track), event)
            if changes is not None and (earliest is None or changes < earliest):
                earliest = changes
        return earliest

    def _enter(
        self, profile: Profile, track: int, stage: str | None, at: int, cause: Cause, outputs: list[Output]
    ) -> None:
        if track == 0:
            left, left_at = profile.stage, profile.entered_at
            if left is not None and at < left_at:
                at = left_at
            profile.sequence += 1
            profile.stage, profile.entered_at, profile.orders_in_stage, profile.renewals_in_stage = stage, at, 0, 0
            sequence, cycle = profile.sequence, profile.cycle
        else:
            state = _state(profile, track)
            left, left_at = state.stage, state.entered_at
            if left is not None and at < left_at:
                at = left_at
            state.sequence += 1
            state.stage, state.entered_at, state.orders_in_stage, state.renewals_in_stage = stage, at, 0, 0
            sequence, cycle = state.sequence, state.cycle
        if self._plan is not None:
            aggregates.reset_stage_counts(profile, self._plan, self._machines[track].name)
        lasted = None if left is None else at - left_at
        self._emit(profile, self._machines[track].name, left, stage, at, sequence, cycle, cause, lasted, outputs)

    def _emit(
        self, profile: Profile, track: str, left: str | None, stage: str | None, at: int, sequence: int, cycle: int,
        cause: Cause, lasted: int | None, outputs: list[Output],
    ) -> None:  # fmt: skip
        outputs.append(
            StageChange(
                id=ids.stage_change_id(
                    self._namespace, profile.identified, profile.customer, track, sequence, stage, at
                ),
                customer=profile.customer,
                identified=profile.identified,
                subscribed=profile.subscribed,
                track=track,
                from_stage=left,
                to_stage=stage,
                occurred_at=at,
                sequence=sequence,
                cycle=cycle,
                cause=cause,
                previous_stage_ms=lasted,
                profile=summary(profile, self._currency),
            )
        )


def _caused_by(event: Event, stage: str) -> Cause:
    return Cause(kind="activity", rule=stage, event_id=event.event_id, event_type=event.type)


# -- a customer's state in a track, which is given by its number in the playbook


def _state(profile: Profile, track: int) -> TrackState:
    assert profile.tracks is not None
    return profile.tracks[track - 1]


def _stage(profile: Profile, track: int) -> str | None:
    return profile.stage if track == 0 else _state(profile, track).stage


def _set_stage(profile: Profile, track: int, stage: str | None) -> None:
    if track == 0:
        profile.stage = stage
    else:
        _state(profile, track).stage = stage


def _entered_at(profile: Profile, track: int) -> int:
    return profile.entered_at if track == 0 else _state(profile, track).entered_at


def _orders_in_stage(profile: Profile, track: int) -> int:
    return profile.orders_in_stage if track == 0 else _state(profile, track).orders_in_stage


def _renewals_in_stage(profile: Profile, track: int) -> int:
    return profile.renewals_in_stage if track == 0 else _state(profile, track).renewals_in_stage


def _start_cycle(profile: Profile, track: int) -> None:
    if track == 0:
        profile.cycle += 1
    else:
        _state(profile, track).cycle += 1
