"""Tracks: state machines as tables. The default one, `lifecycle`, literally, and how any of them is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from streams.core.model.policy import Policy
from streams.core.profile.profile import Profile
from streams.core.rules.compiler import CompiledRule
from streams.core.rules.eval_context import EvalContext

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
    """One of `sources` becomes `target` when the condition holds: a rule of a playbook, or Python written by hand.

    Tried from the top, after each event and when time alone changes a rule (`dispatch` says which are asked).
    """

    def __init__(
        self, sources: tuple[str, ...], target: str, when: Condition | CompiledRule, *, starts_cycle: bool = False
    ) -> None:
        self.sources = sources
        self.target = target
        self.rule = when if isinstance(when, CompiledRule) else None
        self.condition = None if isinstance(when, CompiledRule) else when
        self.starts_cycle = starts_cycle

    def holds(self, m: EvalContext) -> bool:
        """Whether it applies."""
        if self.rule is not None:
            return self.rule.test(m)
        assert self.condition is not None
        return self.condition(m.profile, m.active)


class TimeoutTransition:
    """One of `sources` becomes `target` at a deadline: `after` ms since what a rule tells, or as `due` says."""

    def __init__(self, sources: tuple[str, ...], target: str, due: Due | CompiledRule, after: int = 0) -> None:
        self.sources = sources
        self.target = target
        self.since = due if isinstance(due, CompiledRule) else None
        self.after = after
        self.written = None if isinstance(due, CompiledRule) else due

    def due(self, m: EvalContext, policy: Policy) -> int | None:
        """When it is due, ms; None while what it counts from never was."""
        if self.since is not None:
            since = self.since.time(m)
            return None if since is None else since + self.after
        assert self.written is not None
        return self.written(m.profile, policy)


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

TIMEOUT_TRANSITIONS: Final = (
    TimeoutTransition(("visitor", "prospect"), "dormant", idle),
    TimeoutTransition(("customer", "repeat", "loyal", "advocate", "reactivated"), "at_risk", long_without_order),
    TimeoutTransition(("at_risk",), "lapsed", very_long_without_order),
)


class Track:
    """A state machine as tables: the stage a new profile enters, what conditions and what deadlines lead to."""

    def __init__(
        self, name: str, initial: str, transitions: tuple[Transition, ...], lapses: tuple[TimeoutTransition, ...] = ()
    ) -> None:
        self.name = name
        self.initial = initial
        self.transitions = transitions
        self.timeout_transitions = lapses
        targets = [initial, *(row.target for row in transitions), *(row.target for row in lapses)]
        self.stages = tuple(dict.fromkeys(targets))


LIFECYCLE: Final = Track("lifecycle", "visitor", TRANSITIONS, TIMEOUT_TRANSITIONS)
