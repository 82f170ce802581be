"""Orders: the number of those that count, their revenue, and corrections."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from streams.core.model.order_keys import keys_of, order_id_of, order_key
from streams.core.model.policy import Policy
from streams.core.profile.codec import pack, packed_size, unpack
from tests.support.customer_history import DAY, HOUR, MINUTE, T0, Event, click, item, order, run


def cancelled(at: int, order_id: str = "o-1", **fields: Any) -> Event:
    return order(at, order_id, "order_cancelled", **fields)


def refunded(at: int, total: int | None, order_id: str = "o-1", currency: str = "EUR", **fields: Any) -> Event:
    return order(at, order_id, "order_refunded", total=total, currency=currency, **fields)


def updated(at: int, total: int | None, order_id: str = "o-1", currency: str = "EUR", **fields: Any) -> Event:
    return order(at, order_id, "order_updated", total=total, currency=currency, **fields)


def fulfilled(at: int, order_id: str = "o-1", **fields: Any) -> Event:
    return order(at, order_id, "order_fulfilled", **fields)


def figures(*events: Event) -> tuple[int, int]:
    profile = run(events).alive
    return profile.orders, profile.revenue


def in_stage(*events: Event) -> tuple[int, int]:
    """Return `orders_in_stage` and `renewals_in_stage` after a first event and the others."""
    profile = run([click(-1), *events], policy=Policy()).alive
    return profile.orders_in_stage, profile.renewals_in_stage


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
    history = run([click(0, "product_added", "A"), cancelled(2), order(1), click(2, "unsubscribed")])
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
    history.play(order(0, "o-0"), order(0, "o-1"))
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
    early = [cancelled(100), *(refunded(n, 1) for n in range(101, 160))]
    history = run([*early, order(0)])
    assert (history.alive.orders, history.alive.stage) == (0, "visitor")
    assert len(history.alive.order_notes) == 0


def test_early_corrections_of_a_kind_are_kept_as_one() -> None:
    history = run([refunded(1, 1000), refunded(2, 500), updated(3, 9000), updated(2, 100), order(0)])
    assert (history.alive.orders, history.alive.revenue) == (1, 7500)


def test_revenue_stays_within_what_can_be_packed() -> None:
    history = run([order(n, f"o-{n}", total=10**15 - 1) for n in range(9300)])
    assert history.alive.revenue == 2**63 - 1
    assert history.alive.orders == 9300
    assert pack(history.alive)


# -- completions that come again


@pytest.mark.parametrize(
    ("again", "conflicting"),
    [
        ({}, {}),
        ({"items": (item("A"),)}, {}),
        ({"items": (item("A", price=900),), "total": None}, {}),
        ({"items": (item("A", 2),)}, {"items": 1}),
        ({"items": (item("B"),)}, {"items": 1}),
        ({"items": (item("A"),), "total": 4999}, {"total": 1}),
        ({"currency": "USD"}, {"total": 1}),
        ({"total": 7000}, {}),  # the total that an update told
    ],
)
def test_repeated_completion_conflicts_if_it_has_another_total_or_other_items(
    again: dict[str, Any], conflicting: dict[str, int]
) -> None:
    history = run([order(0, items=(item("A"),)), updated(1, 7000), order(HOUR, **again)])
    counted = {label: n for (name, label), n in history.counts.items() if name == "orders_conflicting"}
    assert counted == conflicting
    assert (history.alive.orders, history.alive.revenue) == (1, 7000)


def test_order_that_is_paid_after_it_was_cancelled_is_a_sale_again() -> None:
    history = run([order(0), cancelled(HOUR), order(2 * HOUR, total=4000)])
    profile = history.alive
    assert history.stages == [("visitor", 0), ("customer", 0), ("prospect", HOUR), ("customer", 2 * HOUR)]
    assert (profile.orders, profile.revenue, profile.last_order_at) == (1, 4000, T0 + 2 * HOUR)
    assert profile.last_activity_at == T0 + 2 * HOUR
    assert history.counts["orders_conflicting", "total"] == 0


def test_order_that_starts_anew_forgets_refunds_and_updates_that_are_older() -> None:
    before = [order(0), refunded(1, 1000), updated(2, 9000), cancelled(3), refunded(4, None)]
    assert figures(*before, order(5, total=4000)) == (1, 4000)
    assert figures(*before, refunded(6, 500), order(5, total=4000)) == (1, 3500)
    assert figures(*before, order(5, total=4000), refunded(4, 500), cancelled(3)) == (1, 4000)


def test_cancellation_that_comes_after_two_completions_that_it_lies_between_ends_the_first() -> None:
    events = [order(0), refunded(1, 1000), cancelled(2), order(3, total=4000)]
    for arrived in permutations(events):
        if arrived.index(events[0]) < arrived.index(events[3]):
            history = run(arrived)
            assert (history.alive.orders, history.alive.revenue) == (1, 4000)
            assert history.alive.last_order_at == T0 + 3


def test_completion_of_a_cancelled_order_is_only_noted_and_its_fulfilment_makes_it_count() -> None:
    history = run([click(0, "product_added", "A"), cancelled(2), order(1), fulfilled(DAY)])
    assert (history.alive.orders, history.alive.revenue, history.alive.last_order_at) == (1, 5000, T0 + DAY)
    assert (history.alive.last_activity_at, history.alive.orders_in_stage) == (T0, 0)


# -- fulfilments


def test_fulfilment_newer_than_the_cancellation_makes_an_order_count_from_then_on() -> None:
    history = run([order(0), cancelled(HOUR), fulfilled(DAY), fulfilled(2 * DAY)])
    assert (history.alive.orders, history.alive.last_order_at) == (1, T0 + DAY)
    assert (history.alive.last_activity_at, history.alive.orders_in_stage) == (T0, 0)
    assert (history.play(cancelled(3 * DAY)).alive.orders, history.stages[-1][0]) == (0, "prospect")


def test_fulfilment_tells_the_total_that_the_completion_did_not() -> None:
    assert figures(order(0, total=None), cancelled(HOUR), fulfilled(DAY, total=600)) == (1, 600)
    assert figures(order(0, total=None), cancelled(HOUR), fulfilled(DAY, total=600), updated(1, 700)) == (1, 700)


def test_cancellation_older_than_the_fulfilment_cancels_nothing() -> None:
    assert figures(order(0), fulfilled(DAY), cancelled(HOUR)) == (1, 5000)
    assert figures(order(0), fulfilled(HOUR), cancelled(HOUR)) == (0, 0)


def test_fulfilment_of_an_order_whose_completion_never_came_makes_it_count() -> None:
    history = run([click(0), updated(1, 3000), cancelled(2), fulfilled(HOUR, total=4000)])
    assert history.stages[-1] == ("customer", HOUR)
    assert (history.alive.orders, history.alive.revenue, history.alive.last_order_at) == (1, 3000, T0 + HOUR)
    assert figures(cancelled(0), fulfilled(1, total=4000)) == (1, 4000)
    assert figures(cancelled(0), fulfilled(1, total=40_0000, currency="")) == (1, 4000)  # in the default currency
    assert figures(fulfilled(1, total=4000), cancelled(0)) == (1, 4000)
    assert figures(fulfilled(0, total=4000)) == (0, 0)  # nothing says that it is no order of long ago
    assert figures(fulfilled(1), cancelled(0)) == (1, 0)
    assert figures(cancelled(2), fulfilled(1), order(0)) == (0, 0)
    assert figures(cancelled(2), fulfilled(3), order(0)) == (1, 5000)


def test_completion_that_its_fulfilment_overtook_is_a_completion_like_any_other() -> None:
    history = run([click(0), fulfilled(HOUR, total=4000), order(MINUTE)])
    profile = history.alive
    assert (profile.orders, profile.revenue, profile.last_order_at) == (1, 5000, T0 + MINUTE)
    assert profile.last_activity_at == T0 + MINUTE


def test_fulfilment_of_an_order_that_may_be_kept_no_longer_changes_nothing() -> None:
    history = run([order(n, f"o-{n}") for n in range(3)], policy=Policy(orders=2))
    assert history.play(fulfilled(DAY, "o-0")).alive.orders == 3


# -- corrections


def test_cancellation_of_a_part_is_a_refund() -> None:
    assert figures(order(0), cancelled(1, total=2000)) == (1, 3000)
    assert figures(order(0), cancelled(1, total=2000), cancelled(2, total=3000)) == (0, 0)
    assert figures(order(0), cancelled(1, total=5000)) == (0, 0)
    assert figures(order(0), cancelled(1, total=0)) == (0, 0)
    assert figures(order(0, total=None), cancelled(1, total=2000)) == (0, 0)
    assert figures(cancelled(1, total=2000), order(0)) == (1, 3000)
    assert figures(order(0), updated(1, 2000), cancelled(2, total=2000)) == (0, 0)


@pytest.mark.parametrize("early", [True, False])
def test_correction_without_currency_has_that_of_its_order(early: bool) -> None:
    sold = order(0, total=10_000, currency="USD")
    for correction, expected in [
        (refunded(1, 40_0000, currency=""), (1, 6000)),
        (updated(1, 70_0000, currency=""), (1, 7000)),
        (cancelled(1, total=99_9900, currency=""), (1, 1)),
        (cancelled(1, total=100_0000, currency=""), (0, 0)),
    ]:
        assert figures(*((correction, sold) if early else (sold, correction))) == expected


def test_correction_in_another_currency_changes_nothing() -> None:
    others = [refunded(1, None, currency="USD"), cancelled(1, currency="USD"), cancelled(1, total=1, currency="USD")]
    assert figures(order(0), *others) == (1, 5000)
    assert figures(*others, order(0)) == (1, 5000)


def test_many_refunds_of_an_order_add_up_within_bounds() -> None:
    history = run([order(0, total=100_000), *(refunded(n, 1) for n in range(1, 500))])
    assert (history.alive.orders, history.alive.revenue) == (1, 100_000 - 499)
    assert packed_size(history.alive.order_book) < 500


# -- stores


def test_orders_of_two_stores_may_have_one_id() -> None:
    history = run([order(0, store="de"), order(1, store="at", total=7000), order(2)])
    assert (history.alive.orders, history.alive.revenue) == (3, 17_000)
    history.play(cancelled(3, store="at"), refunded(4, 1000))
    assert (history.alive.orders, history.alive.revenue) == (2, 9000)  # the one without a store is refunded


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize(("sold_in", "refunded_in"), [("de", None), ("de", "fr"), (None, "fr")])
def test_correction_is_about_the_only_order_of_its_id(
    early: bool, sold_in: str | None, refunded_in: str | None
) -> None:
    sold, refund = order(0, store=sold_in), refunded(1, 1000, store=refunded_in)
    assert figures(*((refund, sold) if early else (sold, refund))) == (1, 4000)


def test_correction_is_about_no_order_if_several_have_its_id() -> None:
    sold = [order(0, store="de"), order(0, store="at")]
    assert figures(*sold, refunded(1, 1000), refunded(1, 1000, store="fr"), cancelled(1)) == (2, 10_000)


def test_correction_that_named_a_store_moves_to_its_order_and_another_one_stays() -> None:
    sold = [order(0, store="de"), order(0, store="at", total=7000)]
    assert figures(sold[0], cancelled(1, store="at"), sold[1]) == (1, 5000)
    assert figures(cancelled(1, store="at"), *sold) == (1, 5000)
    assert figures(sold[0], cancelled(1), sold[1]) == (1, 7000)


def test_fulfilment_without_a_store_is_not_another_order() -> None:
    assert figures(order(0, store="de"), fulfilled(1, total=1)) == (1, 5000)
    assert figures(fulfilled(1, total=1), order(0, store="de")) == (1, 5000)
    assert figures(fulfilled(1, total=1, store="at"), order(0, store="de")) == (1, 5000)


@given(st.lists(st.tuples(st.none() | st.text("\0:1a"), st.text("\0:1a", min_size=1)), unique=True, min_size=2))
def test_keys_of_orders_are_distinct_and_show_the_id(orders: list[tuple[str | None, str]]) -> None:
    keys = [order_key(*which) for which in orders]
    assert len(set(keys)) == len(keys)
    assert [order_id_of(key) for key in keys] == [order_id for _, order_id in orders]
    assert keys[0] in keys_of(keys, orders[0][1])


# -- orders and renewals in the stage


def test_only_completions_that_become_the_last_order_count_in_the_stage() -> None:
    stage = [order(0), order(1, "o-2"), order(2, "o-3"), order(3, "o-4")]  # customer, repeat
    assert in_stage(*stage) == (2, 0)
    assert in_stage(*stage, order(2, "o-5")) == (0, 0)  # loyal
    assert in_stage(*stage[:3], order(-DAY, "o-9")) == (1, 0)  # loaded later
    assert in_stage(*stage[:3], order(2, "o-9")) == (2, 0)  # at equal times
    assert in_stage(*stage[:3], order(5, "o-9", channel="subscription")) == (1, 1)
    assert in_stage(*stage[:3], order(1, "o-9", channel="subscription")) == (1, 0)


def test_history_loaded_later_revives_nobody() -> None:
    history = run([order(0), order(-300 * DAY, "o-0")], until=200 * DAY)
    assert [stage for stage, _ in history.stages] == ["visitor", "customer", "repeat", "at_risk", "lapsed"]
    history.play(order(-400 * DAY, "o-00"))
    assert history.alive.stage == "lapsed"
    assert (history.alive.orders, history.alive.last_order_at) == (3, T0)


def test_renewal_makes_a_lapsed_customer_repeat_and_starts_no_cycle() -> None:
    history = run([order(0), order(200 * DAY, "o-2", channel="subscription")])
    assert history.stages[-2:] == [("lapsed", 180 * DAY), ("repeat", 200 * DAY)]
    assert (history.alive.cycle, history.alive.last_order_at) == (1, T0 + 200 * DAY)


def test_renewals_in_the_stage_are_packed() -> None:
    profile = run([order(0), order(1, "o-2"), order(2, "o-3", channel="subscription")]).alive
    assert unpack(pack(profile)).renewals_in_stage == profile.renewals_in_stage == 1


@pytest.mark.parametrize("channel", ["web", "pos"])
def test_a_playbook_names_passive_channels_and_types(channel: str) -> None:
    policy = Policy(passive_channels=frozenset({"web"}), passive_types=frozenset({"message_sent"}))
    history = run([click(0), order(1, channel=channel), click(2, "message_sent")], policy=policy)
    assert history.alive.last_activity_at == (T0 if channel == "web" else T0 + 1)
    assert history.play(click(3, "message_opened")).alive.last_activity_at == T0 + 3


# -- the end of one order does not depend on the order in which its events arrive


class Naive:
    """One order of 50.00, with at most one completion after its cancellation, from all of its events."""

    def __init__(self, events: list[Event]) -> None:
        of = {type_: [e for e in events if e.type == f"order_{type_}"] for type_ in ("completed", "cancelled")}
        fulfilments = [e.at for e in events if e.type == "order_fulfilled"]
        cancelled_at = max((e.at for e in of["cancelled"]), default=-1)
        start = max(of["completed"], key=lambda e: e.at) if cancelled_at >= 0 else of["completed"][0]
        anew = any(e.at < start.at for e in of["cancelled"])
        later = [e for e in events if not anew or e.at >= start.at]
        updates = [e for e in later if e.type == "order_updated" and e.at >= start.at]
        self.total = (max(updates, key=lambda e: e.at) if updates else start).total or 0
        refunds = [e.total for e in later if e.type == "order_refunded"]
        self.refunded = sum(refund for refund in refunds if refund is not None)
        in_full = None in refunds or (self.refunded > 0 and self.refunded >= self.total)
        self.counts = not in_full and (cancelled_at < 0 or max([start.at, *fulfilments]) > cancelled_at)
        revived = [at for at in fulfilments if at > cancelled_at]
        self.at = start.at if start.at > cancelled_at or not revived else min(revived)


@given(st.data())
def test_end_of_an_order_does_not_depend_on_the_order_of_arrival(data: st.DataObject) -> None:
    times = iter(data.draw(st.permutations(range(10, 200, 10))))
    events = [order(next(times)), order(next(times), total=4000)][: data.draw(st.integers(1, 2))]
    for _ in range(data.draw(st.integers(0, 7))):
        kind = data.draw(st.sampled_from(("cancellation", "fulfilment", "refund", "update")))
        if kind == "refund":
            events.append(refunded(next(times), data.draw(st.sampled_from((None, 0, 500, 3000, 5000)))))
        elif kind == "update":
            events.append(updated(next(times), data.draw(st.sampled_from((3000, 6000)))))
        elif kind == "cancellation":
            events.append(cancelled(next(times)))
        elif not any(e.type == "order_fulfilled" for e in events):  # of several the time of the newest is kept
            events.append(fulfilled(next(times)))
    sold = sorted([e for e in events if e.type == "order_completed"], key=lambda e: e.at)
    cancellations = [e.at for e in events if e.type == "order_cancelled"]
    if len(sold) == 2 and not sold[0].at < max(cancellations, default=0) < sold[1].at:
        events.remove(sold.pop())  # of two equal ones the first to arrive tells the total
    naive = Naive(events)
    arrived = data.draw(st.permutations(events))
    note(", ".join(f"{e.type.removeprefix('order_')} {e.at - T0} {e.total or ''}" for e in arrived))
    profile = run([click(0), *arrived]).alive
    assert (profile.orders, profile.revenue) == ((1, naive.total - naive.refunded) if naive.counts else (0, 0))
    assert profile.last_order_at == (naive.at if naive.counts else None)
    assert unpack(pack(profile)) == profile


def test_an_old_order_that_is_loaded_later_pushes_no_newer_one_out_of_the_book() -> None:
    policy = Policy(orders=2)
    events = [order(0, "new"), order(-400 * DAY, "old-1"), order(-399 * DAY, "old-2")]
    history = run(events, policy=policy)
    assert set(history.alive.order_book) == {"new", "old-2"}
    assert history.play(order(DAY, "new", "order_refunded", total=None)).alive.orders == 2
