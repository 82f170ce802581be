"""Properties are read if a playbook declares them, and absent if they have another type."""

from __future__ import annotations

import json

import pytest

from streams.contracts.native import Decoder
from streams.core.model.event import Source
from streams.core.rules import Type

AT = 1_760_000_000_000
WANTED = {"n": Type.NUMBER, "m": Type.MONEY, "t": Type.TEXT, "b": Type.BOOL, "at": Type.TIME}


def read(properties: object, source: Source = Source.CLICKSTREAM, **fields: object) -> dict[str, object] | None:
    decoder = Decoder(source, "topic", properties=WANTED)
    record = {"type": "x", "occurred_at": AT, "customer_id": "c-1", "order_id": "o-1", "properties": properties}
    found = decoder.decode(json.dumps(record | fields).encode(), partition=0, offset=0, timestamp=AT).properties
    return None if found is None else dict(found)


@pytest.mark.parametrize("source", Source)
def test_properties_of_the_declared_type_are_read(source: Source) -> None:
    expected = {"n": 2.5, "m": "9.99", "t": "x" * 2000, "b": True, "at": "2026-11-21T10:00:00Z", "other": {"deep": []}}
    assert read(expected, source) == {
        "n": 2.5,
        "m": 999,
        "t": "x" * 1024,
        "b": True,
        "at": 1_795_255_200_000,
    }
    assert read({"m": 5}, source, currency="JPY") == {"m": 5}


def test_a_date_is_its_midnight_in_utc_also_before_1970() -> None:
    assert read({"at": "1969-12-31"}) == {"at": -86_400_000}


@pytest.mark.parametrize(
    "properties",
    [
        {"n": "1", "m": "x", "t": 1, "b": 1, "at": "yesterday"},
        {"n": True, "m": -1, "t": None, "b": "true", "at": True},
        {"n": [1], "m": {}, "t": ["x"], "b": None, "at": "2026-02-30"},
        {"n": {}, "m": True, "at": "1969-12-31T00:00:00Z"},
        {"m": 1e300, "at": 1e300},
    ],
)
def test_properties_of_another_type_are_absent(properties: dict[str, object]) -> None:
    assert read(properties) == {}


@pytest.mark.parametrize("properties", [None, [1], "x", 3])
def test_properties_that_are_not_an_object_count_as_absent(properties: object) -> None:
    assert read(properties) is None


def test_infinite_numbers_count_as_absent_properties() -> None:
    value = b'{"type":"x","occurred_at":1760000000000,"customer_id":"c","properties":{"n":1e999,"m":1e999,"t":"y"}}'
    decoder = Decoder(Source.CLICKSTREAM, "topic", properties=WANTED)
    assert decoder.decode(value, partition=0, offset=0, timestamp=AT).properties == {"t": "y"}


def test_properties_that_no_rule_reads_are_not_decoded() -> None:
    value = b'{"type":"x","occurred_at":1760000000000,"customer_id":"c","properties":{"n":1}}'
    decoded = Decoder(Source.CLICKSTREAM, "topic").decode(value, partition=0, offset=0, timestamp=AT)
    assert decoded.properties is None
