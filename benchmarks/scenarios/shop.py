"""Events in bulk: customers who came once, and days of a shop with sessions, carts, checkouts and orders."""

from __future__ import annotations

import json
import random
from bisect import bisect
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Final, NamedTuple

from benchmarks.job import PARETO, START_MS
from streams.core.model.policy import DAY, SECOND

DAYS: Final = 4
"""Days of a mix: enough for the first steps of a ladder, and for recoveries."""
PAGES: Final = {"page_viewed": 36, "product_viewed": 46, "product_added": 10, "product_removed": 2, "cart_viewed": 6}
"""Shares of event types in a session before its checkout, in percent."""
CHECKOUT: Final = 0.3
"""Share of sessions with an addition to the cart that reach a checkout."""
ORDER: Final = 0.65
"""Share of checkouts that are completed."""


class Event(NamedTuple):
    """One record to produce; an order goes to the orders topic."""

    at: int
    customer: str
    order: bool
    value: bytes


def newcomers(number: int, until: int) -> Iterator[Event]:
    """Yield events of `number` customers who viewed one product each, 50 a millisecond, the last one at `until` (ms).

    They are within minutes: until the browse window is over, none of their deadlines is due.
    """
    for n in range(number):
        at = until - (number - 1 - n) // 50
        yield _event(at, f"c{n}", "product_viewed", f"n{n}", product_id=f"p{n % 2_000}")


def mix(number: int, customers: int, seed: int = 1) -> list[Event]:
    """Return `number` events in time order. A fifth of the customers have four fifths of the sessions."""
    draw = random.Random(seed)
    weights = list(accumulate(draw.paretovariate(PARETO) for _ in range(customers)))
    events: list[Event] = []
    while len(events) < number:
        customer = f"c{bisect(weights, draw.random() * weights[-1])}"
        events += _session(draw, customer, START_MS + draw.randrange(DAYS * DAY))
    return sorted(events[:number])


def _session(draw: random.Random, customer: str, at: int) -> Iterator[Event]:
    kinds = draw.choices(list(PAGES), list(PAGES.values()), k=min(40, round(draw.paretovariate(1.2) * 2)))
    ordered = False
    if "product_added" in kinds and draw.random() < CHECKOUT:
        kinds.append("checkout_started")
        ordered = draw.random() < ORDER
    for kind in kinds:
        about = {"product_id": f"p{draw.randrange(2_000)}"} if kind.startswith("product_") else {}
        yield _event(at, customer, kind, f"{draw.getrandbits(64):016x}", **about)
        at += draw.randrange(2 * SECOND, 90 * SECOND)
    if ordered:
        number = f"{draw.getrandbits(64):016x}"
        yield _event(at, customer, "order_completed", number, order_id=f"o-{number}", total=draw.randrange(1, 300))


def _event(at: int, customer: str, kind: str, number: str, **about: Any) -> Event:
    event = {
        "event_id": number,
        "type": kind,
        "occurred_at": at,
        "customer_id": customer,
        "session_id": f"s{at // DAY}-{customer}",
        **about,
        "category": "category-7",
        "price": 19.99,
        "currency": "EUR",
        "quantity": 1,
    }
    return Event(at, customer, kind == "order_completed", json.dumps(event, separators=(",", ":")).encode())
