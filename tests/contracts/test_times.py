from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.contracts import times

AT = 1_795_255_200_000


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ("2026-11-21T10:00:00Z", AT),
        ("2026-11-21t10:00:00z", AT),
        ("2026-11-21 10:00:00+00:00", AT),
        ("2026-11-21T10:00:00-00:00", AT),
        ("2026-11-21T12:30:00+02:30", AT),
        ("2026-11-21T00:00:00-10:00", AT),
        ("2026-11-21T10:00:00.1Z", AT + 100),
        ("2026-11-21T10:00:00.123Z", AT + 123),
        ("2026-11-21T10:00:00.1239999999999Z", AT + 123),
        ("2026-11-21T10:00:00.999999999Z", AT + 999),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
        ("1980-01-01T00:00:00Z", times.BEGIN),
        ("2999-12-31T23:59:59.999Z", times.END - 1),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),  # a leap second is the first second of the next day
        ("2016-12-31T23:59:60.5Z", 1_483_228_800_500),
        ("2017-01-01T08:59:60+09:00", 1_483_228_800_000),
        (1_795_255_200, AT),
        (1_795_255_200.5, AT + 500),
        (1_795_255_200.1235, AT + 124),
        (1_795_255_200.1234, AT + 123),
        (315_532_800, times.BEGIN),
        (AT, AT),
        (AT + 0.5, AT + 1),
        (times.BEGIN, times.BEGIN),
    ],
)
def test_valid_times_are_read(value: str | float, at: int) -> None:
    assert times.parse(value) == at


def test_numbers_below_1e11_are_taken_for_seconds() -> None:
    with pytest.raises(ValueError, match="after 2999"):
        times.parse(10**11 - 1)  # seconds, of the year 5138
    with pytest.raises(ValueError, match="before 1980"):
        times.parse(10**11)  # milliseconds, of the year 1973


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "not RFC 3339"),
        ("2026-11-21", "not RFC 3339"),
        ("2026-11-21T10:00:00", "not RFC 3339"),
        ("2026-11-21T10:00Z", "not RFC 3339"),
        ("20261121T100000Z", "not RFC 3339"),
        ("2026-W47-6T10:00:00Z", "not RFC 3339"),
        ("2026-11-21T10:00:00,5Z", "not RFC 3339"),
        ("2026-11-21T10:00:00.Z", "not RFC 3339"),
        ("2026-11-21T10:00:00+0200", "not RFC 3339"),
        ("2026-11-21T10:00:00+24:00", "not RFC 3339"),
        ("2026-11-21T10:00:00+02:60", "not RFC 3339"),
        ("2026-11-21T24:00:00Z", "not RFC 3339"),
        ("2026-11-21T10:60:00Z", "not RFC 3339"),
        ("2026-11-21T10:00:61Z", "not RFC 3339"),
        (" 2026-11-21T10:00:00Z", "not RFC 3339"),
        ("2026-11-21T10:00:00Z\n", "not RFC 3339"),
        ("٢٠٢٦-11-21T10:00:00Z", "not RFC 3339"),
        ("+026-11-21T10:00:00Z", "not RFC 3339"),
        ("2026-02-29T10:00:00Z", "no such date"),
        ("2026-13-01T10:00:00Z", "no such date"),
        ("0000-01-01T10:00:00Z", "no such date"),
        ("2026-11-21T10:00:60Z", "leap second"),
        ("2016-12-31T23:59:60+01:00", "leap second"),
        ("1979-12-31T23:59:59.999Z", "before 1980"),
        ("1980-01-01T00:00:00+00:01", "before 1980"),
        ("0001-01-01T00:00:00+23:59", "before 1980"),
        ("3000-01-01T00:00:00Z", "after 2999"),
        ("9999-12-31T23:59:60Z", "after 2999"),
        ("9999-12-31T23:59:59-23:59", "after 2999"),
        (-1, "before 1980"),
        (AT * 1_000, "after 2999"),
        (10**400, "after 2999"),
        (1.7e308, "after 2999"),
    ],
)
def test_invalid_times_are_rejected(value: str | float, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        times.parse(value)


@given(at=st.integers(times.BEGIN, times.END - 1))
def test_written_time_reads_back(at: int) -> None:
    assert times.parse(times.text(at)) == at
    assert datetime.fromisoformat(times.text(at)) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)


@given(
    moment=st.datetimes(datetime(1980, 1, 3), datetime(2999, 12, 30)),
    offset=st.integers(-1439, 1439),
)
def test_any_utc_offset_and_microseconds_are_read(moment: datetime, offset: int) -> None:
    local = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    expected = (local - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert times.parse(local.isoformat()) == expected


@given(tenths=st.integers(10 * times.BEGIN, 320_000_000_000_000))
@example(171_798_691_840_585)  # the float is a little less than its text; the text is rounded half up
def test_seconds_are_rounded_half_up_as_they_are_written(tenths: int) -> None:
    assert times.parse(float(f"{tenths // 10_000}.{tenths % 10_000:04}")) == (tenths + 5) // 10


@given(tenths=st.integers(10 * times.BEGIN, 320_000_000_000_000))
def test_milliseconds_are_rounded_half_up_as_they_are_written(tenths: int) -> None:
    assert times.parse(float(f"{tenths // 10}.{tenths % 10}")) == (tenths + 5) // 10


@given(value=st.floats(315_532_801, 3.2e10, allow_nan=False) | st.floats(315_532_801_000, 3e13, allow_nan=False))
@example(17179869184.0585)
def test_any_number_is_rounded_to_the_nearest(value: float) -> None:
    unit = 1_000 if value < 1e11 else 1
    # The text may differ from this float by half of its last place.
    most = Fraction(1, 2) + Fraction(math.ulp(value)) / 2 * unit
    assert abs(times.parse(value) - Fraction(value) * unit) <= most
