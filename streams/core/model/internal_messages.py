"""Messages between tasks.

They are packed in profiles until they are sent. `EventPayload` is packed field by field, in their order: append new
fields with a default, never insert or remove.
"""

from __future__ import annotations

import msgspec

from streams.core.model.items import Item
from streams.core.model.sources import InputId


class EventPayload(msgspec.Struct, frozen=True, array_like=True):
    """The fields of a `streams.core.model.event.Event` that a message carries, in the order of that class.

    The fields are declared here a second time: reading a message checks their types, for which msgspec needs a Struct,
    and `Event` is a compiled class, whose attributes cost a fraction of a Struct's on the path of every event. The
    fields of `Event` that are missing here are those of `InternalMessage`. mypy checks that the types agree, and
    tests/core/test_internal_messages.py checks the names and their order.
    """

    source: int
    timestamp: int
    size: int
    """Size in bytes of the record that it was read from: the weight of a profile must not depend on how an event
    reached it."""
    event_id: str
    type: str
    session_id: str | None
    cart_id: str | None
    checkout_id: str | None
    product_id: str | None
    category: str | None
    price: int | None
    quantity: int
    order_id: str | None
    store: str | None
    total: int | None
    channel: str | None
    coupon: str | None
    currency: str
    items: tuple[Item, ...] | None
    properties: dict[str, bool | int | float | str] | None


class InternalMessage(msgspec.Struct, frozen=True, kw_only=True, tag="message", tag_field="output"):
    """A message from one task to another: the consequence of a record for an id of a later resolution stage.

    It waits for the commit in the profile or alias whose record caused it, like the outputs of deadlines. So it is sent
    under one number, whichever task crashes at whatever time.
    """

    stream: int
    number: int
    """Ascending among the messages of this task in that stream; -1 in a flush that was cut short: the message gets its
    number when its record is read again."""
    cause: InputId
    """The input that the causing record came by."""
    offset: int
    """Offset of the causing record in that input."""
    role: int
    """`LINK`, `EVENT` or `MOVED` of `streams.core.model.event`."""
    at: int
    customer: str
    """The addressee: the device if it is a `LINK`, else the customer."""
    other: str
    """The customer if it is a `LINK`, else the device."""
    event_id: str | None = None
    event_type: str | None = None
    """Type of the event that caused a `LINK`."""
    event: EventPayload | None = None
    moved: bytes | None = None
    """The packed profile, in a `MOVED`."""
