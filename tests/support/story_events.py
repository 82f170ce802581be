"""Events of short stories about one customer, for the reference.

Times are in ms, totals and prices in minor units, quantities in pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streams.core.model.currencies import PIECE, PRICE_UNIT, UNNAMED_UNIT
from streams.core.model.event import Event, Source
from streams.core.model.items import Item


def click(at: int, type_: str, **fields: Any) -> Event:
    return make(at, Source.CLICKSTREAM, type_, {"currency": "EUR"} | fields)


def order(at: int, type_: str = "completed", order_id: str = "o", **fields: Any) -> Event:
    """Return an event of an order. A correction names no currency, unless told otherwise."""
    completed = type_ == "completed"
    known = {"order_id": order_id, "total": 1000 if completed else None, "currency": "EUR" if completed else ""}
    known |= fields
    if known["currency"] == "" and known["total"] is not None:
        known["total"] *= UNNAMED_UNIT // 100
    return make(at, Source.ORDERS, f"order_{type_}", known)


def make(at: int, source: Source, type_: str, fields: dict[str, Any]) -> Event:
    about = fields.get("order_id") or fields.get("product_id")
    known: dict[str, Any] = {"event_id": f"{type_} {about} @{at}", "customer": "c", "identified": True}
    fields = known | fields
    if fields.get("price") is not None:
        fields["price"] = round(fields["price"] * PRICE_UNIT)
    fields["quantity"] = round(fields.get("quantity", 1) * PIECE)
    return Event(source=source, type=type_, at=at, offset=0, timestamp=at, size=100, **fields)


def viewed(at: int, product: str | None = "A", **fields: Any) -> Event:
    return click(at, "product_viewed", product_id=product, **fields)


def added(at: int, product: str | None = "A", **fields: Any) -> Event:
    return click(at, "product_added", product_id=product, **fields)


def removed(at: int, product: str | None = "A", **fields: Any) -> Event:
    return click(at, "product_removed", product_id=product, **fields)


def items(*products: str | None, quantity: float = 1, price: float | None = None) -> tuple[Item, ...]:
    unit = None if price is None else round(price * PRICE_UNIT)
    return tuple(Item(product, None, unit, "EUR", round(quantity * PIECE)) for product in products)


def shorthand(lines: Sequence[Item]) -> str:
    """Return the products and quantities: `A2B` are two of A and one of B."""
    return "".join(f"{i.product_id or '?'}{'' if i.quantity == PIECE else f'{i.quantity / PIECE:g}'}" for i in lines)
