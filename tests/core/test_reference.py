"""Examples worked out by hand from docs/concepts.md. They pin the reference, and the core with it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from streams.core.model.currencies import PIECE, PRICE_UNIT
from streams.core.model.event import Event
from streams.core.model.ids import NAMESPACE
from streams.core.model.items import Item
from streams.core.model.outputs import Abandonment, Output, StageChange
from streams.core.model.policy import DAY, HOUR, MINUTE, SECOND, Policy
from tests.support import reference_lifecycle
from tests.support.reference_comparison import assert_core_agrees
from tests.support.story_events import added, click, items, order, removed, shorthand, viewed

MS = 1
DEFAULT = Policy()


def reference(events: Sequence[Event], policy: Policy, until: int | None) -> list[Output]:
    assert_core_agrees(events, policy, until)
    return reference_lifecycle.reference(events, policy, until)


def final(events: Sequence[Event], policy: Policy, until: int | None) -> dict[tuple[bool, str], dict[str, Any]]:
    assert_core_agrees(events, policy, until)
    return reference_lifecycle.final(events, policy, until)


def stages(events: Sequence[Event], until: int | None = None, policy: Policy = DEFAULT) -> list[tuple[int, str | None]]:
    """Return the stages entered, with their times."""
    outputs = reference(events, policy, until)
    return [(o.occurred_at, o.to_stage) for o in outputs if isinstance(o, StageChange)]


def stages_since(start: int, events: Sequence[Event], until: int | None = None) -> list[tuple[int, str | None]]:
    return [(at, stage) for at, stage in stages(events, until) if at > start]


def abandonments(
    events: Sequence[Event], until: int | None = None, policy: Policy = DEFAULT
) -> list[tuple[int, str, str, int, str]]:
    """Return time, type, kind, step and products (`A2B`: two of A, one of B) of each abandonment output."""
    return [
        (o.occurred_at, o.type, o.kind, o.step, shorthand(o.items))
        for o in reference(events, policy, until)
        if isinstance(o, Abandonment)
    ]


def final_view(events: Sequence[Event], until: int | None = None, policy: Policy = DEFAULT) -> dict[str, Any]:
    return final(events, policy, until)[True, "c"]


def cart(events: Sequence[Event], policy: Policy = DEFAULT) -> str:
    return shorthand(final_view(events, policy=policy)["cart"])


def last(events: Sequence[Event], until: int | None = None) -> Any:
    outputs: list[Output] = reference(events, DEFAULT, until)
    return outputs[-1]


BUYS_FIVE = [order(n, order_id=f"o{n}") for n in range(5)]


class TestStages:
    def test_the_first_event_makes_a_visitor(self) -> None:
        (change,) = reference([click(5, "page_viewed")], DEFAULT, None)
        assert isinstance(change, StageChange)
        assert (change.from_stage, change.to_stage, change.occurred_at) == (None, "visitor", 5)
        assert (change.sequence, change.cycle, change.previous_stage_ms) == (1, 1, None)
        assert (change.cause.kind, change.cause.rule, change.cause.event_type) == ("activity", "visitor", "page_viewed")
        assert (change.profile.sessions, change.profile.last_seen_at, change.profile.cart_value) == (1, 5, 0)

    @pytest.mark.parametrize(
        "events",
        [
            [click(1, "signed_up")],
            [click(1, "subscribed")],
            [viewed(-1), viewed(0), viewed(1)],
            [added(1)],
            [click(1, "cart_viewed", items=items("A"))],
            [click(1, "checkout_started")],
        ],
    )
    def test_activity_that_shows_interest_makes_a_prospect(self, events: list[Event]) -> None:
        assert stages(events)[-1] == (1, "prospect")

    def test_page_views_and_passive_events_show_no_interest(self) -> None:
        events = [
            click(0, "page_viewed"),
            viewed(1),
            viewed(2),
            click(3, "cart_viewed", items=()),
            click(4, "unsubscribed"),
        ]
        assert stages(events) == [(0, "visitor")]

    def test_orders_make_loyal_customers_and_praise_makes_advocates(self) -> None:
        assert stages([*BUYS_FIVE, click(9, "referral_made")]) == [
            (0, "visitor"),
            (0, "customer"),
            (1, "repeat"),
            (4, "loyal"),
            (9, "advocate"),
        ]

    def test_praise_from_before_loyalty_counts(self) -> None:
        assert stages([click(0, "product_reviewed"), *BUYS_FIVE])[-2:] == [(4, "loyal"), (4, "advocate")]

    def test_profile_is_dormant_30_days_after_the_last_activity(self) -> None:
        events = [click(0, "page_viewed"), click(5, "page_viewed"), click(DAY, "message_opened")]
        assert stages(events, 30 * DAY + 4) == [(0, "visitor")]
        assert stages(events, 30 * DAY + 5) == [(0, "visitor"), (30 * DAY + 5, "dormant")]

    def test_profile_without_activity_is_dormant_30_days_after_its_entry(self) -> None:
        assert stages([click(7, "message_opened")], 30 * DAY + 7)[-1] == (30 * DAY + 7, "dormant")

    def test_activity_wakes_the_dormant_and_passive_events_do_not(self) -> None:
        asleep = [click(0, "page_viewed"), click(31 * DAY, "message_opened")]
        assert stages(asleep)[-1] == (30 * DAY, "dormant")
        assert stages([*asleep, click(32 * DAY, "message_clicked")])[-1] == (32 * DAY, "prospect")

    def test_dormant_profile_becomes_a_customer_with_an_order(self) -> None:
        assert stages_since(30 * DAY, [click(0, "page_viewed"), order(31 * DAY)]) == [(31 * DAY, "customer")]

    def test_customer_goes_from_at_risk_to_lapsed_and_is_reactivated(self) -> None:
        events = [order(0), order(200 * DAY, order_id="p"), order(201 * DAY, order_id="q")]
        assert stages(events, 201 * DAY)[2:] == [
            (90 * DAY, "at_risk"),
            (180 * DAY, "lapsed"),
            (200 * DAY, "reactivated"),
            (201 * DAY, "repeat"),
        ]
        assert [o.cycle for o in reference(events, DEFAULT, None) if isinstance(o, StageChange)] == [1, 1, 1, 1, 2, 2]

    def test_reactivated_customer_with_five_orders_is_loyal(self) -> None:
        events = [*BUYS_FIVE[:3], order(91 * DAY, order_id="p"), order(92 * DAY, order_id="q")]
        assert stages_since(2, events)[1:] == [(91 * DAY, "reactivated"), (92 * DAY, "loyal")]
        change = last(events)
        assert (change.from_stage, change.sequence, change.profile.orders) == ("reactivated", 6, 5)

    def test_a_customer_without_orders_left_is_a_prospect(self) -> None:
        assert stages([order(0), order(5, "cancelled")])[-1] == (5, "prospect")
        assert stages([order(0), order(5, "refunded", total=None)])[-1] == (5, "prospect")

    def test_stages_stay_when_some_orders_stop_counting(self) -> None:
        events = [order(0, order_id="p"), order(1), order(5, "cancelled")]
        assert stages(events)[-1] == (1, "repeat")
        assert final_view(events)["last_order_at"] == 0

    def test_overdue_deadline_is_not_dated_before_applied_events(self) -> None:
        events = [order(0, order_id="p"), order(100 * DAY), order(101 * DAY, "cancelled")]
        # at risk at 90 d, back at 100 d; then the last order that counts is the first again: overdue since 90 d
        assert stages(events, 102 * DAY)[2:] == [
            (90 * DAY, "at_risk"),
            (100 * DAY, "reactivated"),
            (101 * DAY, "at_risk"),
        ]
        change = reference(events, DEFAULT, 102 * DAY)[-1]
        assert isinstance(change, StageChange)
        assert (change.cause.kind, change.cause.rule, change.cause.deadline) == ("inactivity", "at_risk", 90 * DAY)
        assert change.previous_stage_ms == DAY

    def test_customer_without_orders_is_forgotten(self) -> None:
        events = [click(0, "page_viewed"), click(DAY, "message_opened")]
        assert stages(events, 401 * DAY - 1)[-1] == (30 * DAY, "dormant")
        change = last(events, 401 * DAY)
        assert (change.occurred_at, change.to_stage, change.cause.kind) == (401 * DAY, None, "forgotten")
        assert (change.cause.rule, change.cause.deadline) == (None, 401 * DAY)
        assert final(events, DEFAULT, 401 * DAY) == {}

    def test_anonymous_profile_is_forgotten_after_90_days_and_starts_again(self) -> None:
        events = [click(0, "page_viewed", identified=False), click(90 * DAY, "page_viewed", identified=False)]
        assert stages(events)[-2:] == [(90 * DAY, None), (90 * DAY, "visitor")]
        assert last(events).sequence == 1

    def test_customer_with_a_cancelled_order_is_not_forgotten(self) -> None:
        events = [order(0), order(1, "cancelled")]
        assert stages(events, 1000 * DAY)[-1] == (30 * DAY + 1, "dormant")
        noted = [order(1, "cancelled"), order(1)]
        assert stages(noted, 1000 * DAY)[-1] == (30 * DAY + 1, "dormant")


class TestActivity:
    @pytest.mark.parametrize(("gap", "sessions"), [(30 * MINUTE - MS, 1), (30 * MINUTE, 2)])
    def test_a_session_ends_after_30_minutes(self, gap: int, sessions: int) -> None:
        assert final_view([click(0, "page_viewed"), click(gap, "page_viewed")])["sessions"] == sessions

    def test_passive_events_do_not_extend_a_session(self) -> None:
        passive = [click(20 * MINUTE, "message_opened"), order(21 * MINUTE, channel="pos")]
        seen = final_view([click(0, "page_viewed"), *passive, click(30 * MINUTE, "page_viewed")])
        assert (seen["sessions"], seen["last_activity_at"], seen["last_seen_at"]) == (2, 30 * MINUTE, 30 * MINUTE)

    def test_a_late_activity_joins_two_sessions(self) -> None:
        events = [
            click(0, "page_viewed"),
            click(30 * MINUTE, "page_viewed"),
            click(30 * MINUTE - SECOND, "page_viewed"),
        ]
        assert final_view(events)["sessions"] == 1

    @pytest.mark.parametrize(("gap", "views"), [(24 * HOUR, 1), (24 * HOUR + MS, 2), (-DAY, 1)])
    def test_duplicate_event_counts_once_within_the_window(self, gap: int, views: int) -> None:
        assert final_view([viewed(0, event_id="e"), viewed(gap, event_id="e")])["product_views"] == views

    def test_a_duplicate_fires_nothing(self) -> None:
        assert abandonments([added(0, event_id="e"), added(2 * HOUR, event_id="e")]) == []

    def test_ids_are_of_one_customer_and_the_newest_are_kept(self) -> None:
        events = [viewed(n, event_id=f"e{n}") for n in range(4)] + [viewed(9, event_id="e0")]
        assert final_view(events)["product_views"] == 4
        assert final_view(events, policy=Policy(event_ids=3))["product_views"] == 5
        assert final_view([viewed(0, event_id="e", customer="d"), viewed(1, event_id="e")])["product_views"] == 1

    def test_subscribed_is_that_of_the_last_event(self) -> None:
        assert final_view([click(0, "page_viewed")])["subscribed"] is None
        assert final_view([click(0, "subscribed")])["subscribed"] is True
        assert final_view([click(5, "unsubscribed"), click(0, "subscribed")])["subscribed"] is False


class TestOrders:
    def test_a_repeated_completion_changes_nothing(self) -> None:
        events = [order(0), added(5), order(2 * MINUTE, total=9)]
        seen = final_view(events)
        assert (seen["orders"], seen["revenue"], seen["last_activity_at"], seen["last_order_at"]) == (1, 1000, 5, 0)
        assert cart(events) == "A"

    @pytest.mark.parametrize(
        ("events", "orders", "revenue"),
        [
            ([order(0), order(1, "refunded", total=400)], 1, 600),
            ([order(0), order(1, "refunded", total=400), order(2, "refunded", total=600)], 0, 0),
            ([order(0), order(1, "refunded", total=0)], 1, 1000),
            ([order(0), order(1, "refunded", total=None)], 0, 0),
            ([order(0), order(1, "refunded", total=1000, currency="USD")], 1, 1000),
            ([order(0, total=None), order(1, "refunded", total=400)], 1, 0),
            ([order(0, total=None), order(1, "refunded", total=None)], 0, 0),
            ([order(0), order(1, "updated", total=300)], 1, 300),
            ([order(0), order(1, "updated", total=None)], 1, 1000),
            ([order(0), order(1, "updated", total=300, currency="USD")], 1, 1000),
            ([order(1, "updated", total=300), order(0)], 1, 300),
            ([order(0), order(1, "refunded", total=1000), order(2, "updated", total=1500)], 1, 500),
            ([order(1, "refunded", total=400), order(0)], 1, 600),
            ([order(1, "cancelled"), order(0)], 0, 0),
            ([order(0, total=0)], 1, 0),
            ([order(0), order(1, order_id="p", total=5, currency="USD")], 2, 1000),
        ],
    )
    def test_only_counting_orders_add_to_orders_and_revenue(
        self, events: list[Event], orders: int, revenue: int
    ) -> None:
        seen = final_view(events)
        assert (seen["orders"], seen["revenue"]) == (orders, revenue)

    def test_a_completion_that_was_cancelled_before_is_no_activity(self) -> None:
        seen = final_view([added(0), order(HOUR, "cancelled"), order(HOUR, currency="USD")])
        assert (seen["last_activity_at"], seen["orders"], shorthand(seen["cart"])) == (0, 0, "A")

    def test_orders_in_other_currencies_do_not_count_as_revenue(self) -> None:
        seen = final_view([order(0, currency="USD"), order(1, order_id="p", currency="EUR")])
        assert (seen["currency"], seen["revenue"], seen["other_currency_orders"], seen["orders"]) == ("USD", 1000, 1, 2)

    def test_the_average_is_rounded_half_up(self) -> None:
        assert last([order(0, total=1), order(1, order_id="p", total=2)]).profile.average_order_value == 2

    def test_orders_no_longer_kept_stay_as_they_were(self) -> None:
        few = Policy(orders=2)
        events = [order(n, order_id=f"o{n}") for n in range(3)]
        assert final_view([*events, order(5, "cancelled", order_id="o0")], policy=few)["orders"] == 3
        assert final_view([*events, order(5, "cancelled", order_id="o1")], policy=few)["orders"] == 2
        assert final_view([*events, order(5, order_id="o0")], policy=few)["orders"] == 4


class TestCart:
    def test_cart_is_additions_less_removals(self) -> None:
        events = [
            added(0, quantity=3),
            added(1, "B"),
            removed(2, quantity=2),
            removed(3, "C"),
            removed(4, "B", quantity=9),
        ]
        assert cart(events) == "A"
        assert cart([added(0, None), added(1, None), removed(2, None)]) == "?"

    def test_addition_without_a_price_keeps_the_last_known_price(self) -> None:
        (line,) = final_view([added(0, price=500, category="hats"), added(1)])["cart"]
        assert line == Item("A", "hats", 500 * PRICE_UNIT, "EUR", 2 * PIECE)

    def test_value_of_the_cart_needs_all_prices_in_one_currency(self) -> None:
        assert final_view([added(0, price=500, quantity=2), added(1, "B", price=1)])["cart_value"] == 1001
        assert final_view([added(0, price=500), added(1, "B")])["cart_value"] is None
        assert final_view([added(0, price=500), added(1, "B", price=1, currency="USD")])["cart_value"] is None

    def test_item_list_replaces_the_cart(self) -> None:
        listed = click(1, "cart_viewed", items=items("B", "C", quantity=2))
        assert cart([added(0), added(0, "B"), listed]) == "B2C2"
        assert cart([added(0), click(1, "cart_viewed", items=())]) == ""
        assert cart([added(0), click(1, "cart_viewed")]) == "A"
        assert cart([added(0), click(1, "page_viewed", items=items("B"))]) == "A"

    def test_oldest_line_of_a_full_cart_is_dropped(self) -> None:
        assert cart([added(0), added(1, "B"), added(2, "A"), added(3, "C")], Policy(cart_lines=2)) == "A2C"

    def test_order_removes_its_products_from_the_cart(self) -> None:
        filled = [added(0, quantity=3), added(0, "B", cart_id="k"), added(0, None)]
        assert cart([*filled, order(5, items=items("A", "X"))]) == "B?"
        assert cart([*filled, order(5, items=items("A", None))]) == "B"
        assert cart([*filled, order(5)]) == ""
        assert cart([*filled, order(5, items=items(None))]) == ""
        assert cart([*filled, order(5, items=items("X"), cart_id="k")]) == ""
        assert cart([*filled, order(5, items=items("X"), cart_id="other")]) == "A3B?"

    def test_order_removes_no_newer_line(self) -> None:
        assert cart([added(0), added(9, "B"), order(5)]) == "B"
        assert cart([added(0), added(DAY, "B"), order(5)]) == "B"

    @pytest.mark.parametrize(("late", "left"), [(SECOND, ""), (10 * SECOND, ""), (10 * SECOND + MS, "A")])
    def test_removal_that_overtakes_its_addition_counts(self, late: int, left: str) -> None:
        newer = click(100 + late, "page_viewed")
        assert cart([removed(100), newer, added(99)]) == left
        assert cart([removed(100), newer, added(100)]) == "A"

    @pytest.mark.parametrize("late", [SECOND, MINUTE, DAY])
    def test_addition_delivered_after_its_order_enters_the_cart_as_if_it_had_come_in_time(self, late: int) -> None:
        assert cart([order(DAY, items=items("A")), added(DAY - late)]) == ""
        assert cart([order(DAY, items=items("X")), added(DAY - late)]) == "A"
        assert cart([order(DAY), added(DAY - late)]) == ""
        assert abandonments([order(DAY, items=items("X")), added(DAY - late)], 2 * DAY) == []

    def test_older_event_removes_no_newer_line(self) -> None:
        for late in (click(0, "cart_emptied"), click(0, "cart_viewed", items=()), removed(0)):
            assert cart([added(HOUR), late]) == "A"


class TestAbandonment:
    def test_browse_abandonment_comes_30_minutes_after_the_last_activity(self) -> None:
        events = [viewed(0), viewed(1, "B"), viewed(2)]
        assert abandonments(events, 30 * MINUTE + 1) == []
        assert abandonments(events, 30 * DAY) == [(30 * MINUTE + 2, "abandoned", "browse", 1, "BA")]

    def test_cart_abandonment_has_three_steps_and_expires(self) -> None:
        events = [viewed(0, "B"), added(0, price=250, quantity=2)]
        assert abandonments(events, 40 * DAY) == [
            (HOUR, "abandoned", "cart", 1, "A2"),
            (24 * HOUR, "abandoned", "cart", 2, "A2"),
            (72 * HOUR, "abandoned", "cart", 3, "A2"),
            (30 * DAY, "expired", "cart", 3, "A2"),
        ]
        first, second = (o for o in reference(events, DEFAULT, DAY) if isinstance(o, Abandonment))
        assert first.id == first.abandonment_id == second.abandonment_id != second.id
        assert (first.value, first.currency, first.steps, first.last_activity_at) == (500, "EUR", 3, 0)

    def test_checkout_abandonment_comes_30_minutes_after_the_last_activity(self) -> None:
        assert abandonments([added(0), click(1, "checkout_started")], HOUR) == [
            (30 * MINUTE + 1, "abandoned", "checkout", 1, "A")
        ]
        assert abandonments([viewed(0), click(1, "checkout_started")], HOUR)[0][2:] == ("checkout", 1, "A")

    def test_checkout_counts_for_24_hours(self) -> None:
        events = [added(0), click(1, "checkout_started"), click(DAY + 1, "page_viewed")]
        # at 25 h it is a cart, which is the same products and a lower kind: nothing new, and the checkout goes on
        assert abandonments(events, 10 * DAY) == [
            (30 * MINUTE + 1, "abandoned", "checkout", 1, "A"),
            (DAY + 1, "abandoned", "checkout", 2, "A"),
            (4 * DAY + 1, "abandoned", "checkout", 3, "A"),
        ]

    def test_browse_cart_and_checkout_of_one_episode_are_one_abandonment(self) -> None:
        events = [viewed(0), added(MINUTE), click(2 * MINUTE, "checkout_started"), click(3 * MINUTE, "page_viewed")]
        assert abandonments(events, HOUR) == [(33 * MINUTE, "abandoned", "checkout", 1, "A")]
        assert last(events, HOUR).episode_started_at == 0

    def test_emptied_cart_after_views_is_abandoned_as_a_browse(self) -> None:
        for emptied in (click(2, "cart_emptied"), removed(2), click(2, "cart_viewed", items=())):
            assert abandonments([viewed(0), added(1), emptied], DAY) == [
                (30 * MINUTE + 2, "abandoned", "browse", 1, "A")
            ]
            assert abandonments([added(1), emptied], DAY) == []

    def test_page_views_open_no_episode(self) -> None:
        assert abandonments([click(0, "page_viewed"), click(1, "cart_viewed")], DAY) == []

    @pytest.mark.parametrize(
        ("bought", "types"),
        [(HOUR - MS, []), (HOUR, ["abandoned", "recovered"]), (HOUR + MS, ["abandoned", "recovered"])],
    )
    def test_purchase_before_the_deadline_prevents_and_after_it_recovers(self, bought: int, types: list[str]) -> None:
        assert [a[1] for a in abandonments([added(0), order(bought)], DAY)] == types

    @pytest.mark.parametrize(("late", "types"), [(0, ["abandoned", "recovered"]), (MS, ["abandoned"])])
    def test_order_recovers_until_7_days_after_the_last_step(self, late: int, types: list[str]) -> None:
        events = [viewed(0), order(30 * MINUTE + 7 * DAY + late)]
        assert [a[1] for a in abandonments(events)] == types
        steps = [added(0), order(72 * HOUR + 7 * DAY + late)]
        assert [a[1] for a in abandonments(steps)] == ["abandoned", "abandoned", *types]

    @pytest.mark.parametrize(
        ("bought", "match"),
        [
            ({"cart_id": "k", "checkout_id": "c", "items": items("A")}, "cart"),
            ({"cart_id": "x", "checkout_id": "c", "items": items("A")}, "checkout"),
            ({"items": items("A")}, "items"),
            ({"items": items("B")}, "customer"),
            ({}, "customer"),
        ],
    )
    def test_order_recovers_an_abandonment_with_the_strongest_match(self, bought: dict[str, Any], match: str) -> None:
        events = [added(0, cart_id="k", checkout_id="c"), order(2 * HOUR, **bought)]
        (recovered,) = (
            o for o in reference(events, DEFAULT, None) if isinstance(o, Abandonment) and o.type != "abandoned"
        )
        assert (recovered.type, recovered.match, recovered.recovered_after_ms) == ("recovered", match, HOUR)
        assert (recovered.order_id, recovered.order_total, recovered.occurred_at) == ("o", 1000, 2 * HOUR)

    def test_an_order_in_a_shop_closes_the_episode_of_what_it_contains(self) -> None:
        assert abandonments([added(0), order(MINUTE, channel="pos", items=items("A"))], 40 * DAY) == []
        bought_other = [added(0), order(MINUTE, channel="pos", items=items("B"))]
        assert abandonments(bought_other, HOUR) == [(HOUR, "abandoned", "cart", 1, "A")]

    def test_rest_of_a_cart_after_an_order_is_abandoned_only_in_a_new_episode(self) -> None:
        bought = [added(0), added(0, "B"), order(MINUTE, items=items("B"))]
        assert abandonments([*bought, click(HOUR, "page_viewed")], 2 * DAY) == []
        assert abandonments([*bought, viewed(HOUR)], 3 * HOUR) == [(2 * HOUR, "abandoned", "cart", 1, "A")]

    def test_rest_of_a_cart_after_an_order_expires(self) -> None:
        bought = [added(0), order(MINUTE, items=items("B"))]
        assert shorthand(final_view(bought, MINUTE + 30 * DAY - 1)["cart"]) == "A"
        assert shorthand(final_view(bought, MINUTE + 30 * DAY)["cart"]) == ""

    def test_further_activity_schedules_step_1_again(self) -> None:
        events = [added(0), added(50 * MINUTE, "B")]
        assert abandonments(events, 2 * HOUR) == [(110 * MINUTE, "abandoned", "cart", 1, "AB")]

    def test_same_content_within_the_cool_down_continues_the_steps(self) -> None:
        events = [added(0), click(2 * HOUR, "page_viewed")]
        assert abandonments(events, 80 * HOUR) == [
            (HOUR, "abandoned", "cart", 1, "A"),
            (26 * HOUR, "abandoned", "cart", 2, "A"),
            (74 * HOUR, "abandoned", "cart", 3, "A"),
        ]
        sent = [
            added(0),
            click(30 * HOUR, "page_viewed"),
            click(110 * HOUR, "page_viewed"),
            click(120 * HOUR, "page_viewed"),
        ]
        assert [a[0] for a in abandonments(sent, 29 * DAY)] == [HOUR, DAY, 102 * HOUR]

    def test_cool_down_ends_after_7_days(self) -> None:
        for late, number in ((-MS, 3), (0, 4)):
            events = [added(0), click(7 * DAY + late, "page_viewed")]
            assert len(abandonments(events, 7 * DAY + HOUR)) == number

    def test_other_content_is_a_new_abandonment_that_supersedes(self) -> None:
        events = [added(0), added(2 * HOUR)]
        assert abandonments(events, 3 * HOUR)[-1] == (3 * HOUR, "abandoned", "cart", 1, "A2")
        first, second = (o for o in reference(events, DEFAULT, 3 * HOUR) if isinstance(o, Abandonment))
        assert (second.supersedes, second.recent_abandonments, first.recent_abandonments) == (first.id, 1, 0)

    def test_a_higher_kind_is_a_new_abandonment(self) -> None:
        events = [viewed(0), added(HOUR), click(3 * HOUR, "checkout_started")]
        assert [a[2] for a in abandonments(events, 4 * HOUR)] == ["browse", "cart", "checkout"]

    def test_viewing_the_same_again_is_silent_and_closes_the_episode(self) -> None:
        assert len(abandonments([viewed(0), viewed(DAY), viewed(2 * DAY)], 3 * DAY)) == 1

    def test_abandonment_of_a_cart_emptied_since_expires(self) -> None:
        events = [added(0), removed(2 * HOUR)]
        assert abandonments(events, 40 * DAY)[1:] == [(30 * DAY + 2 * HOUR, "expired", "cart", 1, "A")]

    def test_a_late_order_retracts(self) -> None:
        events = [added(0), click(2 * HOUR, "message_opened"), order(30 * MINUTE)]
        assert abandonments(events, 40 * DAY) == [
            (HOUR, "abandoned", "cart", 1, "A"),
            (30 * MINUTE, "retracted", "cart", 1, "A"),
        ]

    @pytest.mark.parametrize(("bought", "types"), [(10, ["abandoned", "retracted"]), (9, ["abandoned"])])
    def test_a_late_order_retracts_what_began_before_it(self, bought: int, types: list[str]) -> None:
        events = [added(10), click(2 * HOUR, "message_opened"), order(bought, items=items("X"))]
        assert [a[1] for a in abandonments(events)] == types

    def test_an_order_before_the_episode_retracts_nothing(self) -> None:
        events = [added(HOUR), click(3 * HOUR, "message_opened"), order(HOUR - MS)]
        assert [a[1] for a in abandonments(events, 3 * HOUR)] == ["abandoned"]

    def test_late_activity_retracts_and_schedules_step_1_again(self) -> None:
        events = [added(0), click(2 * HOUR, "message_opened"), click(30 * MINUTE, "page_viewed")]
        assert abandonments(events, 3 * HOUR) == [
            (HOUR, "abandoned", "cart", 1, "A"),
            (30 * MINUTE, "retracted", "cart", 1, "A"),
            (90 * MINUTE, "abandoned", "cart", 1, "A"),
        ]

    @pytest.mark.parametrize(("at", "retracted"), [(0, False), (MS, True), (HOUR - MS, True), (HOUR, False)])
    def test_only_activity_between_the_last_one_and_step_1_retracts(self, at: int, retracted: bool) -> None:
        events = [added(0), click(2 * HOUR, "message_opened"), click(at, "page_viewed")]
        assert ("retracted" in [a[1] for a in abandonments(events)]) is retracted

    def test_checkout_delivered_long_after_its_order_is_not_abandoned(self) -> None:
        events = [order(HOUR), viewed(HOUR + MS), click(HOUR - MINUTE, "checkout_started")]
        assert abandonments(events, 2 * HOUR) == [(90 * MINUTE + MS, "abandoned", "browse", 1, "A")]

    def test_page_view_before_a_later_delivered_order_causes_no_abandonment(self) -> None:
        events = [added(0), click(MINUTE + SECOND, "page_viewed"), order(MINUTE)]
        assert abandonments(events, 40 * DAY) == []

    def test_browse_abandonment_has_the_last_ten_products(self) -> None:
        events = [viewed(n, f"{n}") for n in range(11)] + [viewed(11, "3")]
        assert abandonments(events, HOUR)[0][4] == "12456789103"


def test_output_ids_are_derived_from_names() -> None:
    events = [added(0, customer='ü "x"')]
    visitor, prospect, abandoned, again = reference(events, DEFAULT, DAY)
    name = '["stage_changed",true,"ü \\"x\\"","lifecycle",2,"prospect",0]'
    assert prospect.id == str(uuid.uuid5(NAMESPACE, name))
    assert abandoned.id == str(uuid.uuid5(NAMESPACE, '["abandonment",true,"ü \\"x\\"","cart",3600000,1]'))
    assert again.id == str(uuid.uuid5(NAMESPACE, '["abandonment",true,"ü \\"x\\"","cart",3600000,2]'))
    assert len({visitor.id, prospect.id, abandoned.id, again.id}) == 4


def test_a_retraction_knows_of_the_subscription_that_caused_it() -> None:
    outputs = reference([viewed(0), click(30 * MINUTE, "page_viewed"), click(1, "subscribed")], DEFAULT, None)
    retracted = next(o for o in outputs if isinstance(o, Abandonment) and o.type == "retracted")
    assert retracted.subscribed is True


def test_a_cart_that_was_shown_again_right_after_its_order_stays_bought() -> None:
    events = [click(0, "cart_viewed", items=items("A")), click(1, "cart_viewed", items=items("A")), order(0)]
    assert abandonments(events, DAY) == []
    assert cart(events) == ""
