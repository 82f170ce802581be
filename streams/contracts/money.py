"""Amounts and prices: decimal text in major units on the wire, integers inside (`streams.core.model.currencies`).

`read` and its like take the number of decimal places: of an amount the exponent of its currency, of a price
`PRICE_PLACES` more.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

import msgspec
from mypy_extensions import i64

from streams.core.model.currencies import EXPONENTS, PIECE, PRICE_UNIT

MAX_MINOR: Final = 10**15 - 1
"""The largest amount accepted, in minor units. Beyond it doubles no longer hold sums of amounts exactly."""

MAX_LENGTH: Final = 1024
"""Most bytes of the text of an amount."""
PRICE_PLACES: Final = 4
"""Decimal places that a price has beyond those of its currency."""
UNNAMED_PLACES: Final = 4
"""Decimal places of an amount without a currency."""
_SHORT: Final = 11
"""Characters of an amount that is at most `MAX_MINOR`, whatever its currency."""
_LARGEST_DOUBLE: Final = 1e12
"""Below it, a double times a power of ten is right to a thousandth."""
_LARGEST_INTEGER: Final = 10**8
_DIGITS: Final = frozenset("0123456789")
_QUOTE: Final = 0x22
_POINT: Final = 0x2E
_NOUGHT: Final = 0x30
_NINE: Final = 0x39
# A number by JSON's grammar; in a string also with leading zeros. Checked before Decimal sees it, which would also take
# "NaN", "1_0", " 1 " and the digits of every script.
_NUMBER: Final = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
# Not the thread's context: a change of that would change amounts. The precision holds the largest price and more.
_CONTEXT: Final = Context(prec=24, rounding=ROUND_HALF_UP, traps=[InvalidOperation])


class Negative(ValueError):
    """A number is negative and must not be."""


def parse(json: bytes, currency: str) -> int | None:
    """Return the minor units of a JSON number or string, rounded half up; None for null.

    Raise `ValueError` with the reason.
    """
    return read(json, EXPONENTS[currency])


def parse_price(json: bytes, currency: str) -> int | None:
    """Return a price in `PRICE_UNIT`ths of a minor unit, as `parse` returns an amount."""
    return read(json, EXPONENTS[currency] + PRICE_PLACES, PRICE_UNIT)


def read(json: bytes, places: int, finer: int = 1, signed: bool = False) -> int | None:
    """Return a JSON number or string times the power of ten of `places`, rounded half up; None for null.

    It may be up to `MAX_MINOR` times `finer`. The sign is dropped if `signed`. Raise `Negative`, or another
    `ValueError` with the reason.
    """
    if json == b"null":
        return None
    # Most amounts are digits with no more places than the currency has. They need no decimals.
    start, end = (1, len(json) - 1) if json[0] == _QUOTE else (0, len(json))
    if end - start > _SHORT:
        return _read(json, places, finer, signed)
    amount: i64 = 0
    shown = -1
    for n in range(start, end):
        character = json[n]
        if _NOUGHT <= character <= _NINE:
            amount = amount * 10 + character - _NOUGHT
            if shown >= 0:
                shown += 1
        elif character == _POINT and shown < 0 and n > start:
            shown = 0
        else:
            return _read(json, places, finer, signed)
    if start == end or shown == 0 or shown > places:
        return _read(json, places, finer, signed)
    return int(amount) * _POWERS[places - max(shown, 0)]


def of_double(value: float, places: int) -> int:
    """Return the result of `read` from the double nearest to the text; -1 if the text itself is needed."""
    scaled = value * _SCALES[places]
    if 0.0 < scaled < _LARGEST_DOUBLE:
        number = int(scaled + 0.5)
        # The text may be another number than its double, but they differ by far less than this margin.
        if -0.499 < scaled - number < 0.499:
            return number
    return -1


def of_value(value: str | int, places: int, finer: int = 1) -> int:
    """Return the result of `read` from an integer or the content of a string; -1 if the text itself is needed."""
    if isinstance(value, int):
        return value * _POWERS[places] if 0 <= value < _LARGEST_INTEGER else -1
    number = read(value.encode(), places, finer) if value[:1] in _DIGITS else None
    return -1 if number is None else number


@lru_cache(maxsize=4096)
def _read(json: bytes, places: int, finer: int, signed: bool) -> int:
    number = msgspec.json.decode(json, type=str).strip().encode() if json.startswith(b'"') else json
    if len(number) > MAX_LENGTH:
        raise ValueError("too long")
    if not _NUMBER.fullmatch(number):
        raise ValueError("not a decimal number")
    try:
        amount = Decimal(number.decode(), _CONTEXT)
        if amount < 0 and not signed:
            raise Negative("negative")
        units = int(amount.quantize(_UNITS[places], context=_CONTEXT).scaleb(places, _CONTEXT))
    except InvalidOperation:  # more digits than the context holds, or an exponent beyond Decimal's
        raise ValueError("out of range") from None
    if abs(units) > MAX_MINOR * finer:
        raise ValueError("out of range")
    return abs(units)


def text(minor: int, currency: str) -> str:
    """Return the amount in major units, with exactly the currency's decimal places: `"0.00"`."""
    if minor < 0:
        return "-" + text(-minor, currency)
    power = _POWERS[EXPONENTS[currency]]
    if power == 1:
        return str(minor)
    return f"{minor // power}.{str(minor % power + power)[1:]}"


def price_text(price: int, currency: str) -> str:
    """Return a price in major units, with as many decimal places as it needs, at least the currency's: `"0.0125"`."""
    minor, rest = divmod(price, PRICE_UNIT)
    if not rest:
        return text(minor, currency)
    point = "" if EXPONENTS[currency] else "."
    return f"{text(minor, currency)}{point}{rest:04}".rstrip("0")


def pieces(quantity: int) -> int | float:
    """Return a quantity in pieces, a whole number as an integer."""
    return quantity / PIECE if quantity % PIECE else quantity // PIECE


# The types name no length: tuples of a fixed length would be built again for each access.
_POWERS: Final[tuple[int, ...]] = tuple([10**places for places in range(9)])
_SCALES: Final[tuple[float, ...]] = tuple([float(power) for power in _POWERS])
_UNITS: Final = [Decimal(1).scaleb(-places) for places in range(9)]
