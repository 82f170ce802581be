"""What the core is given: activities of customers, decoded and checked.

Made by `streams.contracts` from the bytes of a record; consumed by `streams.core.engine`. All times are integer
milliseconds since the epoch (UTC), all amounts integer minor units of their ISO 4217 currency.
"""

from __future__ import annotations

import enum

import msgspec


class Source(enum.IntEnum):
    """The input roles. The value is the rank that breaks ties when sources are merged in time order."""

    CLICKSTREAM = 0
    ORDERS = 1


class Item(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line of a cart or an order. `price` is of one piece, None where unknown."""

    product_id: str | None
    category: str | None
    price: int | None
    currency: str
    quantity: int


class Activity(msgspec.Struct, kw_only=True, gc=False):
    """One input event of one customer, valid in form.

    `customer` is the canonical id (a known customer's if `identified`, else an anonymous id; the two are separate
    name spaces). `type` is a known type of the event's own topic, or any other string: unknown types count as
    activity. `event_id` is never empty: a record without one was given one from topic, partition and offset.
    """

    source: Source
    offset: int
    timestamp: int
    """The Kafka record's timestamp, ms; in a replay, `at`."""
    size: int
    """Bytes of the record: what a buffer bounded in bytes counts."""
    at: int
    """The event's time, ms."""
    customer: str
    identified: bool
    event_id: str
    type: str
    session_id: str | None = None
    cart_id: str | None = None
    checkout_id: str | None = None
    # clickstream
    product_id: str | None = None
    category: str | None = None
    price: int | None = None
    quantity: int = 1
    # orders
    order_id: str | None = None
    total: int | None = None
    channel: str | None = None
    coupon: str | None = None
    # both
    currency: str = ""
    """Of `price` and `total`; the configured default where the event named none."""
    items: tuple[Item, ...] | None = None
    """None where absent; empty means an empty cart."""


CLICKSTREAM_TYPES = frozenset({
    "page_viewed", "product_viewed", "products_searched", "product_added", "product_removed", "cart_viewed",
    "cart_emptied", "checkout_started", "checkout_step_completed", "signed_up", "subscribed", "unsubscribed",
    "identified", "message_opened", "message_clicked", "product_reviewed", "referral_made",
})  # fmt: skip
ORDER_TYPES = frozenset({
    "order_completed", "order_updated", "order_cancelled", "order_refunded", "order_fulfilled",
})  # fmt: skip
