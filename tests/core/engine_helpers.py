"""Make events for the engine at absolute times, and summarize what it sends."""

from __future__ import annotations

from streams.core.engine.partition_engine import PartitionEngine
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.event import Event, Source
from streams.core.model.outputs import Abandonment, Output, StageChange
from streams.core.model.policy import SECOND
from tests.support.default_playbook import default_playbook

NOON = 1_763_719_200_000
CLICKS, ORDERS = Source.CLICKSTREAM, Source.ORDERS
TAIL = 15 * SECOND
"""How far the watermark is behind the present when all sources are caught up: delay plus lateness."""


def click(at: int, type: str = "product_viewed", customer: str = "c", **fields: object) -> Event:
    fields = {"product_id": "p"} | fields
    return Event(
        source=CLICKS, offset=-1, timestamp=0, size=200, at=at, customer=customer, identified=True,
        event_id=f"{customer}{at}{type}", type=type, currency="EUR", **fields,  # type: ignore[arg-type]
    )  # fmt: skip


def order(at: int, order_id: str = "o", customer: str = "c", type: str = "order_completed") -> Event:
    return Event(
        source=ORDERS, offset=-1, timestamp=0, size=200, at=at, customer=customer, identified=True,
        event_id=f"{customer}{at}{order_id}{type}", type=type, currency="EUR", order_id=order_id, total=1000,
    )  # fmt: skip


def stages(outputs: list[Output]) -> list[str | None]:
    """Return the stages entered, in order."""
    return [output.to_stage for output in outputs if isinstance(output, StageChange)]


def abandonments(outputs: list[Output]) -> list[tuple[str, int]]:
    """Return type and step of each abandonment output, in order."""
    return [(output.type, output.step) for output in outputs if isinstance(output, Abandonment)]


def forwarding_engine(**given: object) -> PartitionEngine:
    """Return the engine of partition 1, which reads orders; a clickstream of three partitions is forwarded to it."""
    defaults: dict[str, object] = {"own": (ORDERS,), "origins": [(CLICKS, n) for n in range(3)]}
    return PartitionEngine(Lifecycle(default_playbook()), partition=1, **(defaults | given))  # type: ignore[arg-type]
