"""Amounts: decimal text in major units on the wire, integer minor units of an ISO 4217 currency inside."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

import msgspec
from mypy_extensions import i64

from streams.core.model.currencies import EXPONENTS

MAX_MINOR: Final = 10**15 - 1
"""The largest amount accepted. Beyond it JavaScript and doubles no longer hold sums of amounts exactly."""

MAX_LENGTH: Final = 1024
"""Most bytes of the text of an amount."""
_SHORT: Final = 11
"""Characters of an amount that is at most `MAX_MINOR`, even with four more places."""
_LARGEST_DOUBLE: Final = 1e8
"""Below it, a double and its product with a power of ten are right to a thousandth of any currency's minor unit."""
_LARGEST_INTEGER: Final = 10**8
_DIGITS: Final = frozenset("0123456789")
_QUOTE: Final = 0x22
_POINT: Final = 0x2E
_NOUGHT: Final = 0x30
_NINE: Final = 0x39
# A number by JSON's grammar; in a string also with leading zeros. Checked before Decimal sees it, which would also take
# "NaN", "1_0", " 1 " and the digits of every script.
_NUMBER: Final = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
# Not the thread's context: a change of that would change amounts. The precision holds MAX_MINOR and more.
_CONTEXT: Final = Context(prec=18, rounding=ROUND_HALF_UP, traps=[InvalidOperation])


def parse(json: bytes, currency: str) -> int | None:
    """Return the minor units of a JSON number or string, rounded half up; None for null.

    Raise `ValueError` with the reason.
    """
    if json == b"null":
        return None
    # Most amounts are digits with no more places than the currency has. They need no decimals.
    start, end = (1, len(json) - 1) if json[0] == _QUOTE else (0, len(json))
    if end - start > _SHORT:
        return _parse(json, currency)
    amount: i64 = 0
    places = -1
    for n in range(start, end):
        character = json[n]
        if _NOUGHT <= character <= _NINE:
            amount = amount * 10 + character - _NOUGHT
            if places >= 0:
                places += 1
        elif character == _POINT and places < 0 and n > start:
            places = 0
        else:
            return _parse(json, currency)
    exponent = EXPONENTS[currency]
    if start == end or places == 0 or places > exponent:
        return _parse(json, currency)
    return int(amount) * _POWERS[exponent - max(places, 0)]


def of_double(value: float, currency: str) -> int:
    """Return the result of `parse` from the double nearest to the text; -1 if the text itself is needed."""
    if 0.0 < value < _LARGEST_DOUBLE:
        scaled = value * _SCALES[EXPONENTS[currency]]
        minor = int(scaled + 0.5)
        # The text may be another number than its double, but they differ by far less than this margin.
        if -0.499 < scaled - minor < 0.499:
            return minor
    return -1


def of_value(value: str | int, currency: str) -> int:
    """Return the result of `parse` from an integer or the content of a string; -1 if the text itself is needed."""
    if isinstance(value, int):
        return value * _POWERS[EXPONENTS[currency]] if 0 <= value < _LARGEST_INTEGER else -1
    minor = parse(value.encode(), currency) if value[:1] in _DIGITS else None
    return -1 if minor is None else minor


@lru_cache(maxsize=4096)
def _parse(json: bytes, currency: str) -> int:
    number = msgspec.json.decode(json, type=str).encode() if json.startswith(b'"') else json
    if len(number) > MAX_LENGTH:
        raise ValueError("too long")
    if not _NUMBER.fullmatch(number):
        raise ValueError("not a decimal number")
    exponent = EXPONENTS[currency]
    try:
        amount = Decimal(number.decode(), _CONTEXT)
        minor = int(amount.quantize(_UNITS[exponent], context=_CONTEXT).scaleb(exponent, _CONTEXT))
    except InvalidOperation:  # more digits than the context holds, or an exponent beyond Decimal's
        raise ValueError("out of range") from None
    if amount < 0:
        raise ValueError("negative")
    if minor > MAX_MINOR:
        raise ValueError("out of range")
    return minor


def text(minor: int, currency: str) -> str:
    """Return the amount in major units, with exactly the currency's decimal places: `"0.00"`."""
    if minor < 0:
        return "-" + text(-minor, currency)
    power = _POWERS[EXPONENTS[currency]]
    if power == 1:
        return str(minor)
    return f"{minor // power}.{str(minor % power + power)[1:]}"


# The types name no length: tuples of a fixed length would be built again for each access.
_POWERS: Final[tuple[int, ...]] = (1, 10, 100, 1_000, 10_000)
_SCALES: Final[tuple[float, ...]] = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)
_UNITS: Final = {exponent: Decimal(1).scaleb(-exponent) for exponent in sorted(set(EXPONENTS.values()))}
