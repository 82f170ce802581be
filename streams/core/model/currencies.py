"""The currencies of ISO 4217, and the units in which the core keeps prices, quantities and amounts.

An amount is an integer in minor units of its currency. A unit price is an integer in `PRICE_UNIT`ths of a minor unit, a
quantity an integer in `PIECE`ths of a piece. So the sum of price times quantity is exact, and rounded once.
"""

from __future__ import annotations

from typing import Final

PRICE_UNIT: Final = 10_000
"""Units of a price in a minor unit of its currency."""
PIECE: Final = 1_000
"""Units of a quantity in one piece."""
UNNAMED_UNIT: Final = 10_000
"""Units in a major unit of the total of an order event that names no currency: enough for every currency."""

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
"""Decimal places of each ISO 4217 currency that has a minor unit; gold, test codes and `XXX` are left out."""

_PRODUCT: Final = PRICE_UNIT * PIECE
_POWERS: Final[tuple[int, ...]] = (1, 10, 100, 1_000, 10_000)


def rounded_amount(products: int) -> int:
    """Return a sum of prices times quantities in minor units, rounded half up."""
    return (2 * products + _PRODUCT) // (2 * _PRODUCT)


def minor_units(total: int, currency: str) -> int:
    """Return an amount of `UNNAMED_UNIT`ths of a major unit in minor units of the currency, rounded half up."""
    unit = UNNAMED_UNIT // _POWERS[EXPONENTS[currency]]
    return (2 * total + unit) // (2 * unit)
