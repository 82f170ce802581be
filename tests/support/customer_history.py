"""The history of one customer: `run` applies events to a profile in their order, as the engine does.

Times are in ms after `T0`. `click` and `order` make events, each with its own id.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any

from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.counters import EngineCounters
from streams.core.model.currencies import PIECE, PRICE_UNIT
from streams.core.model.event import Event, Source
from streams.core.model.items import Item
from streams.core.model.outputs import Abandonment, Output, StageChange
from streams.core.model.policy import DAY, HOUR, MINUTE, SECOND, Policy
from streams.core.profile.profile import Profile
from tests.support.default_playbook import default_playbook

__all__ = [
    "DAY", "HOUR", "MINUTE", "SECOND", "T0", "CustomerHistory", "Event", "click", "in_units", "item", "order", "run",
]  # fmt: skip

T0 = 1_760_000_000_000

_numbers = itertools.count()


def item(product_id: str | None, quantity: float = 1, price: float | None = 1000, **fields: Any) -> Item:
    """Return one line of a cart or an order. `quantity` is in pieces, `price` in minor units."""
    given = {"product_id": product_id, "category": None, "price": price, "currency": "EUR", "quantity": quantity}
    return Item(**in_units(given | fields))


def click(at: int, type_: str = "page_viewed", product_id: str | None = None, **fields: Any) -> Event:
    """Return an event of the clickstream. The price of a view or an addition is 10.00 EUR by default.

    `quantity` is in pieces, `price` in minor units.
    """
    priced = type_ in ("product_viewed", "product_added")
    return _event(Source.CLICKSTREAM, at, type_, {"product_id": product_id, "price": 1000 if priced else None} | fields)


def in_units(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with price and quantity in the units of the core."""
    units = {"price": PRICE_UNIT, "quantity": PIECE}
    return {
        name: value if value is None or name not in units else round(value * units[name])
        for name, value in fields.items()
    }


def order(at: int, order_id: str = "o-1", type_: str = "order_completed", **fields: Any) -> Event:
    """Return an event of the orders topic."""
    total = 5000 if type_ == "order_completed" else None
    return _event(Source.ORDERS, at, type_, {"order_id": order_id, "total": total} | fields)


def _event(source: Source, at: int, type_: str, fields: dict[str, Any]) -> Event:
    number = next(_numbers)
    common: dict[str, Any] = {
        "customer": "c-1",
        "identified": True,
        "event_id": f"e-{number}",
        "currency": "EUR",
        "size": 200,
    }
    return Event(**common | in_units(fields), source=source, offset=number, timestamp=T0 + at, at=T0 + at, type=type_)


class CustomerHistory:
    """The profile and outputs of one customer after some events. Times are in ms after `T0`."""

    def __init__(self, policy: Policy) -> None:
        self.lifecycle = Lifecycle(default_playbook(policy=policy))
        self.profile: Profile | None = None
        self.outputs: list[Output] = []
        self.counts: EngineCounters = Counter()
        self.duplicates = 0

    def play(self, *events: Event, until: int | None = None) -> CustomerHistory:
        """Apply the events in this order, then let time pass to `until`."""
        for event in events:
            if self.profile is not None and self.lifecycle.is_duplicate(self.profile, event):
                self.duplicates += 1
                continue
            self._pass_time(event.at)
            if self.profile is None:
                self.profile = self.lifecycle.new(event.customer, event.identified)
            self.lifecycle.apply(self.profile, event, self.outputs, self.counts)
        if until is not None:
            self._pass_time(T0 + until)
        return self

    def _pass_time(self, to: int) -> None:
        while self.profile is not None and (due := self.profile.next_deadline) is not None and due <= to:
            self.lifecycle.fire(self.profile, self.outputs, self.counts)
            if self.profile.stage is None:
                assert self.profile.next_deadline is None
                self.profile = None

    @property
    def alive(self) -> Profile:
        """Return the profile. Fail if the customer was forgotten."""
        assert self.profile is not None
        return self.profile

    @property
    def changes(self) -> list[StageChange]:
        return [output for output in self.outputs if isinstance(output, StageChange)]

    @property
    def stages(self) -> list[tuple[str | None, int]]:
        """Return the stages entered, with their times."""
        return [(change.to_stage, change.occurred_at - T0) for change in self.changes]

    @property
    def abandonments(self) -> list[Abandonment]:
        return [output for output in self.outputs if isinstance(output, Abandonment)]

    @property
    def abandonment_summary(self) -> list[tuple[str, str, int, int]]:
        """Return type, kind, step and time of each abandonment output."""
        return [(a.type, a.kind, a.step, a.occurred_at - T0) for a in self.abandonments]

    @property
    def cart(self) -> dict[str, float]:
        """Return the pieces in the cart, by product."""
        return {product: line.quantity / PIECE for product, line in self.alive.cart.now.lines.items()}


def run(events: Iterable[Event], until: int | None = None, policy: Policy = Policy()) -> CustomerHistory:
    """Return the history of a new customer after these events."""
    return CustomerHistory(policy).play(*events, until=until)
