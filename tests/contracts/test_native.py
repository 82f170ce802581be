from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contracts import money
from streams.contracts.native import MAX_DEPTH, Decoder
from streams.contracts.rejected import REASONS, Rejected
from streams.core.model.currencies import PIECE, PRICE_UNIT
from streams.core.model.event import Event, Source
from streams.core.model.items import Item

AT = 1_795_255_200_000
CLICK: dict[str, Any] = {
    "event_id": "e-1",
    "type": "product_viewed",
    "occurred_at": "2026-11-21T10:00:00.000Z",
    "customer_id": "c-1",
}
FIELDS = [*CLICK, "anonymous_id", "session_id", "cart_id", "checkout_id", "product_id", "category", "price", "currency"]
FIELDS += ["quantity", "items"]
ADDED = CLICK | {"type": "product_added"}
ORDER = CLICK | {"type": "order_completed", "order_id": "o-1"}


@pytest.fixture
def clicks() -> Decoder:
    return Decoder(Source.CLICKSTREAM, "clickstream")


@pytest.fixture
def orders() -> Decoder:
    return Decoder(Source.ORDERS, "orders")


def decode(decoder: Decoder, value: bytes | dict[str, Any] | None, timestamp: int = AT) -> Event:
    if isinstance(value, dict):
        value = json.dumps(value).encode()
    return decoder.decode(value, partition=3, offset=17, timestamp=timestamp)


def rejection(decoder: Decoder, value: bytes | dict[str, Any] | None, timestamp: int = AT) -> tuple[str, str]:
    with pytest.raises(Rejected) as caught:
        decode(decoder, value, timestamp)
    return caught.value.reason, caught.value.detail


# -- what is read


def test_click_with_every_field_is_decoded(clicks: Decoder) -> None:
    value = json.dumps(
        CLICK
        | {
            "anonymous_id": "a-1",
            "session_id": "s-1",
            "cart_id": "k-1",
            "checkout_id": "h-1",
            "product_id": "p-1",
            "category": "shoes",
            "price": "59.90",
            "currency": "USD",
            "quantity": 2,
            "items": [{"product_id": "p-2", "category": "socks", "price": 5, "quantity": 3}, {}],
            "url": "https://shop.example/",
            "properties": {"a": [1]},
        }
    ).encode()
    assert clicks.decode(value, partition=3, offset=17, timestamp=AT + 5) == Event(
        source=Source.CLICKSTREAM,
        offset=17,
        timestamp=AT + 5,
        size=len(value),
        at=AT,
        customer="c-1",
        identified=True,
        event_id="e-1",
        type="product_viewed",
        session_id="s-1",
        cart_id="k-1",
        checkout_id="h-1",
        product_id="p-1",
        category="shoes",
        price=5990 * PRICE_UNIT,
        quantity=2 * PIECE,
        currency="USD",
        items=(Item("p-2", "socks", 500 * PRICE_UNIT, "USD", 3 * PIECE), Item(None, None, None, "USD", PIECE)),
    )


def test_order_with_every_field_is_decoded(orders: Decoder) -> None:
    value = json.dumps(
        ORDER
        | {
            "anonymous_id": "a-1",
            "cart_id": "k-1",
            "checkout_id": "h-1",
            "total": 119.8,
            "currency": "JPY",
            "channel": "pos",
            "coupon": "SPRING",
            "store": "de",
            "items": [{"product_id": "p-1", "price": "59.5", "quantity": 2}],
        }
    ).encode()
    assert orders.decode(value, partition=3, offset=17, timestamp=AT) == Event(
        source=Source.ORDERS,
        offset=17,
        timestamp=AT,
        size=len(value),
        at=AT,
        customer="c-1",
        identified=True,
        event_id="e-1",
        type="order_completed",
        cart_id="k-1",
        checkout_id="h-1",
        order_id="o-1",
        store="de",
        total=120,
        channel="pos",
        coupon="SPRING",
        currency="JPY",
        items=(Item("p-1", None, 595_000, "JPY", 2 * PIECE),),
    )


def test_click_with_only_required_fields_is_decoded(clicks: Decoder) -> None:
    activity = decode(clicks, {"type": "page_viewed", "occurred_at": AT, "anonymous_id": "a-1"})
    assert (activity.customer, activity.identified, activity.event_id) == ("a-1", False, "clickstream/3/17")
    assert (activity.quantity, activity.currency, activity.items) == (PIECE, "EUR", None)


def test_null_field_counts_as_absent(clicks: Decoder) -> None:
    names = [name for name in FIELDS if name not in CLICK]
    activity = decode(clicks, CLICK | dict.fromkeys(names))
    assert activity == dataclasses.replace(decode(clicks, CLICK), size=activity.size)
    assert decode(clicks, CLICK | {"event_id": None}).event_id == "clickstream/3/17"


def test_empty_cart_differs_from_an_absent_one(clicks: Decoder) -> None:
    assert decode(clicks, CLICK | {"items": []}).items == ()


def test_fields_of_the_other_topic_are_ignored(clicks: Decoder, orders: Decoder) -> None:
    assert decode(clicks, CLICK | {"order_id": [], "total": "much", "channel": 1}).total is None
    assert decode(orders, ORDER | {"price": "much", "quantity": 0, "session_id": []}).price is None


def test_types_of_the_other_topic_are_unknown(clicks: Decoder, orders: Decoder) -> None:
    click = decode(clicks, CLICK | {"type": "order_completed"})
    assert (click.source, click.type, click.order_id) == (Source.CLICKSTREAM, "order_completed", None)
    assert decode(orders, CLICK).type == "product_viewed"


def test_the_last_of_equal_keys_counts(clicks: Decoder) -> None:
    value = json.dumps(CLICK).encode()[:-1] + b', "price": -1, "price": 2, "customer_id": "c-2"}'
    activity = decode(clicks, value)
    assert (activity.customer, activity.price) == ("c-2", 200 * PRICE_UNIT)


def test_default_currency_applies_where_an_event_names_none(clicks: Decoder) -> None:
    yen = Decoder(Source.CLICKSTREAM, "clickstream", default_currency="JPY")
    assert decode(yen, CLICK | {"price": 5.5, "items": [{"price": 7}]}).price == 55_000
    assert decode(yen, CLICK | {"price": 5.5, "currency": "EUR"}).price == 550 * PRICE_UNIT
    with pytest.raises(ValueError, match="XXX"):
        Decoder(Source.CLICKSTREAM, "clickstream", default_currency="XXX")


# -- identifiers


def test_integer_id_is_read_as_its_decimal_text(clicks: Decoder, orders: Decoder) -> None:
    ids = {"event_id": 1, "session_id": 2, "cart_id": 3, "checkout_id": 4, "product_id": 5, "customer_id": 10**100}
    activity = decode(clicks, CLICK | ids)
    assert (activity.event_id, activity.session_id, activity.cart_id) == ("1", "2", "3")
    assert (activity.checkout_id, activity.product_id, activity.customer) == ("4", "5", "1" + "0" * 100)
    assert decode(orders, ORDER | {"order_id": 0}).order_id == "0"


def test_placeholder_id_leaves_the_other_id(clicks: Decoder) -> None:
    activity = decode(clicks, CLICK | {"customer_id": "undefined", "anonymous_id": "a-1"})
    assert (activity.customer, activity.identified) == ("a-1", False)
    assert clicks.counts["identifiers_rejected", ""] == 1


@pytest.mark.parametrize("nobody", ["", "0", 0, -1, "NULL", "x" * 257, 10**256])
def test_event_with_only_placeholder_ids_is_rejected(clicks: Decoder, nobody: str | int) -> None:
    reason, _ = rejection(clicks, CLICK | {"customer_id": nobody, "anonymous_id": nobody})
    assert (reason, clicks.counts["identifiers_rejected", ""]) == ("invalid_identity", 2)


def test_ids_of_other_things_may_be_zero_but_not_long(clicks: Decoder) -> None:
    activity = decode(clicks, CLICK | {"event_id": "0", "product_id": "null", "session_id": "x" * 257})
    assert (activity.event_id, activity.product_id, activity.session_id) == ("0", "null", None)
    assert clicks.counts["identifiers_rejected", ""] == 1


def test_placeholders_of_carts_and_checkouts_count_as_absent(clicks: Decoder) -> None:
    activity = decode(clicks, CLICK | {"cart_id": "undefined", "checkout_id": 0})
    assert (activity.cart_id, activity.checkout_id) == (None, None)
    assert clicks.counts["identifiers_rejected", ""] == 2


def test_ids_are_read_without_surrounding_white_space(orders: Decoder) -> None:
    ids = {
        "event_id": " e ",
        "customer_id": "\tc-1 ",
        "cart_id": "k ",
        "checkout_id": " h",
        "order_id": " 7 ",
        "store": "de ",
    }
    event = decode(orders, ORDER | ids)
    assert (event.event_id, event.customer, event.cart_id, event.checkout_id) == ("e", "c-1", "k", "h")
    assert (event.order_id, event.store) == ("7", "de")


def test_an_id_of_another_type_counts_as_absent(clicks: Decoder) -> None:
    activity = decode(clicks, CLICK | {"customer_id": 1.5, "anonymous_id": "a-1", "session_id": {}, "event_id": True})
    assert (activity.customer, activity.session_id, activity.event_id) == ("a-1", None, "clickstream/3/17")
    assert rejection(clicks, CLICK | {"customer_id": {}})[0] == "invalid_identity"


def test_a_long_or_empty_event_id_is_replaced(clicks: Decoder) -> None:
    assert decode(clicks, CLICK | {"event_id": "x" * 257}).event_id == "clickstream/3/17"
    assert decode(clicks, CLICK | {"event_id": ""}).event_id == "clickstream/3/17"


# -- bounds


def test_long_strings_are_cut_between_characters(clicks: Decoder, orders: Decoder) -> None:
    activity = decode(clicks, CLICK | {"type": "t" * 1025, "category": "é" * 513, "items": [{"category": "😀" * 256}]})
    assert activity.items is not None
    assert (activity.type, activity.category) == ("t" * 1024, "é" * 512)
    assert (activity.items[0].category, clicks.counts["strings_cut", ""]) == ("😀" * 256, 2)
    order = decode(orders, ORDER | {"channel": "x" + "€" * 400, "coupon": "x" * 1024})
    assert (order.channel, order.coupon, orders.counts["strings_cut", ""]) == ("x" + "€" * 341, "x" * 1024, 1)


def test_record_above_the_size_limit_is_rejected() -> None:
    value = json.dumps(CLICK).encode()
    exact = Decoder(Source.CLICKSTREAM, "clickstream", max_bytes=len(value))
    assert decode(exact, value).size == len(value)
    assert rejection(exact, value + b" ")[0] == "too_large"


def test_record_of_a_megabyte_is_rejected(clicks: Decoder) -> None:
    assert rejection(clicks, CLICK | {"properties": "x" * 1_000_000})[0] == "too_large"


@pytest.mark.parametrize("field", ["properties", "price", "category", "items"])
def test_deeply_nested_record_is_rejected(clicks: Decoder, field: str) -> None:
    def nested(depth: int) -> bytes:
        around = json.dumps(CLICK).encode()[:-1]
        return around + f', "{field}": {"[" * depth}{"]" * depth}}}'.encode()

    assert rejection(clicks, nested(MAX_DEPTH))[0] == "too_deep"
    assert rejection(clicks, nested(100_000))[0] == "too_deep"
    if field == "items":
        assert decode(clicks, nested(MAX_DEPTH - 1)).items is None  # a list of a list
    else:
        assert getattr(decode(clicks, nested(MAX_DEPTH - 1)), field) is None


def test_wide_records_and_brackets_in_texts_do_not_count_as_nesting(clicks: Decoder) -> None:
    items = [{"product_id": f"p-{n}"} for n in range(1000)]
    text = r"{[\"" * 1000
    activity = decode(clicks, CLICK | {"items": items, "url": text, r"a\"[{": text})
    assert activity.items is not None
    assert len(activity.items) == 1000


# -- rejected records


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (None, "null_value", "no value"),
        (b"", "not_json", ""),
        (b"hello", "not_json", ""),
        (b'"hello', "not_json", ""),
        (b"[1, 2", "not_json", ""),
        (b'{"type": 1', "not_json", ""),
        (b"NaN", "not_json", ""),
        (b"\xef\xbb\xbf{}", "not_json", ""),
        (b'{"a": "\\ud800"}', "not_json", ""),
        (b"\xff\xfe{\x00}\x00", "not_utf8", "byte 0"),
        (b'{"a": "\xff"}', "not_utf8", "byte 7"),
        (b"null", "not_object", "got `null`"),
        (b"[]", "not_object", "got `array`"),
        (b'"hello"', "not_object", "got `str`"),
        (b"12", "not_object", "got `int`"),
        (b"{}", "invalid_identity", "customer_id, anonymous_id"),
    ],
)
def test_value_that_is_not_an_object_is_rejected(
    clicks: Decoder, value: bytes | None, reason: str, detail: str
) -> None:
    got, why = rejection(clicks, value)
    assert got == reason
    assert detail in why


@pytest.mark.parametrize(
    ("fields", "reason", "detail"),
    [
        ({"occurred_at": None}, "missing_time", "occurred_at: missing"),
        ({"occurred_at": "soon"}, "invalid_time", "occurred_at: not RFC 3339"),
        ({"occurred_at": True}, "invalid_time", "occurred_at: "),
        ({"occurred_at": 10**5000}, "invalid_time", "occurred_at: "),
        ({"occurred_at": 0}, "missing_time", "occurred_at: 0"),
        ({"occurred_at": "1970-01-01T00:00:00Z"}, "invalid_time", "occurred_at: before 1980"),
        ({"price": -1}, "invalid_money", "price: negative"),
        ({"price": "-1e30"}, "invalid_money", "price: negative"),
        ({"type": None}, "invalid_field", "type: missing"),
        ({"type": ""}, "invalid_field", "type: missing"),
        ({"type": 1}, "invalid_field", "type: "),
        ({"quantity": 0}, "invalid_field", "quantity: 0 or less"),
        ({"quantity": -3}, "invalid_field", "quantity: 0 or less"),
        ({"quantity": "-2.50"}, "invalid_field", "quantity: 0 or less"),
        ({"quantity": 0.0004}, "invalid_field", "quantity: 0 or less"),
    ],
)
def test_addition_with_an_invalid_field_is_rejected(
    clicks: Decoder, fields: dict[str, Any], reason: str, detail: str
) -> None:
    with_big_integers = json.dumps(
        {name: "@" if isinstance(value, int) and abs(value) > 10**4000 else value for name, value in fields.items()}
    ).replace('"@"', "1" + "0" * 5000)
    got, why = rejection(
        clicks, json.dumps(CLICK | {"type": "product_added"})[:-1].encode() + b", " + with_big_integers[1:].encode()
    )
    assert got == reason
    assert why.startswith(detail)


@pytest.mark.parametrize("order_id", [None, "", "x" * 257, True, {}])
def test_order_without_an_order_id_is_rejected(orders: Decoder, order_id: object) -> None:
    reason, detail = rejection(orders, ORDER | {"order_id": order_id})
    assert reason == "invalid_field"
    assert detail.startswith("order_id: ")
    assert rejection(orders, {name: ORDER[name] for name in ORDER if name != "order_id"})[0] == "invalid_field"


def test_an_unknown_type_needs_no_order_id(orders: Decoder) -> None:
    assert decode(orders, CLICK | {"type": "order_shipped"}).order_id is None


def test_event_too_far_ahead_of_its_timestamp_is_rejected(clicks: Decoder) -> None:
    assert decode(clicks, CLICK, timestamp=AT - 300_000).at == AT
    assert rejection(clicks, CLICK, timestamp=AT - 300_001) == (
        "clock_skew",
        "occurred_at: 300001 ms ahead of the record's timestamp",
    )
    strict = Decoder(Source.CLICKSTREAM, "clickstream", max_future_skew=0)
    assert rejection(strict, CLICK, timestamp=AT - 1)[0] == "clock_skew"


# -- whatever comes

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_odd = _json | st.sampled_from(
    ["c-1", "0", "59.90", "EUR", AT, "2026-11-21T10:00:00Z", 1e400, 10**30, 10**5000, "\ud800"]
)
_records = st.fixed_dictionaries(
    {}, optional=dict.fromkeys([*FIELDS, "order_id", "total", "channel", "coupon", "store", "url"], _odd)
)


def _text(value: object) -> bytes:
    if isinstance(value, dict):
        return b"{" + b",".join(json.dumps(k).encode() + b":" + _text(v) for k, v in value.items()) + b"}"
    if isinstance(value, int) and abs(value) > 10**4000:
        return b"1" + b"0" * 5000
    return json.dumps(value).encode()


def outcome(source: Source, value: bytes | dict[str, Any]) -> Event | Rejected:
    try:
        return decode(Decoder(source, "topic"), value)
    except Rejected as rejected:
        return rejected


@given(value=st.binary() | _json.map(_text) | _records.map(_text) | _records.map(lambda r: _text(CLICK | r)))
def test_any_value_gives_an_event_or_a_rejection(value: bytes) -> None:
    for source in Source:
        result = outcome(source, value)
        if isinstance(result, Rejected):
            assert result.reason in REASONS
            assert str(result) == f"{result.reason}: {result.detail}"
        else:
            assert 0 <= result.at <= AT + 300_000
            assert result.event_id
            assert 0 < len(result.customer.encode()) <= 256
            assert result.quantity > 0
            assert all(item.quantity > 0 and (item.price or 0) >= 0 for item in result.items or ())
            assert json.loads(value, parse_int=str)["type"].startswith(result.type)


@given(
    secret=st.text("xyz", min_size=8, max_size=20),
    field=st.sampled_from([*FIELDS, "order_id", "total", "channel", "coupon"]),
)
def test_details_of_a_rejection_quote_no_input(secret: str, field: str) -> None:
    for source in Source:
        for value in (secret, [secret], {secret: secret}):
            result = outcome(source, CLICK | {"order_id": "o-1", field: value})
            assert isinstance(result, Event) or secret not in str(result)


# -- money is read as a double where that is exact enough

DIGITS = st.text("0123456789", min_size=1, max_size=20)
NUMBERS = st.builds(
    lambda sign, whole, places, exponent: f"{sign}{whole}{places}{exponent}",
    st.sampled_from(["", "", "", "-"]),
    st.just("0") | st.from_regex("[1-9][0-9]{0,17}", fullmatch=True),
    st.just("")
    | st.builds(".{}".format, DIGITS | st.from_regex("[0-9]{0,4}(?:5|49{10,20}|50{10,20}1)", fullmatch=True)),
    st.sampled_from(["", "", "", "e2", "E-3", "e400", "e-400"]),
)


@given(
    text=NUMBERS
    | NUMBERS.map(json.dumps)
    | st.text(max_size=5).map(json.dumps)
    | st.sampled_from(["true", "[1]", "null"]),
    currency=st.sampled_from(["EUR", "JPY", "KWD", "CLF"]),
    source=st.sampled_from(Source),
)
def test_amount_has_the_value_of_its_text(text: str, currency: str, source: Source) -> None:
    field, base = ("price", ADDED) if source is Source.CLICKSTREAM else ("total", ORDER)
    value = json.dumps(base | {"currency": currency}).encode()[:-1] + f', "{field}": {text}}}'.encode()
    expected = number(text, currency, field == "price")
    if field == "price" and isinstance(expected, str) and expected != "negative":
        assert decode(Decoder(source, "t"), value).price is None
    elif isinstance(expected, str):
        assert rejection(Decoder(source, "t"), value) == ("invalid_money", f"{field}: {expected}")
    else:
        assert getattr(decode(Decoder(source, "t"), value), field) == expected


def number(text: str, currency: str, price: bool) -> int | str | None:
    """Return the amount or price that the money module reads from the text, or its reason for rejection."""
    try:
        return money.parse_price(text.encode(), currency) if price else money.parse(text.encode(), currency)
    except ValueError as error:
        return str(error)


def test_overlong_amount_is_rejected_whatever_its_value(orders: Decoder) -> None:
    value = json.dumps(ORDER).encode()[:-1] + b', "total": 1.' + b"0" * money.MAX_LENGTH + b"}"
    assert rejection(orders, value) == ("invalid_money", "total: too long")
