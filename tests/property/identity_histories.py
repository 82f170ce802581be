"""Histories of customers on several devices, with links and carts, each record on any partition."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st

from streams.core.model.event import Event
from streams.core.model.policy import DAY, MINUTE, SECOND, Policy
from tests.support.partition_network import record

START = 1_763_719_200_000
POLICY = Policy(event_ids=0)  # no event is dropped as a duplicate
Placed = tuple[int, Event]
"""The partition of a record (modulo the number of partitions), and the record."""
DEVICES, CUSTOMERS, CARTS = ("d-1", "d-2", "d-3", "d-4"), ("c-1", "c-2", "c-3"), ("k-1", "k-2", "k-3")


@st.composite
def histories(draw: st.DrawFn) -> list[Placed]:
    """Return records on any partitions, in time order, no two at the same time."""
    placed: list[Placed] = []
    at = START - 2 * DAY
    gaps = st.sampled_from((1, SECOND, MINUTE, 20 * MINUTE, 45 * MINUTE))
    for _ in range(draw(st.integers(1, 40))):
        at += draw(gaps)
        type_ = draw(st.sampled_from(("product_viewed", "product_added", "checkout_started", "order_completed")))
        device = draw(st.sampled_from(DEVICES))
        customer = draw(st.sampled_from((*CUSTOMERS, None, None, None)))
        if customer and draw(st.booleans()):
            device = None  # type: ignore[assignment]
        fields: dict[str, Any] = {}
        if draw(st.booleans()):
            fields[draw(st.sampled_from(("cart_id", "checkout_id")))] = draw(st.sampled_from(CARTS))
        fields["product_id"] = draw(st.sampled_from(("p", "q")))
        placed.append((draw(st.integers(0, 3)), record(at, type_, customer, device, **fields)))
    return placed


def busy(seed: int, events: int = 120) -> list[Placed]:
    """Return a history with many links, carts and orders."""
    rng, at, placed = random.Random(seed), START - 2 * DAY, list[Placed]()
    for _ in range(events):
        at += rng.choice((SECOND, MINUTE, 10 * MINUTE))
        customer = rng.choice((*(f"c-{n}" for n in range(6)), *[None] * 12))
        device = f"d-{rng.randrange(10)}" if customer is None or rng.random() < 0.3 else None
        type_ = rng.choice(("product_viewed", "product_added", "order_completed" if customer else "page_viewed"))
        fields: dict[str, Any] = {"product_id": rng.choice("pqrs")}
        if rng.random() < 0.5:
            fields["cart_id"] = f"k-{rng.randrange(6)}"
        placed.append((rng.randrange(4), record(at, type_, customer, device, **fields)))
    return placed


def customer_and_device(one: Event) -> tuple[str | None, str | None]:
    """Return the customer and the device of a record."""
    return (one.customer, one.other) if one.identified else (None, one.customer)


def fields_of(one: Event) -> dict[str, Any]:
    """Return the cart, checkout and product of a record."""
    return {"cart_id": one.cart_id, "checkout_id": one.checkout_id, "product_id": one.product_id}
