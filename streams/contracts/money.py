"""Amounts: decimal text in major units on the wire, integer minor units of an ISO 4217 currency inside."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

import msgspec

MAX_MINOR: Final = 10**15 - 1
"""The largest amount accepted. Beyond it JavaScript and doubles no longer hold sums of amounts exactly."""

_MAX_LENGTH: Final = 1024
# A number by JSON's grammar; in a string also with leading zeros. Checked before Decimal sees it, which would also take
# "NaN", "1_0", " 1 " and the digits of every script.
_NUMBER: Final = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
# Not the thread's context: whoever changed that would change amounts. The precision holds MAX_MINOR and more.
_CONTEXT: Final = Context(prec=18, rounding=ROUND_HALF_UP, traps=[InvalidOperation])


def parse(json: bytes, currency: str) -> int | None:
    """Minor units of the JSON number or string, rounded half up; None for null.

    Raises ValueError saying what is wrong.
    """
    if json == b"null":
        return None
    whole, point, fraction = json.strip(b'"').partition(b".")
    exponent = EXPONENTS[currency]
    # Most amounts are plain digits with as many places as the currency has: no need of decimals.
    if whole.isdigit() and len(whole) < 12 and len(fraction) <= exponent and (fraction.isdigit() or not point):
        return int(whole + fraction + _ZEROS[exponent - len(fraction)])
    return _parse(json, currency)


@lru_cache(maxsize=4096)
def _parse(json: bytes, currency: str) -> int:
    number = msgspec.json.decode(json, type=str).encode() if json.startswith(b'"') else json
    if len(number) > _MAX_LENGTH:
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
    """The amount in major units, with exactly the currency's decimal places: `"0.00"`."""
    exponent = EXPONENTS[currency]
    digits = f"{abs(minor):0{exponent + 1}}"
    sign = "-" if minor < 0 else ""
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}" if exponent else f"{sign}{digits}"


_EXPONENT: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW "
    "CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR "
    "ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV "
    "MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD "
    "SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG "
    # withdrawn since 2021, still in histories
    "ANG BGN CUC HRK SLL ZWL",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
EXPONENTS: Final = {currency: exponent for exponent, codes in _EXPONENT.items() for currency in codes.split()}
"""Decimal places of each ISO 4217 currency that has a minor unit; gold, test codes and `XXX` are no currencies here."""

_ZEROS: Final = (b"", b"0", b"00", b"000", b"0000")
_UNITS: Final = {exponent: Decimal(1).scaleb(-exponent) for exponent in _EXPONENT}
