"""Parsing of values as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import values


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("10m", 600_000),
        ("5s", 5_000),
        ("250ms", 250),
        ("1h30m", 5_400_000),
        ("2d", 172_800_000),
        ("2w", 1_209_600_000),
        ("0s", 0),
        ("1d2h3m4s5ms", 93_784_005),
        ("90m", 5_400_000),
    ],
)
def test_valid_durations_are_read(text: str, milliseconds: int) -> None:
    assert values.parse_duration(text) == milliseconds


@pytest.mark.parametrize("text", ["", "10", "m", "5 s", "1.5h", "-5s", "5s1m", "10M", "off", "٣s", "5sec"])
def test_invalid_durations_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        values.parse_duration(text)


@given(st.integers(0, 10**12))
def test_a_duration_shown_reads_back(milliseconds: int) -> None:
    assert values.parse_duration(values.show_duration(milliseconds)) == milliseconds


def test_off_is_accepted_only_where_allowed() -> None:
    assert values.optional_duration().parse("off") is None
    assert values.optional_duration().parse("OFF") is None
    assert values.optional_duration().show(None) == "off"
    with pytest.raises(ValueError, match="is not a duration"):
        values.duration().parse("off")


def test_duration_below_its_minimum_is_rejected() -> None:
    assert values.duration(at_least=50).parse("50ms") == 50
    with pytest.raises(ValueError, match="is too short: the least is 50ms"):
        values.duration(at_least=50).parse("49ms")


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-21T10:00:00Z", 1_795_255_200_000),
        ("2026-11-21T11:00:00.123456+01:00", 1_795_255_200_123),
        ("2026-11-21 10:00:00+00:00", 1_795_255_200_000),
        ("1969-12-31T23:59:59.9995Z", -1),
    ],
)
def test_valid_times_are_read(text: str, milliseconds: int) -> None:
    assert values.parse_time(text) == milliseconds


@pytest.mark.parametrize("text", ["", "2026-11-21", "2026-11-21T10:00:00", "10:00Z", "yesterday", "1795255200"])
def test_invalid_times_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        values.parse_time(text)


@given(st.integers(0, 253_402_300_799_999))
def test_a_time_shown_reads_back(milliseconds: int) -> None:
    assert values.parse_time(values.show_time(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("text", "brokers"),
    [
        ("localhost:9092", "localhost:9092"),
        ("kafka://a:1,kafka://b:2", "a:1,b:2"),
        ("kafka://a:1;b:2", "a:1,b:2"),
        ("a:1, b:2", "a:1,b:2"),
        ("[::1]:9092", "[::1]:9092"),
    ],
)
def test_valid_broker_lists_are_read(text: str, brokers: str) -> None:
    assert values.BROKERS.parse(text) == brokers


@pytest.mark.parametrize("text", ["", "localhost", "a:0", "a:65536", "a:1,", "http://a:1", "a b:1", ":9092", "a:x"])
def test_invalid_broker_lists_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        values.BROKERS.parse(text)


@pytest.mark.parametrize(("text", "count"), [("8MiB", 8 << 20), ("512 KiB", 512 << 10), ("1GiB", 1 << 30), ("7B", 7)])
def test_valid_sizes_are_read(text: str, count: int) -> None:
    assert values.SIZE.parse(text) == count
    assert values.SIZE.parse(values.SIZE.show(count)) == count


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (values.SIZE, "8"),
        (values.SIZE, "8MB"),
        (values.TOPIC, "my topic"),
        (values.TOPIC, ".."),
        (values.TOPIC, "x" * 250),
        (values.APPLICATION, "x" * 151),
        (values.HOST, "a b"),
        (values.UUID, "1234"),
        (values.CURRENCY, "eur"),
        (values.REFERENCE, "a b"),
        (values.SWITCH, "yes"),
        (values.integer(1, 5), "6"),
        (values.integer(1, 5), "1.0"),
        (values.word("a", "b"), "c"),
        (values.time_or("start"), "stop"),
        (values.PATH, "~no-such-user-here/x"),
    ],
)
def test_values_out_of_bounds_are_rejected(kind: values.Kind[object], text: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|names) "):
        kind.parse(text)
