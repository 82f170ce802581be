"""Make JSON events of a shop: single ones, and a few days of a shop with many customers."""

from __future__ import annotations

import random
import time
from typing import Any

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def now() -> int:
    return time.time_ns() // 1_000_000


def click(customer: str, at: int, type: str = "page_viewed", **fields: Any) -> dict[str, Any]:
    return {"event_id": f"{customer}-{at}-{type}", "type": type, "occurred_at": at, "customer_id": customer, **fields}


def order(customer: str, at: int, order_id: str, type: str = "order_completed", **fields: Any) -> dict[str, Any]:
    return click(customer, at, type, order_id=order_id, **fields)


def shop(seed: int, customers: int, events: int, end: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the clicks and the orders of a shop in the three days before `end`, each in time order."""
    rng = random.Random(seed)
    times = sorted(rng.randrange(end - 3 * DAY, end) for _ in range(events))
    clicks, orders = [], []
    types = ["page_viewed"] * 4 + ["product_viewed"] * 5 + ["product_added"] * 2 + ["checkout_started", "cart_emptied"]
    for n, at in enumerate(times):
        customer = f"c-{int(rng.paretovariate(1.1)) % customers}"
        if rng.random() < 0.07:
            orders.append(order(customer, at, f"o-{n}", total="12.50", currency="EUR"))
        else:
            product = f"p-{rng.randrange(8)}"
            clicks.append(click(customer, at, rng.choice(types), product_id=product, price="9.99", currency="EUR"))
    return clicks, orders


def half_known(seed: int, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the same events in time order, but with customers who are not always identified, as in most shops.

    Each customer has two devices, and some customers share one. A click names the customer, the device, or both. An
    order names its customer, its device or the cart that was filled on one, or only some of these.
    """
    rng = random.Random(seed)
    customers = sorted({event["customer_id"] for event in events})
    shared = {customer: f"d-shared-{n // 3}" for n, customer in enumerate(customers) if n % 3 < 2}
    carts: dict[str, str] = {}
    found = []
    for event in events:
        customer = event["customer_id"]
        device = f"d-{customer}-{rng.randrange(2)}"
        if customer in shared and rng.random() < 0.3:
            device = shared[customer]
        known = rng.random()
        half = {**event, "anonymous_id": device}
        if "order_id" not in event:
            if known < 0.5:
                del half["customer_id"]
                if event["type"] in ("product_added", "checkout_started"):
                    carts[customer] = half["cart_id"] = f"k-{device}-{event['occurred_at'] // DAY}"
            elif known < 0.8:
                del half["anonymous_id"]
        elif known < 0.6:
            del half["anonymous_id"]
            if customer in carts:
                half["cart_id"] = carts[customer]
        elif known < 0.7:
            del half["customer_id"]
        found.append(half)
    return found


def in_order(*sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all events in time order."""
    return sorted((event for events in sources for event in events), key=lambda event: event["occurred_at"])
