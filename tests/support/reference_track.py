"""The reference for the track of the default playbook: its rows in their order, with rules written as Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from streams.core.model.policy import DAY
from streams.core.profile.profile import Profile

INITIAL = "visitor"


class Row(NamedTuple):
    """A transition. `when` gets the profile after an event, and True if that event was activity."""

    sources: tuple[str, ...]
    target: str
    when: Callable[[Profile, bool], bool]
    starts_cycle: bool = False


class TimeoutRow(NamedTuple):
    """A timeout transition. `due` returns the time of the deadline in ms, or None."""

    sources: tuple[str, ...]
    target: str
    due: Callable[[Profile], int | None]


def interested(p: Profile, active: bool) -> bool:
    return bool(p.signed_up or p.subscribed or p.product_views >= 3 or p.cart.now.lines or p.checkouts)


def after_last_order(duration: int) -> Callable[[Profile], int | None]:
    return lambda p: None if p.last_order_at is None else p.last_order_at + duration


def after_activity_or_entry(duration: int) -> Callable[[Profile], int | None]:
    def due(p: Profile) -> int:
        return max(p.entered_at, p.entered_at if p.last_activity_at is None else p.last_activity_at) + duration

    return due


TRANSITIONS = (
    Row(("visitor", "prospect", "dormant"), "customer", lambda p, active: p.orders >= 1),
    Row(("customer",), "repeat", lambda p, active: p.orders >= 2),
    Row(("reactivated",), "loyal", lambda p, active: p.orders_in_stage >= 1 and p.orders >= 5),
    Row(("reactivated",), "repeat", lambda p, active: p.orders_in_stage >= 1),
    Row(("repeat",), "loyal", lambda p, active: p.orders >= 5),
    Row(("loyal",), "advocate", lambda p, active: p.reviews + p.referrals >= 1),
    Row(("at_risk",), "reactivated", lambda p, active: p.orders_in_stage >= 1),
    Row(("lapsed",), "reactivated", lambda p, active: p.orders_in_stage >= 1, starts_cycle=True),
    Row(("at_risk", "lapsed"), "repeat", lambda p, active: p.renewals_in_stage >= 1),
    Row(
        ("customer", "repeat", "loyal", "advocate", "reactivated", "at_risk", "lapsed"),
        "prospect",
        lambda p, active: p.orders == 0,
    ),
    Row(("visitor",), "prospect", interested),
    Row(("dormant",), "prospect", lambda p, active: active),
)

TIMEOUT_TRANSITIONS = (
    TimeoutRow(("visitor", "prospect"), "dormant", after_activity_or_entry(30 * DAY)),
    TimeoutRow(("customer", "repeat", "loyal", "advocate", "reactivated"), "at_risk", after_last_order(90 * DAY)),
    TimeoutRow(("at_risk",), "lapsed", after_last_order(180 * DAY)),
)
