"""Times: RFC 3339 or a number in inputs, RFC 3339 in UTC in outputs, integer milliseconds inside."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Final

from mypy_extensions import i64

END: Final = 32_503_680_000_000
"""The year 3000. Later times (mostly microseconds taken for milliseconds) are rejected."""
BEGIN: Final = 315_532_800_000
"""The year 1980. An earlier time is none: 0 stands for an unknown time, and devices without a clock start in 1970."""

_SECONDS_BELOW: Final = 10**11
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE: Final = 60_000
_DAY: Final = 24 * 60 * _MINUTE
# Excludes what fromisoformat accepts beyond RFC 3339: week dates, no offset, commas. fromisoformat checks the date.
_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|(60))(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


def parse(value: str | int | float, begin: int = BEGIN) -> int:
    """Return the milliseconds since the epoch of a time in an input. It is not before `begin`, which is `BEGIN` or 0.
    Raise `ValueError` with the reason.

    A number is epoch seconds if below 1e11, else milliseconds, and is rounded half up. Text finer than a millisecond is
    cut.
    """
    at = _of_text(value) if isinstance(value, str) else _of_number(value)
    if not begin <= at < END:
        raise ValueError(f"before {1980 if begin else 1970} or after 2999")
    return at


def text(at: int) -> str:
    """Return a time, ms, as text such as `2026-11-21T10:00:00.000Z`."""
    day = at // _DAY
    milliseconds: i64 = at - day * _DAY
    seconds = milliseconds // 1_000
    minutes = seconds // 60
    return f"{_date(day)}{_MINUTES[minutes]}{_SECONDS[seconds % 60]}{_MILLISECONDS[milliseconds % 1_000]}"


_MINUTES: Final = [f"T{n // 60:02}:{n % 60:02}:" for n in range(24 * 60)]
_SECONDS: Final = [f"{n:02}." for n in range(60)]
_MILLISECONDS: Final = [f"{n:03}Z" for n in range(1_000)]


def _date(day: int) -> str:
    date = _DATES.get(day)
    if date is None:
        if len(_DATES) >= _DATES_KEPT:
            _DATES.clear()
        date = _DATES[day] = (_EPOCH + timedelta(days=day)).date().isoformat()
    return date


_DATES: Final[dict[int, str]] = {}  # a lookup takes a third of a call through lru_cache
_DATES_KEPT: Final = 1024


@lru_cache(maxsize=1024)
def _midnight(date: str) -> int:
    return parse_rfc_3339(f"{date}T00:00:00Z")


def _of_text(value: str) -> int:
    # The form that most producers write is read without a regular expression. All others are read below.
    if (
        len(value) == 24
        and value[10] == "T"
        and value[13] == value[16] == ":"
        and value[19] == "."
        and value[23] == "Z"
    ):
        digits = value[11:13] + value[14:16] + value[17:19] + value[20:23]
        hour, minute, second = digits[:2], digits[2:4], digits[4:6]
        if digits.isascii() and digits.isdigit() and hour < "24" and minute < "60" and second < "60":
            seconds = int(hour) * 3600 + int(minute) * 60 + int(second)
            return _midnight(value[:10]) + seconds * 1_000 + int(digits[6:])
    return parse_rfc_3339(value)


def parse_rfc_3339(value: str) -> int:
    """Return the milliseconds since the epoch of a time of any year; finer fractions are cut.

    Raise `ValueError` with the reason.
    """
    match = _RFC_3339.fullmatch(value)
    if match is None:
        raise ValueError("not RFC 3339 with an offset")
    leap = match.lastindex is not None
    if leap:  # datetime has no second 60
        value = f"{value[:17]}59{value[19:]}"
    if value[-1] == "z":
        value = value.upper()
    try:
        since = datetime.fromisoformat(value) - _EPOCH
    except ValueError:
        raise ValueError("no such date") from None
    at = since.days * _DAY + since.seconds * 1_000 + since.microseconds // 1_000
    if leap:
        at += 1_000  # in POSIX time, the leap second is the first one of the next day
        if at % _DAY >= 1_000:
            raise ValueError("a leap second not at the end of a UTC day")
    return at


def _of_number(value: int | float) -> int:
    if isinstance(value, int):
        return value * 1_000 if value < _SECONDS_BELOW else value
    # By the shortest text of the float, which is the text that it was read from if that had up to 15 digits.
    exact = Decimal(repr(value))
    return int((exact * 1_000 if exact < _SECONDS_BELOW else exact).to_integral_value(ROUND_HALF_UP))
