"""The clicks that an order reaches, by each rule of `streams.core.lifecycle.reach`; and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest

from streams.core.lifecycle.reach import MOST_PURCHASES
from tests.support.customer_history import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    T0,
    CustomerHistory,
    Event,
    click,
    item,
    order,
    run,
)

NOON = 12 * HOUR


def view(at: int, product: str = "A", **fields: Any) -> Event:
    return click(at, "product_viewed", product, **fields)


def add(at: int, product: str | None = "A", **fields: Any) -> Event:
    return click(at, "product_added", product, **fields)


def start(at: int, *products: str, **fields: Any) -> Event:
    items = tuple([item(product) for product in products]) if products else None
    return click(at, "checkout_started", items=items, **fields)


def of(*products: str | None, at: int = NOON, order_id: str = "o-1", **fields: Any) -> Event:
    return order(at, order_id, items=tuple([item(product) for product in products]), **fields)


def both_ways(*clicks: Event, order: Event) -> list[CustomerHistory]:
    """Return the history with the order at its time, and with the order delivered an hour after the last click."""
    events = sorted([*clicks, order], key=lambda event: event.at)
    return [run(events), run([*clicks, click(clicks[-1].at - T0 + 1), order])]


def checks_out(history: CustomerHistory) -> bool:
    return history.alive.cart.now.mark is not None


# -- rule 1: not newer than the order


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({}, {}),
        ({"cart_id": "k-1"}, {}),
        ({"cart_id": "k-2"}, {"B": 1}),
        ({"checkout_id": "x-2"}, {"B": 1}),
        ({"cart_id": "k-1", "checkout_id": "x-2"}, {}),  # one of the order's is enough
    ],
)
def test_an_older_line_is_left_only_if_it_is_of_another_cart(fields: dict[str, Any], left: dict[str, int]) -> None:
    bought = of("A", cart_id="k-1", checkout_id="x-1")
    for history in both_ways(add(HOUR, "A", cart_id="k-1"), add(2 * HOUR, "B", **fields), order=bought):
        assert history.cart == left
        assert (history.alive.episode is None) == (not left)


def test_a_bought_product_leaves_every_cart() -> None:
    for history in both_ways(add(HOUR, "A", cart_id="k-2"), order=of("A", cart_id="k-1")):
        assert history.cart == {}


def test_an_order_that_names_no_cart_has_dealt_with_every_older_click() -> None:
    history = run([add(HOUR, "A", cart_id="k-1"), add(2 * HOUR, "B", cart_id="k-2"), of("A")])
    assert history.cart == {"B": 1}
    assert history.alive.episode is None


# -- rule 2: up to an hour newer, with the order's ids


@pytest.mark.parametrize(("after", "left"), [(HOUR, {}), (HOUR + 1, {"B": 1})])
def test_a_click_with_the_orders_checkout_id_belongs_to_it_for_an_hour(after: int, left: dict[str, int]) -> None:
    for history in both_ways(add(NOON + after, "B", checkout_id="x-1"), order=of("A", checkout_id="x-1")):
        assert history.cart == left


def test_a_permanent_cart_id_makes_new_goods_no_part_of_the_order() -> None:
    clicks = [add(NOON - HOUR, "A", cart_id="k-1"), add(NOON + MINUTE, "B", cart_id="k-1")]
    for history in both_ways(*clicks, order=of("A", cart_id="k-1")):
        assert history.cart == {"B": 1}
        assert history.alive.episode is not None
        assert history.alive.episode.first.at == T0 + NOON + MINUTE


def test_a_bought_product_with_the_orders_cart_id_belongs_to_it_for_an_hour() -> None:
    for after, left in ((HOUR, {}), (HOUR + 1, {"A": 1})):
        history = run([of("A", cart_id="k-1"), add(NOON + after, "A", cart_id="k-1")])
        assert history.cart == left


def test_an_order_without_any_product_reaches_all_newer_clicks_of_its_cart() -> None:
    assert run([of(cart_id="k-1"), add(NOON + HOUR, "A", cart_id="k-1")]).cart == {}


# -- rule 3: up to five minutes newer, about a product of the order


@pytest.mark.parametrize(("after", "left"), [(5 * MINUTE, {}), (5 * MINUTE + 1, {"A": 1})])
def test_a_bought_product_belongs_to_the_order_for_five_minutes(after: int, left: dict[str, int]) -> None:
    for history in both_ways(add(NOON + after, "A"), order=of("A")):
        assert history.cart == left
        assert (history.alive.episode is None) == (not left)


def test_a_bought_product_in_another_cart_is_new() -> None:
    assert run([of("A", cart_id="k-1"), add(NOON + MINUTE, "A", cart_id="k-2")]).cart == {"A": 1}


def test_the_unnamed_product_is_no_product_of_an_order_for_newer_clicks() -> None:
    assert run([of(None), add(NOON + MINUTE, None)]).cart == {"": 1}


def test_goods_that_an_order_without_product_ids_took_are_its_products() -> None:
    for history in both_ways(add(NOON - HOUR, "A"), add(NOON + MINUTE, "A"), order=of(None)):
        assert history.cart == {}
    shown_again = [add(NOON - HOUR, "A"), of(None), add(NOON + MINUTE, "A"), add(NOON + 2 * MINUTE, "B")]
    assert run(shown_again).cart == {"B": 1}


# -- rule 4: checkout events about no product


@pytest.mark.parametrize(
    ("after", "fields", "reached"),
    [
        (5 * MINUTE, {}, True),
        (5 * MINUTE + 1, {}, False),
        (HOUR, {"cart_id": "k-1"}, True),
        (HOUR + 1, {"cart_id": "k-1"}, False),
        (MINUTE, {"cart_id": "k-2"}, False),
    ],
)
def test_a_checkout_soon_after_the_order_is_of_the_order(after: int, fields: dict[str, Any], reached: bool) -> None:
    clicks = [add(NOON - HOUR), start(NOON + after, **fields)]
    for history in both_ways(*clicks, order=of("A", cart_id="k-1")):
        assert checks_out(history) is not reached
        assert (history.alive.episode is None) is reached


def test_a_checkout_after_new_goods_is_new() -> None:
    for history in both_ways(add(NOON + MINUTE, "B"), start(NOON + 2 * MINUTE), order=of("A")):
        assert checks_out(history)
        assert history.cart == {"B": 1}


# -- rule 5: views


def test_views_before_the_last_click_of_the_order_are_no_new_browsing() -> None:
    clicks = [view(NOON + MINUTE, "B"), start(NOON + 2 * MINUTE), view(NOON + 3 * MINUTE, "C")]
    for history in both_ways(*clicks, order=of("A")):
        episode = history.alive.episode
        assert episode is not None
        assert list(episode.views) == ["C"]
        assert episode.first.at == T0 + NOON + 3 * MINUTE


# -- snapshots


def test_a_bought_cart_that_is_shown_once_more_changes_nothing() -> None:
    shown = click(NOON + 10 * SECOND, "cart_viewed", items=(item("A"), item("B")))
    history = run([add(NOON - MINUTE, "A"), add(NOON - MINUTE, "B"), of("A", "B"), shown], until=2 * DAY)
    assert history.cart == {}
    assert history.abandonment_summary == []


def test_of_a_snapshot_only_the_new_lines_enter_the_cart() -> None:
    shown = click(NOON + 10 * SECOND, "cart_viewed", items=(item("A"), item("C")))
    history = run([add(NOON - HOUR, "A"), of("A"), shown])
    assert history.cart == {"C": 1}
    assert history.alive.episode is not None


def test_a_checkout_of_bought_goods_sets_no_mark() -> None:
    assert not checks_out(run([add(NOON - HOUR), of("A"), start(NOON + MINUTE, "A")]))
    partly = run([add(NOON - HOUR), of("A"), start(NOON + MINUTE, "A", "B")])
    assert checks_out(partly)
    assert partly.cart == {"B": 1}


def test_an_order_of_many_products_leaves_none_of_them() -> None:
    many = [f"p-{n}" for n in range(120)]
    added = [add(NOON - HOUR + n, product) for n, product in enumerate(many)]
    for channel in ("web", "pos"):
        shown = click(NOON + 1, "cart_viewed", items=tuple([item(product) for product in many]))
        history = run([*added, of(*many, channel=channel), shown])
        assert history.cart == {}


# -- several orders


def test_orders_of_one_checkout_have_the_products_of_all() -> None:
    split = [of("A", cart_id="k-1"), of("B", at=NOON + MINUTE, order_id="o-2", cart_id="k-1")]
    shown = click(NOON + 3 * MINUTE, "cart_viewed", items=(item("A"), item("B")))
    assert run([*split, shown]).cart == {}
    apart = [of("A", cart_id="k-1"), of("B", at=NOON + MINUTE, order_id="o-2", cart_id="k-2")]
    late = click(NOON + 7 * MINUTE, "cart_viewed", items=(item("A"), item("B")))
    assert run([*apart, late]).cart == {"A": 1, "B": 1}


def test_a_bounded_number_of_orders_is_kept() -> None:
    orders = [of("A", at=NOON + n * DAY, order_id=f"o-{n}") for n in range(MOST_PURCHASES + 2)]
    history = run(orders)
    assert [kept.order for kept in history.alive.cart.purchases] == [f"o-{n}" for n in range(2, MOST_PURCHASES + 2)]


def test_products_of_a_cancelled_order_are_of_no_other_order() -> None:
    both = [of("A", "B", cart_id="k-1"), order(NOON + MINUTE, "o-1", "order_cancelled")]
    again = of("A", at=NOON + 2 * MINUTE, order_id="o-2", cart_id="k-1")
    assert run([*both, again, add(NOON + 10 * MINUTE, "B", cart_id="k-1")]).cart == {"B": 1}


# -- orders of passive channels


def test_an_in_store_order_takes_only_what_it_contains() -> None:
    history = run([add(0, "A"), add(1, "B"), start(2), of("B", at=MINUTE, channel="pos")])
    assert history.cart == {"A": 1}
    assert checks_out(history)
    emptied = run([add(0, "A"), start(2), of("A", at=MINUTE, channel="pos")])
    assert emptied.cart == {}
    assert not checks_out(emptied)


def test_a_passive_order_that_names_the_cart_takes_its_lines() -> None:
    history = run([add(0, "A", cart_id="k-1"), add(1, "B"), of("Z", at=MINUTE, channel="marketplace", cart_id="k-1")])
    assert history.cart == {"B": 1}


def test_an_in_store_order_of_other_goods_does_not_touch_the_episode() -> None:
    history = run([view(0), add(MINUTE), of("B", at=2 * MINUTE, channel="pos")], until=MINUTE + HOUR)
    assert history.abandonment_summary == [("abandoned", "cart", 1, MINUTE + HOUR)]


def test_step_1_is_not_due_before_the_passive_order_that_left_only_views() -> None:
    events = [view(0, "B"), add(MINUTE, "A"), of("A", at=50 * MINUTE, channel="pos")]
    history = run(events, until=2 * HOUR)
    assert history.abandonment_summary == [("abandoned", "browse", 1, 50 * MINUTE)]


# -- abandonments


def test_a_late_order_that_was_dated_at_its_draft_retracts_the_abandonment_of_its_goods() -> None:
    clicks = [add(NOON + MINUTE, "A", checkout_id="x-1"), start(NOON + 2 * MINUTE, checkout_id="x-1")]
    history = run([*clicks, click(NOON + 2 * MINUTE + 1)], until=NOON + HOUR)
    history.play(of("A", checkout_id="x-1"))
    assert [abandonment.type for abandonment in history.abandonments] == ["abandoned", "retracted"]
    assert history.abandonments[1].reason == "late_order"


def test_an_order_of_any_of_the_abandoned_carts_recovers_by_it() -> None:
    shown = [add(0, "A", cart_id="k-1"), add(1, "B", cart_id="k-2")]
    history = run([*shown, of(at=3 * HOUR, channel="pos", cart_id="k-1")])
    assert [abandonment.match for abandonment in history.abandonments] == [None, "cart"]
    assert history.cart == {"B": 1}


def test_an_order_of_another_cart_leaves_the_abandonment_alone() -> None:
    events = [add(0, "A", cart_id="k-1"), of("B", at=2 * HOUR, cart_id="k-2")]
    assert run(events).abandonment_summary == [("abandoned", "cart", 1, HOUR)]


def test_goods_added_after_the_order_are_abandoned_on_their_own() -> None:
    events = [add(NOON - HOUR, "A"), add(NOON - MINUTE, "B", cart_id="k-2"), of("A", cart_id="k-1")]
    history = run(events, until=NOON + 2 * HOUR)
    assert history.abandonment_summary == [("abandoned", "cart", 1, NOON + HOUR)]
    assert [item.product_id for item in history.abandonments[0].items] == ["B"]
