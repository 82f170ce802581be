"""The input records as msgspec reads them. `native` makes events of them.

Fields that are read must have the right type, whatever the type of the event. Null counts as absent. All other fields
are skipped. Money stays JSON text, which is read as a decimal. In the `Quick` records it is a number, which is cheaper
and mostly enough. Both have their fields in the same order.
"""

from __future__ import annotations

from typing import Final

import msgspec

ABSENT: Final = msgspec.Raw(b"null")


class Item(msgspec.Struct, gc=False):
    product_id: str | int | None = None
    category: str | None = None
    price: msgspec.Raw = ABSENT
    quantity: int | float | None = None


class Record(msgspec.Struct, gc=False):
    event_id: str | int | None = None
    type: str | None = None
    occurred_at: str | int | float | None = None
    customer_id: str | int | None = None
    anonymous_id: str | int | None = None
    cart_id: str | int | None = None
    checkout_id: str | int | None = None
    currency: str | None = None
    items: list[Item] | None = None


class Click(Record, gc=False):
    session_id: str | int | None = None
    product_id: str | int | None = None
    category: str | None = None
    price: msgspec.Raw = ABSENT
    quantity: int | float | None = None


class QuickClick(Click, gc=False):
    price: str | int | float | None = None  # type: ignore[assignment]


class Order(Record, gc=False):
    order_id: str | int | None = None
    total: msgspec.Raw = ABSENT
    channel: str | None = None
    coupon: str | None = None
    store: str | int | None = None


class QuickOrder(Order, gc=False):
    total: str | int | float | None = None  # type: ignore[assignment]


class WithProperties(msgspec.Struct, gc=False):
    """The properties of a record. Read separately, and only if the playbook reads properties."""

    properties: dict[str, msgspec.Raw] = {}
