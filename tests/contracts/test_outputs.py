from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contracts import money, times
from streams.contracts.outputs import Encoder, amount
from streams.core.model.outputs import Cause, StageChange, Summary
from tests.contracts.samples import ABANDONED, ABANDONMENTS, PROSPECT, STAGE_CHANGES


def test_stage_change_is_encoded_to_these_bytes() -> None:
    assert Encoder().encode(PROSPECT).value.decode() == (
        f'{{"id":"{PROSPECT.id}","type":"stage_changed","customer_id":"c-1","track":"lifecycle",'
        '"from_stage":"visitor","to_stage":"prospect","occurred_at":"2026-11-21T10:00:00.000Z","sequence":2,"cycle":1,'
        '"identified":true,"subscribed":null,'
        '"cause":{"kind":"activity","rule":"prospect","event_id":"e-9","event_type":"product_viewed"},'
        '"previous_stage_seconds":61.2,'
        '"profile":{"first_seen_at":"2026-11-21T09:58:58.800Z","last_seen_at":"2026-11-21T10:00:00.000Z","sessions":1,'
        '"product_views":3,"orders":0,"revenue":"0.00","currency":"EUR","average_order_value":null,"cart_items":0,'
        '"cart_value":"0.00"}}'
    )


def test_output_has_the_headers_of_a_cloud_event() -> None:
    assert Encoder(source="/shops/eu").encode(PROSPECT).headers == [
        ("ce_specversion", b"1.0"),
        ("ce_id", PROSPECT.id.encode()),
        ("ce_type", b"lifecycle.stage_changed"),
        ("ce_source", b"/shops/eu"),
        ("ce_time", b"2026-11-21T10:00:00.000Z"),
        ("content-type", b"application/json"),
    ]


@pytest.mark.parametrize("name", ABANDONMENTS)
def test_the_type_of_a_cloud_event_is_that_of_the_abandonment(name: str) -> None:
    headers = dict(Encoder().encode(ABANDONMENTS[name]).headers)
    assert headers["ce_type"].decode() == f"lifecycle.abandonment.{name.partition('.')[0]}"
    assert headers["ce_source"] == b"/lifecycle-streams"


@pytest.mark.parametrize("customer", ["c-1", "4711", "Zoë 😀"])
def test_key_of_an_output_is_the_bare_id(customer: str) -> None:
    for sample in (PROSPECT, ABANDONED):
        record = Encoder().encode(msgspec.structs.replace(sample, customer=customer))
        assert record.key == customer.encode()
        assert json.loads(record.value)["customer_id"] == customer


def test_recoveries_and_retractions_have_fields_of_their_own() -> None:
    names = {name: set(json.loads(Encoder().encode(sample).value)) for name, sample in ABANDONMENTS.items()}
    common = names["abandoned.cart"]
    assert names["abandoned.step-2"] == names["expired"] == common
    assert names["recovered"] - common == {"order_id", "order_total", "seconds_to_recover", "match"}
    assert names["recovered.unknown-total"] == names["recovered"]
    assert names["retracted"] - common == {"reason"}


def test_money_has_the_places_of_its_currency() -> None:
    items = json.loads(Encoder().encode(ABANDONMENTS["abandoned.browse"]).value)["items"]
    assert [item["price"] for item in items] == ["1980", "12.345"]
    forgotten = json.loads(Encoder().encode(STAGE_CHANGES["forgotten"]).value)
    assert forgotten["profile"]["revenue"] == "0"


def test_cause_without_a_rule_has_a_null_rule() -> None:
    sample = msgspec.structs.replace(PROSPECT, cause=Cause(kind="forgotten", deadline=0))
    cause = json.loads(Encoder().encode(sample).value)["cause"]
    assert cause == {"kind": "forgotten", "rule": None, "deadline": "1970-01-01T00:00:00.000Z"}


def test_seconds_are_written_to_the_millisecond() -> None:
    sample = msgspec.structs.replace(PROSPECT, previous_stage_ms=400 * 86_400_000 + 1)
    assert b'"previous_stage_seconds":34560000.001,' in Encoder().encode(sample).value


TEXT = st.text(max_size=4)
TIMES = st.integers(0, 32_503_680_000_000 - 1)
CAUSES = st.builds(Cause, st.sampled_from(["activity", "inactivity", "forgotten"]), TEXT, TEXT, TEXT) | st.builds(
    Cause, st.just("inactivity"), st.none() | TEXT, deadline=TIMES
)


SUMMARIES = st.builds(
    Summary,
    first_seen_at=TIMES,
    last_seen_at=TIMES,
    currency=st.sampled_from(["EUR", "JPY", "KWD"]),
    cart_items=st.integers(0, 10**12),
)
CHANGES = st.builds(
    StageChange,
    id=st.uuids().map(str),
    customer=TEXT,
    track=TEXT,
    from_stage=st.none() | TEXT,
    to_stage=st.none() | TEXT,
    occurred_at=TIMES,
    cause=CAUSES,
    previous_stage_ms=st.none() | TIMES,
    profile=SUMMARIES,
)


@given(CHANGES)
def test_a_stage_change_is_the_json_of_its_document(change: StageChange) -> None:
    profile, cause, currency = change.profile, change.cause, change.profile.currency
    expected = {"kind": cause.kind, "rule": cause.rule}
    if cause.event_id is not None:
        expected |= {"event_id": cause.event_id, "event_type": cause.event_type}
    if cause.deadline is not None:
        expected |= {"deadline": times.text(cause.deadline)}
    summary = msgspec.structs.asdict(profile) | {
        "first_seen_at": times.text(profile.first_seen_at),
        "last_seen_at": times.text(profile.last_seen_at),
        "revenue": money.text(profile.revenue, currency),
        "average_order_value": amount(profile.average_order_value, currency),
        "cart_items": money.pieces(profile.cart_items),
        "cart_value": amount(profile.cart_value, currency),
    }
    document = {
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
        "cause": expected,
        "previous_stage_seconds": None if change.previous_stage_ms is None else change.previous_stage_ms / 1_000,
        "profile": summary,
    }
    assert Encoder().encode(change).value == msgspec.json.encode(document)
