"""The core's outputs as records: JSON with CloudEvents headers (binary mode). `schemas/json/` describes each field."""

from __future__ import annotations

from collections.abc import Iterable
from json.encoder import encode_basestring as _quoted
from typing import Any, Final

import msgspec
from msgspec.structs import astuple
from mypy_extensions import mypyc_attr

from streams.contracts import money, times
from streams.core.lifecycle.triggers import EARLIEST, LATEST
from streams.core.model.items import Item
from streams.core.model.outputs import (
    Abandonment,
    Cause,
    Datum,
    IdentityChange,
    Output,
    StageChange,
    Summary,
    Triggered,
)

Headers = list[tuple[str, bytes]]

_SPECVERSION: Final = ("ce_specversion", b"1.0")
_JSON: Final = ("content-type", b"application/json")


@mypyc_attr(acyclic=True)
class EncodedOutput:
    """Key, value and headers of an output's record. The sender adds topic and timestamp, the time of production."""

    def __init__(self, key: bytes, value: bytes, headers: Headers) -> None:
        self.key = key
        self.value = value
        self.headers = headers


class Encoder:
    """Encodes outputs, for the records of the shell and the lines (`value`) of the replay: the same bytes.

    `source`: the CloudEvents source of every output of this deployment. `playbook`: name, version and digest of its
    playbook, for the header `ce_playbook`; without it there is no such header.
    """

    def __init__(self, source: str = "/lifecycle-streams", playbook: str = "") -> None:
        self._source = ("ce_source", source.encode())
        self._playbook = [("ce_playbook", playbook.encode())] if playbook else []

    def encode(self, output: Output) -> EncodedOutput:
        """Return the record of an output. It depends on nothing else. The key is the bare customer id."""
        occurred_at = times.text(output.occurred_at)
        if isinstance(output, StageChange):
            event_type, value = b"lifecycle.stage_changed", _stage_change(output, occurred_at).encode()
        elif isinstance(output, Triggered):
            event_type, value = b"lifecycle.triggered", msgspec.json.encode(_triggered(output))
        elif isinstance(output, IdentityChange):
            event_type = f"lifecycle.identity.{output.type}".encode()
            value = msgspec.json.encode(_identity_change(output))
        else:
            event_type = f"lifecycle.abandonment.{output.type}".encode()
            value = msgspec.json.encode(_abandonment(output))
        headers = [
            _SPECVERSION,
            ("ce_id", output.id.encode()),
            ("ce_type", event_type),
            self._source,
            ("ce_time", occurred_at.encode()),
            _JSON,
            *self._playbook,
        ]
        return EncodedOutput(output.customer.encode(), value, headers)


# Most outputs are stage changes, so these are written as text. Encoding a document takes several times as long.
# `_quoted` escapes as msgspec does.


def _stage_change(change: StageChange, occurred_at: str) -> str:
    (
        id_, customer, identified, subscribed, track, from_stage, to_stage, _at, sequence, cycle, cause, previous_ms,
        profile,
    ) = astuple(change)  # fmt: skip  # all at once: reading the fields one by one takes longer
    return (
        f'{{"id":"{id_}","type":"stage_changed","customer_id":{_quoted(customer)},"track":{_name(track)},'
        f'"from_stage":{_name(from_stage)},"to_stage":{_name(to_stage)},"occurred_at":"{occurred_at}",'
        f'"sequence":{sequence},"cycle":{cycle},"identified":{_flag(identified)},"subscribed":{_flag(subscribed)},'
        f'"cause":{_cause(cause)},"previous_stage_seconds":{_number(_seconds(previous_ms))},'
        f'"profile":{_summary(profile)}}}'
    )


def _cause(cause: Cause) -> str:
    """Return a cause. Kind and rule are always given, other fields if the kind has them."""
    kind, rule, event_id, event_type, deadline, merged, merged_into = astuple(cause)
    text = f'{{"kind":"{kind}","rule":{_name(rule)}'
    if event_id is not None:
        text += f',"event_id":{_quoted(event_id)},"event_type":{_quoted(event_type)}'
    if deadline is not None:
        text += f',"deadline":"{times.text(deadline)}"'
    if merged is not None:
        text += f',"merged_ids":[{",".join([_quoted(id_) for id_ in merged])}]'
    if merged_into is not None:
        text += f',"merged_into":{_quoted(merged_into)}'
    return text + "}"


def _summary(profile: Summary) -> str:
    (
        first_seen_at, last_seen_at, sessions, product_views, orders, revenue, currency, average, items, cart_value,
    ) = astuple(profile)  # fmt: skip
    return (
        f'{{"first_seen_at":"{times.text(first_seen_at)}","last_seen_at":"{times.text(last_seen_at)}",'
        f'"sessions":{sessions},"product_views":{product_views},"orders":{orders},'
        f'"revenue":"{money.text(revenue, currency)}","currency":"{currency}",'
        f'"average_order_value":{_money(average, currency)},"cart_items":{money.pieces(items)},'
        f'"cart_value":{_money(cart_value, currency)}}}'
    )


def _name(name: str | None) -> str:
    return "null" if name is None else _quoted(name)


def _flag(flag: bool | None) -> str:
    return "null" if flag is None else "true" if flag else "false"


def _number(number: float | None) -> str:
    return "null" if number is None else repr(number)


def _money(minor: int | None, currency: str) -> str:
    return "null" if minor is None else f'"{money.text(minor, currency)}"'


def _abandonment(abandonment: Abandonment) -> dict[str, Any]:
    document = {
        "id": abandonment.id,
        "type": abandonment.type,
        "customer_id": abandonment.customer,
        "identified": abandonment.identified,
        "subscribed": abandonment.subscribed,
        "kind": abandonment.kind,
        "abandonment_id": abandonment.abandonment_id,
        "step": abandonment.step,
        "steps": abandonment.steps,
        "occurred_at": times.text(abandonment.occurred_at),
        "last_activity_at": times.text(abandonment.last_activity_at),
        "episode_started_at": times.text(abandonment.episode_started_at),
        "items": lines(abandonment.items),
        "items_cut": abandonment.items_cut,
        "value": amount(abandonment.value, abandonment.currency),
        "currency": abandonment.currency,
        "cart_id": abandonment.cart_id,
        "checkout_id": abandonment.checkout_id,
        "session_id": abandonment.session_id,
        "supersedes": abandonment.supersedes,
        "recent_abandonments": abandonment.recent_abandonments,
    }
    if abandonment.type == "recovered":
        document["order_id"] = abandonment.order_id
        document["order_total"] = amount(abandonment.order_total, abandonment.order_currency)
        document["seconds_to_recover"] = _seconds(abandonment.recovered_after_ms)
        document["match"] = abandonment.match
    elif abandonment.type == "retracted":
        document["reason"] = abandonment.reason
    return document


def _triggered(triggered: Triggered) -> dict[str, Any]:
    return {
        "id": triggered.id,
        "type": "triggered",
        "customer_id": triggered.customer,
        "identified": triggered.identified,
        "subscribed": triggered.subscribed,
        "trigger": triggered.trigger,
        "occurred_at": times.text(triggered.occurred_at),
        "begun_at": times.text(triggered.begun_at),
        "occurrence": triggered.number,
        "step": triggered.step,
        "steps": triggered.steps,
        "bucket": triggered.bucket,
        "held_out": triggered.held_out,
        "cause": msgspec.Raw(_cause(triggered.cause).encode()),
        "about": {
            "event_id": triggered.event_id,
            "event_type": triggered.event_type,
            "output_id": triggered.output_id,
        },
        "currency": triggered.currency,
        "data": {datum.name: _datum(datum, triggered.currency) for datum in triggered.data},
    }


def _identity_change(change: IdentityChange) -> dict[str, Any]:
    document = {
        "id": change.id,
        "type": change.type,
        "customer_id": change.customer,
        "identified": change.identified,
        "occurred_at": times.text(change.occurred_at),
    }
    if change.type == "erased":
        return {**document, "cause": {"request_id": change.request_id}}
    if change.type == "refused":
        customers = {"owner_customer_id": change.owner}
    else:
        customers = {"previous_customer_id": change.previous_customer}
    return {
        **document,
        "anonymous_id": change.anonymous_id,
        **customers,
        "cause": {"event_id": change.event_id, "event_type": change.event_type},
    }


def _datum(datum: Datum, currency: str) -> bool | int | float | str | None:
    """Return a value as other outputs show it: amounts as decimal text, times as RFC 3339, durations in seconds."""
    value = datum.value
    if isinstance(value, int):
        if datum.kind == "money":
            return money.text(value, currency)
        if datum.kind == "time":
            return times.text(value) if EARLIEST < value < LATEST else None
        if datum.kind == "duration":
            return _seconds(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)  # as quantities are written elsewhere
    return value


def lines(items: Iterable[Item]) -> list[dict[str, Any]]:
    """Return the lines of a cart, as every output shows them."""
    return [
        {
            "product_id": item.product_id,
            "category": item.category,
            "price": None if item.price is None else money.price_text(item.price, item.currency),
            "quantity": money.pieces(item.quantity),
        }
        for item in items
    ]


def amount(minor: int | None, currency: str | None) -> str | None:
    """Return an amount as every output shows it, None if there is none."""
    return None if minor is None or currency is None else money.text(minor, currency)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1_000
