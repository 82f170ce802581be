"""The lifecycle track, row by row."""

from __future__ import annotations

import pytest

from streams.core.lifecycle.rule_index import StateMachine
from streams.core.model.currencies import PIECE
from streams.core.model.outputs import Cause
from streams.core.rules.eval_context import EvalContext
from tests.support.customer_history import DAY, HOUR, MINUTE, T0, Event, click, order, run
from tests.support.default_playbook import LIFECYCLE


def orders(count: int, start: int = 0, gap: int = DAY) -> list[Event]:
    return [order(start + n * gap, f"o-{n}") for n in range(count)]


def test_a_new_profile_enters_visitor_at_its_first_event() -> None:
    history = run([click(0)])
    assert history.stages == [("visitor", 0)]
    change = history.changes[0]
    assert (change.from_stage, change.sequence, change.cycle) == (None, 1, 1)
    assert change.previous_stage_ms is None
    assert (change.cause.kind, change.cause.rule, change.cause.event_type) == ("activity", "visitor", "page_viewed")


def test_a_passive_first_event_makes_a_visitor_without_activity() -> None:
    history = run([click(0, "message_opened")])
    assert history.stages == [("visitor", 0)]
    assert history.alive.last_activity_at is None
    assert history.alive.sessions.count == 0


@pytest.mark.parametrize(
    "events",
    [
        [click(0), click(1, "signed_up")],
        [click(0), click(1, "subscribed")],
        [click(0, "product_viewed"), click(0, "product_viewed"), click(1, "product_viewed")],
        [click(0), click(1, "product_added", "A")],
        [click(0), click(1, "checkout_started")],
    ],
)
def test_a_visitor_becomes_a_prospect(events: list[Event]) -> None:
    assert run(events).stages == [("visitor", 0), ("prospect", 1)]


def test_visitor_who_only_views_stays_a_visitor() -> None:
    views = [click(0, "product_viewed"), click(1, "product_viewed")]
    assert run([*views, click(2), click(3, "checkout_step_completed"), click(4, "unsubscribed")]).stages == [
        ("visitor", 0)
    ]


def test_every_stage_entered_by_one_event_is_sent() -> None:
    history = run([order(0)])
    assert history.stages == [("visitor", 0), ("customer", 0)]
    assert [change.sequence for change in history.changes] == [1, 2]
    assert history.changes[1].previous_stage_ms == 0


def test_a_prospect_becomes_a_customer_with_the_first_order() -> None:
    history = run([click(0, "signed_up"), order(HOUR)])
    assert history.stages == [("visitor", 0), ("prospect", 0), ("customer", HOUR)]
    assert history.changes[2].previous_stage_ms == HOUR


def test_a_dormant_profile_becomes_a_customer_with_an_order() -> None:
    history = run([click(0), order(40 * DAY)])
    assert history.stages == [("visitor", 0), ("dormant", 30 * DAY), ("customer", 40 * DAY)]


def test_orders_lead_to_customer_repeat_and_loyal() -> None:
    assert run(orders(5)).stages == [
        ("visitor", 0),
        ("customer", 0),
        ("repeat", DAY),
        ("loyal", 4 * DAY),
    ]


def test_a_loyal_customer_becomes_an_advocate_by_a_review() -> None:
    history = run([*orders(5), click(5 * DAY, "product_reviewed")])
    assert history.stages[-1] == ("advocate", 5 * DAY)


def test_an_earlier_referral_counts() -> None:
    history = run([click(0, "referral_made"), *orders(5, start=DAY)])
    assert history.stages[-2:] == [("loyal", 5 * DAY), ("advocate", 5 * DAY)]


@pytest.mark.parametrize(("bought", "stage"), [(1, "customer"), (2, "repeat"), (5, "loyal")])
def test_customer_is_at_risk_90_days_after_the_last_order(bought: int, stage: str) -> None:
    last = (bought - 1) * DAY
    history = run(orders(bought), until=last + 90 * DAY - 1)
    assert history.stages[-1][0] == stage
    history.play(until=last + 90 * DAY)
    assert history.stages[-1] == ("at_risk", last + 90 * DAY)
    assert history.changes[-1].cause == Cause(kind="inactivity", rule="at_risk", deadline=T0 + last + 90 * DAY)


def test_an_advocate_and_a_reactivated_customer_can_be_at_risk() -> None:
    advocate = run([*orders(5), click(4 * DAY, "product_reviewed")], until=94 * DAY)
    assert advocate.stages[-2:] == [("advocate", 4 * DAY), ("at_risk", 94 * DAY)]
    reactivated = run([order(0), order(100 * DAY, "o-2")], until=190 * DAY)
    assert reactivated.stages[-2:] == [("reactivated", 100 * DAY), ("at_risk", 190 * DAY)]


def test_activity_without_an_order_does_not_put_off_at_risk() -> None:
    assert run([order(0), click(89 * DAY)], until=91 * DAY).stages[-1] == ("at_risk", 90 * DAY)


def test_customer_is_lapsed_180_days_after_the_last_order() -> None:
    history = run([order(0)], until=180 * DAY - 1)
    assert history.stages[-1] == ("at_risk", 90 * DAY)
    history.play(until=180 * DAY)
    assert history.stages[-1] == ("lapsed", 180 * DAY)


def test_reactivation_from_at_risk_keeps_the_cycle() -> None:
    history = run([order(0), order(100 * DAY, "o-2")])
    assert history.stages[-1] == ("reactivated", 100 * DAY)
    assert history.changes[-1].cycle == 1


def test_reactivation_from_lapsed_starts_a_cycle() -> None:
    history = run([order(0), order(200 * DAY, "o-2")])
    assert history.stages[-2:] == [("lapsed", 180 * DAY), ("reactivated", 200 * DAY)]
    assert [change.cycle for change in history.changes] == [1, 1, 1, 1, 2]


def test_reactivating_order_does_not_count_as_an_order_in_the_new_stage() -> None:
    history = run([order(0), order(100 * DAY, "o-2"), click(101 * DAY)])
    assert history.stages[-1][0] == "reactivated"
    history.play(order(102 * DAY, "o-3"))
    assert history.stages[-1] == ("repeat", 102 * DAY)


def test_a_reactivated_customer_with_five_orders_becomes_loyal() -> None:
    history = run([*orders(3), order(100 * DAY, "o-3"), order(101 * DAY, "o-4")])
    assert history.stages[-2:] == [("reactivated", 100 * DAY), ("loyal", 101 * DAY)]


@pytest.mark.parametrize(
    ("events", "at", "stage"),
    [
        (orders(1), 6 * DAY, "customer"),
        (orders(2), 6 * DAY, "repeat"),
        (orders(5), 6 * DAY, "loyal"),
        ([*orders(5), click(5 * DAY, "product_reviewed")], 6 * DAY, "advocate"),
        (orders(2, gap=100 * DAY), 101 * DAY, "reactivated"),
        (orders(1), 101 * DAY, "at_risk"),
        (orders(1), 201 * DAY, "lapsed"),
    ],
)
def test_customer_with_all_orders_cancelled_is_a_prospect_again(events: list[Event], at: int, stage: str) -> None:
    history = run(events, until=at)
    for order_id in list(history.alive.order_book):
        assert history.stages[-1][0] == stage
        history.play(order(at, order_id, "order_cancelled"))
    assert history.stages[-1] == ("prospect", at)
    cause = history.changes[-1].cause
    assert (cause.kind, cause.rule, cause.event_type) == ("activity", "prospect", "order_cancelled")


def test_order_that_counts_again_makes_a_prospect_a_customer() -> None:
    history = run([order(0), order(1, type_="order_refunded", total=5000), order(2, type_="order_updated", total=6000)])
    assert history.stages[1:] == [("customer", 0), ("prospect", 1), ("customer", 2)]


def test_cancellation_of_some_orders_takes_back_no_stage() -> None:
    history = run([*orders(2), order(2 * DAY, "o-0", "order_cancelled")])
    assert history.stages[-1][0] == "repeat"
    assert history.alive.orders == 1


def test_profile_is_dormant_30_days_after_the_last_activity() -> None:
    history = run([click(0), click(HOUR), click(2 * HOUR, "message_opened")], until=30 * DAY + HOUR - 1)
    assert history.stages == [("visitor", 0)]
    history.play(until=30 * DAY + HOUR)
    assert history.stages[-1] == ("dormant", 30 * DAY + HOUR)


def test_profile_is_dormant_30_days_after_its_entry_if_that_is_later() -> None:
    history = run([order(0, "o-1"), order(10 * DAY, "o-1", "order_cancelled")], until=40 * DAY)
    assert history.stages[-2:] == [("prospect", 10 * DAY), ("dormant", 40 * DAY)]


def test_the_deadline_goes_before_an_event_at_the_same_time() -> None:
    history = run([click(0), click(30 * DAY)])
    assert history.stages == [("visitor", 0), ("dormant", 30 * DAY), ("prospect", 30 * DAY)]


def test_activity_wakes_a_dormant_profile_and_a_passive_event_does_not() -> None:
    history = run([click(0), click(31 * DAY, "message_opened"), order(32 * DAY, type_="order_cancelled")])
    assert history.stages[-1] == ("dormant", 30 * DAY)
    history.play(click(33 * DAY, "message_clicked"))
    assert history.stages[-1] == ("prospect", 33 * DAY)


def test_a_deadline_in_the_past_fires_before_the_next_event_and_is_not_dated_before_applied_events() -> None:
    # The newer order is cancelled 95 days after the older one, which is now the last.
    history = run([order(0, "o-1"), order(50 * DAY, "o-2"), order(95 * DAY, "o-2", "order_cancelled")])
    assert history.stages[-1][0] == "repeat"
    history.play(click(95 * DAY + HOUR))
    assert history.stages[-1] == ("at_risk", 95 * DAY)
    assert history.changes[-1].cause.deadline == T0 + 90 * DAY


def test_a_stage_change_is_never_before_the_entry_of_the_stage_it_ends() -> None:
    history = run([click(HOUR), click(HOUR - MINUTE, "signed_up")])
    assert history.stages == [("visitor", HOUR), ("prospect", HOUR)]
    assert history.changes[1].previous_stage_ms == 0


def test_stage_change_has_the_summary_at_its_time() -> None:
    history = run(
        [
            click(0, "product_viewed", "A"),
            click(MINUTE, "product_added", "A", quantity=2),
            click(2 * MINUTE, "product_added", "B", price=550),
            order(HOUR, total=1001, items=()),
            order(2 * HOUR, "o-2", total=1000),
        ]
    )
    assert [change.to_stage for change in history.changes] == ["visitor", "prospect", "customer", "repeat"]
    prospect, last = history.changes[1].profile, history.changes[-1].profile
    assert (prospect.cart_items, prospect.cart_value, prospect.average_order_value) == (2 * PIECE, 2000, None)
    assert (prospect.orders, prospect.revenue, prospect.currency, prospect.product_views) == (0, 0, "EUR", 1)
    assert (last.orders, last.revenue, last.average_order_value) == (2, 2001, 1001)
    assert (last.cart_items, last.cart_value) == (0, 0)
    assert (last.first_seen_at, last.last_seen_at, last.sessions) == (T0, T0 + 2 * HOUR, 3)


def test_every_change_carries_subscribed() -> None:
    history = run([click(0), click(1, "subscribed"), click(2, "unsubscribed"), order(3)])
    assert [change.subscribed for change in history.changes] == [None, True, False]


def test_a_stage_is_entered_at_most_once_per_event() -> None:
    profile = run([click(0)]).alive
    profile.signed_up = True
    machine, moment = StateMachine(LIFECYCLE, ()), EvalContext(profile, None, profile.last_seen_at, True)
    prospect = machine.next(moment, "visitor", ())
    assert prospect is not None
    assert prospect.target == "prospect"
    assert machine.next(moment, "visitor", ("prospect",)) is None
