"""What a trial has to do: the events, what must come out, and further events that show whether state came back."""

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
    """The same for all trials of a size."""

    def __init__(self, number: int, customers: int = CUSTOMERS) -> None:
        self.number = number
        self.records: Records = list(events(number, customers))
        self.expected = oracle(iter(self.records))
        self.outputs = sum(map(len, self.expected.values()))
        self.patience_s = 120 + number * 0.002
        """The job, or the recovery of its state, takes no longer, or the trial has failed."""

    @cached_property
    def first_orders(self) -> Records:
        """One more event per partition, of a customer who is known and has ordered nothing. It makes one output, whose
        `from` and `sequence` tell whether the state was there."""
        return [_order(customer, self.number + n) for n, customer in enumerate(self._one_per_partition())]

    @cached_property
    def second_orders(self) -> Records:
        """To a peer that knows no more than the first orders, these make one output each as well."""
        later = self.number + PARTITIONS
        return [_order(customer, later + n) for n, customer in enumerate(self._one_per_partition())]

    @cached_property
    def expected_with_orders(self) -> dict[str, list[dict[str, Any]]]:
        """What must have come out after the first orders, too."""
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
