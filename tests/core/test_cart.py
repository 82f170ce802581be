"""The cart: its contents, the checkout, and operations that arrive out of order."""

from __future__ import annotations

from typing import Any

import pytest

from streams.core.model.currencies import PIECE, PRICE_UNIT
from streams.core.model.policy import Policy
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


def add(at: int, product: str | None = "A", **fields: Any) -> Event:
    return click(at, "product_added", product, **fields)


def remove(at: int, product: str | None = "A", **fields: Any) -> Event:
    return click(at, "product_removed", product, **fields)


def checkout_at(history: CustomerHistory) -> int | None:
    mark = history.alive.cart.now.mark
    return None if mark is None else mark.at


def test_cart_is_additions_less_removals_per_product() -> None:
    history = run([add(0), add(1, quantity=2), add(2, "B"), remove(3), remove(4, "C")])
    assert history.cart == {"A": 2, "B": 1}
    history.play(remove(5, quantity=9))
    assert history.cart == {"B": 1}


def test_an_addition_without_a_price_keeps_the_last_known_one() -> None:
    history = run([add(0, price=700, category="hats"), add(1, price=None)])
    line = history.alive.cart.now.lines["A"]
    assert (line.price, line.category, line.quantity, line.at) == (700 * PRICE_UNIT, "hats", 2 * PIECE, T0 + 1)


def test_products_without_an_id_are_one_unnamed_product() -> None:
    assert run([add(0, None), add(1, None), remove(2, None)]).cart == {"": 1}


def test_item_list_replaces_the_cart() -> None:
    history = run(
        [add(0), add(1, "B", quantity=5), click(2, "cart_viewed", items=(item("B", 2), item("C"), item("C")))]
    )
    assert history.cart == {"B": 2, "C": 2}
    history.play(click(3, "checkout_started", items=(item("D"),)))
    assert history.cart == {"D": 1}
    assert checkout_at(history) == T0 + 3


def test_absent_items_leave_the_cart_as_it_is() -> None:
    assert run([add(0), click(1, "cart_viewed"), click(2, "checkout_started")]).cart == {"A": 1}


def test_empty_item_list_empties_the_cart_and_clears_the_checkout() -> None:
    history = run([add(0), click(1, "checkout_started"), click(2, "cart_viewed", items=())])
    assert history.cart == {}
    assert checkout_at(history) is None
    history.play(click(3, "checkout_started", items=()))  # there is nothing to buy
    assert checkout_at(history) is None


def test_emptying_and_removing_the_last_line_clear_the_checkout() -> None:
    for last in (click(2, "cart_emptied"), remove(2)):
        history = run([add(0), click(1, "checkout_started"), last])
        assert history.cart == {}
        assert checkout_at(history) is None


def test_removing_a_missing_product_does_not_clear_the_checkout() -> None:
    history = run([click(1, "checkout_started"), remove(2)])
    assert checkout_at(history) == T0 + 1


def test_order_removes_whole_lines_of_its_products() -> None:
    history = run([add(0, quantity=3), add(1, "B"), click(2, "checkout_started"), order(3, items=(item("A", 1),))])
    assert history.cart == {"B": 1}
    assert checkout_at(history) is None


def test_ordered_item_without_an_id_removes_the_unnamed_line() -> None:
    assert run([add(0), add(1, None), add(2, "B"), order(3, items=(item("A"), item(None)))]).cart == {"B": 1}


def test_order_without_products_empties_the_cart() -> None:
    for items in (None, (), (item(None),)):
        assert run([add(0), add(1, "B"), order(2, items=items)]).cart == {}


def test_order_of_the_last_shown_cart_or_checkout_empties_the_cart() -> None:
    shown = [add(0, cart_id="k-1"), add(1, "B", checkout_id="x-1")]
    assert run([*shown, order(2, items=(item("Z"),), cart_id="k-1")]).cart == {}
    assert run([*shown, order(2, "o-2", items=(item("Z"),), checkout_id="x-1")]).cart == {}
    other = order(3, "o-3", items=(item("Z"),), cart_id="k-3")
    assert run([*shown, click(2, cart_id="k-2"), other]).cart == {"A": 1, "B": 1}


def test_cart_id_of_an_order_does_not_count_as_shown_by_the_clickstream() -> None:
    history = run(
        [add(0), order(1, "o-1", items=(item("Z"),), cart_id="k-1"), order(2, "o-2", items=(item("Z"),), cart_id="k-1")]
    )
    assert history.cart == {"A": 1}


def test_an_in_store_order_leaves_other_goods_in_the_cart() -> None:
    assert run([add(0), add(1, "B"), order(2, channel="pos", items=(item("B"),))]).cart == {"A": 1}


def test_order_removes_no_line_newer_than_itself() -> None:
    events = [add(0), add(MINUTE, "B"), click(2 * MINUTE, "checkout_started")]
    history = run([*events, order(30 * SECOND)])  # delivered after the fact
    assert history.cart == {"B": 1}
    assert checkout_at(history) == T0 + 2 * MINUTE


def test_addition_delivered_after_its_order_leaves_no_line_and_no_episode() -> None:
    bought = order(MINUTE, items=(item("A"),))
    for delay in (SECOND, HOUR):  # within and beyond lateness
        history = run([click(0), bought, click(MINUTE + delay), add(MINUTE - SECOND)])
        assert history.cart == {}
        assert history.alive.episode is None


def test_late_addition_enters_the_cart_only_if_the_order_would_have_left_it_there() -> None:
    for delay in (0, HOUR):  # within and beyond lateness
        of_one = [click(0), order(MINUTE, items=(item("B"),)), click(MINUTE + delay)]
        assert run([*of_one, add(MINUTE - SECOND)]).cart == {"A": 1}
        assert run([*of_one, add(MINUTE - SECOND)]).alive.episode is None
        late_items = click(MINUTE - SECOND, "cart_viewed", items=(item("A"), item("B")))
        assert run([*of_one, late_items]).cart == {"A": 1}
        late_checkout = click(MINUTE - SECOND, "checkout_started")
        assert checkout_at(run([*of_one, late_checkout])) is None
        of_all = [click(0), order(MINUTE), click(MINUTE + delay)]
        assert run([*of_all, add(MINUTE - SECOND)]).cart == {}


def test_a_removal_cancels_an_addition_that_arrives_up_to_lateness_after_it() -> None:
    assert run([click(0), remove(2 * SECOND), click(12 * SECOND), add(SECOND)]).cart == {}
    assert run([click(0), remove(2 * SECOND), click(12 * SECOND + 1), add(SECOND)]).cart == {"A": 1}


def test_operations_within_the_lateness_apply_in_time_order() -> None:
    history = run([add(0), click(5 * SECOND, "cart_emptied"), add(8 * SECOND, "B"), add(3 * SECOND, "C")])
    assert history.cart == {"B": 1}
    history.play(add(6 * SECOND, "D", cart_id="k-1"), click(9 * SECOND, cart_id="k-2"))
    assert history.cart == {"D": 1, "B": 1}
    history.play(order(7 * SECOND, items=(item("Z"),), cart_id="k-1"))  # the cart shown at that time
    assert history.cart == {"B": 1}


def test_operations_settled_one_by_one_or_at_once_leave_the_same_cart() -> None:
    def settled(operations: int) -> CustomerHistory:
        steps = [add(n, f"P{n}") for n in range(operations)]
        return run([*steps, click(MINUTE), add(MINUTE, "N"), click(30 * SECOND, "cart_emptied")])

    assert settled(2).cart == {"N": 1}
    assert settled(9).cart == {"N": 1}
    assert len(settled(2).alive.cart.log) == 1
    behind = run([add(0), click(MINUTE), add(SECOND, "B"), add(2 * SECOND, "B")])
    assert behind.cart == {"A": 1, "B": 2}
    assert (behind.alive.cart.log, behind.alive.cart.before) == ([], None)
    behind.play(add(MINUTE, "C"), click(MINUTE - SECOND, "cart_emptied"))
    assert behind.cart == {"C": 1}


def test_operations_at_the_same_time_apply_in_order_of_arrival() -> None:
    assert run([add(SECOND), add(2 * SECOND, "B"), click(SECOND, "cart_emptied")]).cart == {"B": 1}


def test_addition_exactly_as_late_as_the_lateness_counts() -> None:
    bought = order(5 * SECOND, items=(item("B"),))
    assert run([click(0), bought, click(12 * SECOND), add(2 * SECOND)]).cart == {"A": 1}


@pytest.mark.parametrize("newest", [HOUR, 2 * HOUR])  # replayed, and added where newer ones are settled
def test_an_older_operation_overrides_nothing_newer(newest: int) -> None:
    def after(*late: Event) -> CustomerHistory:
        start = [add(0, price=100), add(HOUR, "B", price=200, cart_id="k-2"), click(HOUR, "checkout_started")]
        return run([*start, click(newest), *late])

    half = 30 * MINUTE
    assert after(click(half, "cart_emptied")).cart == {"B": 1}
    assert checkout_at(after(click(half, "cart_emptied"))) == T0 + HOUR
    assert set(after(click(half, "cart_viewed", items=(item("C"),))).cart) == {"B", "C"}
    listed = after(click(half, "cart_viewed", items=(item("B", 7),)))
    assert listed.cart == ({"B": 8} if newest == HOUR else {"B": 1})  # replayed, one is added to seven
    assert after(remove(half, "B")).cart == {"A": 1, "B": 1}
    assert after(add(half, "B", price=999)).alive.cart.now.lines["B"].price == 200 * PRICE_UNIT
    assert after(click(half, cart_id="k-1")).alive.cart.now.cart_id == "k-2"
    assert checkout_at(after(click(half, "checkout_started"))) == T0 + HOUR


def test_oldest_lines_of_a_full_cart_are_dropped_first() -> None:
    history = run([add(0), add(1, "B"), add(2), add(3, "C")], policy=Policy(cart_lines=2))
    assert history.cart == {"A": 2, "C": 1}
    assert history.counts["trimmed", "cart_lines"] == 1


def test_value_of_the_cart_is_known_if_all_prices_have_one_currency() -> None:
    def of(*events: Event) -> tuple[int, int | None]:
        history = run(events)
        summary = history.lifecycle.summary(history.alive)
        return summary.cart_items, summary.cart_value

    assert of(click(0)) == (0, 0)
    assert of(add(0, price=250, quantity=3), add(1, "B", price=50)) == (4 * PIECE, 800)
    assert of(add(0), add(1, "B", price=None)) == (2 * PIECE, None)
    assert of(add(0), add(1, "B", currency="USD")) == (2 * PIECE, None)
    assert of(add(0, currency="JPY")) == (PIECE, None)  # the summary names EUR


def test_cart_is_emptied_30_days_after_the_last_activity() -> None:
    history = run([add(0), order(DAY, items=(item("B"),)), click(2 * DAY, "message_opened")], until=31 * DAY - 1)
    assert history.cart == {"A": 1}
    history.play(until=31 * DAY)
    assert history.cart == {}
    assert history.abandonment_summary == [
        ("abandoned", "cart", 1, HOUR),
        ("abandoned", "cart", 2, DAY),
        ("recovered", "cart", 2, DAY),
    ]
