"""Episodes, abandonments, and their outcomes."""

from __future__ import annotations

from typing import Any

import pytest

from streams.core.model.ids import NAMESPACE, abandonment_id
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


def view(at: int, product: str | None = "A") -> Event:
    return click(at, "product_viewed", product)


def add(at: int, product: str = "A", quantity: int = 1) -> Event:
    return click(at, "product_added", product, quantity=quantity)


def checkout(at: int) -> Event:
    return click(at, "checkout_started")


# -- step 1


def test_browse_is_abandoned_30_min_after_the_last_activity() -> None:
    history = run([view(0), view(MINUTE, "B"), click(2 * MINUTE)], until=32 * MINUTE - 1)
    assert history.abandonment_summary == []
    history.play(until=32 * MINUTE)
    (abandoned,) = history.abandonments
    assert (abandoned.type, abandoned.kind, abandoned.step, abandoned.steps) == ("abandoned", "browse", 1, 1)
    assert abandoned.occurred_at == T0 + 32 * MINUTE
    assert (abandoned.last_activity_at, abandoned.episode_started_at) == (T0 + 2 * MINUTE, T0)
    assert abandoned.items == (item("A"), item("B"))
    assert (abandoned.value, abandoned.currency, abandoned.supersedes, abandoned.recent_abandonments) == (
        2000,
        "EUR",
        None,
        0,
    )
    assert abandoned.id == abandoned.abandonment_id
    assert abandoned.id == abandonment_id(NAMESPACE, True, "c-1", "browse", T0 + 32 * MINUTE, 1)


def test_cart_is_abandoned_after_60_min_with_its_items() -> None:
    history = run([view(0, "B"), add(0, quantity=2)], until=60 * MINUTE)
    (abandoned,) = history.abandonments
    assert history.abandonment_summary == [("abandoned", "cart", 1, 60 * MINUTE)]
    assert (abandoned.items, abandoned.value, abandoned.steps) == ((item("A", 2),), 2000, 3)


def test_checkout_is_abandoned_after_30_min() -> None:
    history = run([add(0), checkout(MINUTE)], until=31 * MINUTE)
    assert history.abandonment_summary == [("abandoned", "checkout", 1, 31 * MINUTE)]
    assert history.abandonments[0].items == (item("A"),)


def test_a_checkout_with_an_empty_cart_shows_the_viewed_products() -> None:
    history = run([view(0), checkout(MINUTE)], until=31 * MINUTE)
    assert history.abandonment_summary == [("abandoned", "checkout", 1, 31 * MINUTE)]
    assert history.abandonments[0].items == (item("A"),)


def test_browse_to_cart_to_checkout_in_one_episode_is_one_abandonment() -> None:
    history = run([view(0), add(10 * MINUTE), checkout(30 * MINUTE)], until=20 * HOUR)
    assert history.abandonment_summary == [("abandoned", "checkout", 1, 60 * MINUTE)]
    assert history.abandonments[0].episode_started_at == T0


def test_activity_without_an_episode_is_not_abandoned() -> None:
    assert (
        run(
            [click(0), click(1, "products_searched"), click(2, "checkout_step_completed")], until=DAY
        ).abandonment_summary
        == []
    )


def test_items_that_add_something_open_an_episode() -> None:
    history = run([click(0, "cart_viewed", items=(item("A"),))], until=HOUR)
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR)]


def test_a_checkout_event_24_h_older_than_the_last_activity_makes_no_checkout() -> None:
    fresh = run([add(0), checkout(0), click(1 * DAY - 1)], until=DAY + HOUR)
    assert fresh.abandonment_summary[-1] == ("abandoned", "checkout", 1, 30 * MINUTE)  # the same content, silenced
    stale = run([checkout(0), view(DAY)], until=DAY + 30 * MINUTE)
    assert stale.abandonment_summary[-1] == ("abandoned", "browse", 1, DAY + 30 * MINUTE)
    assert stale.alive.cart.now.mark is None  # a browse removes an old checkout
    still = run([checkout(0), click(HOUR, "checkout_step_completed"), view(DAY)], until=DAY + 30 * MINUTE)
    assert still.abandonment_summary[-1] == ("abandoned", "checkout", 1, DAY + 30 * MINUTE)


def test_browse_abandonment_has_the_last_10_distinct_products_most_recent_last() -> None:
    products = [*"ABCDEFGHIJK", "D"]
    history = run([view(n * SECOND, product) for n, product in enumerate(products)], until=HOUR)
    assert "".join(str(i.product_id) for i in history.abandonments[0].items) == "BCEFGHIJKD"


def test_an_emptied_cart_is_not_abandoned() -> None:
    assert run([add(0), click(10 * MINUTE, "cart_emptied")], until=5 * DAY).abandonment_summary == []
    assert run([add(0), click(10 * MINUTE, "product_removed", "A")], until=5 * DAY).abandonment_summary == []


def test_an_emptied_cart_after_views_is_a_browse() -> None:
    history = run([view(0), add(0), click(10 * MINUTE, "cart_emptied")], until=5 * DAY)
    assert history.abandonment_summary == [("abandoned", "browse", 1, 40 * MINUTE)]


def test_emptying_an_abandoned_cart_ends_its_steps() -> None:
    history = run([add(0), click(2 * HOUR, "cart_emptied")], until=29 * DAY)
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR)]


def test_a_browse_closes_its_episode() -> None:
    history = run([view(0), click(HOUR), click(2 * HOUR)], until=10 * DAY)
    assert history.abandonment_summary == [("abandoned", "browse", 1, 30 * MINUTE)]
    history.play(view(11 * DAY, "B"), until=12 * DAY)
    assert history.abandonments[1].items == (item("B"),)
    assert history.abandonments[1].episode_started_at == T0 + 11 * DAY


def test_passive_events_do_not_put_an_abandonment_off() -> None:
    history = run([add(0), click(30 * MINUTE, "message_opened")], until=HOUR)
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR)]


@pytest.mark.parametrize(
    ("prices", "value", "currency"),
    [
        ([(100, "EUR"), (250, "EUR")], 350, "EUR"),
        ([(100, "EUR"), (None, "EUR")], None, "EUR"),
        ([(100, "EUR"), (100, "USD")], None, None),
        ([(None, "EUR")], None, None),
        ([(300, "JPY")], 300, "JPY"),
    ],
)
def test_abandonment_has_the_value_of_its_items(
    prices: list[tuple[int | None, str]], value: int | None, currency: str | None
) -> None:
    adds = [click(0, "product_added", f"p-{n}", price=price, currency=code) for n, (price, code) in enumerate(prices)]
    abandoned = run(adds, until=HOUR).abandonments[0]
    assert (abandoned.value, abandoned.currency) == (value, currency)


def test_price_is_multiplied_before_it_is_rounded() -> None:
    screws = click(0, "product_added", "screw", price=1.25, quantity=10_000)
    cheese = click(1, "product_added", "cheese", price=1999, quantity=0.45)
    (abandoned,) = run([screws, cheese], until=HOUR + 1).abandonments
    assert abandoned.value == 12_500 + 900  # 899.55 cents of cheese


def test_cut_cart_says_so_and_has_no_value() -> None:
    adds = [add(n, product) for n, product in enumerate("ABC")]
    history = run(adds, until=HOUR + 2, policy=Policy(cart_lines=2))
    (abandoned,) = history.abandonments
    assert (abandoned.items_cut, abandoned.value, len(abandoned.items)) == (True, None, 2)
    assert history.lifecycle.summary(history.alive).cart_value is None
    history.play(click(2 * HOUR, "cart_viewed", items=(item("B"), item("D"))), until=3 * HOUR)
    assert (history.abandonments[-1].items_cut, history.abandonments[-1].value) == (False, 2000)


def test_abandonment_has_the_ids_last_shown_by_the_clickstream() -> None:
    shown = click(0, "product_added", "A", session_id="s-1", cart_id="k-1", checkout_id="x-1")
    history = run([shown, click(1, session_id="s-2"), click(2, "message_opened", cart_id="k-2")], until=HOUR + 1)
    abandoned = history.abandonments[0]
    assert (abandoned.session_id, abandoned.cart_id, abandoned.checkout_id) == ("s-2", "k-2", "x-1")


def test_empty_checkout_has_no_value_also_when_recovered() -> None:
    history = run([checkout(0), order(HOUR, currency="USD")])
    assert [(a.type, a.items, a.value, a.currency) for a in history.abandonments] == [
        ("abandoned", (), None, "EUR"),
        ("recovered", (), None, "EUR"),
    ]


# -- an order around the deadline


def test_an_order_just_before_the_deadline_prevents_it() -> None:
    assert run([add(0), order(HOUR - 1)], until=29 * DAY).abandonment_summary == []


@pytest.mark.parametrize("after", [0, 1])
def test_an_order_at_or_just_after_the_deadline_recovers(after: int) -> None:
    history = run([add(0), order(HOUR + after, total=1234, items=(item("A"),))], until=29 * DAY)
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR), ("recovered", "cart", 1, HOUR + after)]
    abandoned, recovered = history.abandonments
    assert recovered.abandonment_id == abandoned.id
    assert recovered.id == abandonment_id(NAMESPACE, True, "c-1", "cart", T0 + HOUR, "recovered")
    assert (recovered.order_id, recovered.order_total, recovered.order_currency) == ("o-1", 1234, "EUR")
    assert (recovered.recovered_after_ms, recovered.match, recovered.items) == (after, "items", (item("A"),))


# -- further steps, silence, supersession


def test_further_steps_follow_24_h_and_72_h_after_the_last_activity() -> None:
    history = run([add(0), click(MINUTE)], until=29 * DAY)
    assert history.abandonment_summary == [
        ("abandoned", "cart", 1, HOUR + MINUTE),
        ("abandoned", "cart", 2, DAY + MINUTE),
        ("abandoned", "cart", 3, 3 * DAY + MINUTE),
    ]
    assert len({a.abandonment_id for a in history.abandonments}) == 1
    assert history.abandonments[1].id == abandonment_id(NAMESPACE, True, "c-1", "cart", T0 + HOUR + MINUTE, 2)


def test_passive_events_do_not_put_further_steps_off() -> None:
    history = run([add(0), click(2 * HOUR, "message_opened")], until=2 * DAY)
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR), ("abandoned", "cart", 2, DAY)]


def test_the_same_content_within_the_cool_down_is_silenced_and_the_steps_go_on_from_the_new_activity() -> None:
    history = run([add(0), click(5 * HOUR, session_id="s-9")], until=29 * DAY)
    assert history.abandonment_summary == [
        ("abandoned", "cart", 1, HOUR),
        ("abandoned", "cart", 2, DAY + 5 * HOUR),
        ("abandoned", "cart", 3, 3 * DAY + 5 * HOUR),
    ]
    assert history.abandonments[1].last_activity_at == T0 + 5 * HOUR
    assert [a.session_id for a in history.abandonments] == [None, "s-9", "s-9"]


def test_a_silenced_abandonment_continues_with_the_next_step() -> None:
    history = run([add(0), click(2 * DAY)], until=29 * DAY)
    assert history.abandonment_summary[1:] == [("abandoned", "cart", 2, DAY), ("abandoned", "cart", 3, 5 * DAY)]


def test_activity_cancels_the_step_that_is_pending() -> None:
    history = run([add(0), click(DAY - MINUTE)], until=DAY + 58 * MINUTE)
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR)]


def test_a_lower_kind_of_the_same_content_is_silenced_and_the_earlier_kind_goes_on() -> None:
    history = run([add(0), checkout(0), click(12 * HOUR), click(DAY)], until=3 * DAY)  # by then it is a cart
    assert history.abandonment_summary == [
        ("abandoned", "checkout", 1, 30 * MINUTE),
        ("abandoned", "checkout", 2, 2 * DAY),
    ]


def test_higher_kind_of_the_same_content_is_a_new_abandonment() -> None:
    history = run([add(0), checkout(2 * HOUR)], until=3 * HOUR)
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR), ("abandoned", "checkout", 1, 150 * MINUTE)]
    assert history.abandonments[1].supersedes == history.abandonments[0].id


@pytest.mark.parametrize("change", [add(2 * HOUR), add(2 * HOUR, "B"), click(2 * HOUR, "product_removed", "A")])
def test_other_content_is_a_new_abandonment_and_supersedes(change: Event) -> None:
    history = run([add(0, quantity=2), change], until=3 * HOUR)
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR), ("abandoned", "cart", 1, 3 * HOUR)]
    first, second = history.abandonments
    assert second.supersedes == first.id
    assert (first.recent_abandonments, second.recent_abandonments) == (0, 1)


def test_a_silenced_browse_closes_its_episode() -> None:
    history = run([view(0), view(HOUR)], until=10 * DAY)
    assert history.abandonment_summary == [("abandoned", "browse", 1, 30 * MINUTE)]
    assert history.alive.episode is None


def test_a_silenced_browse_of_an_emptied_cart_ends_its_steps() -> None:
    history = run([view(0), add(0), click(2 * HOUR, "cart_emptied")], until=10 * DAY)
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR)]


@pytest.mark.parametrize(
    ("last", "expected"), [(7 * DAY - 1, []), (7 * DAY, [("abandoned", "cart", 1, 7 * DAY + HOUR)])]
)
def test_after_the_cool_down_the_same_content_is_new(last: int, expected: list[tuple[str, str, int, int]]) -> None:
    history = run([add(0), click(last)], until=last + 23 * HOUR)
    assert history.abandonment_summary[3:] == expected


def test_a_browse_after_the_cool_down_supersedes_the_earlier_one() -> None:
    history = run([view(0), view(7 * DAY)], until=8 * DAY)
    first, second = history.abandonments
    assert second.occurred_at == T0 + 7 * DAY + 30 * MINUTE
    assert second.supersedes == first.id
    assert second.recent_abandonments == 0  # exactly 7 d before does not count


def test_after_an_order_the_same_content_is_new_and_supersedes_nothing() -> None:
    history = run([add(0), order(2 * HOUR), add(3 * HOUR)], until=4 * HOUR)
    assert [entry[0] for entry in history.abandonment_summary] == ["abandoned", "recovered", "abandoned"]
    assert history.abandonments[2].supersedes is None
    assert history.abandonments[2].recent_abandonments == 1


def test_number_of_recent_abandonments_stays_the_same_in_later_outputs() -> None:
    history = run([view(0), add(DAY, "B")], until=DAY + HOUR)
    history.play(order(DAY + 2 * HOUR))
    assert [a.recent_abandonments for a in history.abandonments] == [0, 1, 1]


# -- recovery


@pytest.mark.parametrize(
    ("after", "recovered"),
    [(6 * DAY + 23 * HOUR, True), (7 * DAY, True), (7 * DAY + 1, False), (7 * DAY + HOUR, False)],
)
def test_order_within_7_days_of_the_last_step_recovers(after: int, recovered: bool) -> None:
    step3 = 3 * DAY
    history = run([add(0), order(step3 + after)], until=20 * DAY)
    assert [entry[0] for entry in history.abandonment_summary[3:]] == ["recovered"] * recovered
    if recovered:
        assert history.abandonments[3].step == 3
        assert history.abandonments[3].recovered_after_ms == step3 + after - HOUR
    # Either way it is closed: nothing can supersede it.
    history.play(add(21 * DAY), until=22 * DAY)
    assert history.abandonments[-1].supersedes is None


def test_browse_abandonment_is_recovered_by_an_order() -> None:
    history = run([view(0), order(7 * DAY + 30 * MINUTE)])
    assert history.abandonment_summary == [
        ("abandoned", "browse", 1, 30 * MINUTE),
        ("recovered", "browse", 1, 7 * DAY + 30 * MINUTE),
    ]


def test_an_order_between_two_steps_ends_the_steps() -> None:
    history = run([add(0), order(2 * HOUR)], until=10 * DAY)
    assert [entry[0] for entry in history.abandonment_summary] == ["abandoned", "recovered"]


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"cart_id": "k-1", "checkout_id": "x-1", "items": (item("A"),)}, "cart"),
        ({"cart_id": "k-2", "checkout_id": "x-1", "items": (item("A"),)}, "checkout"),
        ({"cart_id": "k-2", "items": (item("B"), item("A"))}, "items"),
        ({"items": (item("B"),)}, "customer"),
        ({}, "customer"),
    ],
)
def test_recovery_names_the_strongest_match(fields: dict[str, Any], match: str) -> None:
    abandoned = click(0, "product_added", "A", cart_id="k-1", checkout_id="x-1")
    assert run([abandoned, order(2 * HOUR, **fields)]).abandonments[1].match == match


def test_an_in_store_order_of_other_goods_leaves_the_abandonment_and_the_cart() -> None:
    history = run([add(0), order(2 * HOUR, channel="pos", items=(item("B"),))], until=2 * DAY)
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR), ("abandoned", "cart", 2, DAY)]
    assert history.cart == {"A": 1}


def test_an_in_store_order_of_the_goods_recovers() -> None:
    history = run([add(0), order(2 * HOUR, channel="pos", items=(item("A"),))], until=2 * DAY)
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR), ("recovered", "cart", 1, 2 * HOUR)]
    assert [abandonment.match for abandonment in history.abandonments] == [None, "items"]


def test_an_order_of_other_goods_closes_the_episode_of_a_full_cart() -> None:
    history = run([add(0), order(30 * MINUTE, items=(item("B"),)), click(HOUR)], until=10 * DAY)
    assert history.abandonment_summary == []
    assert history.cart == {"A": 1}
    # The lines left are abandoned with the next episode.
    history.play(view(11 * DAY, "C"), until=11 * DAY + HOUR)
    assert history.abandonment_summary == [("abandoned", "cart", 1, 11 * DAY + HOUR)]
    assert history.abandonments[0].episode_started_at == T0 + 11 * DAY


@pytest.mark.parametrize("type_", ["order_cancelled", "order_updated", "order_fulfilled", "order_refunded"])
def test_only_completions_that_count_recover(type_: str) -> None:
    history = run([add(0), order(2 * HOUR, type_=type_)])
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR)]


# -- late orders


def test_a_late_order_retracts() -> None:
    history = run([add(0), click(2 * HOUR), order(30 * MINUTE)], until=29 * DAY)
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR), ("retracted", "cart", 1, 30 * MINUTE)]
    abandoned, retracted = history.abandonments
    assert (retracted.reason, retracted.abandonment_id) == ("late_order", abandoned.id)
    assert retracted.items == abandoned.items
    assert retracted.id == abandonment_id(NAMESPACE, True, "c-1", "cart", T0 + HOUR, "retracted")
    assert history.alive.episode is None


def test_a_late_order_after_the_watermark_retracts() -> None:
    history = run([add(0)], until=HOUR).play(order(HOUR - 1), until=29 * DAY)
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR), ("retracted", "cart", 1, HOUR - 1)]


def test_a_late_order_retracts_from_the_start_of_the_episode() -> None:
    assert run([view(10), click(HOUR), order(10)]).abandonment_summary[-1] == ("retracted", "browse", 1, 10)


def test_order_older_than_the_episode_leaves_it_as_it_is() -> None:
    history = run([click(0), add(HOUR)], until=2 * HOUR).play(order(HOUR - 1, items=(item("B"),)), until=2 * DAY)
    assert history.abandonment_summary == [("abandoned", "cart", 1, 2 * HOUR), ("abandoned", "cart", 2, DAY + HOUR)]


def test_retracted_abandonment_has_no_further_outputs() -> None:
    history = run([add(0), click(2 * HOUR), order(30 * MINUTE), order(3 * HOUR, "o-2")], until=29 * DAY)
    assert [entry[0] for entry in history.abandonment_summary] == ["abandoned", "retracted"]


def test_a_late_order_leaves_what_is_newer_in_the_episode() -> None:
    history = run([view(0), add(0), view(40 * MINUTE, "B"), order(20 * MINUTE)])
    assert history.cart == {}
    episode = history.alive.episode
    assert episode is not None
    assert (episode.first.at, list(episode.views)) == (T0 + 40 * MINUTE, ["B"])
    history.play(until=2 * HOUR)
    assert history.abandonment_summary == [("abandoned", "browse", 1, 70 * MINUTE)]
    assert history.abandonments[0].items == (item("B"),)


def test_an_order_at_the_time_of_the_last_view_closes_the_episode() -> None:
    assert run([view(0), view(MINUTE), order(MINUTE)]).alive.episode is None


def test_activity_that_is_no_shopping_does_not_keep_an_episode_open() -> None:
    history = run([view(0), click(41 * SECOND), order(40 * SECOND)], until=10 * DAY)
    assert history.abandonment_summary == []


def test_views_older_than_the_last_order_open_no_episode() -> None:
    history = run([click(0), order(HOUR), view(HOUR - 1), checkout(HOUR - 1)], until=10 * DAY)
    assert history.abandonment_summary == []
    assert history.alive.product_views == 1


def test_view_at_the_time_of_the_last_order_opens_no_episode() -> None:
    assert run([order(HOUR), view(HOUR)], until=DAY).abandonment_summary == []
    assert run([order(HOUR), view(HOUR + 1)], until=DAY).abandonment_summary == [
        ("abandoned", "browse", 1, 90 * MINUTE + 1)
    ]


# -- late activity


def test_late_activity_retracts_and_schedules_step_1_again() -> None:
    history = run([add(0), click(70 * MINUTE), click(50 * MINUTE)], until=5 * HOUR)
    assert history.abandonment_summary == [
        ("abandoned", "cart", 1, HOUR),
        ("retracted", "cart", 1, 50 * MINUTE),
        ("abandoned", "cart", 1, 130 * MINUTE),
    ]
    assert history.abandonments[1].reason == "late_activity"
    assert history.abandonments[2].supersedes is None
    assert history.abandonments[2].recent_abandonments == 1  # retracted ones included


def test_late_activity_opens_the_episode_that_a_browse_closed() -> None:
    history = run([view(0)], until=31 * MINUTE).play(view(20 * MINUTE, "B"), until=5 * HOUR)
    assert history.abandonment_summary == [
        ("abandoned", "browse", 1, 30 * MINUTE),
        ("retracted", "browse", 1, 20 * MINUTE),
        ("abandoned", "browse", 1, 50 * MINUTE),
    ]
    assert history.abandonments[2].items == (item("A"), item("B"))
    assert history.abandonments[2].episode_started_at == T0


@pytest.mark.parametrize(
    "late",
    [
        click(30 * SECOND),  # before the abandonment's last activity
        click(MINUTE),  # at it
        click(MINUTE + HOUR),  # at step 1
        click(30 * MINUTE, "message_opened"),  # passive
        order(30 * MINUTE, type_="order_fulfilled"),
    ],
)
def test_other_late_events_retract_nothing(late: Event) -> None:
    history = run([add(0), click(MINUTE), click(2 * HOUR), late])
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR + MINUTE)]


def test_a_late_event_as_old_as_what_was_abandoned_does_not_abandon_it_twice() -> None:
    history = run([view(0), click(MINUTE)], until=HOUR).play(view(30 * SECOND, "B"), until=10 * DAY)
    assert history.abandonment_summary == [("abandoned", "browse", 1, 31 * MINUTE)]


def test_activity_as_old_as_the_last_one_schedules_nothing() -> None:
    history = run([view(0)], until=HOUR).play(view(0, "B"), until=10 * DAY)
    assert history.abandonment_summary == [("abandoned", "browse", 1, 30 * MINUTE)]


def test_an_episode_that_a_late_addition_opens_does_not_go_on_with_the_steps_of_another() -> None:
    history = run([view(0), add(0), click(2 * HOUR, "cart_emptied")], until=3 * HOUR)
    history.play(add(110 * MINUTE, "B"), until=10 * DAY)
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR)]


def test_a_late_view_is_put_in_its_place_in_the_episode() -> None:
    history = run([view(2 * MINUTE), view(3 * MINUTE, "B"), view(MINUTE, "C"), view(0, "B")], until=HOUR)
    (abandoned,) = history.abandonments
    assert [i.product_id for i in abandoned.items] == ["C", "A", "B"]
    assert abandoned.episode_started_at == T0


def test_retracted_abandonment_does_not_count_as_recent() -> None:
    history = run([view(0), add(0)], until=HOUR).play(click(10 * MINUTE, "cart_emptied"), until=HOUR)
    assert history.abandonment_summary[-1] == ("abandoned", "browse", 1, 40 * MINUTE)
    assert history.abandonments[-1].recent_abandonments == 0


# -- expiry


def test_abandonment_expires_30_days_after_the_last_activity() -> None:
    history = run([add(0)], until=30 * DAY - 1)
    assert history.cart == {"A": 1}
    history.play(until=30 * DAY)
    assert history.cart == {}
    assert history.alive.episode is None
    expired = history.abandonments[-1]
    assert history.abandonment_summary[-1] == ("expired", "cart", 3, 30 * DAY)
    assert (expired.items, expired.abandonment_id) == ((item("A"),), history.abandonments[0].id)
    assert expired.id == abandonment_id(NAMESPACE, True, "c-1", "cart", T0 + HOUR, "expired")


def test_expired_abandonment_is_neither_recovered_nor_superseded() -> None:
    history = run([add(0), order(30 * DAY + HOUR), add(30 * DAY + 2 * HOUR)], until=31 * DAY)
    assert [entry[0] for entry in history.abandonment_summary] == [
        "abandoned",
        "abandoned",
        "abandoned",
        "expired",
        "abandoned",
    ]
    assert history.abandonments[-1].supersedes is None


def test_an_abandonment_of_a_cart_emptied_since_expires() -> None:
    history = run([add(0), click(2 * HOUR, "cart_emptied")], until=31 * DAY)
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR), ("expired", "cart", 1, 30 * DAY + 2 * HOUR)]


def test_a_browse_or_a_recovered_abandonment_does_not_expire() -> None:
    assert run([view(0)], until=60 * DAY).abandonment_summary == [("abandoned", "browse", 1, 30 * MINUTE)]
    recovered = run([add(0), order(2 * HOUR, items=(item("B"),))], until=60 * DAY)
    assert [entry[0] for entry in recovered.abandonment_summary] == ["abandoned", "recovered"]
    assert recovered.cart == {}


def test_only_the_abandonment_of_the_episode_expires_with_it() -> None:
    events = [view(0), add(0), click(2 * HOUR, "cart_emptied"), add(DAY, "B"), click(DAY, "cart_emptied")]
    history = run(events, until=40 * DAY)
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR)]


def test_an_episode_that_never_came_due_expires_silently() -> None:
    history = run([add(0), click(1, "cart_emptied")], until=30 * DAY + 1)
    assert history.abandonment_summary == []
    assert history.alive.episode is None


# -- order of deadlines, withholding


def test_expiry_precedes_a_timeout_transition_at_the_same_time() -> None:
    history = run([add(0)], until=30 * DAY)
    assert [getattr(output, "type", None) or output.to_stage for output in history.outputs][-2:] == [  # type: ignore[union-attr]
        "expired",
        "dormant",
    ]


def test_withheld_abandonment_is_remembered_for_later_outputs() -> None:
    history = run([add(0)], until=HOUR)
    abandoned = history.abandonments[0]
    assert not history.alive.is_withheld(abandoned.abandonment_id)
    history.alive.note_withheld(abandoned.abandonment_id, True)
    history.play(order(2 * HOUR))
    assert history.alive.is_withheld(history.abandonments[1].abandonment_id)
    history.play(add(3 * HOUR), until=4 * HOUR)
    assert not history.alive.is_withheld(history.abandonments[2].abandonment_id)


def test_every_abandonment_carries_subscribed() -> None:
    history: CustomerHistory = run([add(0), click(1, "subscribed"), click(2, "unsubscribed")], until=HOUR + 1)
    assert history.abandonments[0].subscribed is False
