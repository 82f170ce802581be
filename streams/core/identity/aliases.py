"""Whose an id is: the parts of a record that concern others than whose event it is, and the rules of aliases.

An anonymous id is a device's. It is the customer's who was last seen on it; the id of a cart or a checkout tells which
devices are meant when a customer orders what is in it. All of it is a function of what was read, in the order of time:
nobody waits for what is known of anybody. So each key has a **level**, and what is applied at one depends on lower ones
only (docs/adr/0027):

- 0: ids of carts and checkouts, which `SHOWN` and `CLAIM` are for;
- 1: devices, which a `LINK` is for, and the events without a customer;
- 2: customers, whom all other events are for, and what has `MOVED`.

The shell derives parts where a record is read (`parts_of`) and sends them home (`home_key`); the engine applies them by
`streams.core.identity.resolver`.
"""

from __future__ import annotations

from typing import Final

from streams.core.model.alias import Alias
from streams.core.model.event import CLAIM, EVENT, LINK, MOVED, SHOWN, Event, Source
from streams.core.model.internal_messages import EventPayload, InternalMessage
from streams.core.model.policy import DAY

RESOLUTION_STAGES: Final = 3
OWNERS: Final = 8
"""How many customers of a device are remembered, the newest: events that come late are given to who had it then."""
DEVICES: Final = 8
"""How many devices of a cart are remembered."""
REFUSED: Final = 8
"""How many customers who were refused a device are remembered, the newest, so that none is told twice."""
ERASED_OWNER: Final = ""
"""Among the owners of an id: somebody who was erased."""
PART_BYTES: Final = 64
"""What a part counts in a buffer."""

_SOURCES: Final = tuple(Source)
_CLICKS: Final = Source.CLICKSTREAM


# -- parts


def parts_of(event: Event) -> list[Event]:
    """What an event, as it was decoded, tells of others than whose event it is: `LINK`, `SHOWN` and `CLAIM` parts."""
    cart_id, checkout_id = event.cart_id, event.checkout_id
    parts: list[Event] = []
    if event.identified:
        if event.other is not None:
            parts.append(_part(event, LINK, event.other, event.customer))
        if event.source is _CLICKS:
            return parts
        role = CLAIM
    elif event.source is _CLICKS:
        role = SHOWN
    else:
        return parts
    if cart_id is not None:
        parts.append(_part(event, role, "c" + cart_id, event.customer))
    if checkout_id is not None:
        parts.append(_part(event, role, "o" + checkout_id, event.customer))
    return parts


def _part(event: Event, role: int, customer: str, other: str) -> Event:
    return Event(
        event.source, event.offset, event.timestamp, PART_BYTES, event.at, customer, False, event.event_id, event.type,
        role=role, other=other,
    )  # fmt: skip


def is_of_alias(role: int) -> bool:
    """Whether a part is for the id of a cart or a checkout."""
    return role in (SHOWN, CLAIM)


def alias_id(part: Event) -> str:
    """The id of the cart or the checkout that a `SHOWN` or a `CLAIM` is for, which it has behind a letter for which."""
    return part.customer[1:]


def home_key(part: Event) -> bytes:
    """The key by whose partition a record or a part of one has its home."""
    return (alias_id(part) if is_of_alias(part.role) else part.customer).encode()


def resolution_stage_of(record: Event) -> int:
    """The level at which it is applied."""
    if record.identified:
        return 2
    return 0 if is_of_alias(record.role) else 1


def part_key(record: Event) -> bytes:
    """The key, in the state, of what an id stands for: `record_key` has those of customers and devices."""
    return (b"k" if is_of_alias(record.role) else b"a") + record.customer.encode()


# -- items


def message_key(item: InternalMessage) -> bytes:
    """The key by whose partition an item has its home."""
    return item.customer.encode()


def payload_of(event: Event) -> EventPayload:
    """What is passed on of an event."""
    return EventPayload(
        int(event.source), event.timestamp, event.event_id, event.type, event.session_id, event.cart_id,
        event.checkout_id, event.product_id, event.category, event.price, event.quantity, event.order_id, event.total,
        event.channel, event.coupon, event.currency, event.items, event.properties, event.size,
    )  # fmt: skip


def event_of_message(item: InternalMessage, size: int) -> Event:
    """An item as whoever receives it applies it; its number is the offset. `size`: bytes of the record that it came in,
    if it is no event."""
    event = item.event
    if event is None:
        return Event(
            _CLICKS, item.number, item.at, size, item.at, item.customer, item.role == MOVED, item.event_id or "",
            item.event_type or "", role=item.role, other=item.other, moved=item.moved,
        )  # fmt: skip
    return Event(
        _SOURCES[event.source], item.number, event.timestamp, event.size, item.at, item.customer, True, event.event_id,
        event.type, event.session_id, event.cart_id, event.checkout_id, event.product_id, event.category, event.price,
        event.quantity, event.order_id, event.total, event.channel, event.coupon, event.currency, event.items,
        event.properties, EVENT, item.other,
    )  # fmt: skip


# -- aliases


def owner_at(alias: Alias, at: int) -> str:
    """Whose a device, which has an owner, was at a time (ms): before the first one's time it was theirs too."""
    owners = alias.owners
    for place in range(len(owners) - 1, 0, -1):
        if owners[place][1] <= at:
            return owners[place][0]
    return owners[0][0]


def owners_from(alias: Alias, at: int) -> list[tuple[str, int]]:
    """Whose it was at a time (ms), if anybody's, and whose it was later: nobody twice in a row."""
    found: list[tuple[str, int]] = []
    for customer, since in alias.owners:
        if since <= at:
            found = [(customer, since)]
        elif not found or found[-1][0] != customer:
            found.append((customer, since))
    return found


def add_owner(alias: Alias, customer: str, at: int) -> bool:
    """A customer was seen on the device, or claimed the cart, at a time (ms); whether that is news.

    Who was there before and who came after stay whose it was and will be. Of who has it in the end that time stays too:
    of a device it was told, and what comes late from before it takes nothing back.
    """
    owners = alias.owners
    place = 0
    while place < len(owners) and (owners[place][1], owners[place][0]) <= (at, customer):
        place += 1
    if place and owners[place - 1][0] == customer:
        return False
    if place < len(owners) - 1 and owners[place][0] == customer:
        owners[place] = (customer, at)
    else:
        owners.insert(place, (customer, at))
    return True


def note_seen(alias: Alias, at: int, expiry: int) -> bool:
    """An id, which is forgotten so long (ms) after it was last seen, was seen at a time; whether `last_seen_at` moves:
    it does in steps of a day, or of a tenth of a short expiry, so that hardly any record of a known id means that it is
    written."""
    if at < alias.last_seen_at + min(DAY, expiry // 10):
        return False
    alias.last_seen_at = at
    return True


def note_shown(alias: Alias, device: str, at: int) -> bool:
    """A device showed the cart's id at a time (ms); whether that is news: not if it is known of that time on."""
    devices = alias.devices
    for place in range(len(devices)):
        if devices[place][0] == device:
            if devices[place][1] <= at:
                return False
            devices[place] = (device, at)
            return True
    devices.append((device, at))
    return True
