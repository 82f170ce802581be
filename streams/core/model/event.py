"""The input of the core: events of customers, decoded and validated.

`streams.contracts` makes them from the bytes of records; `streams.core.engine.partition_engine` applies them. All times
are integer milliseconds since the epoch (UTC), all amounts integer minor units of their ISO 4217 currency. Prices and
quantities have finer units (`streams.core.model.currencies`).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from mypy_extensions import mypyc_attr

from streams.core.model.currencies import PIECE
from streams.core.model.items import Item

EVENT: Final = 0
"""A whole event: applied to the profile of its customer, or of its device if no customer is known."""
LINK: Final = 1
"""A device and a customer occurred in one event. Addressed to the device."""
SHOWN: Final = 2
"""A device showed the id of a cart or a checkout. Addressed to that id."""
CLAIM: Final = 3
"""A customer ordered a cart or a checkout. Addressed to its id."""
MOVED: Final = 4
"""The profile of a device that has become a customer's. Addressed to the customer."""


class Source(enum.IntEnum):
    """The input roles. The value is the rank that breaks ties when sources are merged in time order."""

    CLICKSTREAM = 0
    ORDERS = 1


@mypyc_attr(acyclic=True)  # an event is part of no reference cycle, so the garbage collector need not track it
@dataclass(init=False, eq=True)
class Event:
    """One valid input event of one customer, or a part of one that is addressed to another id (`role`).

    `customer` is the canonical id: a known customer's if `identified`, else an anonymous id. The two are separate name
    spaces. In a `SHOWN` or a `CLAIM` it is the id of a cart or a checkout (see
    `streams.core.identity.aliases.alias_id`). `type` is a known type of the event's own topic, or any other string:
    unknown types count as activity. `event_id` is never empty: a record without one gets one from its topic, partition
    and offset.
    """

    source: Source
    offset: int
    timestamp: int
    """The Kafka record's timestamp, ms; in a replay, `at`."""
    size: int
    """Size of the record in bytes, for the buffers that are bounded in bytes."""
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
    """Price of one piece, in `PRICE_UNIT`ths of a minor unit."""
    quantity: int
    """Quantity in `PIECE`ths of a piece."""
    # orders
    order_id: str | None
    store: str | None
    """The shop in which the order was placed: ids of orders are unique within it. None if the event names none."""
    total: int | None
    channel: str | None
    coupon: str | None
    # both
    currency: str
    """Currency of `price` and `total`: the configured default if the event named none. But "" if an order event other
    than a completion named none: it has the order's currency, and its `total` is in `currencies.UNNAMED_UNIT`ths of a
    major unit."""
    items: tuple[Item, ...] | None
    """None if absent; an empty tuple means an empty cart."""
    properties: dict[str, bool | int | float | str] | None
    """The properties that the playbook reads; None if it reads none. Times are in ms, amounts in minor units."""
    role: int
    """`EVENT`, or the kind of a part that is addressed to another id (`streams.core.identity.aliases`)."""
    other: str | None
    """The device in an `EVENT` of a customer, a `MOVED` or a `SHOWN`; the customer in a `LINK` or a `CLAIM`."""
    moved: bytes | None
    """The packed profile, in a `MOVED`."""

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
        quantity: int = PIECE,
        order_id: str | None = None,
        store: str | None = None,
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
        self.order_id, self.store, self.total, self.channel, self.coupon = order_id, store, total, channel, coupon
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
