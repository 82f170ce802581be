"""The native input format: decodes the bytes of one record to one event. `schemas/json/` describes it field by field.

A valid record takes one pass of msgspec over the bytes, and a few checks that msgspec cannot express (`fields`). Only a
record with a field of another type than it should have takes a second one (`tolerant`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.structs import astuple

from streams.contracts import identity, money, properties, records, times, tolerant
from streams.contracts.fields import UNREADABLE, FieldReader
from streams.contracts.identity import Identifiers
from streams.contracts.partitioning import Partitioner
from streams.contracts.rejected import Rejected
from streams.core.identity.aliases import home_key, parts_of
from streams.core.model.currencies import EXPONENTS, PIECE, PRICE_UNIT
from streams.core.model.event import CLICKSTREAM_TYPES, ORDER_TYPES, Event, Source
from streams.core.model.sources import RawRecord
from streams.core.rules.types import Type

MAX_DEPTH: Final = 512
"""Deepest nesting. The bound is fixed, because that of msgspec depends on the rest of the interpreter's stack."""

_astuple: Final = astuple  # not looked up for each record
_Json = msgspec.json.Decoder[Any]
_ABSENT: Final = records.ABSENT
_TYPES: Final = {type_: type_ for type_ in CLICKSTREAM_TYPES | ORDER_TYPES}
"""Each known type as one object, whose hash is cached: rules look types up often."""
_CURRENCIES: Final = EXPONENTS
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_CORRECTIONS: Final = ORDER_TYPES - {"order_completed"}
"""Types of events that have the currency of their order if they name none."""
_CHANGES: Final = frozenset({"product_added", "product_removed"})
"""Types whose price and quantity must be right, since they change the cart."""
_SNAPSHOTS: Final = frozenset({"cart_viewed", "checkout_started"})
"""Types whose items are the cart as it stands."""


MisplacedRecord = tuple[RawRecord | None, Event, int]
"""A record with its event, or None and a part of a record; and the partition to which it belongs."""


class Decoder(FieldReader):
    """Decodes the records of one source. The shell and the replay have one per source. It keeps no record.

    `counts` tells, for metrics, what was left out or cut.
    """

    def __init__(
        self,
        source: Source,
        topic: str,
        *,
        default_currency: str = "EUR",
        max_future_skew: int = 300_000,
        max_bytes: int = 262_144,
        properties: Mapping[str, Type] | None = None,
        identity_resolution: bool = False,
        identifiers: Identifiers = identity.DEFAULT,
    ) -> None:
        """`max_future_skew`: ms by which an event's time may be ahead of its record's timestamp. A record of more than
        `max_bytes` is rejected without being decoded. `properties`: those that the playbook reads. Without
        `identity_resolution`, the device of an event with a customer is not read. `identifiers`: the rules by which ids
        are read.
        """
        super().__init__(identifiers)
        if default_currency not in EXPONENTS:
            raise ValueError(f"default currency {default_currency!r} is not an ISO 4217 currency with a minor unit")
        self._source = source
        self._topic = topic
        self._default_currency = default_currency
        self._max_future_skew = max_future_skew
        self._max_bytes = max_bytes
        self._properties = dict(properties or {})
        self._identity_resolution = identity_resolution
        self._of_orders = source is Source.ORDERS
        self._quick: _Json = msgspec.json.Decoder(records.QuickOrder if self._of_orders else records.QuickClick)
        self._exact: _Json = msgspec.json.Decoder(records.Order if self._of_orders else records.Click)

    def decode_all(
        self, raw: Iterable[RawRecord], partition: int, partitioner: Partitioner, forwards: bool = False
    ) -> tuple[list[Event], list[tuple[RawRecord, Rejected]], list[MisplacedRecord]]:
        """Return the events of a partition's records, the rejected records, and those of other partitions.

        Events are in the order of their records. Rejected records come with their reasons. Records of other partitions
        are returned if the caller `forwards` them, else rejected (`wrong_partition`). With identity resolution, the
        parts of records (`streams.core.identity.aliases`) are among the events, or among those of other partitions.
        """
        events: list[Event] = []
        rejections: list[tuple[RawRecord, Rejected]] = []
        misplaced: list[MisplacedRecord] = []
        for record in raw:
            try:
                event = self.decode(record.value, partition=partition, offset=record.offset, timestamp=record.timestamp)
                home = partitioner.partition(event.customer.encode())
                if home == partition:
                    events.append(event)
                elif forwards:
                    misplaced.append((record, event, home))
                else:
                    raise Rejected("wrong_partition", "the record is not on the partition of its customer id")
            except Rejected as rejected:
                rejections.append((record, rejected))
                continue
            if self._identity_resolution:
                for part in parts_of(event):
                    home_of_part = partitioner.partition(home_key(part))
                    if home_of_part == partition:
                        events.append(part)
                    elif home_of_part != home:  # else that task takes it from the forwarded record
                        misplaced.append((None, part, home_of_part))
        return events, rejections, misplaced

    def decode(self, value: bytes | None, *, partition: int, offset: int, timestamp: int) -> Event:
        """Return the event of a record's value. The event's time is checked against the record's `timestamp`, ms.

        Raise only `Rejected`, whatever the bytes are.
        """
        if value is None:
            raise Rejected("null_value", "the record has no value")
        size = len(value)
        if size > self._max_bytes:
            raise Rejected("too_large", f"{size} bytes, more than {self._max_bytes}")
        _check_text(value)
        # Money of a short record is read as numbers, and as text only where a number is not exact enough.
        quick = size <= money.MAX_LENGTH
        try:
            record = (self._quick if quick else self._exact).decode(value)
        except msgspec.MsgspecError:
            record = self._exactly(value)
        # All fields are read at once. One by one takes longer than all other work on them.
        fields = _astuple(record)
        event = self._event(fields, partition, offset, timestamp, size)
        if self._of_orders:
            self._add_order(event, fields, value)
        else:
            self._add_click(event, fields, value)
        if self._properties and b'"properties"' in value:
            currency = event.currency or self._default_currency
            event.properties = properties.read_all(value, self._properties, currency, self._string)
        return event

    def _exactly(self, value: bytes) -> Any:
        """Return the record with money as text. Raise `Rejected`."""
        try:
            return self._exact.decode(value)
        except msgspec.MsgspecError:
            return tolerant.read(value, self._of_orders, self.counts)

    def _event(self, fields: tuple[Any, ...], partition: int, offset: int, timestamp: int, size: int) -> Event:
        """Return an event with the fields that all sources have: those of `records.Record`.

        Its currency is `UNREADABLE` if there is one that is not known.
        """
        event_id = fields[0]
        type_: str | None = fields[1]
        items: list[records.Item | None] | None = fields[8]
        identified = False
        customer = self._customer(fields[3])
        device: str | None = None
        if customer is not None:
            identified = True
            if self._identity_resolution:
                device = self._other(fields[4])
        else:
            customer = self._other(fields[4])
            if customer is None:  # the place where an order, a cart or a checkout could tell whose event it is
                raise Rejected("invalid_identity", "customer_id, anonymous_id: none that names somebody")
        at = self._time(fields[2], timestamp)
        if not type_:
            raise Rejected("invalid_field", "type: missing")
        currency: str | None = fields[7]
        if currency is None:
            currency = self._unnamed_currency(type_)
        elif currency == self._default_currency:  # most often: one object, whose hash is cached
            currency = self._default_currency
        elif currency not in _CURRENCIES:
            currency = self._odd_currency(currency) or self._unnamed_currency(type_)
        event = Event(
            self._source,
            offset,
            timestamp,
            size,
            at,
            customer,
            identified,
            self._id(event_id) or f"{self._topic}/{partition}/{offset}",
            _TYPES.get(type_) or self._string(type_),
            None,
            self._other(fields[5]),
            self._other(fields[6]),
            None,
            None,
            None,
            PIECE,
            None,
            None,
            None,
            None,
            None,
            currency,
        )
        if device is not None:
            event.other = device
        if items is not None:
            snapshot = type_ in _SNAPSHOTS and not self._of_orders
            event.items = self._items(items, "" if currency == UNREADABLE else currency, snapshot)
        return event

    def _add_click(self, event: Event, fields: tuple[Any, ...], value: bytes) -> None:
        """Set the fields that only `records.Click` has."""
        event.session_id = self._id(fields[9])
        event.product_id = self._id(fields[10])
        event.category = self._optional(fields[11])
        price, quantity = fields[12], fields[13]
        if event.currency == UNREADABLE:
            event.currency, price = self._default_currency, None
        if price is not None:
            event.price = self._price(price, event, value)
        if quantity is not None and quantity != 1:
            event.quantity = self._quantity(quantity, event.type in _CHANGES)

    def _add_order(self, event: Event, fields: tuple[Any, ...], value: bytes) -> None:
        """Set the fields that only `records.Order` has."""
        event.order_id = self._id(fields[9])
        if event.order_id is None and event.type in ORDER_TYPES:
            raise Rejected("invalid_field", "order_id: missing, empty or too long")
        total = fields[10]
        if isinstance(total, Raw) and bytes(total) == b"null":
            total = None
        if total is not None:
            event.total = self._total(total, event, value)
        if event.currency == UNREADABLE:
            event.currency = "" if event.type in _CORRECTIONS else self._default_currency
        event.channel = self._optional(fields[11])
        event.coupon = self._optional(fields[12])
        event.store = self._id(fields[13])

    def _unnamed_currency(self, type_: str) -> str:
        """Return the currency of an event that names none."""
        return "" if self._of_orders and type_ in _CORRECTIONS else self._default_currency

    def _odd_currency(self, currency: str) -> str | None:
        """Return the code in capitals, None if it is empty, or `UNREADABLE`."""
        code = currency.strip().upper()
        if code in _CURRENCIES:
            return code
        if not code:
            return None
        self.counts["fields_ignored", "currency"] += 1
        return UNREADABLE

    def _price(self, price: Any, event: Event, value: bytes) -> int | None:
        """Return the price of a click. It is a number or text in a quick record, else its JSON. `value`: the record."""
        places = EXPONENTS[event.currency] + money.PRICE_PLACES
        if isinstance(price, float):  # most often
            units = money.of_double(price, places)
            if units >= 0:
                return units
        if isinstance(price, Raw):
            exact = price
        else:
            units = _quick(price, places, PRICE_UNIT)
            if units >= 0:
                return units
            exact = self._exactly(value).price
        return self._exact_price(exact, event.currency, event.type in _CHANGES)

    def _total(self, total: Any, event: Event, value: bytes) -> int | None:
        """Return the total of an order event, as `_price` returns a price."""
        if event.currency == UNREADABLE:
            raise Rejected("unknown_currency", "currency: not an ISO 4217 code with a minor unit")
        places = EXPONENTS[event.currency] if event.currency else money.UNNAMED_PLACES
        if not isinstance(total, Raw):
            units = _quick(total, places, 1)
            if units >= 0:
                return units
            total = self._exactly(value).total
        try:
            return money.read(bytes(total), places, signed=event.type == "order_refunded")
        except ValueError as error:
            raise Rejected("invalid_money", f"total: {error}") from None

    def _time(self, occurred_at: str | int | float | None, timestamp: int) -> int:
        if occurred_at is None:
            raise Rejected("missing_time", "occurred_at: missing")
        if occurred_at == 0:
            raise Rejected("missing_time", "occurred_at: 0, which stands for an unknown time")
        try:
            at = times.parse(occurred_at)
        except ValueError as error:
            raise Rejected("invalid_time", f"occurred_at: {error}") from None
        if at > timestamp + self._max_future_skew:
            raise Rejected("clock_skew", f"occurred_at: {at - timestamp} ms ahead of the record's timestamp")
        return at


def _quick(number: str | int | float, places: int, finer: int) -> int:
    """Return the result of `money.read`; -1 if the text itself is needed."""
    if isinstance(number, float):
        return money.of_double(number, places)
    try:
        return money.of_value(number, places, finer)
    except ValueError:
        return -1


def _check_text(value: bytes) -> None:
    """Check what msgspec does not: the bytes of strings that it skips, and nesting by a fixed bound."""
    if not value.isascii():
        try:
            value.decode()
        except UnicodeDecodeError as error:
            raise Rejected("not_utf8", f"invalid UTF-8 at byte {error.start}") from None
    # A record has no more levels than brackets or bytes, which are counted faster. So few depths are computed.
    if len(value) > MAX_DEPTH and value.count(b"{") + value.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise Rejected("too_deep", f"nested more than {MAX_DEPTH} deep")


def _depth(value: bytes) -> int:
    depth = deepest = 0
    for byte in _STRING.sub(b"", value):
        if byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]":
            depth -= 1
    return deepest
