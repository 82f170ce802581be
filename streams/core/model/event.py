"""What the core is given: activities of customers, decoded and checked.

Made by `streams.contracts` from the bytes of a record; consumed by `streams.core.engine.partition_engine`. All times
are integer milliseconds since the epoch (UTC), all amounts integer minor units of their ISO 4217 currency.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from mypy_extensions import mypyc_attr

from streams.core.model.parts import Item as Item

EVENT: Final = 0
"""Something that somebody did: applied to the profile of the customer, or else of the device."""
LINK: Final = 1
"""A device and a customer were seen together: for the device."""
SHOWN: Final = 2
"""A device showed the id of a cart or a checkout: for that id."""
CLAIM: Final = 3
"""A customer ordered what an id of a cart or a checkout stands for: for that id."""
MOVED: Final = 4
"""What was known of a device that is now known to be a customer's: for the customer."""


class Source(enum.IntEnum):
    """The input roles. The value is the rank that breaks ties when sources are merged in time order."""

    CLICKSTREAM = 0
    ORDERS = 1


@mypyc_attr(acyclic=True)  # the garbage collector need not know of it
@dataclass(init=False, eq=True)
class Event:
    """One input event of one customer, valid in form; or a part of one (`role`).

    `customer` is the canonical id (a known customer's if `identified`, else an anonymous id; the two are separate
    name spaces; of a `SHOWN` or a `CLAIM` see `streams.core.identity.aliases.alias_id`). `type` is a known type of the
    event's own topic, or any other string: unknown types count as activity. `event_id` is never empty: a record
    without one was given one from topic, partition and offset.
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
    session_id: str | None
    cart_id: str | None
    checkout_id: str | None
    # clickstream
    product_id: str | None
    category: str | None
    price: int | None
    quantity: int
    # orders
    order_id: str | None
    total: int | None
    channel: str | None
    coupon: str | None
    # both
    currency: str
    """Of `price` and `total`; the configured default where the event named none."""
    items: tuple[Item, ...] | None
    """None where absent; empty means an empty cart."""
    properties: dict[str, bool | int | float | str] | None
    """Those that the playbook asks for; None if it asks for none. Times are in ms, amounts in minor units."""
    role: int
    """`EVENT`, or the part of one that is for somebody else (`streams.core.identity.aliases`)."""
    other: str | None
    """Of an `EVENT` of a customer, and of `MOVED`, the device; of a `SHOWN` too; of a `LINK` or a `CLAIM` the customer.
    """
    moved: bytes | None
    """Of `MOVED`: the profile, packed."""

    def __init__(
        self,
        source: Source,
        offset: int,
        timestamp: int,
        size: int,
        at: int,
        customer: str,
        identified: bool,
        event_id: str,
        type: str,
        session_id: str | None = None,
        cart_id: str | None = None,
        checkout_id: str | None = None,
        product_id: str | None = None,
        category: str | None = None,
        price: int | None = None,
        quantity: int = 1,
        order_id: str | None = None,
        total: int | None = None,
        channel: str | None = None,
        coupon: str | None = None,
        currency: str = "",
        items: tuple[Item, ...] | None = None,
        properties: dict[str, bool | int | float | str] | None = None,
        role: int = EVENT,
        other: str | None = None,
        moved: bytes | None = None,
    ) -> None:
        self.source, self.offset, self.timestamp, self.size = source, offset, timestamp, size
        self.at, self.customer, self.identified = at, customer, identified
        self.event_id, self.type = event_id, type
        self.session_id, self.cart_id, self.checkout_id = session_id, cart_id, checkout_id
        self.product_id, self.category, self.price, self.quantity = product_id, category, price, quantity
        self.order_id, self.total, self.channel, self.coupon = order_id, total, channel, coupon
        self.currency, self.items, self.properties = currency, items, properties
        self.role, self.other, self.moved = role, other, moved


CLICKSTREAM_TYPES = frozenset({
    "page_viewed", "product_viewed", "products_searched", "product_added", "product_removed", "cart_viewed",
    "cart_emptied", "checkout_started", "checkout_step_completed", "signed_up", "subscribed", "unsubscribed",
    "identified", "message_opened", "message_clicked", "product_reviewed", "referral_made",
})  # fmt: skip
ORDER_TYPES = frozenset({
    "order_completed", "order_updated", "order_cancelled", "order_refunded", "order_fulfilled",
})  # fmt: skip
