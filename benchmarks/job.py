"""The common job: its events, and an oracle that computes the expected outputs. Every peer does exactly this job.

Events are JSON of about 220 bytes on one topic of 4 partitions, keyed by customer (Kafka's default partitioner), in
time order per partition. Per customer a job keeps: counts per event type, last seen (a maximum), the cart (product id
to quantity) and the stage. After each event the rules of `RULES` are tried from the top, again and again until none
applies; each change of stage is one JSON output on the output topic, keyed by customer:

    {"customer": "c17", "from": "visitor", "to": "engaged", "at": 1767225600123, "sequence": 2}

`from` is null for the first event's entry into `visitor`; `at` is the event's time, ms; `sequence` counts from 1.

    python -m benchmarks.job --events 200000 --to /tmp/job      # events.jsonl and outputs.jsonl, for other languages
"""

from __future__ import annotations

import argparse
import json
import random
from bisect import bisect
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

PARTITIONS: Final = 4
CUSTOMERS: Final = 20_000
SEED: Final = 20_261_122
START_MS: Final = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""
STEP_MS: Final = 20
PARETO: Final = 1.16
"""Shape of the distribution in which 20 % of the customers have 80 % of the events."""

TYPES: Final = {
    "page_viewed": 40,
    "product_viewed": 38,
    "product_added": 9,
    "product_removed": 3,
    "checkout_started": 5,
    "order_completed": 5,
}
"""Shares, in percent. `product_added` adds `quantity` of `product_id` to the cart, `product_removed` takes the product
out of it, `order_completed` empties it."""

RULES: Final = (
    (("visitor", "engaged", "cart", "checkout"), "customer", "order_completed", 1),
    (("customer",), "repeat", "order_completed", 2),
    (("repeat",), "loyal", "order_completed", 5),
    (("visitor", "engaged", "cart"), "checkout", "checkout_started", 1),
    (("visitor", "engaged"), "cart", "product_added", 1),
    (("visitor",), "engaged", "product_viewed", 3),
)
"""Transitions: from one of these stages, to that stage, when that number of events of that type was counted."""


def events(number: int, customers: int = CUSTOMERS, seed: int = SEED) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of each record, in time order. The first n of a longer run equal a run of n."""
    draw = random.Random(seed)
    weights = list(accumulate(draw.paretovariate(PARETO) for _ in range(customers)))
    total = weights[-1]
    kinds = list(accumulate(TYPES.values()))
    names = list(TYPES)
    for n in range(number):
        customer = f"c{bisect(weights, draw.random() * total)}"
        event = {
            "event_id": f"{draw.getrandbits(64):016x}",
            "type": names[bisect(kinds, draw.random() * kinds[-1])],
            "occurred_at": START_MS + n * STEP_MS,
            "customer_id": customer,
            "session_id": f"s{draw.getrandbits(32):08x}",
            "product_id": f"p{draw.randrange(2_000)}",
            "category": f"category-{draw.randrange(40)}",
            "price": draw.randrange(100, 20_000) / 100,
            "currency": "EUR",
            "quantity": 1,
        }
        yield customer.encode(), json.dumps(event, separators=(",", ":")).encode()


def oracle(records: Iterator[tuple[bytes, bytes]]) -> dict[str, list[dict[str, Any]]]:
    """Return the expected outputs of each customer, in order. Written for clarity, not for speed."""
    state: dict[str, dict[str, Any]] = {}
    outputs: dict[str, list[dict[str, Any]]] = {}
    for _, value in records:
        event = json.loads(value)
        customer, at = event["customer_id"], event["occurred_at"]
        known = state.get(customer)
        if known is None:
            known = state[customer] = {"counts": dict.fromkeys(TYPES, 0), "last_seen": at, "cart": {}, "stage": None}
            outputs[customer] = []
        counts, cart = known["counts"], known["cart"]
        counts[event["type"]] += 1
        known["last_seen"] = max(known["last_seen"], at)
        if event["type"] == "product_added":
            cart[event["product_id"]] = cart.get(event["product_id"], 0) + event["quantity"]
        elif event["type"] == "product_removed":
            cart.pop(event["product_id"], None)
        elif event["type"] == "order_completed":
            cart.clear()

        entered = [] if known["stage"] else ["visitor"]
        stage = known["stage"] or "visitor"
        while target := next((to for of, to, kind, n in RULES if stage in of and counts[kind] >= n), None):
            stage = target
            entered.append(stage)
        for stage in entered:
            output = {"customer": customer, "from": known["stage"], "to": stage, "at": at}
            outputs[customer].append({**output, "sequence": len(outputs[customer]) + 1})
            known["stage"] = stage
    return outputs


def differences(expected: dict[str, list[dict[str, Any]]], got: dict[str, list[dict[str, Any]]]) -> str | None:
    """Return the difference of a peer's outputs (in the order of their topic) from the oracle's, None if equal."""
    wrong = [customer for customer in expected.keys() | got.keys() if expected.get(customer) != got.get(customer)]
    if not wrong:
        return None
    first = min(wrong)
    return f"{len(wrong)} customers differ, e.g. {first}: expected {expected.get(first)}, got {got.get(first)}"


def main() -> None:
    """Write the events and the outputs as files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--customers", type=int, default=CUSTOMERS)
    parser.add_argument("--to", type=Path, required=True, help="a directory")
    given = parser.parse_args()
    given.to.mkdir(parents=True, exist_ok=True)
    with open(given.to / "events.jsonl", "wb") as file:
        file.writelines(value + b"\n" for _, value in events(given.events, given.customers))
    with open(given.to / "outputs.jsonl", "w") as file:
        for of_customer in oracle(events(given.events, given.customers)).values():
            file.writelines(json.dumps(output) + "\n" for output in of_customer)


if __name__ == "__main__":
    main()
