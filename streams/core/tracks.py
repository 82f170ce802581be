"""Tracks: state machines as tables. The default one, `lifecycle`, literally, and how any of them is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from streams.core.policy import Policy
from streams.core.profile import Profile

# -- conditions: of the profile after an event, and of whether that event was activity (not passive)

Condition = Callable[[Profile, bool], bool]


def ordered(p: Profile, active: bool) -> bool:
    return p.orders >= 1


def ordered_twice(p: Profile, active: bool) -> bool:
    return p.orders >= 2


def ordered_five_times(p: Profile, active: bool) -> bool:
    return p.orders >= 5


def ordered_in_stage(p: Profile, active: bool) -> bool:
    return p.orders_in_stage >= 1


def ordered_in_stage_and_five_times(p: Profile, active: bool) -> bool:
    return p.orders_in_stage >= 1 and p.orders >= 5


def recommends(p: Profile, active: bool) -> bool:
    return p.reviews + p.referrals >= 1


def no_order_counts(p: Profile, active: bool) -> bool:
    return p.orders == 0


def interested(p: Profile, active: bool) -> bool:
    return bool(p.signed_up or p.subscribed or p.product_views >= 3 or p.cart.now.lines or p.checkouts)


def is_active(p: Profile, active: bool) -> bool:
    return active


def counted(type_: str, number: int) -> Condition:
    """So many events of that type were applied; the playbook counts them (`Playbook.counted_types`)."""

    def condition(p: Profile, active: bool) -> bool:
        return p.type_counts.get(type_, 0) >= number

    return condition


# -- deadlines: when, ms

Due = Callable[[Profile, Policy], int | None]


def idle(p: Profile, policy: Policy) -> int | None:
    since = p.entered_at if p.last_activity_at is None else max(p.entered_at, p.last_activity_at)
    return since + policy.dormant_after


def long_without_order(p: Profile, policy: Policy) -> int | None:
    return None if p.last_order_at is None else p.last_order_at + policy.at_risk_after


def very_long_without_order(p: Profile, policy: Policy) -> int | None:
    return None if p.last_order_at is None else p.last_order_at + policy.lapsed_after


# -- the table


class Transition:
    """After an event, one of `sources` becomes `target` when the condition holds. Tried from the top."""

    def __init__(self, sources: tuple[str, ...], target: str, when: Condition, *, starts_cycle: bool = False) -> None:
        self.sources = sources
        self.target = target
        self.when = when
        self.starts_cycle = starts_cycle


class Lapse:
    """One of `sources` becomes `target` when the deadline is due."""

    def __init__(self, sources: tuple[str, ...], target: str, due: Due) -> None:
        self.sources = sources
        self.target = target
        self.due = due


TRANSITIONS: Final = (
    Transition(("visitor", "prospect", "dormant"), "customer", ordered),
    Transition(("customer",), "repeat", ordered_twice),
    Transition(("reactivated",), "loyal", ordered_in_stage_and_five_times),
    Transition(("reactivated",), "repeat", ordered_in_stage),
    Transition(("repeat",), "loyal", ordered_five_times),
    Transition(("loyal",), "advocate", recommends),
    Transition(("at_risk",), "reactivated", ordered_in_stage),
    Transition(("lapsed",), "reactivated", ordered_in_stage, starts_cycle=True),
    Transition(
        ("customer", "repeat", "loyal", "advocate", "reactivated", "at_risk", "lapsed"), "prospect", no_order_counts
    ),
    Transition(("visitor",), "prospect", interested),
    Transition(("dormant",), "prospect", is_active),
)

LAPSES: Final = (
    Lapse(("visitor", "prospect"), "dormant", idle),
    Lapse(("customer", "repeat", "loyal", "advocate", "reactivated"), "at_risk", long_without_order),
    Lapse(("at_risk",), "lapsed", very_long_without_order),
)


class Track:
    """A state machine as tables: the stage a new profile enters, what events and what deadlines lead to.

    Transitions are tried from the top. Made once; asked by `customer.Lifecycle` for every event.
    """

    def __init__(
        self, name: str, initial: str, transitions: tuple[Transition, ...], lapses: tuple[Lapse, ...] = ()
    ) -> None:
        self.name = name
        self.initial = initial
        targets = [initial, *(row.target for row in transitions), *(row.target for row in lapses)]
        self.stages = tuple(dict.fromkeys(targets))
        self._transitions = {stage: tuple(row for row in transitions if stage in row.sources) for stage in self.stages}
        self._lapses = {stage: next((row for row in lapses if stage in row.sources), None) for stage in self.stages}

    def next_transition(self, profile: Profile, active: bool, entered: tuple[str, ...]) -> Transition | None:
        """The first transition that applies and does not lead where this event has led already."""
        assert profile.stage is not None
        for row in self._transitions.get(profile.stage, ()):
            if row.when(profile, active) and row.target not in entered:
                return row
        return None

    def lapse(self, stage: str | None) -> Lapse | None:
        """The deadline that a stage has, if any."""
        return None if stage is None else self._lapses.get(stage)

    def lapse_due(self, profile: Profile, policy: Policy) -> int | None:
        """When the stage's deadline is due, ms; None if it has none."""
        lapse = self.lapse(profile.stage)
        return None if lapse is None else lapse.due(profile, policy)


LIFECYCLE: Final = Track("lifecycle", "visitor", TRANSITIONS, LAPSES)
