"""The input records as msgspec reads them. `native` makes events of them.

Null counts as absent. Fields that are not listed are skipped. Money stays JSON text, which is read as a decimal. In the
`Quick` records it is a number, which is cheaper and mostly enough. Both have their fields in the same order.

A record with a field of another type is read by `tolerant`, which is slower.
"""

from __future__ import annotations

from typing import Final

import msgspec

ABSENT: Final = msgspec.Raw(b"null")


class Item(msgspec.Struct, gc=False):
    product_id: str | int | None = None
    category: str | None = None
    price: msgspec.Raw = ABSENT
    quantity: str | int | float | None = None


class Record(msgspec.Struct, gc=False):
    event_id: str | int | None = None
    type: str | None = None
    occurred_at: str | int | float | None = None
    customer_id: str | int | None = None
    anonymous_id: str | int | None = None
    cart_id: str | int | None = None
    checkout_id: str | int | None = None
    currency: str | None = None
    items: list[Item | None] | None = None
    """None stands for a line that is no object."""


class Click(Record, gc=False):
    session_id: str | int | None = None
    product_id: str | int | None = None
    category: str | None = None
    price: msgspec.Raw = ABSENT
    quantity: str | int | float | None = None


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


class Members(msgspec.Struct, gc=False):
    """Any record, or a line of one, as JSON texts by the name of the field."""

    event_id: msgspec.Raw = ABSENT
    type: msgspec.Raw = ABSENT
    occurred_at: msgspec.Raw = ABSENT
    customer_id: msgspec.Raw = ABSENT
    anonymous_id: msgspec.Raw = ABSENT
    cart_id: msgspec.Raw = ABSENT
    checkout_id: msgspec.Raw = ABSENT
    currency: msgspec.Raw = ABSENT
    items: msgspec.Raw = ABSENT
    session_id: msgspec.Raw = ABSENT
    product_id: msgspec.Raw = ABSENT
    category: msgspec.Raw = ABSENT
    price: msgspec.Raw = ABSENT
    quantity: msgspec.Raw = ABSENT
    order_id: msgspec.Raw = ABSENT
    total: msgspec.Raw = ABSENT
    channel: msgspec.Raw = ABSENT
    coupon: msgspec.Raw = ABSENT
    store: msgspec.Raw = ABSENT


class WithProperties(msgspec.Struct, gc=False):
    """The properties of a record. Read separately, and only if the playbook reads properties."""

    properties: dict[str, msgspec.Raw] = {}
