"""Reads a record in which a field has another type than it should: what the event can do without is left out.

Called by `native` for the few records that msgspec does not take in one pass.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from streams.contracts import records
from streams.contracts.fields import UNREADABLE, Counts
from streams.contracts.rejected import Reason, Rejected

_MEMBERS: Final = msgspec.json.Decoder(records.Members)
_ANY_JSON: Final = msgspec.json.Decoder(Raw)
_ID: Final = msgspec.json.Decoder(str | int | None)
_TEXT: Final = msgspec.json.Decoder(str | None)
_SCALAR: Final = msgspec.json.Decoder(str | int | float | None)
_ITEMS: Final = msgspec.json.Decoder(list[Raw] | None)
_ITEM: Final = msgspec.json.Decoder(records.Item)
_REASON_OF_FIELD: Final[dict[str, Reason]] = {"": "not_object", "occurred_at": "invalid_time"}
_IDS: Final = ("event_id", "customer_id", "anonymous_id", "cart_id", "checkout_id")


def read(value: bytes, of_orders: bool, counts: Counts) -> Any:
    """Return the record without the fields that cannot be read, which are counted. Raise `Rejected`.

    Its prices, total and quantities are checked by the caller, as those of any other record.
    """
    try:
        sent = _MEMBERS.decode(value)
    except msgspec.MsgspecError as error:
        raise _diagnosed(value, error) from None
    read_fields: dict[str, Any] = {name: _id(getattr(sent, name), counts) for name in _IDS}
    read_fields["type"] = _needed("type", _TEXT, sent.type)
    read_fields["occurred_at"] = _needed("occurred_at", _SCALAR, sent.occurred_at)
    read_fields["items"] = _items(sent.items, counts)
    try:
        read_fields["currency"] = _TEXT.decode(sent.currency)
    except msgspec.MsgspecError:
        read_fields["currency"] = UNREADABLE
    if of_orders:
        return records.Order(
            **read_fields,
            order_id=_id(sent.order_id, counts),
            total=sent.total,
            channel=_label("channel", sent.channel, counts),
            coupon=_label("coupon", sent.coupon, counts),
            store=_id(sent.store, counts),
        )
    return records.Click(
        **read_fields,
        session_id=_id(sent.session_id, counts),
        product_id=_id(sent.product_id, counts),
        category=_label("category", sent.category, counts),
        price=sent.price,
        quantity=_quantity(sent.quantity),
    )


def _needed(field: str, decoder: msgspec.json.Decoder[Any], raw: Raw) -> Any:
    """Return the value of a field without which there is no event."""
    try:
        return decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise Rejected(_REASON_OF_FIELD.get(field, "invalid_field"), f"{field}: {_problem(error)}") from None


def _id(raw: Raw, counts: Counts) -> str | int | None:
    try:
        identifier: str | int | None = _ID.decode(raw)
    except msgspec.MsgspecError:
        counts["identifiers_rejected", ""] += 1
        return None
    return identifier


def _label(field: str, raw: Raw, counts: Counts) -> str | None:
    try:
        label: str | None = _TEXT.decode(raw)
    except msgspec.MsgspecError:
        counts["fields_ignored", field] += 1
        return None
    return label


def _quantity(raw: Raw) -> str | int | float | None:
    try:
        quantity: str | int | float | None = _SCALAR.decode(raw)
    except msgspec.MsgspecError:
        return UNREADABLE
    return quantity


def _items(raw: Raw, counts: Counts) -> list[records.Item | None] | None:
    try:
        sent = _ITEMS.decode(raw)
    except msgspec.MsgspecError:
        counts["fields_ignored", "items"] += 1
        return None
    return None if sent is None else [_item(line, counts) for line in sent]


def _item(raw: Raw, counts: Counts) -> records.Item | None:
    """Return a line, None if it is no object."""
    try:
        return _ITEM.decode(raw)
    except msgspec.MsgspecError:
        pass
    try:
        sent = _MEMBERS.decode(raw)
    except msgspec.MsgspecError:
        return None
    return records.Item(
        _id(sent.product_id, counts), _label("category", sent.category, counts), sent.price, _quantity(sent.quantity)
    )


def _diagnosed(value: bytes, error: msgspec.MsgspecError) -> Rejected:
    """Return the reason of an error of msgspec about a whole record."""
    try:
        _ANY_JSON.decode(value)  # msgspec reports a wrong type before malformed text that follows it
    except msgspec.DecodeError as malformed:
        return Rejected("not_json", str(malformed))
    return Rejected("not_object", f"the record: {_problem(error)}")


def _problem(error: msgspec.MsgspecError) -> str:
    """Return the message, which names two types and quotes no value."""
    return str(error).partition(" - at `$")[0]
