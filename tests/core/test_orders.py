"""Orders: the number of those that count, their revenue, and corrections."""

from __future__ import annotations

from itertools import permutations

import pytest

from streams.core.model.policy import Policy
from streams.core.profile.codec import pack
from tests.support.customer_history import DAY, HOUR, MINUTE, T0, Event, click, order, run


def cancelled(at: int, order_id: str = "o-1") -> Event:
    return order(at, order_id, "order_cancelled")


def refunded(at: int, total: int | None, order_id: str = "o-1", currency: str = "EUR") -> Event:
    return order(at, order_id, "order_refunded", total=total, currency=currency)


def updated(at: int, total: int | None, order_id: str = "o-1", currency: str = "EUR") -> Event:
    return order(at, order_id, "order_updated", total=total, currency=currency)


def figures(*events: Event) -> tuple[int, int]:
    profile = run(events).alive
    return profile.orders, profile.revenue


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ([], (1, 5000)),
        ([cancelled(1)], (0, 0)),
        ([refunded(1, 2000)], (1, 3000)),
        ([refunded(1, 2000), refunded(2, 3000)], (0, 0)),  # partial refunds add up
        ([refunded(1, 2000), refunded(2, 2999)], (1, 1)),
        ([refunded(1, None)], (0, 0)),  # a refund without an amount is a full one
        ([refunded(1, None), updated(2, None)], (0, 0)),
        ([refunded(1, 0)], (1, 5000)),
        ([refunded(1, 9000)], (0, 0)),
        ([updated(1, 7000)], (1, 7000)),
        ([updated(1, None)], (1, 5000)),
        ([updated(2, 7000), updated(1, 6000)], (1, 7000)),  # the latest by time
        ([updated(1, 6000), updated(1, 7000)], (1, 7000)),  # at equal times, the last to come
        ([refunded(1, 5000), updated(2, 6000)], (1, 1000)),  # counts again
        ([refunded(1, 3000), updated(2, 3000)], (0, 0)),
        ([cancelled(1), updated(2, 9000)], (0, 0)),  # stays cancelled
        ([refunded(1, 5000, currency="USD")], (1, 5000)),
        ([updated(1, 9000, currency="USD")], (1, 5000)),
        ([order(1, type_="order_fulfilled")], (1, 5000)),
        ([cancelled(1, "o-2"), refunded(1, None, "o-3")], (1, 5000)),
    ],
)
def test_corrections_change_orders_and_revenue(later: list[Event], expected: tuple[int, int]) -> None:
    assert figures(order(0), *later) == expected


@pytest.mark.parametrize(
    ("corrections", "expected"),
    [
        ([cancelled(1)], (0, 0)),
        ([refunded(1, 5000)], (0, 0)),
        ([refunded(1, 2000), refunded(2, 3000)], (0, 0)),
        ([refunded(1, None)], (0, 0)),
        ([refunded(1, 1000)], (1, 4000)),
        ([updated(1, 7000)], (1, 7000)),
        ([refunded(1, 5000), updated(2, 6000)], (1, 1000)),
        ([refunded(1, 5000, currency="USD")], (1, 5000)),
        ([updated(1, 9000, currency="USD"), refunded(2, 500)], (1, 4500)),
    ],
)
def test_corrections_that_overtake_the_completion_count_the_same(
    corrections: list[Event], expected: tuple[int, int]
) -> None:
    for events in permutations([order(0), *corrections]):
        assert figures(*events) == expected


def test_refunds_in_another_currency_are_counted() -> None:
    history = run([order(0), refunded(1, 5000, currency="USD"), updated(2, 1, currency="USD")])
    assert history.counts["corrections_ignored", "refund_currency"] == 1
    assert history.counts["corrections_ignored", "update_currency"] == 1


def test_order_of_unknown_total_counts_without_revenue() -> None:
    assert figures(order(0, total=None)) == (1, 0)
    assert figures(order(0, total=None), refunded(1, 100)) == (1, 0)
    assert figures(order(0, total=None), refunded(1, None)) == (0, 0)
    assert figures(order(0, total=None), refunded(1, 100), updated(2, 300)) == (1, 200)


def test_a_free_order_counts() -> None:
    assert figures(order(0, total=0)) == (1, 0)
    assert figures(order(0, total=0), refunded(1, 0)) == (1, 0)
    assert figures(order(0, total=0), refunded(1, 1)) == (0, 0)


def test_a_repeated_completion_changes_nothing_and_is_no_activity() -> None:
    history = run([order(0), order(HOUR, total=9000)])
    profile = history.alive
    assert (profile.orders, profile.revenue, profile.sessions.count) == (1, 5000, 1)
    assert (profile.last_activity_at, profile.last_seen_at) == (T0, T0 + HOUR)


def test_completion_of_an_order_that_is_cancelled_already_changes_only_the_time_last_seen() -> None:
    history = run([click(0, "product_added", "A"), cancelled(1), order(2)])
    profile = history.alive
    assert history.cart == {"A": 1}
    assert profile.last_activity_at == T0
    assert profile.last_seen_at == T0 + 2
    assert (profile.orders, profile.orders_in_stage) == (0, 0)
    assert history.stages[-1][0] == "prospect"
    history.play(until=HOUR)
    assert history.abandonment_summary == [("abandoned", "cart", 1, HOUR)]


def test_the_last_order_is_the_latest_by_time_that_counts() -> None:
    history = run([order(2 * DAY, "o-2"), order(DAY, "o-1"), order(3 * DAY, "o-3")])
    assert history.alive.last_order_at == T0 + 3 * DAY
    history.play(cancelled(3 * DAY, "o-3"))
    assert history.alive.last_order_at == T0 + 2 * DAY
    history.play(refunded(3 * DAY, None, "o-2"), cancelled(3 * DAY, "o-1"))
    assert history.alive.last_order_at is None


def test_revenue_is_in_the_currency_of_the_first_order() -> None:
    history = run(
        [
            order(0, "o-1", total=900, currency="JPY"),
            order(1, "o-2", total=5000),
            order(2, "o-3", total=100, currency="JPY"),
            refunded(3, 2000, "o-2"),
        ]
    )
    profile = history.alive
    assert (profile.orders, profile.revenue, profile.currency, profile.other_currency_orders) == (3, 1000, "JPY", 1)
    summary = history.lifecycle.summary(profile)
    assert (summary.currency, summary.average_order_value) == ("JPY", 500)  # of the two in yen
    history.play(cancelled(4, "o-2"))
    assert (profile.orders, profile.other_currency_orders) == (2, 0)


def test_only_the_newest_orders_are_kept_and_older_ones_stay_counted() -> None:
    history = run([order(n * DAY, f"o-{n}", total=100) for n in range(4)], policy=Policy(orders=2))
    profile = history.alive
    assert list(profile.order_book) == ["o-2", "o-3"]
    assert (profile.orders, profile.revenue) == (4, 400)
    assert history.counts["trimmed", "orders"] == 2
    history.play(cancelled(5 * DAY, "o-0"), cancelled(5 * DAY, "o-3"), cancelled(5 * DAY, "o-2"))
    assert (profile.orders, profile.revenue, profile.last_order_at) == (2, 200, T0 + DAY)


def test_corrections_of_unknown_orders_are_kept_for_the_newest_orders_only() -> None:
    history = run([cancelled(n, f"o-{n}") for n in range(3)], policy=Policy(orders=2))
    assert list(history.alive.order_notes) == ["o-1", "o-2"]
    assert history.counts["trimmed", "order_notes"] == 1
    history.play(order(4, "o-0"), order(5, "o-1"))
    assert history.alive.orders == 1


def test_a_type_of_the_other_topic_counts_as_unknown() -> None:
    history = run([click(0, "order_completed", order_id="o-1"), order(1, type_="product_added", product_id="A")])
    assert (history.alive.orders, history.cart, history.alive.last_activity_at) == (0, {}, T0 + 1)


@pytest.mark.parametrize("channel", ["pos", "retail", "subscription", "marketplace"])
def test_an_order_of_a_passive_channel_counts_without_being_activity(channel: str) -> None:
    history = run([click(0), order(MINUTE, channel=channel)])
    profile = history.alive
    assert history.stages[-1] == ("customer", MINUTE)
    assert (profile.orders, profile.last_activity_at, profile.last_seen_at) == (1, T0, T0 + MINUTE)


def test_early_refunds_do_not_crowd_out_an_early_cancellation() -> None:
    early = [cancelled(0), *(refunded(n, 1) for n in range(1, 60))]
    history = run([*early, order(100)])
    assert (history.alive.orders, history.alive.stage) == (0, "visitor")
    assert len(history.alive.order_notes) == 0


def test_early_corrections_of_a_kind_are_kept_as_one() -> None:
    history = run([refunded(0, 1000), refunded(1, 500), updated(2, 9000), updated(1, 100), order(100)])
    assert (history.alive.orders, history.alive.revenue) == (1, 7500)


def test_revenue_stays_within_what_can_be_packed() -> None:
    history = run([order(n, f"o-{n}", total=10**15 - 1) for n in range(9300)])
    assert history.alive.revenue == 2**63 - 1
    assert history.alive.orders == 9300
    assert pack(history.alive)
