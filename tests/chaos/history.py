"""The history of a shop from a seed: sessions that end in orders, in abandoned carts, or in nothing. Events are in time
order, as the services of a shop report them. Orders come minutes after the clicks that led to them, so that a worker
that applies one source without the other invents an abandonment."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from streams.contracts.partitioning import Partitioner
from streams.core.model.event import Source
from tests.support.shop_events import DAY, HOUR, MINUTE, click, order

FRAME = "frame-"
"""The prefix of customers whose events open and close a history. They are not compared."""
SECOND = 1_000


class Event(NamedTuple):
    """An event to be written as a record."""

    at: int
    source: Source
    fields: dict[str, Any]


def history(seed: int, *, customers: int, sessions: int, end: int, span: int = 3 * DAY) -> list[Event]:
    """Return this many sessions in the time before `end`, in time order. One seed gives the same history, moved to
    `end`."""
    rng = random.Random(seed)
    events: list[Event] = []
    for n in range(sessions):
        start = end - rng.randrange(20 * MINUTE, span)
        # Few customers come often: their sessions overlap, with deadlines in between.
        customer = f"c-{min(rng.randrange(customers), rng.randrange(customers))}"
        events += (event for event in _session(rng, n, customer, start) if event.at < end)
    return sorted(events, key=lambda event: event.at)  # a stable sort keeps events of equal times in order


def _session(rng: random.Random, n: int, customer: str, at: int) -> Iterator[Event]:
    cart, bought = f"cart-{n}", []
    for _ in range(rng.randrange(1, 6)):
        at += rng.randrange(SECOND, 5 * MINUTE)
        product: dict[str, Any] = {"product_id": f"p-{rng.randrange(9)}", "price": "9.99", "currency": "EUR"}
        yield Event(at, Source.CLICKSTREAM, click(customer, at, "product_viewed", **product))
        if rng.random() < 0.4:
            at += rng.randrange(SECOND, MINUTE)
            bought.append(product | {"quantity": 1})
            yield Event(at, Source.CLICKSTREAM, click(customer, at, "product_added", cart_id=cart, **product))
    if not bought:
        return
    if rng.random() < 0.6:
        at += rng.randrange(SECOND, 2 * MINUTE)
        yield Event(at, Source.CLICKSTREAM, click(customer, at, "checkout_started", cart_id=cart))
    fate = rng.random()
    if fate < 0.5:  # bought within the windows, or as an answer to a reminder
        at += rng.randrange(SECOND, 25 * MINUTE) if fate < 0.35 else rng.randrange(HOUR, DAY)
        total: dict[str, Any] = {"total": "20.00", "currency": "EUR", "cart_id": cart, "items": bought}
        yield Event(at, Source.ORDERS, order(customer, at, f"o-{n}", **total))
        if fate < 0.05:
            at += rng.randrange(MINUTE, DAY)
            yield Event(at, Source.ORDERS, order(customer, at, f"o-{n}", "order_refunded"))


def parts(events: list[Event], many: int) -> list[list[Event]]:
    """Return all events in order, in this many parts of almost equal size."""
    return [events[n * len(events) // many : (n + 1) * len(events) // many] for n in range(many)]


def frame(name: str, at: int, partitions: int) -> list[Event]:
    """Return an event of each source for each partition, which shows that the source has come to `at`. The last of
    these events wait for the other source, and are not committed."""
    partitioner, customers, n = Partitioner(partitions, "murmur2"), dict[int, str](), 0
    while len(customers) < partitions:
        customer, n = f"{FRAME}{name}-{n}", n + 1
        customers.setdefault(partitioner.partition(customer.encode()), customer)
    return [
        event
        for customer in customers.values()
        for event in (
            Event(at, Source.CLICKSTREAM, click(customer, at, "message_opened")),
            Event(at, Source.ORDERS, order(customer, at, f"o-{customer}", "order_updated", total="1.00")),
        )
    ]
