"""What a trial has to do: the events, what must come out, and further events that show whether state came back."""

from __future__ import annotations

import itertools
import json
from functools import cached_property
from typing import Any

from aiokafka.partitioner import murmur2

from benchmarks.job import CUSTOMERS, PARTITIONS, START_MS, STEP_MS, events, oracle


class Work:
    """The events, and what must come out."""

    def __init__(self, number: int, customers: int = CUSTOMERS) -> None:
        self.number = number
        self.customers = customers
        self.records = list(events(number, customers))
        self.expected = oracle(iter(self.records))
        self.outputs = sum(map(len, self.expected.values()))

    @cached_property
    def further(self) -> list[tuple[bytes, bytes]]:
        """One more event per partition, of a customer who is known and changes stage by it: a first order. Its output
        tells by `from` and `sequence` whether the state was there."""
        after = START_MS + self.number * STEP_MS
        found: dict[int, tuple[bytes, bytes]] = {}
        for customer, outputs in self.expected.items():
            key = customer.encode()
            partition = (murmur2(key) & 0x7FFFFFFF) % PARTITIONS
            if partition not in found and outputs[-1]["to"] in ("engaged", "cart", "checkout"):
                found[partition] = key, _order(customer, after + partition)
        return list(found.values())

    @cached_property
    def further_expected(self) -> dict[str, list[dict[str, Any]]]:
        """What must have come out after these, too."""
        return oracle(itertools.chain(self.records, self.further))


def _order(customer: str, at: int) -> bytes:
    event = {
        "event_id": f"{customer}-{at}",
        "type": "order_completed",
        "occurred_at": at,
        "customer_id": customer,
        "session_id": "s0",
        "product_id": "p0",
        "category": "category-0",
        "price": 1.0,
        "currency": "EUR",
        "quantity": 1,
    }
    return json.dumps(event, separators=(",", ":")).encode()
