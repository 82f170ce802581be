"""The work of a trial: its events, the expected outputs, and further events that show if state was recovered."""

from __future__ import annotations

import itertools
import json
from functools import cached_property
from typing import Any

from benchmarks.job import CUSTOMERS, PARTITIONS, START_MS, STEP_MS, events, oracle
from streams.contracts.partitioning import Partitioner

Records = list[tuple[bytes, bytes]]
"""Keys and values."""


class Work:
    """The work of all trials of one size."""

    def __init__(self, number: int, customers: int = CUSTOMERS) -> None:
        self.number = number
        self.records: Records = list(events(number, customers))
        self.expected = oracle(iter(self.records))
        self.outputs = sum(map(len, self.expected.values()))
        self.patience_s = 120 + number * 0.002
        """Limit, in seconds, of the job and of the recovery of its state. Beyond it the trial has failed."""

    @cached_property
    def first_orders(self) -> Records:
        """One more event per partition, of a known customer without orders. It causes one output, whose `from` and
        `sequence` show if the state was recovered."""
        return [_order(customer, self.number + n) for n, customer in enumerate(self._one_per_partition())]

    @cached_property
    def second_orders(self) -> Records:
        """One more order of the same customers each. They cause one output each also in a peer that has only processed
        the first orders."""
        later = self.number + PARTITIONS
        return [_order(customer, later + n) for n, customer in enumerate(self._one_per_partition())]

    @cached_property
    def expected_with_orders(self) -> dict[str, list[dict[str, Any]]]:
        """Expected outputs after the first orders."""
        return oracle(itertools.chain(self.records, self.first_orders))

    def _one_per_partition(self) -> list[str]:
        found: dict[int, str] = {}
        partitioner = Partitioner(PARTITIONS)
        for customer, outputs in self.expected.items():
            if outputs[-1]["to"] in ("engaged", "cart", "checkout"):
                found.setdefault(partitioner.partition(customer.encode()), customer)
        return list(found.values())


def _order(customer: str, number: int) -> tuple[bytes, bytes]:
    event = {
        "event_id": f"{number:016x}",
        "type": "order_completed",
        "occurred_at": START_MS + number * STEP_MS,
        "customer_id": customer,
        "session_id": "s0",
        "product_id": "p0",
        "category": "category-0",
        "price": 1.0,
        "currency": "EUR",
        "quantity": 1,
    }
    return customer.encode(), json.dumps(event, separators=(",", ":")).encode()
