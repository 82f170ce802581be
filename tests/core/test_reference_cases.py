"""Small histories after public bug reports, and one for each sentence about orders and what they reach.

Each runs through the reference alone, whose outcome is written here by hand, and again with the core compared to it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pytest

from streams.core.model.event import Event
from streams.core.model.outputs import Abandonment, Output, StageChange
from streams.core.model.policy import DAY, HOUR, MINUTE, SECOND, Policy
from tests.support import reference_lifecycle
from tests.support.reference_comparison import assert_core_agrees
from tests.support.story_events import added, click, items, order, removed, shorthand, viewed

COMPARE = False


@pytest.fixture(autouse=True, params=[False, True], ids=["reference", "core_agrees"])
def compare(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "COMPARE", request.param)


def outputs(events: Sequence[Event], until: int | None = None, policy: Policy = Policy()) -> list[Output]:
    if COMPARE:
        assert_core_agrees(events, policy, until)
    return reference_lifecycle.reference(events, policy, until)


def view(events: Sequence[Event], until: int | None = None, policy: Policy = Policy()) -> dict[str, Any]:
    if COMPARE:
        assert_core_agrees(events, policy, until)
    return reference_lifecycle.final(events, policy, until)[True, "c"]


def stages(events: Sequence[Event], until: int | None = None) -> list[tuple[int, str | None]]:
    return [(o.occurred_at, o.to_stage) for o in outputs(events, until) if isinstance(o, StageChange)]


def abandonments(events: Sequence[Event], until: int | None = 5 * DAY) -> list[tuple[int, str, str, int]]:
    """Return time, type, kind and step of each abandonment output."""
    found = [o for o in outputs(events, until) if isinstance(o, Abandonment)]
    return [(o.occurred_at, o.type, o.kind, o.step) for o in found]


def closings(events: Sequence[Event], until: int | None = None) -> list[str]:
    """Return the types of the abandonment outputs, without steps after the first."""
    return [o.type for o in outputs(events, until) if isinstance(o, Abandonment) and (o.step == 1)]


def cart(events: Sequence[Event], policy: Policy = Policy()) -> str:
    return shorthand(view(events, policy=policy)["cart"])


def worth(events: Sequence[Event]) -> tuple[int, int]:
    """Return the number of orders that count, and the revenue."""
    seen = view(events)
    return seen["orders"], seen["revenue"]


def checkout(at: int, *products: str, step: bool = False, **fields: Any) -> Event:
    """Return a checkout event, with a snapshot of the cart if there are products."""
    listed = items(*products) if products else None
    return click(at, "checkout_step_completed" if step else "checkout_started", items=listed, **fields)


def shown(at: int, *products: str, **fields: Any) -> Event:
    return click(at, "cart_viewed", items=items(*products), **fields)


def time_passes(at: int) -> Event:
    """Return an event that only makes time pass."""
    return click(at, "message_opened")


def ladder(last: int) -> list[tuple[int, str, str, int]]:
    steps = enumerate((HOUR, 24 * HOUR, 72 * HOUR), start=1)
    return [(last + after, "abandoned", "cart", step) for step, after in steps]


class TestCases:
    def test_an_order_that_was_paid_after_its_cancellation_is_a_sale_again(self) -> None:
        bought: dict[str, Any] = {"total": 4000, "cart_id": "k", "items": items("A")}
        events = [
            added(0, price=4000, cart_id="k"),
            checkout(2 * MINUTE, "A", cart_id="k"),
            order(5 * MINUTE, **bought),
            order(65 * MINUTE, "cancelled", currency="EUR"),
            order(85 * MINUTE, **bought),
            order(23 * HOUR, "fulfilled"),
        ]
        assert stages(events, 5 * DAY) == [
            (0, "visitor"),
            (0, "prospect"),
            (5 * MINUTE, "customer"),
            (65 * MINUTE, "prospect"),
            (85 * MINUTE, "customer"),
        ]
        assert abandonments(events) == []
        assert worth(events) == (1, 4000)

    def test_a_renewal_leaves_the_open_cart_alone(self) -> None:
        renewal = order(20 * MINUTE, order_id="r", channel="subscription", items=items("coffee"))
        events = [click(-MINUTE, "page_viewed"), added(0, "shoes", cart_id="k"), renewal]
        assert stages(events, 5 * DAY) == [(-MINUTE, "visitor"), (0, "prospect"), (20 * MINUTE, "customer")]
        assert abandonments(events) == ladder(0)
        assert cart(events) == "shoes"

    def test_a_renewal_makes_a_lapsed_customer_a_customer_and_no_returner(self) -> None:
        renewal = order(270 * DAY, order_id="r", channel="subscription", items=items("coffee"))
        events = [order(0, channel="web", items=items("mug")), renewal]
        assert stages(events, 280 * DAY) == [
            (0, "visitor"),
            (0, "customer"),
            (90 * DAY, "at_risk"),
            (180 * DAY, "lapsed"),
            (270 * DAY, "repeat"),
        ]
        assert (view(events)["orders"], view(events)["cycle"]) == (2, 1)

    def test_an_order_dated_at_its_draft_covers_the_clicks_that_follow(self) -> None:
        ids: dict[str, Any] = {"cart_id": "k", "checkout_id": "h"}
        events = [
            order(0, items=items("A"), **ids),
            added(20 * SECOND, cart_id="k"),
            checkout(110 * SECOND, "A", **ids),
            checkout(140 * SECOND, step=True, **ids),
        ]
        assert abandonments(events) == []
        assert (view(events)["orders"], cart(events)) == (1, "")
        assert stages(events, 5 * DAY) == [(0, "visitor"), (0, "customer")]

    def test_an_order_covers_a_product_of_it_that_was_added_after_its_date(self) -> None:
        events = [
            added(0, "shoes", cart_id="k"),
            checkout(2 * MINUTE, "shoes", cart_id="k"),
            added(5 * MINUTE, "hat", cart_id="k"),
            checkout(6 * MINUTE, "shoes", "hat", cart_id="k"),
            time_passes(10 * MINUTE),
            order(2 * MINUTE + SECOND, cart_id="k", items=items("shoes", "hat")),
        ]
        assert abandonments(events) == []
        assert (view(events)["orders"], view(events)["stage"], cart(events)) == (1, "customer", "")

    def test_a_refund_without_currency_is_in_that_of_the_order(self) -> None:
        events = [order(0, total=10000, currency="USD"), order(2 * DAY, "refunded", total=10000)]
        assert stages(events, 5 * DAY) == [(0, "visitor"), (0, "customer"), (2 * DAY, "prospect")]
        assert worth(events) == (0, 0)

    def test_orders_of_an_old_system_revive_nobody(self) -> None:
        events = [order(0, total=3000), time_passes(350 * DAY), order(-400 * DAY, order_id="erp", total=1200)]
        assert stages(events, 360 * DAY) == [
            (0, "visitor"),
            (0, "customer"),
            (90 * DAY, "at_risk"),
            (180 * DAY, "lapsed"),
        ]
        assert worth(events) == (2, 4200)
        assert view(events)["last_order_at"] == 0

    def test_a_bought_cart_that_is_shown_once_more_stays_bought(self) -> None:
        events = [
            added(0, "pump", cart_id="k"),
            order(10 * MINUTE, cart_id="k", items=items("pump")),
            shown(12 * MINUTE, "pump", cart_id="k"),
        ]
        assert abandonments(events) == []
        assert cart(events) == ""

    def test_a_checkout_of_an_empty_cart_is_not_abandoned(self) -> None:
        assert abandonments([click(0, "checkout_started", checkout_id="h", items=())]) == []

    @pytest.mark.parametrize(
        ("price", "quantity", "value"), [(1.25, 10000, 12500), (0.4, 10000, 4000), (1990, 1, 1990), (299, 0.45, 135)]
    )
    def test_a_value_is_rounded_once(self, price: float, quantity: float, value: int) -> None:
        step1 = outputs([added(0, price=price, quantity=quantity)], HOUR)[-1]
        assert isinstance(step1, Abandonment)
        assert (step1.value, step1.currency) == (value, "EUR")

    def test_orders_of_two_stores_with_one_number_are_two(self) -> None:
        events = [
            order(0, "completed", "1", total=3000, store="de", items=items("a")),
            added(4 * DAY - 10 * MINUTE, "b", cart_id="k"),
            order(4 * DAY, "completed", "1", total=7000, store="at", items=items("b")),
        ]
        assert stages(events, 6 * DAY) == [(0, "visitor"), (0, "customer"), (4 * DAY, "repeat")]
        assert abandonments(events, 9 * DAY) == []
        assert worth(events) == (2, 10000)

    def test_an_order_is_no_copy_of_the_click_that_reports_it_with_the_same_id(self) -> None:
        events = [
            added(0, "lamp", cart_id="k"),
            checkout(3 * MINUTE, cart_id="k"),
            click(5 * MINUTE, "order_completed", cart_id="k", event_id="purchase-1"),
            order(5 * MINUTE + 2 * SECOND, total=7900, cart_id="k", items=items("lamp"), event_id="purchase-1"),
        ]
        assert stages(events, 5 * DAY)[-1] == (5 * MINUTE + 2 * SECOND, "customer")
        assert (abandonments(events), worth(events), cart(events)) == ([], (1, 7900), "")


class TestDuplicates:
    def test_events_of_other_types_or_products_may_share_an_id(self) -> None:
        page = [viewed(0, event_id="e"), viewed(1, "B", event_id="e"), added(2, event_id="e"), viewed(3, event_id="e")]
        assert view(page)["product_views"] == 2
        assert cart(page) == "A"

    def test_events_of_an_order_may_have_its_id(self) -> None:
        events = [
            order(0, event_id="o"),
            order(1, "refunded", total=100, event_id="o"),
            order(2, "refunded", total=100, event_id="o"),
            order(2, "refunded", total=100, event_id="o"),
        ]
        assert worth(events) == (1, 800)

    def test_an_id_that_is_not_the_order_s_is_of_one_event_whatever_its_time(self) -> None:
        events = [order(0), *(order(at, "refunded", total=100, event_id="e") for at in (1, 2))]
        assert worth(events) == (1, 900)
        assert worth([*events, order(3, order_id="p", event_id="completed o @0")]) == (2, 1900)


class TestOrders:
    @pytest.mark.parametrize(
        ("events", "worth_it"),
        [
            # cancelled, paid again
            ([order(0), order(1, "cancelled"), order(2, total=700)], (1, 700)),
            ([order(0), order(1, "cancelled"), order(1)], (0, 0)),
            ([order(1, "cancelled"), order(2)], (1, 1000)),
            ([order(0), order(2), order(1, "cancelled")], (1, 1000)),
            ([order(0), order(1, "refunded"), order(2, "cancelled"), order(3, total=700)], (1, 700)),
            ([order(0), order(2, "cancelled"), order(3, total=700), order(1, "refunded")], (1, 700)),
            ([order(0), order(2, "cancelled"), order(3, total=700), order(3, "refunded", total=100)], (1, 600)),
            ([order(0), order(1, "updated", total=5), order(2, "cancelled"), order(3)], (1, 1000)),
            ([order(0), order(1, "cancelled"), order(2), order(3, "cancelled")], (0, 0)),
            # fulfilled after all
            ([order(0), order(1, "cancelled"), order(2, "fulfilled")], (1, 1000)),
            ([order(0), order(2, "fulfilled"), order(1, "cancelled")], (1, 1000)),
            ([order(0), order(1, "fulfilled"), order(1, "cancelled")], (0, 0)),
            ([order(1, "cancelled"), order(2, "fulfilled", total=800)], (1, 800)),
            ([order(2, "fulfilled", total=800), order(1, "cancelled")], (1, 800)),
            ([order(0, "updated", total=900), order(1, "cancelled"), order(2, "fulfilled", total=800)], (1, 900)),
            ([order(2, "fulfilled", total=800)], (0, 0)),
            ([order(0), order(1, "cancelled"), order(2, "fulfilled"), order(3, "cancelled", total=400)], (1, 600)),
            ([order(1, "cancelled"), order(2, "fulfilled", total=800), order(0)], (1, 1000)),
            # part of it is cancelled
            ([order(0), order(1, "cancelled", total=400)], (1, 600)),
            ([order(1, "cancelled", total=400), order(0)], (1, 600)),
            ([order(0), order(1, "cancelled", total=1000)], (0, 0)),
            ([order(0), order(1, "cancelled", total=0)], (0, 0)),
            ([order(0), order(1, "cancelled", total=400), order(2, "cancelled", total=600)], (0, 0)),
            ([order(0, total=None), order(1, "cancelled", total=400)], (0, 0)),
            # other currencies
            ([order(0), order(1, "cancelled", currency="USD")], (1, 1000)),
            ([order(0), order(1, "refunded", currency="USD")], (1, 1000)),
            ([order(0, total=500, currency="JPY"), order(1, "refunded", total=20000)], (1, 300)),
            # totals
            ([order(0), order(1, "refunded", total=0)], (1, 1000)),
            ([order(2, total=500), order(1, "updated", total=900)], (1, 500)),
            ([order(1, total=500), order(1, "updated", total=900)], (1, 900)),
            ([order(0), order(2, "updated", total=300), order(1, "updated", total=900)], (1, 300)),
            ([order(0), order(1, "refunded", total=1000), order(2, "updated", total=1500)], (1, 500)),
        ],
    )
    def test_an_order_is_worth_what_its_events_say(self, events: list[Event], worth_it: tuple[int, int]) -> None:
        assert worth(events) == worth_it

    def test_a_payment_after_a_cancellation_is_dated_at_itself(self) -> None:
        events = [order(0), order(HOUR, "cancelled"), order(DAY)]
        assert view(events)["last_order_at"] == DAY
        assert view([events[0], events[2], events[1]])["last_order_at"] == DAY
        assert view(events)["last_activity_at"] == DAY

    def test_a_fulfilment_after_a_cancellation_is_dated_at_itself_and_passive(self) -> None:
        events = [order(0), order(HOUR, "cancelled"), order(DAY, "fulfilled")]
        assert (view(events)["last_order_at"], view(events)["last_activity_at"]) == (DAY, 0)
        lapsed = [order(0), time_passes(200 * DAY), order(201 * DAY, "cancelled"), order(202 * DAY, "fulfilled")]
        assert stages(lapsed)[-2:] == [(201 * DAY, "prospect"), (202 * DAY, "customer")]
        two = [order(0, order_id="p"), order(1, "cancelled"), time_passes(200 * DAY), order(202 * DAY, "fulfilled")]
        assert stages(two)[-1] == (180 * DAY, "lapsed")

    def test_a_repeated_completion_with_other_content_is_conflicting(self) -> None:
        assert view([order(0), order(HOUR)])["conflicting"] == 0
        assert view([order(0), order(HOUR, total=9)])["conflicting"] == 1
        assert view([order(0), order(HOUR, items=items("A"))])["conflicting"] == 1
        assert worth([order(0), order(HOUR, total=9)]) == (1, 1000)

    def test_a_correction_without_store_is_about_the_only_order_of_its_id(self) -> None:
        cancelled = order(2, "cancelled", "1")
        assert worth([order(0, order_id="1", store="de"), cancelled])[0] == 0
        assert worth([cancelled, order(0, order_id="1", store="de")])[0] == 0
        two = [order(0, order_id="1", store="de"), order(1, order_id="1", store="at")]
        assert worth([*two, cancelled])[0] == 2
        assert worth([*two, order(2, "cancelled", "1", store="at")])[0] == 1
        assert worth([*two, order(2, "cancelled", "1", store="fr")])[0] == 2

    def test_a_correction_of_a_store_moves_to_the_order_of_that_store(self) -> None:
        events = [order(0, order_id="1", store="de"), order(2, "refunded", "1", store="at", total=300)]
        assert worth(events) == (1, 700)
        assert worth([*events, order(1, order_id="1", store="at", total=500)]) == (2, 1200)
        unnamed = [order(0, order_id="1", store="de"), order(2, "refunded", "1", total=300)]
        assert worth([*unnamed, order(1, order_id="1", store="at", total=500)]) == (2, 1200)

    def test_a_noted_completion_takes_nothing_out_of_the_cart(self) -> None:
        for known in ("cancelled", "refunded"):
            assert cart([added(0), order(2, known), order(1, items=items("A"))]) == "A"
            assert cart([added(0), order(2, known), order(1), order(3, "fulfilled", items=items("A"))]) == (
                "" if known == "cancelled" else "A"
            )

    def test_orders_in_stage_counts_what_became_the_last_order(self) -> None:
        lapsed = [order(0), time_passes(200 * DAY)]
        assert stages([*lapsed, order(-DAY, order_id="p")])[-1] == (180 * DAY, "lapsed")
        assert stages([*lapsed, order(0, order_id="p")])[-1] == (200 * DAY - 20 * DAY, "reactivated")
        assert stages([*lapsed, order(201 * DAY, order_id="p", channel="pos")])[-1] == (201 * DAY, "reactivated")
        renewal = order(-DAY, order_id="p", channel="subscription")
        assert stages([*lapsed, renewal])[-1] == (180 * DAY, "lapsed")


class TestReach:
    """Each story has an order and a click that it reaches or not: `reached` if nothing of the click remains."""

    def test_rule_1_what_is_not_newer_is_reached(self) -> None:
        bought = order(20 * MINUTE, cart_id="k", checkout_id="h", items=items("A"))
        assert abandonments([viewed(0, "X"), bought]) == []
        assert abandonments([added(0, "X", cart_id="k"), bought]) == []
        assert abandonments([added(0, "A", cart_id="other"), bought]) == []
        assert abandonments([added(0, "X", cart_id="other", checkout_id="h"), bought]) == []
        for another in ({"cart_id": "other"}, {"checkout_id": "other"}):
            events = [added(0, "X", **another), bought]
            assert abandonments(events)[0] == (80 * MINUTE, "abandoned", "cart", 1)
            assert cart(events) == "X"

    @pytest.mark.parametrize(
        ("late", "fields", "left"),
        [
            # rule 2: ids
            (HOUR, {"checkout_id": "h", "product": "X"}, ""),
            (HOUR + 1, {"checkout_id": "h", "product": "X"}, "X"),
            (HOUR, {"checkout_id": "h", "cart_id": "other", "product": "X"}, ""),
            (HOUR, {"cart_id": "k", "product": "A"}, ""),
            (HOUR, {"cart_id": "k", "checkout_id": "other", "product": "A"}, ""),
            (HOUR + 1, {"cart_id": "k", "product": "A"}, "A"),
            (MINUTE, {"cart_id": "k", "product": "X"}, "X"),
            # rule 3: products
            (5 * MINUTE, {"product": "A"}, ""),
            (5 * MINUTE + 1, {"product": "A"}, "A"),
            (MINUTE, {"product": "A", "cart_id": "other"}, "A"),
            (MINUTE, {"product": "X"}, "X"),
            (MINUTE, {"product": None}, "?"),
        ],
    )
    def test_rules_2_and_3_newer_additions(self, late: int, fields: dict[str, Any], left: str) -> None:
        bought = order(0, cart_id="k", checkout_id="h", items=items("A", None))
        addition = added(late, **fields)
        assert cart([bought, addition]) == left
        assert cart([addition, bought]) == left
        assert len(abandonments([bought, addition], 3 * HOUR)) == len(left)

    def test_rule_2_an_order_of_unknown_products_has_those_it_took(self) -> None:
        bought = order(10, cart_id="k")
        assert cart([bought, added(HOUR, "X", cart_id="k")]) == ""
        assert cart([added(0), bought, added(HOUR, "X", cart_id="k")]) == "X"
        assert cart([added(0), bought, added(HOUR, cart_id="k")]) == ""
        assert cart([added(0), bought, added(MINUTE)]) == ""

    def test_orders_of_one_cart_have_the_products_of_all(self) -> None:
        bought = [order(0, cart_id="k", items=items("A")), order(MINUTE, order_id="p", cart_id="k", items=items("B"))]
        snapshot = shown(30 * MINUTE, "A", "B", cart_id="k")
        assert cart([*bought, snapshot]) == ""
        apart = [bought[0], order(HOUR + 1, order_id="p", cart_id="k", items=items("B"))]
        assert cart([*apart, shown(HOUR + 2, "A", "B", cart_id="k")]) == "A"

    @pytest.mark.parametrize(
        ("late", "fields", "kinds"),
        [
            (HOUR, {"cart_id": "k"}, []),
            (HOUR + 1, {"cart_id": "k"}, ["checkout"]),
            (5 * MINUTE, {}, []),
            (5 * MINUTE + 1, {}, ["checkout"]),
            (MINUTE, {"cart_id": "other"}, ["checkout"]),
        ],
    )
    def test_rule_4_checkout_events_about_no_product(self, late: int, fields: dict[str, Any], kinds: list[str]) -> None:
        bought = order(0, cart_id="k", items=items("A"))
        assert [a[2] for a in abandonments([added(-MINUTE), bought, checkout(late, **fields)], 2 * HOUR)] == kinds

    def test_rule_4_a_new_product_makes_it_a_new_checkout(self) -> None:
        bought = [added(-MINUTE), order(0, cart_id="k", items=items("A"))]
        events = [*bought, added(MINUTE, "X", cart_id="k"), checkout(2 * MINUTE, cart_id="k")]
        assert abandonments(events, HOUR) == [(32 * MINUTE, "abandoned", "checkout", 1)]
        again = [*bought, added(MINUTE, "A", cart_id="k"), checkout(2 * MINUTE, cart_id="k")]
        assert abandonments(again) == []

    def test_rule_5_views_between_reached_events(self) -> None:
        late = [viewed(MINUTE, "X"), added(2 * MINUTE, "A"), viewed(3 * MINUTE, "Y"), time_passes(4 * MINUTE)]
        bought = order(0, cart_id="k", items=items("A"))
        (step1,) = (o for o in outputs([*late, bought], HOUR) if isinstance(o, Abandonment))
        assert (step1.kind, shorthand(step1.items)) == ("browse", "Y")
        other = [viewed(MINUTE, "X", cart_id="other"), *late[1:], bought]
        assert [shorthand(o.items) for o in outputs(other, HOUR) if isinstance(o, Abandonment)] == ["XY"]

    def test_passive_orders_reach_their_products_and_ids_only(self) -> None:
        filled = [added(0), added(0, "B"), added(0, "C", cart_id="k")]
        for channel in ("pos", "subscription", "marketplace", "retail"):
            assert cart([*filled, order(5, channel=channel, items=items("A"))]) == "BC"
            assert cart([*filled, order(5, channel=channel, cart_id="k")]) == "AB"
            assert cart([*filled, order(5, channel=channel)]) == "ABC"
            assert cart([order(5, channel=channel, items=items("A")), added(5 * MINUTE)]) == ""

    def test_a_passive_order_clears_the_mark_that_it_names_or_with_the_last_line(self) -> None:
        def kinds(*events: Event) -> list[str]:
            return [a[2] for a in abandonments(events, 2 * HOUR)]

        filled = [added(0), added(0, "B"), checkout(1, cart_id="k")]
        assert kinds(*filled, order(5, channel="pos", items=items("A"))) == ["checkout"]
        assert kinds(*filled, order(5, channel="pos", items=items("A"), cart_id="k")) == ["cart"]
        assert kinds(*filled, order(5, channel="pos", items=items("A", "B"))) == []

    def test_an_order_takes_all_lines_but_those_of_another_cart(self) -> None:
        filled = [added(0), added(0, "B", cart_id="other"), added(0, "C", cart_id="k"), added(0, None)]
        assert cart([*filled, order(5, cart_id="k")]) == "B"
        assert cart([*filled, order(5, cart_id="k", items=items("X"))]) == "B"
        assert cart([*filled, order(5, items=items("X"))]) == "ABC?"
        assert cart([*filled, order(5, items=items(None, "X"))]) == "ABC"
        assert cart([*filled, order(5)]) == ""

    def test_an_order_takes_all_lines_only_if_its_cart_was_shown_last(self) -> None:
        filled = [added(0), click(1, "page_viewed", cart_id="k", checkout_id="h")]
        assert cart([*filled, order(5, cart_id="k", items=items("X"))]) == ""
        assert cart([*filled, order(5, checkout_id="h", items=items("X"))]) == ""
        moved_on = [*filled, click(2, "page_viewed", cart_id="k2", product_id="X")]
        assert cart([*moved_on, order(5, cart_id="k", items=items("X"))]) == "A"

    def test_the_other_lines_of_a_snapshot_replace_the_cart(self) -> None:
        bought = [added(0), order(MINUTE, cart_id="k", items=items("A"))]
        assert cart([*bought, added(2 * MINUTE, "B"), shown(3 * MINUTE, "A", "C", cart_id="k")]) == "C"
        assert cart([*bought, added(2 * MINUTE, "B"), shown(3 * MINUTE, "A", cart_id="k")]) == "B"
        assert abandonments([*bought, checkout(3 * MINUTE, "A", cart_id="k")]) == []
        mixed = [*bought, checkout(3 * MINUTE, "A", "C", cart_id="k")]
        assert [a[2] for a in abandonments(mixed, HOUR)] == ["checkout"]

    def test_a_cancelled_order_reaches_no_later_click(self) -> None:
        events = [order(0, items=items("A")), order(MINUTE, "cancelled"), added(2 * MINUTE)]
        assert cart(events) == "A"
        assert cart([*events[:2], order(2 * MINUTE, items=items("A")), added(3 * MINUTE)]) == ""

    def test_only_the_newest_five_orders_reach_late_clicks(self) -> None:
        later = [order(n * DAY, order_id=f"{n}", items=items("X")) for n in range(1, 6)]
        late = [time_passes(6 * DAY), added(-MINUTE)]
        assert cart([order(0, items=items("A")), *later[:4], *late]) == ""
        assert cart([order(0, items=items("A")), *later, *late]) == "A"


class TestAbandonment:
    def test_an_episode_starts_with_the_first_thing_that_the_order_left(self) -> None:
        events = [
            viewed(0, "X"),
            added(MINUTE, cart_id="k"),
            added(2 * MINUTE, "B", cart_id="k2"),
            order(3 * MINUTE, cart_id="k", items=items("A")),
        ]
        (step1,) = (o for o in outputs(events, 2 * HOUR) if isinstance(o, Abandonment))
        assert (step1.occurred_at, shorthand(step1.items), step1.episode_started_at) == (63 * MINUTE, "B", 2 * MINUTE)

    def test_an_order_arms_what_it_leaves_and_a_passive_one_leaves_that_to_the_next_activity(self) -> None:
        left = [added(0, cart_id="k"), added(0, "B", cart_id="k2")]
        bought: dict[str, Any] = {"cart_id": "k", "items": items("A")}
        assert abandonments([*left, order(2 * HOUR, **bought)], 4 * HOUR)[1:] == [
            (2 * HOUR, "recovered", "cart", 1),
            (3 * HOUR, "abandoned", "cart", 1),
        ]
        passive = [*left, order(2 * HOUR, channel="pos", **bought)]
        assert abandonments(passive) == [(HOUR, "abandoned", "cart", 1), (2 * HOUR, "recovered", "cart", 1)]
        assert abandonments([*passive, click(3 * HOUR, "page_viewed")], 4 * HOUR)[2:] == [
            (4 * HOUR, "abandoned", "cart", 1)
        ]
        pending = [*left, order(30 * MINUTE, channel="pos", **bought)]
        assert abandonments(pending, 2 * HOUR) == [(HOUR, "abandoned", "cart", 1)]

    def test_step_1_never_comes_before_the_event_that_made_the_kind(self) -> None:
        events = [viewed(0, "X"), added(1), order(50 * MINUTE, channel="pos", items=items("A"))]
        assert abandonments(events) == [(50 * MINUTE, "abandoned", "browse", 1)]

    def test_an_order_that_reaches_nothing_of_what_was_abandoned_leaves_it_alone(self) -> None:
        abandoned = added(0, cart_id="k")
        assert closings([abandoned, order(2 * HOUR, cart_id="k2", items=items("X"))]) == ["abandoned"]
        assert closings([abandoned, order(2 * HOUR, items=items("X"))]) == ["abandoned", "recovered"]
        assert closings([abandoned, order(2 * HOUR, channel="pos", items=items("X"))]) == ["abandoned"]
        assert closings([abandoned, order(2 * HOUR, channel="pos", cart_id="k")]) == ["abandoned", "recovered"]
        assert closings([abandoned, order(2 * HOUR, channel="pos", items=items("A"))]) == ["abandoned", "recovered"]

    def test_an_order_dated_before_the_episode_retracts_what_it_reaches_completely(self) -> None:
        abandoned = [added(0, cart_id="k"), time_passes(2 * HOUR)]
        assert closings([*abandoned, order(-30 * MINUTE, cart_id="k", items=items("A"))]) == ["abandoned", "retracted"]
        assert closings([*abandoned, order(-30 * MINUTE, cart_id="k2", items=items("A"))]) == ["abandoned"]
        more = [added(1, "B", cart_id="k"), *abandoned]
        assert closings([*more, order(-30 * MINUTE, cart_id="k", items=items("A"))]) == ["abandoned"]

    def test_a_shipment_after_the_cancellation_recovers_with_its_known_total(self) -> None:
        events = [
            order(0, "cancelled"),
            added(MINUTE),
            order(2 * HOUR, "fulfilled", total=800, items=items("A")),
        ]
        recovered = next(o for o in outputs(events) if isinstance(o, Abandonment) and o.type == "recovered")
        assert (recovered.order_total, recovered.order_currency, recovered.match) == (800, "EUR", "items")

    def test_nothing_is_known_of_a_checkout_without_products(self) -> None:
        step1 = outputs([checkout(0)], HOUR)[-1]
        assert isinstance(step1, Abandonment)
        assert (step1.kind, step1.items, step1.value) == ("checkout", (), None)

    def test_lines_that_were_cut_have_no_value(self) -> None:
        few = Policy(cart_lines=2)
        events = [added(n, product, price=100) for n, product in enumerate("ABC")]
        step1 = outputs(events, 2 * HOUR, few)[-1]
        assert isinstance(step1, Abandonment)
        assert (shorthand(step1.items), step1.items_cut, step1.value) == ("BC", True, None)
        assert view(events, policy=few)["cart_value"] is None
        assert view([*events, removed(5, "B"), removed(6, "C")], policy=few)["cart_value"] == 0
        listed = click(5, "cart_viewed", items=items("A", "B", price=100))
        assert view([*events, listed], policy=few)["cart_value"] == 200

    def test_a_late_checkout_of_a_bought_cart_sets_no_mark(self) -> None:
        events = [
            added(0, cart_id="k"),
            order(30 * MINUTE, cart_id="k", items=items("A")),
            viewed(40 * MINUTE, "X"),
            checkout(20 * MINUTE, cart_id="k"),
        ]
        assert abandonments(events, DAY) == [(70 * MINUTE, "abandoned", "browse", 1)]
