"""From bytes to bytes: the outputs of the core for decoded records are valid by the schemas."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from jsonschema import Draft202012Validator

from streams.contracts.native import Decoder
from streams.contracts.outputs import Encoder
from streams.contracts.profiles import profile_document
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.counters import EngineCounters
from streams.core.model.event import ORDER_TYPES, Source
from streams.core.model.outputs import Output, StageChange
from streams.core.profile.profile import Profile
from tests.contracts.samples import AT, DAY, HOUR
from tests.contracts.schema_files import VALIDATORS
from tests.support.default_playbook import default_playbook

CLICKS = Decoder(Source.CLICKSTREAM, "clickstream")
ORDERS = Decoder(Source.ORDERS, "orders")
LINE = {"product_id": "p-1", "category": "shoes", "price": "59.90", "quantity": 2}


def lived(*events: dict[str, Any], fire: bool = False) -> tuple[Profile, list[dict[str, Any]]]:
    """Return the profile and the outputs after the events; with `fire` also after all deadlines. All are validated."""
    lifecycle, outputs, counts = Lifecycle(default_playbook()), list[Output](), EngineCounters()
    profile = lifecycle.new("c-1", True)
    for offset, event in enumerate(events):
        decoder = ORDERS if event["type"] in ORDER_TYPES else CLICKS
        value = json.dumps({"customer_id": "c-1"} | event).encode()
        activity = decoder.decode(value, partition=0, offset=offset, timestamp=event["occurred_at"])
        while profile.next_deadline is not None and profile.next_deadline <= activity.at:
            lifecycle.fire(profile, outputs, counts)
        lifecycle.apply(profile, activity, outputs, counts)
    while fire and profile.next_deadline is not None:
        lifecycle.fire(profile, outputs, counts)
    documents = []
    for output in outputs:
        topic = "lifecycle-stage-changes" if isinstance(output, StageChange) else "lifecycle-abandonments"
        documents.append(validated(VALIDATORS[topic], Encoder().encode(output).value))
    if profile.stage is not None:
        document = msgspec.json.encode(profile_document(profile, lifecycle.summary(profile)))
        validated(VALIDATORS["lifecycle-profiles"], document)
    return profile, documents


def validated(validator: Draft202012Validator, value: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(value)
    validator.validate(document)
    return document


def kinds(documents: list[dict[str, Any]]) -> set[str]:
    return {document["cause"]["kind"] if "cause" in document else document["type"] for document in documents}


ADDED = {"type": "product_added", "occurred_at": AT, "cart_id": "k-1"} | LINE
BOUGHT = {"type": "order_completed", "order_id": "o-1", "cart_id": "k-1", "total": 119.8, "items": [LINE]}


def test_outputs_of_a_cart_left_for_good_are_valid() -> None:
    _, documents = lived(ADDED, fire=True)
    assert kinds(documents) == {"activity", "inactivity", "forgotten", "abandoned", "expired"}


def test_outputs_of_a_recovered_cart_are_valid() -> None:
    profile, documents = lived(ADDED, BOUGHT | {"occurred_at": AT + 2 * HOUR})
    assert kinds(documents) == {"activity", "abandoned", "recovered"}
    assert profile.revenue == 11_980


def test_an_order_of_unknown_total_recovers_too() -> None:
    _, documents = lived(ADDED, BOUGHT | {"occurred_at": AT + 2 * HOUR, "total": None})
    assert [document["order_total"] for document in documents if document["type"] == "recovered"] == [None]


def test_outputs_of_late_events_are_valid() -> None:
    later = {"type": "page_viewed", "occurred_at": AT + DAY}
    for late in (BOUGHT, {"type": "page_viewed"}):
        _, documents = lived(ADDED, later, late | {"occurred_at": AT + HOUR // 2})
        assert "retracted" in kinds(documents)


def test_outputs_of_a_browse_in_two_currencies_are_valid() -> None:
    view = {"type": "product_viewed", "occurred_at": AT}
    _, documents = lived(
        view | {"product_id": "p-1", "price": 1980, "currency": "JPY"},
        view | {"product_id": "p-2", "price": "12.345", "currency": "KWD"},
        view,
        fire=True,
    )
    (browse,) = [document for document in documents if document["type"] == "abandoned"]
    assert [item["price"] for item in browse["items"]] == ["1980", "12.345", None]
    assert (browse["value"], browse["items"][2]["product_id"]) == (None, None)


def test_outputs_of_a_passive_event_are_valid() -> None:
    profile, documents = lived({"type": "message_opened", "occurred_at": AT})
    assert profile.last_activity_at is None
    assert kinds(documents) == {"activity"}
