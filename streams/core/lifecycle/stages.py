"""The tracks of one customer: entering stages by events, by deadlines, by time alone, and under a changed playbook.

Called by `customer.Lifecycle` only. The first track, the lifecycle, has its place in attributes of the profile, since
every event asks for them; further ones are in `Profile.tracks`, in the playbook's order.
"""

from __future__ import annotations

import uuid
from typing import Final

from msgspec.structs import replace

from streams.core.lifecycle import aggregates
from streams.core.lifecycle.abandonment import value
from streams.core.lifecycle.cart import as_items
from streams.core.lifecycle.playbook import Playbook
from streams.core.lifecycle.rule_index import StateMachine
from streams.core.model import ids
from streams.core.model.event import Event
from streams.core.model.outputs import Cause, Output, StageChange, Summary
from streams.core.model.tracks import TrackState
from streams.core.profile.profile import Profile
from streams.core.rules.eval_context import EvalContext

BYTES_PER_TRACK: Final = 200
"""What the place in a further track takes of a packed profile."""


class Stages:
    """Moves customers through the tracks of a playbook; holds nothing of any customer."""

    def __init__(self, playbook: Playbook, namespace: uuid.UUID) -> None:
        self._policy = playbook.policy
        self._currency = playbook.policy.currency
        self._plan = playbook.plan
        self._namespace = namespace
        self._version = playbook.version
        self._tag = playbook.tag
        self._renamed = playbook.renamed
        self._machines = [StateMachine(track, playbook.cart) for track in playbook.tracks]
        self._lifecycle = self._machines[0]
        self._number = len(self._machines)
        self._timed = any(machine.timed for machine in self._machines)
        self.has_deadlines = self._timed or any(machine.lapses for machine in self._machines)
        """Whether `due` is ever anything but None."""
        self._reads_cart = any(machine.reads_cart for machine in self._machines)
        self._moment = EvalContext(Profile("", False), None, 0)

    # -- events

    def begin(self, profile: Profile, event: Event, active: bool, outputs: list[Output]) -> None:
        """The customer's first event was applied: every track is entered."""
        self._prepare(profile)
        for track in range(self._number):
            initial = self._machines[track].initial
            self._enter(profile, track, initial, event.at, _by(event, initial), outputs)
        self._move(profile, event, active, True, 0, outputs)

    def _prepare(self, profile: Profile) -> None:
        """The profile is new: it is worked on under this playbook."""
        profile.playbook_version, profile.playbook_tag = self._version, self._tag
        if self._number > 1:
            profile.tracks = [TrackState(machine.name) for machine in self._machines[1:]]

    def after_event(self, profile: Profile, event: Event, active: bool, outputs: list[Output]) -> None:
        """An event was applied, not the customer's first."""
        m, moves_time = self._moment, False
        m.profile, m.event, m.active = profile, event, active
        for track in range(self._number):
            machine, stage = self._machines[track], _stage(profile, track)
            m.at = max(profile.last_seen_at, _entered_at(profile, track))
            if machine.moved(m, stage, event) is not None:
                self._move(profile, event, active, False, 0, outputs)
                return
            moves_time = moves_time or machine.next_change_by_time(stage, event)
        if moves_time:
            # Rules that the event does not touch change no sooner than `rules_due` says: often the others are enough.
            due, at = profile.rules_due, profile.last_seen_at
            moved = self._changes_at(profile, at, event)
            if due is None or (moved is not None and moved <= due):
                profile.rules_due = moved
            else:
                profile.rules_due = self._changes_at(profile, at)

    def after_merge(
        self, profile: Profile, active: bool, orders: int, at: int, cause: Cause, outputs: list[Output]
    ) -> None:
        """Another profile was merged into this one at `at`: its customer is where the rules lead now.

        A profile that is new enters every track. `active`: it was active after all that was known of the customer;
        `orders`: how many it had that were news.
        """
        if profile.stage is None:
            self._prepare(profile)
            for track in range(self._number):
                self._enter(profile, track, self._machines[track].initial, at, cause, outputs)
        else:
            profile.orders_in_stage += orders
            for state in profile.tracks or ():
                state.orders_in_stage += orders
        self._move(profile, None, active, True, at, outputs, cause)

    # -- deadlines

    def due(self, profile: Profile) -> int | None:
        """When the earliest deadline of any track is due, ms, or time alone may change a rule; None: never."""
        m = self._moment
        m.profile, m.event, m.active, m.at = profile, None, False, profile.last_seen_at
        earliest = self._lifecycle.timeout_due(m, profile.stage, self._policy)
        if self._timed:
            at = profile.rules_due
            if at is not None and (earliest is None or at < earliest):
                earliest = at
        for track in range(1, self._number):
            at = self._machines[track].timeout_due(m, _stage(profile, track), self._policy)
            if at is not None and (earliest is None or at < earliest):
                earliest = at
        return earliest

    def fire(self, profile: Profile, due: int, outputs: list[Output]) -> bool:
        """Do what is due then, in every track in their order; whether anything was."""
        m = self._moment
        m.profile, m.event, m.active, m.at = profile, None, False, max(due, profile.last_seen_at)
        fired = self._timed and profile.rules_due == due
        for track in range(self._number):
            lapse = self._machines[track].timeout_transition(m, _stage(profile, track), self._policy, due)
            if lapse is not None:
                cause = Cause(kind="inactivity", rule=lapse.target, deadline=due)
                self._enter(profile, track, lapse.target, m.at, cause, outputs)
                fired = True
        if fired:
            self._move(profile, None, False, True, due, outputs)
        return fired

    def cart_expired(self, profile: Profile, due: int, outputs: list[Output]) -> None:
        """The cart was emptied by a deadline: try the rules again if any reads it."""
        if self._reads_cart:
            self._move(profile, None, False, True, due, outputs)

    def end(self, profile: Profile, at: int, cause: Cause, outputs: list[Output]) -> None:
        """Leave every track."""
        for track in range(self._number):
            self._enter(profile, track, None, at, cause, outputs)
        profile.tracks = None
        profile.rules_due = None

    # -- a changed playbook

    def has_other_playbook(self, profile: Profile) -> bool:
        """Whether the profile was last worked on under another playbook: then it is to be taken over."""
        return profile.playbook_tag != self._tag

    def adopt_playbook(self, profile: Profile, at: int, outputs: list[Output]) -> None:
        """Bring the profile's stages to this playbook, and tell each change.

        Renamed stages get their new names. Where a customer's stage is gone, or the track is new, the rules tell from
        the initial stage on where they belong now. Tracks that are gone are left.
        """
        maps = [self._renamed[v] for v in sorted(self._renamed) if profile.playbook_version < v <= self._version]
        profile.playbook_version, profile.playbook_tag = self._version, self._tag
        at = max(at, profile.last_seen_at)
        known = {state.track: state for state in profile.tracks or ()}
        states = [known.pop(machine.name, TrackState(machine.name)) for machine in self._machines[1:]]
        for gone in known.values():
            if gone.stage is not None:
                gone.sequence += 1
                self._tell(
                    profile, gone.track, gone.stage, None, max(at, gone.entered_at), gone.sequence, gone.cycle,
                    Cause(kind="playbook"), max(at, gone.entered_at) - gone.entered_at, outputs,
                )  # fmt: skip
        profile.tracks = states or None
        for track in range(self._number):
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
        """The same stage by another name: entered when it was."""
        entered_at, in_stage = _entered_at(profile, track), _orders_in_stage(profile, track)
        self._enter(profile, track, stage, at, Cause(kind="playbook", rule=stage), outputs)
        if track == 0:
            profile.entered_at, profile.orders_in_stage = entered_at, in_stage
        else:
            state = _state(profile, track)
            state.entered_at, state.orders_in_stage = entered_at, in_stage

    def _place(self, profile: Profile, track: int, at: int, outputs: list[Output]) -> None:
        """Where the rules lead from the initial stage, as one change."""
        machine, m = self._machines[track], self._moment
        m.profile, m.event, m.active, m.at = profile, None, False, at
        left, stage = _stage(profile, track), machine.initial
        entered: tuple[str, ...] = (stage,)
        while True:
            _set_stage(profile, track, stage)
            row = machine.next(m, stage, entered)
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
        everything: bool,
        due: int,
        outputs: list[Output],
        cause: Cause | None = None,
    ) -> None:
        """Try the rules of each track from the top, until nothing applies in any; then, when time may change one.

        `everything`: not only those that the event can move. Without an event, `due` is the deadline (ms).
        """
        m = self._moment
        m.profile, m.event, m.active = profile, event, active
        at = profile.last_seen_at if event is not None else max(due, profile.last_seen_at)
        entered: list[tuple[str, ...]] = [()] * self._number
        again = True
        while again:
            again = False
            for track in range(self._number):
                machine, stage = self._machines[track], _stage(profile, track)
                m.at = max(at, _entered_at(profile, track))
                if everything or event is None:
                    row = machine.next(m, stage, entered[track])
                else:
                    row = machine.moved(m, stage, event)
                while row is not None:
                    target = row.target
                    entered[track] = (*entered[track], target)
                    if row.starts_cycle:
                        _start_cycle(profile, track)
                    if event is not None:
                        self._enter(profile, track, target, event.at, _by(event, target), outputs)
                    else:
                        if cause is None:
                            why = Cause(kind="inactivity", rule=target, deadline=due)
                        elif cause.merged is not None:
                            why = replace(cause, rule=target)
                        else:
                            why = cause
                        self._enter(profile, track, target, at, why, outputs)
                    m.at = max(at, _entered_at(profile, track))
                    # A rule of any track may read the stage of this one.
                    everything, again = True, self._number > 1
                    row = machine.next(m, target, entered[track])
        if self._timed:
            profile.rules_due = self._changes_at(profile, at)

    def _changes_at(self, profile: Profile, at: int, event: Event | None = None) -> int | None:
        """When time alone next changes a rule (with an event: one that it touches), as of `at`, ms; None: never.

        It stays true until an event touches a rule that time changes (`Machine.moves_time`), or somebody moves.
        `_moment` is of the profile.
        """
        m = self._moment
        earliest: int | None = None
        for track in range(self._number):
            m.at = max(at, _entered_at(profile, track))
            changes = self._machines[track].next_change_at(m, _stage(profile, track), event)
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
            profile.stage, profile.entered_at, profile.orders_in_stage = stage, at, 0
            sequence, cycle = profile.sequence, profile.cycle
        else:
            state = _state(profile, track)
            left, left_at = state.stage, state.entered_at
            if left is not None and at < left_at:
                at = left_at
            state.sequence += 1
            state.stage, state.entered_at, state.orders_in_stage = stage, at, 0
            sequence, cycle = state.sequence, state.cycle
        if self._plan is not None:
            aggregates.entered(profile, self._plan, self._machines[track].name)
        lasted = None if left is None else at - left_at
        self._tell(profile, self._machines[track].name, left, stage, at, sequence, cycle, cause, lasted, outputs)

    def _tell(
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


def summary(profile: Profile, currency: str) -> Summary:
    """The customer as of now; `currency` is the one of who has none yet."""
    lines = profile.cart.now.lines
    currency = profile.currency or currency
    cart_value, cart_currency = value(as_items(lines), currency)
    revenue, of = profile.revenue, profile.orders - profile.other_currency_orders
    return Summary(
        first_seen_at=profile.first_seen_at,
        last_seen_at=profile.last_seen_at,
        sessions=profile.sessions.count,
        product_views=profile.product_views,
        orders=profile.orders,
        revenue=revenue,
        currency=currency,
        average_order_value=(2 * revenue + of) // (2 * of) if of else None,  # half up
        cart_items=sum(line.quantity for line in lines.values()),
        cart_value=cart_value if cart_currency == currency else None,  # the summary names one currency
    )


def _by(event: Event, stage: str) -> Cause:
    return Cause(kind="activity", rule=stage, event_id=event.event_id, event_type=event.type)


# -- a customer's place in a track, by its number in the playbook


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


def _start_cycle(profile: Profile, track: int) -> None:
    if track == 0:
        profile.cycle += 1
    else:
        _state(profile, track).cycle += 1
