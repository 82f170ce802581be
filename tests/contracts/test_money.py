from __future__ import annotations

import json
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contracts import money
from streams.core.model.currencies import EXPONENTS

currencies = st.sampled_from(sorted(EXPONENTS))


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        (b"59.90", "EUR", 5990),
        (b'"59.90"', "EUR", 5990),
        (b"0", "EUR", 0),
        (b"-0.0", "EUR", 0),
        (b"0.005", "EUR", 1),
        (b"0.00499999999999999999999999999999999", "EUR", 0),
        (b"2.675", "EUR", 268),  # 267 by way of a double
        (b"1.005", "EUR", 101),
        (b"1980", "JPY", 1980),
        (b"1980.5", "JPY", 1981),
        (b"1.2345", "KWD", 1235),
        (b"1.23456", "CLF", 12346),
        (b"1.5e3", "EUR", 150_000),
        (b"15E-1", "EUR", 150),
        (b'"1\\u0030"', "EUR", 1000),
        (b'"007.50"', "EUR", 750),
        (b"1e-999999999", "EUR", 0),
        (b"9999999999999.99", "EUR", money.MAX_MINOR),
        (b"null", "EUR", None),
    ],
)
def test_valid_amounts_are_read(text: bytes, currency: str, minor: int | None) -> None:
    assert money.parse(text, currency) == minor


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"-1", "negative"),
        (b"-0.001", "negative"),
        (b'"-5.00"', "negative"),
        (b"-1e-999999999", "negative"),
        (b'"free"', "not a decimal number"),
        (b'""', "not a decimal number"),
        (b'" 1 2"', "not a decimal number"),
        (b'"1_0"', "not a decimal number"),
        (b'"1,5"', "not a decimal number"),
        (b'"+1"', "not a decimal number"),
        (b'"NaN"', "not a decimal number"),
        (b'"Infinity"', "not a decimal number"),
        ('"٣"'.encode(), "not a decimal number"),
        (b"true", "not a decimal number"),
        (b"[1]", "not a decimal number"),
        (b'{"a":1}', "not a decimal number"),
        (b"10000000000000.00", "out of range"),
        (b"9999999999999.995", "out of range"),
        (b"1e999999", "out of range"),
        (b"1e99999999999999999999", "out of range"),
        (b"9" * 1025, "too long"),
    ],
)
def test_invalid_amounts_are_rejected(text: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        money.parse(text, "EUR")


@given(minor=st.integers(0, money.MAX_MINOR), currency=currencies)
def test_written_amount_reads_back(minor: int, currency: str) -> None:
    text = money.text(minor, currency)
    exponent = EXPONENTS[currency]
    assert Decimal(text) == Decimal(minor).scaleb(-exponent)
    assert len(text.partition(".")[2]) == exponent
    assert money.parse(text.encode(), currency) == money.parse(json.dumps(text).encode(), currency) == minor


@given(
    amount=st.decimals(0, 10**10, allow_nan=False, allow_infinity=False) | st.decimals(0, 100, places=6),
    currency=currencies,
)
def test_amounts_are_rounded_half_up_as_by_decimal(amount: Decimal, currency: str) -> None:
    with localcontext(Context(prec=100, rounding=ROUND_HALF_UP)):
        expected = int(amount.scaleb(EXPONENTS[currency]).to_integral_value())
    assert money.parse(str(amount).encode(), currency) == expected


@given(minor=st.integers())
def test_sums_are_written_whatever_their_size_and_sign(minor: int) -> None:
    assert Fraction(money.text(minor, "EUR")) == Fraction(minor, 100)


@pytest.mark.parametrize(
    ("price", "currency", "text"),
    [
        ("0.0125", "EUR", "0.0125"),
        ("0.012500", "EUR", "0.0125"),
        ("19.9", "EUR", "19.90"),
        ("19.90001", "EUR", "19.90001"),
        ("19.9000004", "EUR", "19.90"),
        ("19.9000005", "EUR", "19.900001"),
        ("1980", "JPY", "1980"),
        ("1980.5", "JPY", "1980.5"),
        ("1.2345", "KWD", "1.2345"),
        ("9999999999999.99", "EUR", "9999999999999.99"),
    ],
)
def test_prices_keep_four_decimals_beyond_the_minor_unit(price: str, currency: str, text: str) -> None:
    units = money.parse_price(price.encode(), currency)
    assert units is not None
    assert money.price_text(units, currency) == text


@pytest.mark.parametrize(("quantity", "pieces"), [(1_000, "1"), (450, "0.45"), (2_005, "2.005"), (10**9, "1000000")])
def test_whole_quantities_are_written_as_integers(quantity: int, pieces: str) -> None:
    assert json.dumps(money.pieces(quantity)) == pieces


def test_decimal_context_of_the_thread_has_no_effect() -> None:
    money._read.cache_clear()
    with localcontext(Context(prec=1, traps=[])):
        assert money.parse(b"59.905", "EUR") == 5991
        assert money.text(1234, "EUR") == "12.34"
        with pytest.raises(ValueError, match="out of range"):
            money.parse(b"1e99999999999999999999", "EUR")
    with localcontext(Context(traps=[InvalidOperation])):
        assert money.parse(b"59.904", "EUR") == 5990
