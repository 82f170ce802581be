"""A sale is not lost to its decoration: what an event can do without is left out and counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streams.contracts.fields import FIELDS, LINE_REASONS, MAX_QUANTITY
from streams.contracts.native import Decoder
from streams.contracts.rejected import Rejected
from streams.core.model.currencies import EXPONENTS, PIECE, PRICE_UNIT
from streams.core.model.event import ORDER_TYPES, Event, Source

AT = 1_795_255_200_000
ORDER: dict[str, Any] = {"type": "order_completed", "occurred_at": AT, "customer_id": "c-1", "order_id": "o-1"}
ADDED: dict[str, Any] = {"type": "product_added", "occurred_at": AT, "customer_id": "c-1", "product_id": "A"}


@pytest.fixture
def clicks() -> Decoder:
    return Decoder(Source.CLICKSTREAM, "clickstream")


@pytest.fixture
def orders() -> Decoder:
    return Decoder(Source.ORDERS, "orders")


def decode(decoder: Decoder, record: dict[str, Any]) -> Event:
    return decoder.decode(json.dumps(record).encode(), partition=0, offset=0, timestamp=AT)


def rejection(decoder: Decoder, record: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(Rejected) as caught:
        decode(decoder, record)
    return caught.value.reason, caught.value.detail


def lines(decoder: Decoder, *items: object, **fields: Any) -> list[tuple[str | None, float]] | None:
    """Return the products and pieces of the lines that are read of these."""
    record = (ORDER if fields.get("type", "order").startswith("order") else ADDED) | fields | {"items": list(items)}
    found = decode(decoder, record).items
    return None if found is None else [(item.product_id, item.quantity / PIECE) for item in found]


# -- lines


def test_a_coupon_that_is_written_as_a_line_is_left_out(orders: Decoder) -> None:
    assert lines(orders, {"product_id": "A"}, {"product_id": "SPRING", "price": "-4.00"}) == [("A", 1)]
    assert lines(orders, {"product_id": "A"}, {"product_id": "SPRING", "price": -4}) == [("A", 1)]
    assert orders.counts == {("lines_ignored", "negative_price"): 2}


def test_lines_that_are_no_objects_are_left_out(orders: Decoder) -> None:
    assert lines(orders, {"product_id": "A"}, "B", None, ["C"], 7) == [("A", 1)]
    assert orders.counts == {("lines_ignored", "not_object"): 4}


def test_lines_without_pieces_are_left_out(orders: Decoder) -> None:
    assert lines(orders, {"product_id": "A"}, *({"quantity": quantity} for quantity in (0, -1, "0", "-2.5", 1e-9))) == [
        ("A", 1)
    ]
    assert orders.counts == {("lines_ignored", "no_quantity"): 5}


def test_an_unreadable_price_is_absent(orders: Decoder) -> None:
    odd: tuple[object, ...] = ("free", "1,5", [], True, 1e300)
    sent = [{"product_id": "A", "price": price} for price in odd]
    items = decode(orders, ORDER | {"items": sent}).items
    assert items is not None
    assert [item.price for item in items] == [None] * 5
    assert orders.counts == {("fields_ignored", "price"): 5}


def test_an_unreadable_quantity_is_one(orders: Decoder) -> None:
    odd: tuple[object, ...] = ("two", "", "1,5", [], True, MAX_QUANTITY + 1, "1e9")
    assert lines(orders, *({"product_id": "A", "quantity": quantity} for quantity in odd)) == [("A", 1)] * len(odd)
    assert orders.counts == {("fields_ignored", "quantity"): len(odd)}


@pytest.mark.parametrize(
    ("quantity", "pieces"),
    [(2, 2), (2.0, 2), ("2.0000", 2), (" 3 ", 3), (0.45, 0.45), ("0.4445", 0.445), (0.4445, 0.445), (1.0005, 1.001)],
)
def test_decimal_and_text_quantities_are_read(
    orders: Decoder, clicks: Decoder, quantity: object, pieces: float
) -> None:
    assert lines(orders, {"product_id": "A", "quantity": quantity}) == [("A", pieces)]
    assert decode(clicks, ADDED | {"quantity": quantity}).quantity == round(pieces * PIECE)
    assert not orders.counts + clicks.counts


def test_items_of_which_nothing_can_be_read_are_absent(orders: Decoder) -> None:
    assert lines(orders, "A", {"price": -1}) is None
    assert decode(orders, ORDER | {"items": "A, B"}).items is None
    assert decode(orders, ORDER | {"items": {"product_id": "A"}}).items is None
    assert orders.counts["fields_ignored", "items"] == 2
    assert lines(orders) == []


def test_odd_fields_of_a_line_are_absent(orders: Decoder) -> None:
    assert lines(orders, {"product_id": "A", "category": ["x"]}, {"product_id": {}, "price": "1"}) == [
        ("A", 1),
        (None, 1),
    ]
    assert orders.counts == {("fields_ignored", "category"): 1, ("identifiers_rejected", ""): 1}


@pytest.mark.parametrize("type_", ["cart_viewed", "checkout_started"])
def test_line_of_quantity_0_in_a_snapshot_is_none_of_it(clicks: Decoder, type_: str) -> None:
    none, one = {"product_id": "A", "quantity": "0.00"}, {"product_id": "B", "quantity": 1}
    assert lines(clicks, none, one, type=type_) == [("B", 1)]
    assert lines(clicks, none, type=type_) == []
    assert not clicks.counts
    assert lines(clicks, {"product_id": "A", "quantity": -1}, type=type_) is None
    assert lines(clicks, none | {"price": -1}, type=type_) is None


# -- fields


@pytest.mark.parametrize("odd", [7, ["SPRING"], {}, True])
def test_odd_coupons_and_channels_are_absent(orders: Decoder, odd: object) -> None:
    event = decode(orders, ORDER | {"total": 12.5, "coupon": odd, "channel": odd})
    assert (event.total, event.coupon, event.channel) == (1250, None, None)
    assert orders.counts == {("fields_ignored", "coupon"): 1, ("fields_ignored", "channel"): 1}


def test_currency_codes_are_read_in_any_case(orders: Decoder, clicks: Decoder) -> None:
    assert decode(orders, ORDER | {"total": 5, "currency": "jpy"}).currency == "JPY"
    added = decode(clicks, ADDED | {"price": "19.9", "currency": " Eur"})
    assert (added.price, added.currency) == (1990 * PRICE_UNIT, "EUR")
    assert decode(clicks, ADDED | {"currency": ""}).currency == "EUR"


@pytest.mark.parametrize("odd", ["XXX", "€", 978, ["EUR"]])
def test_unknown_currency_leaves_a_click_without_price(clicks: Decoder, orders: Decoder, odd: object) -> None:
    added = decode(clicks, ADDED | {"price": 5, "items": [{"price": 5}], "currency": odd})
    assert added.items is not None
    assert (added.price, added.items[0].price, added.currency) == (None, None, "EUR")
    assert clicks.counts["fields_ignored", "currency"] == 1 or not isinstance(odd, str)
    assert rejection(orders, ORDER | {"total": 5, "currency": odd})[0] == "unknown_currency"
    assert decode(orders, ORDER | {"currency": odd}).total is None


@pytest.mark.parametrize("type_", sorted(ORDER_TYPES))
def test_only_the_sign_of_a_refund_does_not_matter(orders: Decoder, type_: str) -> None:
    for total in (-5, "-5.00", -5.0):
        record = ORDER | {"type": type_, "total": total, "currency": "EUR"}
        if type_ == "order_refunded":
            assert decode(orders, record).total == 500
        else:
            assert rejection(orders, record) == ("invalid_money", "total: negative")


@pytest.mark.parametrize("odd", ["much", "", [], True, "1,5"])
def test_total_must_be_readable(orders: Decoder, odd: object) -> None:
    assert rejection(orders, ORDER | {"total": odd})[0] == "invalid_money"


@pytest.mark.parametrize("type_", sorted(ORDER_TYPES - {"order_completed"}))
def test_correction_without_currency_leaves_it_open(orders: Decoder, type_: str) -> None:
    event = decode(orders, ORDER | {"type": type_, "total": "12.345", "items": [{"product_id": "A", "price": 5}]})
    assert (event.currency, event.total) == ("", 123_450)
    assert event.items is not None
    assert (event.items[0].price, event.items[0].currency) == (None, "")
    assert decode(orders, ORDER | {"type": type_, "total": 12}).total == 120_000
    assert decode(orders, ORDER | {"total": 12}).currency == "EUR"


# -- price and quantity of a click


@pytest.mark.parametrize("type_", ["product_added", "product_removed"])
def test_additions_and_removals_need_a_quantity_above_0_and_no_negative_price(clicks: Decoder, type_: str) -> None:
    click = ADDED | {"type": type_}
    assert rejection(clicks, click | {"quantity": 0}) == ("invalid_field", "quantity: 0 or less")
    assert rejection(clicks, click | {"price": "-1"}) == ("invalid_money", "price: negative")
    event = decode(clicks, click | {"quantity": "many", "price": "free"})
    assert (event.quantity, event.price) == (PIECE, None)


def test_other_clicks_ignore_price_and_quantity_that_cannot_be_read(clicks: Decoder) -> None:
    odd_values: tuple[object, ...] = (-1, "-1", "free", [], True)
    for odd in odd_values:
        event = decode(clicks, ADDED | {"type": "product_viewed", "quantity": odd, "price": odd})
        assert (event.quantity, event.price) == (PIECE, None)
    assert clicks.counts == {("fields_ignored", "price"): 5, ("fields_ignored", "quantity"): 5}


def test_prices_keep_four_decimals_beyond_the_minor_unit(clicks: Decoder) -> None:
    assert decode(clicks, ADDED | {"price": "0.0125"}).price == 125 * PRICE_UNIT // 100
    assert decode(clicks, ADDED | {"price": 0.0125}).price == 125 * PRICE_UNIT // 100
    assert decode(clicks, ADDED | {"price": 0.00000049}).price == 0
    assert decode(clicks, ADDED | {"price": "1.5", "currency": "JPY"}).price == 15_000


def test_counters_have_the_documented_labels(clicks: Decoder, orders: Decoder) -> None:
    odd: dict[str, Any] = {key: [] for key in ("price", "quantity", "currency", "category", "channel", "coupon")}
    decode(clicks, ADDED | odd | {"items": 1})
    decode(orders, ORDER | odd | {"items": [1, {"price": -1}, {"quantity": 0}, {"price": []}]})
    counted = clicks.counts + orders.counts
    assert {label for name, label in counted if name == "lines_ignored"} == set(LINE_REASONS)
    assert {label for name, label in counted if name == "fields_ignored"} <= set(FIELDS)
    assert set(EXPONENTS) > {"EUR"}
