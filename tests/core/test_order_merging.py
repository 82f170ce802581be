"""The orders of two profiles of one customer, merged: as if one profile had got all events."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from streams.core.lifecycle import order_merging
from streams.core.model.policy import Policy
from streams.core.profile.codec import pack, unpack
from streams.core.profile.profile import Profile
from tests.support.customer_history import HOUR, MINUTE, Event, item, order, run

POLICY = Policy()


def merged(one: Profile, other: Profile) -> dict[str, Any]:
    """Return the orders of the two profiles after `other` was merged into `one`. The profiles stay as they are."""
    profile = unpack(pack(one))
    order_merging.merge(profile, unpack(pack(other)), POLICY, Counter())
    return figures(unpack(pack(profile)))


def figures(profile: Profile) -> dict[str, Any]:
    names = "orders revenue currency other_currency_orders last_order_at order_book order_notes"
    return {name: getattr(profile, name) for name in names.split()}


def of(events: list[Event]) -> Profile:
    return run(events).profile or Profile("c-1", True)


@pytest.mark.parametrize(
    "events",
    [
        [order(0), order(HOUR, type_="order_cancelled"), order(2 * HOUR, total=4000)],
        [order(0), order(1, type_="order_refunded"), order(2, type_="order_cancelled"), order(3, total=4000)],
        [order(0), order(1, type_="order_cancelled"), order(2, type_="order_fulfilled")],
        [order(0, store="de"), order(1, type_="order_refunded", total=1000), order(2, "o-2", store="at")],
        [order(0, store="de"), order(1, type_="order_refunded", total=1000, store="fr")],
        [order(0, store="de"), order(1, type_="order_cancelled", store="at"), order(2, store="at", total=7000)],
        [order(0, store="de"), order(1, type_="order_fulfilled", total=1)],
        [order(0, items=(item("A"),)), order(1, type_="order_updated", total=7000), order(HOUR)],
        [order(0, currency="USD"), order(1, type_="order_refunded", total=10_0000, currency="")],
    ],
)
def test_merged_orders_are_those_of_all_events(events: list[Event]) -> None:
    together = figures(of(events))
    for chosen in range(1, 2 ** len(events) - 1):
        parts: tuple[list[Event], list[Event]] = ([], [])
        for n, event in enumerate(events):
            parts[chosen >> n & 1].append(event)
        assert merged(of(parts[0]), of(parts[1])) == together


TYPES = ("order_completed", "order_cancelled", "order_refunded", "order_updated", "order_fulfilled")


@given(st.data())
def test_order_of_the_merge_makes_no_difference(data: st.DataObject) -> None:
    parts: tuple[list[Event], list[Event]] = ([], [])
    for n in range(data.draw(st.integers(1, 9))):
        type_ = data.draw(st.sampled_from(TYPES))
        fields = {
            "store": data.draw(st.sampled_from((None, "de", "at"))),
            "currency": data.draw(st.sampled_from(("EUR", "USD") if type_ == "order_completed" else ("EUR", ""))),
            "total": data.draw(st.sampled_from((None, 1000, 3000))),
        }
        event = order(n * MINUTE, data.draw(st.sampled_from(("o-1", "o-2"))), type_, **fields)
        parts[data.draw(st.integers(0, 1))].append(event)
    for part in parts:
        note([(e.type, e.at, e.order_id, e.store, e.total, e.currency) for e in part])
    one, other = of(parts[0]), of(parts[1])
    assert merged(one, other) == merged(other, one)
