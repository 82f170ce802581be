"""Parts of events, internal messages, and the rules of aliases.

An anonymous id stands for a device. The device belongs to the customer who last used it; the id of a cart or a checkout
shows which devices are meant when a customer orders its content. All of it is a function of the records read, in the
order of time: a task never waits for an answer of another one. So each key has a **resolution stage**, and records of a
stage depend on lower stages only (docs/adr/0027):

- 0: ids of carts and checkouts, to which `SHOWN` and `CLAIM` go;
- 1: devices, to which `LINK` and the events without a customer go;
- 2: customers, to which all other events and `MOVED` go.

The shell derives parts when it reads a record (`parts_of`) and sends them to their partition (`home_key`); the engine
applies them (`streams.core.identity.resolver`).
"""

from __future__ import annotations

from typing import Final

from streams.core.model.alias import Alias
from streams.core.model.event import CLAIM, EVENT, LINK, MOVED, SHOWN, Event, Source
from streams.core.model.internal_messages import EventPayload, InternalMessage
from streams.core.model.policy import DAY

RESOLUTION_STAGES: Final = 3
OWNERS: Final = 8
"""Number of owners kept for a device, the newest, so that late events go to the owner of their time."""
DEVICES: Final = 8
"""Number of devices kept for a cart or checkout."""
REFUSED: Final = 8
"""Number of refused customers kept for a device, the newest, so that a refusal is sent once."""
ERASED_OWNER: Final = ""
"""Takes the place of an erased customer among the owners of an id."""
PART_BYTES: Final = 64
"""Bytes that a part counts in a buffer."""

Pair = tuple[str, str, int]
"""A device that showed a cart, a customer who claimed it, and the time (ms) from which on both are known. Owners that
were erased are in no pair."""

_SOURCES: Final = tuple(Source)
_CLICKS: Final = Source.CLICKSTREAM


# -- parts


def parts_of(event: Event) -> list[Event]:
    """Return the parts of a decoded event that concern other ids than its own: `LINK`, `SHOWN` and `CLAIM`."""
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
    """Return True if a part is for the id of a cart or a checkout."""
    return role in (SHOWN, CLAIM)


def alias_id(part: Event) -> str:
    """Return the id of the cart or checkout that a `SHOWN` or a `CLAIM` is for. Its `customer` is that id with a `c`
    for a cart or an `o` for a checkout in front."""
    return part.customer[1:]


def home_key(part: Event) -> bytes:
    """Return the key whose partition a record, or a part of one, belongs to."""
    return (alias_id(part) if is_of_alias(part.role) else part.customer).encode()


def resolution_stage_of(record: Event) -> int:
    """Return the resolution stage in which a record is applied."""
    if record.identified:
        return 2
    return 0 if is_of_alias(record.role) else 1


def part_key(record: Event) -> bytes:
    """Return the key in the state of a cart, a checkout or a device. `record_key` returns those of customers and
    devices."""
    return (b"k" if is_of_alias(record.role) else b"a") + record.customer.encode()


# -- internal messages


def message_key(message: InternalMessage) -> bytes:
    """Return the key whose partition a message belongs to."""
    return message.customer.encode()


def payload_of(event: Event) -> EventPayload:
    """Return the content of an event that a message carries."""
    return EventPayload(
        int(event.source), event.timestamp, event.size, event.event_id, event.type, event.session_id, event.cart_id,
        event.checkout_id, event.product_id, event.category, event.price, event.quantity, event.order_id, event.store,
        event.total, event.channel, event.coupon, event.currency, event.items, event.properties,
    )  # fmt: skip


def event_of_message(message: InternalMessage, size: int) -> Event:
    """Return a message as its receiver applies it; its number is the offset. `size`: bytes of the record that it came
    in, which counts unless it carries an event."""
    event = message.event
    if event is None:
        return Event(
            _CLICKS, message.number, message.at, size, message.at, message.customer, message.role == MOVED,
            message.event_id or "", message.event_type or "", role=message.role, other=message.other,
            moved=message.moved,
        )  # fmt: skip
    return Event(
        _SOURCES[event.source], message.number, event.timestamp, event.size, message.at, message.customer, True,
        event.event_id, event.type, event.session_id, event.cart_id, event.checkout_id, event.product_id,
        event.category, event.price, event.quantity, event.order_id, event.store, event.total, event.channel,
        event.coupon, event.currency, event.items, event.properties, EVENT, message.other,
    )  # fmt: skip


# -- aliases


def owner_at(alias: Alias, at: int) -> str:
    """Return the owner of a device at `at` (ms). The device has an owner; before the first one's time it is the first
    one."""
    owners = alias.owners
    for place in range(len(owners) - 1, 0, -1):
        if owners[place][1] <= at:
            return owners[place][0]
    return owners[0][0]


def add_owner(alias: Alias, customer: str, at: int) -> bool:
    """Note that a customer used the device, or claimed the cart, at `at` (ms). Return True if that changed the owners.

    Earlier and later owners keep it for their times. The time of the last owner never moves: for a device it was sent
    in an output, and late events from before it do not correct that.
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
    """Note that an id was seen at `at` (ms). Return True if `last_seen_at` moves.

    It moves by a day at least, or by a tenth of `expiry` (ms) if that is less, so that records of a known id seldom
    cause a write.
    """
    if at < alias.last_seen_at + min(DAY, expiry // 10):
        return False
    alias.last_seen_at = at
    return True


def note_shown(alias: Alias, device: str, at: int) -> bool:
    """Note that a device showed the cart's id at `at` (ms). Return False if that is known from `at` or earlier on."""
    devices = alias.devices
    for place in range(len(devices)):
        if devices[place][0] == device:
            if devices[place][1] <= at:
                return False
            devices[place] = (device, at)
            return True
    devices.append((device, at))
    return True


def pairs_of_device(alias: Alias, device: str, at: int) -> list[Pair]:
    """Return the pairs of a device that showed the cart at `at` (ms): with the owner of that time, if there was one,
    and with the later ones. No customer comes twice in a row."""
    pairs: list[Pair] = []
    for customer, since in alias.owners:
        if since <= at:
            pairs = [(device, customer, at)]
        elif not pairs or pairs[-1][1] != customer:
            pairs.append((device, customer, since))
    return [pair for pair in pairs if pair[1] != ERASED_OWNER]


def pairs_of_customer(alias: Alias, customer: str, at: int) -> list[Pair]:
    """Return the pairs of a customer who claimed the cart at `at` (ms): with the devices that showed it before, or
    later while the cart was the customer's."""
    return [
        (device, customer, max(at, since))
        for device, since in alias.devices
        if since <= at or owner_at(alias, since) == customer
    ]


def note_refused(alias: Alias, customer: str, at: int) -> bool:
    """Note that a customer was refused the device at `at` (ms). Return False if that is known for `at` or later."""
    refused = alias.refused
    if at <= refused.get(customer, -1):
        return False
    refused.pop(customer, None)
    refused[customer] = at
    if len(refused) > REFUSED:
        del refused[next(iter(refused))]
    return True
