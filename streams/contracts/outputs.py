"""The core's outputs to records: JSON with CloudEvents headers (binary mode). `schemas/json/` describes each field."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from streams.contracts import money, times
from streams.core.activity import Item
from streams.core.effects import Abandonment, Cause, Output, StageChange, Summary

Headers = list[tuple[str, bytes]]


class Record(NamedTuple):
    """What is produced. The topic is the output's, the timestamp the time of production: both the sender's to give."""

    key: bytes
    value: bytes
    headers: Headers


class Encoder:
    """Encodes outputs. Used by the shell for records, by the replay for lines (`value`): the same bytes.

    `source` is the CloudEvents source of everything this deployment emits.
    """

    def __init__(self, source: str = "/lifecycle-streams") -> None:
        self._source = source.encode()

    def encode(self, output: Output) -> Record:
        """The record of an output: a pure function of it. The key is the bare customer id."""
        if isinstance(output, StageChange):
            event_type, document = "lifecycle.stage_changed", _stage_change(output)
        else:
            event_type, document = f"lifecycle.abandonment.{output.type}", _abandonment(output)
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", output.id.encode()),
            ("ce_type", event_type.encode()),
            ("ce_source", self._source),
            ("ce_time", times.text(output.occurred_at).encode()),
            ("content-type", b"application/json"),
        ]
        return Record(output.customer.encode(), msgspec.json.encode(document), headers)


def _stage_change(change: StageChange) -> dict[str, Any]:
    return {
        "id": change.id,
        "type": "stage_changed",
        "customer_id": change.customer,
        "track": change.track,
        "from_stage": change.from_stage,
        "to_stage": change.to_stage,
        "occurred_at": times.text(change.occurred_at),
        "sequence": change.sequence,
        "cycle": change.cycle,
        "identified": change.identified,
        "subscribed": change.subscribed,
        "cause": _cause(change.cause),
        "previous_stage_seconds": _seconds(change.previous_stage_ms),
        "profile": _summary(change.profile),
    }


def _cause(cause: Cause) -> dict[str, Any]:
    """Kind and rule always, the rest where the kind has it."""
    document: dict[str, Any] = {"kind": cause.kind, "rule": cause.rule}
    if cause.event_id is not None:
        document["event_id"] = cause.event_id
        document["event_type"] = cause.event_type
    if cause.deadline is not None:
        document["deadline"] = times.text(cause.deadline)
    return document


def _summary(profile: Summary) -> dict[str, Any]:
    return {
        "first_seen_at": times.text(profile.first_seen_at),
        "last_seen_at": times.text(profile.last_seen_at),
        "sessions": profile.sessions,
        "product_views": profile.product_views,
        "orders": profile.orders,
        "revenue": money.text(profile.revenue, profile.currency),
        "currency": profile.currency,
        "average_order_value": amount(profile.average_order_value, profile.currency),
        "cart_items": profile.cart_items,
        "cart_value": amount(profile.cart_value, profile.currency),
    }


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


def lines(items: Iterable[Item]) -> list[dict[str, Any]]:
    """The lines of a cart, as every output shows them."""
    return [
        {
            "product_id": item.product_id,
            "category": item.category,
            "price": amount(item.price, item.currency),
            "quantity": item.quantity,
        }
        for item in items
    ]


def amount(minor: int | None, currency: str | None) -> str | None:
    """Money as every output shows it; None where there is none to show."""
    return None if minor is None or currency is None else money.text(minor, currency)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1_000
