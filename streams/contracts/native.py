"""The native input format: decodes the bytes of one record to one event. `schemas/json/` describes it field by field.

A valid record takes one pass of msgspec over the bytes, and a few checks that msgspec cannot express. The reason for
rejecting a record is found only when it is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.structs import astuple

from streams.contracts import identity, money, properties, records, times
from streams.contracts.partitioning import Partitioner
from streams.contracts.rejected import Reason, Rejected
from streams.core.identity.aliases import home_key, parts_of
from streams.core.model.currencies import EXPONENTS, PIECE, PRICE_UNIT
from streams.core.model.event import CLICKSTREAM_TYPES, ORDER_TYPES, Event, Source
from streams.core.model.items import Item
from streams.core.model.sources import RawRecord
from streams.core.rules.types import Type

MAX_QUANTITY: Final = 1_000_000
"""Largest quantity of an item, or of a product that is added."""
MAX_STRING: Final = 1024
"""Most bytes, in UTF-8, of a string that is not an id. A longer one is cut."""
MAX_DEPTH: Final = 512
"""Deepest nesting. The bound is fixed, because that of msgspec depends on the rest of the interpreter's stack."""

MAX_ITEMS: Final = 10_000
"""Most items of an event. An empty item takes three bytes here, and nine in an internal message, which must fit into a
batch."""

_astuple: Final = astuple  # not looked up for each record
_Json = msgspec.json.Decoder[Any]
_ABSENT: Final = records.ABSENT
_TYPES: Final = {type_: type_ for type_ in CLICKSTREAM_TYPES | ORDER_TYPES}
"""Each known type as one object, whose hash is cached: rules look types up often."""
_CURRENCIES: Final = EXPONENTS
_ANY_JSON: Final = msgspec.json.Decoder(Raw)
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_REASON_OF_FIELD: Final[dict[str, Reason]] = {"": "not_object", "occurred_at": "invalid_time"}


MisplacedRecord = tuple[RawRecord | None, Event, int]
"""A record with its event, or None and a part of a record; and the partition to which it belongs."""


class Decoder:
    """Decodes the records of one source. The shell and the replay have one per source. It keeps no record.

    `rejected_identifiers` counts ids that were taken for absent, since they name no one or are too long. `cut_strings`
    counts strings that were cut. Both are for metrics.
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
    ) -> None:
        """`max_future_skew`: ms by which an event's time may be ahead of its record's timestamp. A record of more than
        `max_bytes` is rejected without being decoded. `properties`: those that the playbook reads. Without
        `identity_resolution`, the device of an event with a customer is not read.
        """
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
        self.rejected_identifiers = 0
        self.cut_strings = 0

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
            event.properties = properties.read_all(value, self._properties, event.currency, self._string)
        return event

    def _exactly(self, value: bytes) -> Any:
        """Return the record with money as text. Raise `Rejected`."""
        try:
            return self._exact.decode(value)
        except msgspec.MsgspecError as error:
            raise _diagnosed(value, error) from None

    def _event(self, fields: tuple[Any, ...], partition: int, offset: int, timestamp: int, size: int) -> Event:
        """Return an event with the fields that all sources have: those of `records.Record`."""
        event_id = fields[0]
        type_: str | None = fields[1]
        customer_id, anonymous_id = fields[3], fields[4]
        currency: str | None = fields[7]
        items: list[records.Item] | None = fields[8]
        identified = False
        customer = self._person(customer_id)
        device: str | None = None
        if customer is not None:
            identified = True
            if self._identity_resolution:
                device = self._person(anonymous_id)
        else:
            customer = self._person(anonymous_id)
            if customer is None:
                raise _no_customer(customer_id, anonymous_id)
        at = self._time(fields[2], timestamp)
        if not type_:
            raise Rejected("invalid_field", "type: missing")
        if currency is None or currency == self._default_currency:
            currency = self._default_currency
        elif currency not in _CURRENCIES:
            raise Rejected("unknown_currency", "currency: not an ISO 4217 code with a minor unit")
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
            self._id(fields[5]),
            self._id(fields[6]),
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
            if len(items) > MAX_ITEMS:
                raise Rejected("too_large", f"items: {len(items)}, more than {MAX_ITEMS}")
            event.items = tuple([self._item(item, currency, n) for n, item in enumerate(items)])
        return event

    def _add_click(self, event: Event, fields: tuple[Any, ...], value: bytes) -> None:
        """Set the fields that only `records.Click` has."""
        event.session_id = self._id(fields[9])
        event.product_id = self._id(fields[10])
        event.category = self._optional(fields[11])
        event.price = self._amount(fields[12], event.currency, "price", value)
        event.quantity = _quantity(fields[13], "quantity")

    def _add_order(self, event: Event, fields: tuple[Any, ...], value: bytes) -> None:
        """Set the fields that only `records.Order` has."""
        event.order_id = self._id(fields[9])
        if event.order_id is None and event.type in ORDER_TYPES:
            raise Rejected("invalid_field", "order_id: missing, empty or too long")
        event.total = self._amount(fields[10], event.currency, "total", value)
        event.channel = self._optional(fields[11])
        event.coupon = self._optional(fields[12])
        if fields[13] is not None:
            event.store = self._id(fields[13])

    def _amount(self, amount: Any, currency: str, field: str, value: bytes) -> int | None:
        """Return the minor units of a field that `Quick` records have as a number. `value`: the record."""
        if amount is None:
            return None
        places = EXPONENTS[currency] + (money.PRICE_PLACES if field == "price" else 0)
        if isinstance(amount, float):
            minor = money.of_double(amount, places)
        elif isinstance(amount, Raw):
            return _money(amount, currency, field)
        else:
            try:
                minor = money.of_value(amount, places, PRICE_UNIT if field == "price" else 1)
            except ValueError as error:
                raise Rejected("invalid_money", f"{field}: {error}") from None
        return minor if minor >= 0 else _money(getattr(self._exactly(value), field), currency, field)

    def _time(self, occurred_at: str | int | float | None, timestamp: int) -> int:
        if occurred_at is None:
            raise Rejected("missing_time", "occurred_at: missing")
        try:
            at = times.parse(occurred_at)
        except ValueError as error:
            raise Rejected("invalid_time", f"occurred_at: {error}") from None
        if at > timestamp + self._max_future_skew:
            raise Rejected("clock_skew", f"occurred_at: {at - timestamp} ms ahead of the record's timestamp")
        return at

    def _person(self, value: str | int | None) -> str | None:
        """Return the id of a customer or a device, None if it is absent or names no one."""
        if value is None:
            return None
        person = value if isinstance(value, str) else str(value)
        if identity.names_someone(person):
            return person
        self.rejected_identifiers += 1
        return None

    def _id(self, value: str | int | None) -> str | None:
        """Return an id that is not a customer's or a device's, None if it is absent, empty or too long."""
        if value is None:
            return None
        if isinstance(value, str):
            if 0 < len(value) <= identity.ALWAYS_FIT:  # nearly always
                return value
            if not value:
                return None
            identifier = value
        else:
            identifier = str(value)
        if identity.fits(identifier):
            return identifier
        self.rejected_identifiers += 1
        return None

    def _string(self, value: str) -> str:
        if len(value) * 4 <= MAX_STRING or len(encoded := value.encode()) <= MAX_STRING:
            return value
        self.cut_strings += 1
        return encoded[:MAX_STRING].decode(errors="ignore")  # ignores the rest of a character that was cut

    def _optional(self, value: str | None) -> str | None:
        return None if value is None else self._string(value)

    def _item(self, item: records.Item, currency: str, n: int) -> Item:
        return Item(
            product_id=self._id(item.product_id),
            category=self._optional(item.category),
            price=_money(item.price, currency, f"items[{n}].price"),
            currency=currency,
            quantity=_quantity(item.quantity, f"items[{n}].quantity"),
        )


def _no_customer(customer_id: str | int | None, anonymous_id: str | int | None) -> Rejected:
    if customer_id is None and anonymous_id is None:
        return Rejected("no_identity", "customer_id, anonymous_id: both missing")
    return Rejected("invalid_identity", "customer_id, anonymous_id: none that names somebody")


def _money(raw: Raw, currency: str, field: str) -> int | None:
    if raw is _ABSENT:
        return None
    try:
        return (money.parse_price if field.endswith("price") else money.parse)(bytes(raw), currency)
    except ValueError as error:
        raise Rejected("invalid_money", f"{field}: {error}") from None


def _quantity(value: int | float | None, field: str) -> int:
    if value is None:
        return PIECE
    if isinstance(value, float):
        if not value.is_integer():
            raise Rejected("invalid_field", f"{field}: not an integer")
        value = int(value)
    if not 1 <= value <= MAX_QUANTITY:
        raise Rejected("invalid_field", f"{field}: not from 1 to {MAX_QUANTITY}")
    return value * PIECE


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


def _diagnosed(value: bytes, error: msgspec.MsgspecError) -> Rejected:
    """Return the reason of an error of msgspec, whose messages name a field and two types, and quote no value."""
    try:
        _ANY_JSON.decode(value)  # msgspec reports a wrong type before malformed text that follows it
    except msgspec.DecodeError as malformed:
        return Rejected("not_json", str(malformed))
    problem, _, field = str(error).partition(" - at `$.")
    field = field.removesuffix("`")
    return Rejected(_REASON_OF_FIELD.get(field, "invalid_field"), f"{field or 'the record'}: {problem}")
