"""The simulated shoppers, with a driven clock."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from streams.contracts.native import Decoder
from streams.core.model.event import CLICKSTREAM_TYPES, ORDER_TYPES, Source
from streams.core.model.policy import MINUTE
from streams.demo.configuration import PLAYBOOKS
from streams.demo.shop_history import DemoEvent
from streams.demo.shoppers import Shoppers
from streams.playbooks import load

START = 1_795_000_000_000


def events(seed: int = 1, minutes: int = 10, count: int = 80) -> list[DemoEvent]:
    return Shoppers(seed, START, count=count).due(START + minutes * MINUTE)


def documents(made: list[DemoEvent]) -> list[dict[str, Any]]:
    return [json.loads(event.value) for event in made]


def test_same_seed_gives_the_same_events_however_often_they_are_fetched() -> None:
    asked_often = Shoppers(1, START)
    pieces = [asked_often.due(START + n * 250) for n in range(4 * 60 + 1)]
    assert [event for piece in pieces for event in piece] == events(minutes=1)
    assert events(seed=2, minutes=1) != events(minutes=1)


def test_no_event_comes_before_its_time() -> None:
    shoppers = Shoppers(1, START)
    assert shoppers.due(START) == []
    at = shoppers.next_at
    assert shoppers.due(int(at) - 1) == []
    (first,) = shoppers.due(int(at) + 1)
    assert first.at == int(at)
    assert shoppers.next_at > at


def test_events_come_in_time_order_at_a_pace_one_can_watch() -> None:
    times = [event.at for event in events()]
    assert times == sorted(times)
    assert 5 < len(times) / 600 < 15  # a second


def test_every_event_is_valid_and_of_its_topic() -> None:
    made = events()
    decoders = {source: Decoder(source, source.name) for source in Source}
    for offset, event in enumerate(made):
        decoded = decoders[event.source].decode(event.value, partition=0, offset=offset, timestamp=event.at)
        assert (decoded.at, decoded.customer) == (event.at, event.key)
        assert decoded.type in (ORDER_TYPES if event.source is Source.ORDERS else CLICKSTREAM_TYPES)
    assert len({document["event_id"] for document in documents(made)}) == len(made)


def test_shoppers_view_add_check_out_and_order() -> None:
    types = {document["type"] for document in documents(events())}
    assert types >= {
        *("page_viewed", "products_searched", "product_viewed", "product_added", "cart_viewed", "cart_emptied"),
        *("checkout_started", "checkout_step_completed", "order_completed", "signed_up", "product_reviewed"),
    }


def test_shoppers_are_identified_when_they_sign_up_or_check_out() -> None:
    known, devices = set[str](), set[tuple[str, str]]()
    for event, document in zip(made := events(), documents(made), strict=True):
        devices.add((event.customer, document["anonymous_id"]))
        if document["type"] in ("signed_up", "checkout_started", "order_completed"):
            assert document["customer_id"] == event.customer
        if "customer_id" in document:
            known.add(event.customer)
    anonymous = sum("customer_id" not in document for document in documents(made))
    assert len(made) / 4 < anonymous < len(made)
    assert len(known) > 60
    assert len(devices) > 120


def test_order_has_the_products_and_prices_of_the_cart() -> None:
    carts: dict[str, dict[str, int]] = {}
    orders = 0
    for event, document in zip(made := events(), documents(made), strict=True):
        cart = carts.setdefault(event.customer, {})
        match document["type"]:
            case "product_added":
                cart[document["product_id"]] = cart.get(document["product_id"], 0) + document["quantity"]
            case "cart_emptied":
                cart.clear()
            case "order_completed":
                orders += 1
                assert {item["product_id"]: item["quantity"] for item in document["items"]} == cart
                total = sum(Decimal(item["price"]) * item["quantity"] for item in document["items"])
                assert Decimal(document["total"]) == total
                cart.clear()
    assert orders > 100


def test_some_shoppers_abandon_a_full_cart_and_come_back_to_it() -> None:
    window = load(PLAYBOOKS["live"]).policy.cart_window
    came_back = 0
    of: dict[str, list[tuple[int, str]]] = {}
    for event, document in zip(made := events(), documents(made), strict=True):
        of.setdefault(event.customer, []).append((event.at, document["type"]))
    for steps in of.values():
        for (left, _), (returned, _), (_, first) in zip(steps, steps[1:], steps[2:], strict=False):
            came_back += first == "cart_viewed" and returned - left > window
    assert came_back > 50
