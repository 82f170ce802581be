"""A shop's events, what a replay makes of them, and waiting for workers that have done with them."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
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
    """A few days of a shop, in time order: clicks and orders."""
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
    """The same events, in time order, as most shops see them: customers have two devices each, on which they are known
    at times, and some share one. Orders tell their customer, the device, the cart that was filled on one, or less."""
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
    """All events in the order of their times."""
    return sorted((event for events in sources for event in events), key=lambda event: event["occurred_at"])


def replayed(
    directory: Path, clicks: list[dict[str, Any]], orders: list[dict[str, Any]], **settings: str
) -> list[dict[str, Any]]:
    """The outputs that a replay makes, with settings of its own."""
    directory.mkdir()
    for name, events in (("clicks", clicks), ("orders", orders)):
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    subprocess.run(
        [sys.executable, "-m", "streams", "replay", "--clickstream", directory / "clicks.jsonl",
         "--orders", directory / "orders.jsonl", "--out", directory / "out"],
        check=True, capture_output=True,
        env=os.environ | {f"LIFECYCLE_{key.upper()}": value for key, value in settings.items()},
    )  # fmt: skip
    return [
        json.loads(line)
        for name in ("stage-changes", "abandonments", "identities")
        for line in (directory / "out" / f"{name}.jsonl").read_text().splitlines()
    ]


def unlike(
    live: Iterable[dict[str, Any]], expected: Iterable[dict[str, Any]], last: int
) -> list[tuple[str, dict[str, Any]]]:
    """What of the expected outputs is lost, and what should not be there, of all that occurred until then."""
    live, expected = list(live), list(expected)
    right, found = up_to(last, expected), up_to(last, live)
    return [("lost", d) for d in expected if d["id"] in right - found] + [
        ("unexpected", d) for d in live if d["id"] in found - right
    ]


def up_to(at: int, documents: Iterable[dict[str, Any]]) -> set[str]:
    """The ids of what occurred until then."""
    limit = datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {document["id"] for document in documents if document["occurred_at"] <= limit}
