"""The native input format: the bytes of one record to one activity. `schemas/json/` describes it field by field.

The good path is one pass of msgspec over the bytes and a few checks that it cannot express; why a record is refused is
worked out only once it is.
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
from streams.core.model.event import CLICKSTREAM_TYPES, ORDER_TYPES, Event, Source
from streams.core.model.items import Item
from streams.core.model.sources import RawRecord
from streams.core.rules.types import Type

MAX_QUANTITY: Final = 1_000_000
MAX_STRING: Final = 1024
"""Bytes in UTF-8 of a string that is no id; what is longer is cut."""
MAX_DEPTH: Final = 512
"""Of nesting. A fixed bound, because msgspec's own is what happens to be left of the interpreter's stack."""

MAX_ITEMS: Final = 10_000
"""Of an event. An empty one takes three bytes here and nine where the event is passed on, which a batch has to hold."""

_astuple: Final = astuple  # so that it is not looked up for each record
_Json = msgspec.json.Decoder[Any]
_ABSENT: Final = records.ABSENT
_TYPES: Final = {type_: type_ for type_ in CLICKSTREAM_TYPES | ORDER_TYPES}
"""The known types as one object each, whose hash is known: the rules look them up again and again."""
_CURRENCIES: Final = money.EXPONENTS
_ANY_JSON: Final = msgspec.json.Decoder(Raw)
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_REASON_OF_FIELD: Final[dict[str, Reason]] = {"": "not_object", "occurred_at": "invalid_time"}


MisplacedRecord = tuple[RawRecord | None, Event, int]
"""What belongs to another partition, and which one: a record with what it holds, or a part of one alone."""


class Decoder:
    """Decodes the records of one source topic. The shell and the replay hold one per source; it keeps no record.

    `rejected_identifiers` and `cut_strings` count, since the start, ids that were taken for absent (nobody's, or too
    long) and strings that were cut; whoever observes reads them.
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
        """`max_future_skew` in ms; a record of more than `max_bytes` is refused unread. `properties`: those that the
        playbook reads; without any, none is looked at. `linking`: whether the device is looked at beside a customer.
        """
        if default_currency not in money.EXPONENTS:
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
        """The activities of a partition's records, in their order; the records that are none, with why; and those that
        belong to another partition, if there is one that `forwards` them. Else they are among what is refused
        (`wrong_partition`). With linking also the parts of records (`streams.core.identity.aliases`), wherever they
        belong.
        """
        activities: list[Event] = []
        refused: list[tuple[RawRecord, Rejected]] = []
        elsewhere: list[MisplacedRecord] = []
        for record in raw:
            try:
                activity = self.decode(
                    record.value, partition=partition, offset=record.offset, timestamp=record.timestamp
                )
                home = partitioner.partition(activity.customer.encode())
                if home == partition:
                    activities.append(activity)
                elif forwards:
                    elsewhere.append((record, activity, home))
                else:
                    raise Rejected("wrong_partition", "the record is not on the partition of its customer id")
            except Rejected as rejected:
                refused.append((record, rejected))
                continue
            if self._identity_resolution:
                for part in parts_of(activity):
                    of_part = partitioner.partition(home_key(part))
                    if of_part == partition:
                        activities.append(part)
                    elif of_part != home:  # else it is found there, in the record
                        elsewhere.append((None, part, of_part))
        return activities, refused, elsewhere

    def decode(self, value: bytes | None, *, partition: int, offset: int, timestamp: int) -> Event:
        """The activity in a record's value. `timestamp`, ms, is the record's, against which clocks are checked.

        Raises Rejected, and nothing else whatever the bytes.
        """
        if value is None:
            raise Rejected("null_value", "the record has no value")
        size = len(value)
        if size > self._max_bytes:
            raise Rejected("too_large", f"{size} bytes, more than {self._max_bytes}")
        _check_text(value)
        # Money of a short record is read as numbers, and only where they do not tell, as text.
        quick = size <= money.MAX_LENGTH
        try:
            record = (self._quick if quick else self._exact).decode(value)
        except msgspec.MsgspecError:
            record = self._exactly(value)
        # All fields at once: reading them one by one takes longer than all else that is done with them.
        fields = _astuple(record)
        activity = self._activity(fields, partition, offset, timestamp, size)
        if self._of_orders:
            self._add_order(activity, fields, value)
        else:
            self._add_click(activity, fields, value)
        if self._properties and b'"properties"' in value:
            activity.properties = properties.read_all(value, self._properties, activity.currency, self._string)
        return activity

    def _exactly(self, value: bytes) -> Any:
        """The record with money as text. Raises `Rejected`."""
        try:
            return self._exact.decode(value)
        except msgspec.MsgspecError as error:
            raise _diagnosed(value, error) from None

    def _activity(self, fields: tuple[Any, ...], partition: int, offset: int, timestamp: int, size: int) -> Event:
        """What records of all sources have: the fields of `records.Record`."""
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
                raise _nobody(customer_id, anonymous_id)
        at = self._time(fields[2], timestamp)
        if not type_:
            raise Rejected("invalid_field", "type: missing")
        if currency is None or currency == self._default_currency:
            currency = self._default_currency
        elif currency not in _CURRENCIES:
            raise Rejected("unknown_currency", "currency: not an ISO 4217 code with a minor unit")
        activity = Event(
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
            1,
            None,
            None,
            None,
            None,
            currency,
        )
        if device is not None:
            activity.other = device
        if items is not None:
            if len(items) > MAX_ITEMS:
                raise Rejected("too_large", f"items: {len(items)}, more than {MAX_ITEMS}")
            activity.items = tuple([self._item(item, currency, n) for n, item in enumerate(items)])
        return activity

    def _add_click(self, activity: Event, fields: tuple[Any, ...], value: bytes) -> None:
        """The fields that `records.Click` adds."""
        activity.session_id = self._id(fields[9])
        activity.product_id = self._id(fields[10])
        activity.category = self._optional(fields[11])
        activity.price = self._amount(fields[12], activity.currency, "price", value)
        activity.quantity = _quantity(fields[13], "quantity")

    def _add_order(self, activity: Event, fields: tuple[Any, ...], value: bytes) -> None:
        """The fields that `records.Order` adds."""
        activity.order_id = self._id(fields[9])
        if activity.order_id is None and activity.type in ORDER_TYPES:
            raise Rejected("invalid_field", "order_id: missing, empty or too long")
        activity.total = self._amount(fields[10], activity.currency, "total", value)
        activity.channel = self._optional(fields[11])
        activity.coupon = self._optional(fields[12])

    def _amount(self, amount: Any, currency: str, field: str, value: bytes) -> int | None:
        """Minor units of a field that `Quick` records have as a number; `value` is the record."""
        if amount is None:
            return None
        if isinstance(amount, float):
            minor = money.of_double(amount, currency)
        elif isinstance(amount, Raw):
            return _money(amount, currency, field)
        else:
            try:
                minor = money.of_value(amount, currency)
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
        """The id of a customer or an anonymous visitor, None if it is absent or names nobody."""
        if value is None:
            return None
        person = value if isinstance(value, str) else str(value)
        if identity.names_somebody(person):
            return person
        self.rejected_identifiers += 1
        return None

    def _id(self, value: str | int | None) -> str | None:
        """An id that is not a person's: empty is absent, and so is what is too long."""
        if value is None:
            return None
        if isinstance(value, str):
            if 0 < len(value) <= identity.ALWAYS_FIT:  # nearly all
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
        return encoded[:MAX_STRING].decode(errors="ignore")  # ignored is what is left of a character cut in two

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


def _nobody(customer_id: str | int | None, anonymous_id: str | int | None) -> Rejected:
    if customer_id is None and anonymous_id is None:
        return Rejected("no_identity", "customer_id, anonymous_id: both missing")
    return Rejected("invalid_identity", "customer_id, anonymous_id: none that names somebody")


def _money(raw: Raw, currency: str, field: str) -> int | None:
    if raw is _ABSENT:
        return None
    try:
        return money.parse(bytes(raw), currency)
    except ValueError as error:
        raise Rejected("invalid_money", f"{field}: {error}") from None


def _quantity(value: int | float | None, field: str) -> int:
    if value is None:
        return 1
    if isinstance(value, float):
        if not value.is_integer():
            raise Rejected("invalid_field", f"{field}: not an integer")
        value = int(value)
    if not 1 <= value <= MAX_QUANTITY:
        raise Rejected("invalid_field", f"{field}: not from 1 to {MAX_QUANTITY}")
    return value


def _check_text(value: bytes) -> None:
    """What msgspec does not check: the bytes of strings it skips, and nesting by a fixed bound."""
    if not value.isascii():
        try:
            value.decode()
        except UnicodeDecodeError as error:
            raise Rejected("not_utf8", f"invalid UTF-8 at byte {error.start}") from None
    # Depth is at most the number of brackets, and that at most of bytes: hardly any record is looked at more closely.
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
    """Why msgspec refused. Its messages say what kind it expected where, and what kind it got: they quote no value."""
    try:
        _ANY_JSON.decode(value)  # a wrong kind is found before what is malformed further on
    except msgspec.DecodeError as malformed:
        return Rejected("not_json", str(malformed))
    problem, _, field = str(error).partition(" - at `$.")
    field = field.removesuffix("`")
    return Rejected(_REASON_OF_FIELD.get(field, "invalid_field"), f"{field or 'the record'}: {problem}")
