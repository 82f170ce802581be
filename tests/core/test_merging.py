"""Merges of two profiles of one customer. tests/property/test_merging shows that they lose nothing."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import permutations

import pytest

from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.lifecycle.merging import KEPT_ON_RESET
from streams.core.lifecycle.playbook import Playbook
from streams.core.lifecycle.tracks import Track, Transition
from streams.core.lifecycle.triggers import OnStage, Trigger, TriggerStep
from streams.core.model import ids
from streams.core.model.alias import Alias
from streams.core.model.counters import EngineCounters
from streams.core.model.currencies import PIECE
from streams.core.model.event import Event
from streams.core.model.outputs import Abandonment, Cause, Output, StageChange, Triggered
from streams.core.model.policy import Policy
from streams.core.model.sessions import Sessions
from streams.core.model.sources import UpstreamId
from streams.core.profile.codec import pack, packed_size, unpack
from streams.core.profile.profile import Profile
from streams.core.profile.sessions import KEPT, note, spans, unite
from streams.core.rules.compiler import compile_rule
from streams.core.rules.vocabulary import Vocabulary
from tests.support.customer_history import DAY, HOUR, MINUTE, SECOND, T0, click, item, order
from tests.support.default_playbook import LIFECYCLE, default_playbook

CUSTOMER = "c-1"


class Shop:
    """Customer c-1 and devices, with their events by id; times are in ms after `T0`."""

    def __init__(self, playbook: Playbook = default_playbook()) -> None:
        self.lifecycle = Lifecycle(playbook)
        self.profiles: dict[str, Profile] = {}
        self.outputs: list[Output] = []
        self.counts: EngineCounters = Counter()

    def did(self, id_: str, *events: Event) -> Shop:
        for event in events:
            of = dataclasses.replace(event, customer=id_, identified=id_ == CUSTOMER)
            self.wait(id_, of.at - T0)
            profile = self.profiles.setdefault(id_, self.lifecycle.new(id_, of.identified))
            if profile.stage is None or not self.lifecycle.is_duplicate(profile, of):
                self.lifecycle.apply(profile, of, self.outputs, self.counts)
        return self

    def wait(self, id_: str, until: int) -> Shop:
        profile = self.profiles.get(id_)
        while profile is not None and (due := profile.next_deadline) is not None and due <= T0 + until:
            self.lifecycle.fire(profile, self.outputs, self.counts)
        return self

    def link(self, device: str, at: int) -> Shop:
        """Link the device to the customer. Outputs from before are dropped."""
        self.wait(device, at).wait(CUSTOMER, at)
        moved = self.profiles[device]
        packed = pack(moved)
        self.outputs.clear()
        self.lifecycle.end_by_merge(moved, CUSTOMER, T0 + at, self.outputs)
        profile = self.profiles.setdefault(CUSTOMER, self.lifecycle.new(CUSTOMER, True))
        self.lifecycle.merge(profile, unpack(packed), device, T0 + at, self.outputs, self.counts)
        self.profiles[CUSTOMER] = unpack(pack(profile))
        return self

    @property
    def profile(self) -> Profile:
        return self.profiles[CUSTOMER]

    @property
    def changes(self) -> list[tuple[str, str | None, str | None]]:
        return [(o.customer, o.from_stage, o.to_stage) for o in self.outputs if isinstance(o, StageChange)]

    @property
    def abandonment_summary(self) -> list[tuple[str, str, str, int]]:
        """Return type, kind, customer and time of each abandonment output."""
        return [(o.type, o.kind, o.customer, o.occurred_at - T0) for o in self.abandonments]

    @property
    def abandonments(self) -> list[Abandonment]:
        return [output for output in self.outputs if isinstance(output, Abandonment)]


def viewed(at: int, product: str = "A") -> Event:
    return click(at, "product_viewed", product)


def added(at: int, product: str = "A", **fields: object) -> Event:
    return click(at, "product_added", product, **fields)


# -- the end of the device's profile, and the customer's stages


def test_anonymous_profile_ends_with_a_change_that_names_its_customer() -> None:
    shop = Shop().did("d-1", viewed(0)).link("d-1", MINUTE)
    [last] = [o for o in shop.outputs if isinstance(o, StageChange) and o.customer == "d-1"]
    assert (last.from_stage, last.to_stage, last.identified, last.occurred_at) == ("visitor", None, False, T0 + MINUTE)
    assert last.cause == Cause(kind="merge", merged_into=CUSTOMER)
    assert last.profile.product_views == 1  # as of the change


def test_merged_profile_keeps_only_applied_offsets_and_pending_outputs() -> None:
    playbook = Playbook(tracks=(LIFECYCLE, Track("tier", "none", ())))
    shop = Shop(playbook).did("d-1", viewed(0), added(MINUTE), order(HOUR))
    profile = shop.profiles["d-1"]
    profile.applied, profile.of_upstreams, profile.commit = [3, 4, 5], {UpstreamId(17): 2}, 9
    profile.pending, profile.alias = list(shop.outputs), Alias([("c-1", 5)])
    shop.outputs.clear()
    shop.lifecycle.end_by_merge(profile, CUSTOMER, T0 + 2 * HOUR, shop.outputs)
    assert shop.changes == [("d-1", "customer", None), ("d-1", "none", None)]
    new = shop.lifecycle.new("d-1", False)
    for name in KEPT_ON_RESET:
        setattr(new, name, getattr(profile, name))
    assert profile == new
    assert (profile.applied, profile.of_upstreams, profile.commit) == ([3, 4, 5], {UpstreamId(17): 2}, 9)
    assert (len(profile.pending), profile.alias) == (4, Alias([("c-1", 5)]))


def test_new_customer_enters_stages_by_the_merge() -> None:
    shop = Shop().did("d-1", viewed(0), added(MINUTE)).link("d-1", 2 * MINUTE)
    assert shop.changes == [("d-1", "prospect", None), (CUSTOMER, None, "visitor"), (CUSTOMER, "visitor", "prospect")]
    *_, entered, moved = [output for output in shop.outputs if isinstance(output, StageChange)]
    assert entered.cause == Cause(kind="merge", merged=("d-1",))
    assert moved.cause == Cause(kind="merge", rule="prospect", merged=("d-1",))
    assert (moved.occurred_at, moved.sequence, moved.identified) == (T0 + 2 * MINUTE, 2, True)
    assert (moved.profile.cart_items, moved.profile.first_seen_at) == (PIECE, T0)


def test_known_customer_enters_the_stage_that_the_rules_give_after_the_merge() -> None:
    shop = Shop().did(CUSTOMER, order(0)).did("d-1", order(HOUR, "o-2")).link("d-1", 2 * HOUR)
    assert shop.changes == [("d-1", "customer", None), (CUSTOMER, "customer", "repeat")]
    assert shop.profile.revenue == 10_000


def test_a_merge_can_change_the_stage_of_every_track() -> None:
    gold = Transition(("silver",), "gold", compile_rule("count('page_viewed') >= 2", Vocabulary()))
    playbook = Playbook(tracks=(LIFECYCLE, Track("tier", "silver", (gold,))), counted_types=frozenset({"page_viewed"}))
    shop = Shop(playbook).did(CUSTOMER, click(0)).did("d-1", click(1)).link("d-1", HOUR)
    assert (CUSTOMER, "silver", "gold") in shop.changes


def test_merge_without_a_stage_change_sends_none() -> None:
    shop = Shop().did(CUSTOMER, click(0)).did("d-1", click(1)).link("d-1", HOUR)
    assert shop.changes == [("d-1", "visitor", None)]


def test_customer_active_on_the_device_is_not_dormant() -> None:
    shop = Shop().did(CUSTOMER, added(0)).did("d-1", click(29 * DAY)).wait(CUSTOMER, 31 * DAY)
    assert shop.profile.stage == "dormant"
    assert shop.link("d-1", 31 * DAY).changes[-1] == (CUSTOMER, "dormant", "prospect")


def test_customer_who_ordered_on_the_device_is_not_at_risk() -> None:
    shop = Shop().did(CUSTOMER, order(0)).did("d-1", order(80 * DAY, "o-2")).wait(CUSTOMER, 91 * DAY)
    assert shop.profile.stage == "at_risk"
    assert shop.link("d-1", 92 * DAY).changes[-1] == (CUSTOMER, "at_risk", "reactivated")


def test_merged_older_activity_does_not_reactivate_the_customer() -> None:
    shop = Shop().did("d-1", click(0)).did(CUSTOMER, added(DAY)).wait(CUSTOMER, 32 * DAY).link("d-1", 32 * DAY)
    assert shop.profile.stage == "dormant"


def test_contradicting_subscriptions_at_one_time_count_as_unsubscribed() -> None:
    for yes, no in ((CUSTOMER, "d-1"), ("d-1", CUSTOMER)):
        shop = Shop().did(yes, click(0, "subscribed")).did(no, click(0, "unsubscribed")).link("d-1", HOUR)
        assert shop.profile.subscribed is False


# -- orders


def test_an_order_in_both_profiles_counts_once() -> None:
    shop = Shop().did(CUSTOMER, order(0, total=700)).did("d-1", order(HOUR, total=700)).link("d-1", 2 * HOUR)
    assert (shop.profile.orders, shop.profile.revenue, shop.profile.stage) == (1, 700, "customer")


def test_a_correction_applies_whichever_profile_received_it() -> None:
    for ordered, corrected in ((CUSTOMER, "d-1"), ("d-1", CUSTOMER)):
        shop = Shop().did(ordered, order(0)).did(corrected, order(HOUR, type_="order_refunded", total=2000))
        assert (shop.link("d-1", DAY).profile.revenue, shop.profile.order_notes) == (3000, {})


@pytest.mark.parametrize("orders", [3, 250])
def test_the_currency_is_that_of_the_earliest_order_also_if_it_is_not_kept(orders: int) -> None:
    dollars = [order(n, f"d-{n}", currency="USD", total=100) for n in range(1, orders)]
    euros = [order(2 * n, f"e-{n}", total=100) for n in range(orders)]
    one = Shop().did("d-1", *dollars).did(CUSTOMER, *euros).link("d-1", DAY)
    other = Shop().did("d-1", *euros).did(CUSTOMER, *dollars).link("d-1", DAY)
    for shop in (one, other):
        profile = shop.profile
        assert (profile.currency, profile.orders) == ("EUR", 2 * orders - 1)
        assert (profile.revenue, profile.other_currency_orders) == (100 * orders, orders - 1)
        assert len(profile.order_book) == min(200, 2 * orders - 1)


# -- bounds


def test_a_merged_profile_is_trimmed() -> None:
    policy = Policy(profile_bytes=8 * 1024)
    shop = Shop(default_playbook(policy=policy))
    for id_ in (CUSTOMER, "d-1"):
        shop.did(id_, *(order(n, f"{id_}-{n}-{'x' * 40}") for n in range(75)))
    assert shop.link("d-1", HOUR).counts["trimmed", "orders"] > 0
    assert packed_size(shop.profile) <= policy.profile_bytes
    assert (shop.profile.orders, shop.profile.revenue) == (150, 150 * 5000)


def test_thousand_devices_merge_into_one_bounded_profile() -> None:
    shop = Shop()
    for n in range(1_000):
        at = n * HOUR
        shop.did(f"d-{n}", viewed(at, f"p-{n}"), added(at + 1, f"p-{n}"), order(at + 2, f"o-{n}"))
        shop.link(f"d-{n}", at + 3)
    profile = shop.profile
    assert (profile.product_views, profile.orders, profile.revenue, profile.sessions.count) == (
        1000,
        1000,
        5_000_000,
        1000,
    )
    assert packed_size(profile) < 64 * 1024
    assert profile.weight < 64 * 1024


# -- sessions


def counted_in(*times: int) -> Sessions:
    sessions = Sessions()
    for at in times:
        note(sessions, at, 30 * MINUTE)
    return sessions


def test_number_of_sessions_does_not_depend_on_the_order_of_events() -> None:
    times = (0, 29 * MINUTE, HOUR, 100 * DAY, 100 * DAY + 20 * MINUTE)
    assert {tuple(spans(counted_in(*order))) for order in permutations(times)} == {
        ((100 * DAY, 100 * DAY + 20 * MINUTE), (HOUR, HOUR), (0, 29 * MINUTE))
    }


def test_a_bounded_number_of_sessions_is_kept() -> None:
    sessions = counted_in(*(n * HOUR for n in range(40)))
    assert [start for start, _ in spans(sessions)] == [n * HOUR for n in range(39, 39 - KEPT, -1)]
    assert sessions.count == 40


def test_sessions_of_two_profiles_merge_where_they_overlap() -> None:
    one, other = counted_in(0, 20 * MINUTE, 5 * HOUR), counted_in(40 * MINUTE, 3 * HOUR)
    unite(one, other, 30 * MINUTE)
    assert (one.count, spans(one)[-1]) == (3, (0, 40 * MINUTE))


def test_sessions_that_no_event_can_join_any_more_are_not_kept() -> None:
    """Sessions of the years 1970 and 2999 stay separate. The session of a robot that lasts for a hundred days is
    cut."""
    assert spans(counted_in(0, 10**9, 3 * 10**13)) == [(3 * 10**13, 3 * 10**13)]
    assert counted_in(0, 10**9, 3 * 10**13).count == 3
    robot = counted_in(*(n * 20 * MINUTE for n in range(7_200)), 200 * DAY)
    assert (robot.count, spans(robot)[1][1]) == (2, 7_199 * 20 * MINUTE)


def test_profile_with_one_session_packs_no_list_of_earlier_ones() -> None:
    with_one, without = Profile("c-1", True), Profile("c-1", True)
    with_one.sessions = Sessions(1, T0, T0 + MINUTE)
    assert packed_size(with_one) - packed_size(without) == packed_size([1, T0, T0 + MINUTE]) - packed_size([0, 0, 0])


# -- the cart


def test_product_bought_on_another_device_leaves_the_cart() -> None:
    shop = Shop().did("d-1", added(0), added(MINUTE, "B")).did(CUSTOMER, order(HOUR, items=(item("A"),)))
    assert list(shop.link("d-1", 5 * DAY).profile.cart.now.lines) == ["B"]


def test_an_order_that_names_the_cart_takes_all_of_it_also_if_the_device_has_shown_it_since() -> None:
    shop = Shop().did("d-1", added(0, cart_id="k-1"), added(MINUTE, "B", cart_id="k-1"))
    shop.did(CUSTOMER, order(HOUR, items=(item("A"),), cart_id="k-1")).did("d-1", click(2 * HOUR, cart_id="k-1"))
    assert not shop.link("d-1", DAY).profile.cart.now.lines


def test_an_addition_that_is_older_than_the_orders_that_are_kept_is_taken_to_be_bought() -> None:
    shop = Shop().did("d-1", added(0), added(DAY, "B"))
    shop.did(CUSTOMER, *(order(HOUR + n, f"o-{n}", items=(item("C"),)) for n in range(5)))
    assert list(shop.link("d-1", 2 * DAY).profile.cart.now.lines) == ["B"]


def test_carts_are_merged() -> None:
    shop = Shop().did("d-1", added(0, quantity=2)).did(CUSTOMER, added(HOUR), added(HOUR, "B")).link("d-1", DAY)
    assert {product: line.quantity // PIECE for product, line in shop.profile.cart.now.lines.items()} == {
        "A": 3,
        "B": 1,
    }


# -- abandonments


def test_order_before_the_deadline_retracts_the_abandonment_under_its_own_key() -> None:
    shop = Shop().did("d-1", added(0)).did(CUSTOMER, order(30 * MINUTE, items=(item("B"),)))
    shop.wait("d-1", 2 * HOUR)
    [before] = shop.abandonments
    shop.link("d-1", 3 * HOUR)
    [after] = shop.abandonments
    assert shop.abandonment_summary == [("retracted", "cart", "d-1", 3 * HOUR)]
    assert (after.reason, after.abandonment_id, after.identified) == ("merge", before.id, False)
    assert after.id == ids.abandonment_id(ids.NAMESPACE, False, "d-1", "cart", T0 + HOUR, "retracted")


def test_order_of_the_device_retracts_the_customers_abandonment() -> None:
    shop = Shop().did(CUSTOMER, added(0)).did("d-1", order(30 * MINUTE)).link("d-1", 3 * HOUR)
    assert shop.abandonment_summary == [("retracted", "cart", CUSTOMER, 3 * HOUR)]


def test_an_order_after_the_abandonment_recovers_it() -> None:
    shop = Shop().did("d-1", added(0, cart_id="k-1")).wait("d-1", 2 * HOUR)
    [before] = shop.abandonments
    shop.did(CUSTOMER, order(90 * MINUTE, cart_id="k-1", total=700)).link("d-1", 3 * HOUR)
    [after] = shop.abandonments
    assert shop.abandonment_summary == [("recovered", "cart", CUSTOMER, 90 * MINUTE)]
    assert (after.abandonment_id, after.match, after.order_total) == (before.id, "cart", 700)
    assert after.recovered_after_ms == 30 * MINUTE


def test_an_order_long_after_the_abandonment_closes_it_silently() -> None:
    shop = Shop().did("d-1", viewed(0)).did(CUSTOMER, order(8 * DAY)).link("d-1", 9 * DAY)
    assert shop.abandonment_summary == []
    assert shop.profile.latest is not None
    assert not shop.profile.latest.open


def test_activity_on_the_other_profile_retracts_an_abandonment_and_schedules_it_again() -> None:
    shop = Shop().did("d-1", added(0)).did(CUSTOMER, click(50 * MINUTE)).link("d-1", 70 * MINUTE)
    assert shop.abandonment_summary == [("retracted", "cart", "d-1", 70 * MINUTE)]
    assert shop.profile.next_deadline == T0 + 110 * MINUTE
    shop.wait(CUSTOMER, 2 * HOUR)
    assert shop.abandonment_summary[1:] == [("abandoned", "cart", CUSTOMER, 110 * MINUTE)]


def test_activity_that_only_delays_a_fired_abandonment_retracts_nothing() -> None:
    assert (
        Shop().did("d-1", added(0)).did(CUSTOMER, click(5 * MINUTE)).link("d-1", 70 * MINUTE).abandonment_summary == []
    )


def test_abandonment_of_the_newest_activity_is_not_repeated_for_a_retracted_one() -> None:
    """The customer was active on both profiles, and the abandonment of the newest activity was sent in time."""
    shop = Shop().did("d-1", added(0, "B")).did(CUSTOMER, added(50 * MINUTE), click(85 * MINUTE))
    shop.wait(CUSTOMER, 150 * MINUTE)
    first = shop.abandonments[-1]
    assert (first.customer, first.occurred_at) == (CUSTOMER, T0 + 145 * MINUTE)
    shop.link("d-1", 150 * MINUTE)
    assert shop.abandonment_summary == [("retracted", "cart", "d-1", 150 * MINUTE)]
    shop.wait(CUSTOMER, 2 * DAY)
    assert shop.abandonment_summary[1:] == [("abandoned", "cart", CUSTOMER, DAY + 85 * MINUTE)]
    second = shop.abandonments[-1]
    assert (second.abandonment_id, second.step) == (first.id, 2)
    assert {line.product_id for line in second.items} == {"A", "B"}


def test_retracted_browse_has_its_views_again() -> None:
    shop = Shop().did("d-1", viewed(0)).did(CUSTOMER, click(20 * MINUTE)).link("d-1", 40 * MINUTE)
    assert shop.abandonment_summary == [("retracted", "browse", "d-1", 40 * MINUTE)]
    shop.wait(CUSTOMER, HOUR)
    assert shop.abandonment_summary[1:] == [("abandoned", "browse", CUSTOMER, 50 * MINUTE)]


def test_later_steps_are_the_customers_and_a_late_order_retracts_under_the_device() -> None:
    shop = Shop().did("d-1", added(0)).wait("d-1", HOUR)
    first = shop.abandonments[0].id
    shop.did(CUSTOMER, click(-HOUR)).link("d-1", 2 * HOUR).wait(CUSTOMER, DAY)
    assert shop.abandonment_summary == [("abandoned", "cart", CUSTOMER, DAY)]
    assert (shop.abandonments[0].step, shop.abandonments[0].abandonment_id) == (2, first)
    shop.profiles[CUSTOMER] = unpack(pack(shop.profile))
    shop.did(CUSTOMER, order(30 * MINUTE))
    assert shop.abandonment_summary[1:] == [("retracted", "cart", "d-1", 30 * MINUTE)]


def test_open_abandonment_with_no_content_of_its_own_is_retracted() -> None:
    shop = Shop().did("d-1", added(0)).did(CUSTOMER, viewed(DAY, "B")).link("d-1", 2 * DAY)
    assert shop.abandonment_summary == [("retracted", "browse", CUSTOMER, 2 * DAY)]
    assert shop.profile.latest is not None
    assert shop.profile.latest.kind == "cart"


def test_later_open_abandonment_stays_if_it_has_further_steps() -> None:
    shop = Shop().did("d-1", added(0)).did(CUSTOMER, added(DAY, "B")).link("d-1", 1_600 * MINUTE)
    assert shop.abandonment_summary == [("retracted", "cart", "d-1", 1_600 * MINUTE)]
    shop.wait(CUSTOMER, 2 * DAY)
    assert shop.abandonment_summary[1:] == [("abandoned", "cart", CUSTOMER, 2 * DAY)]
    assert {line.product_id for line in shop.abandonments[-1].items} == {"A", "B"}


@pytest.mark.parametrize("ordered_at", [30 * MINUTE, 90 * MINUTE])
def test_outputs_that_follow_a_withheld_abandonment_are_withheld(ordered_at: int) -> None:
    shop = Shop().did("d-1", added(0)).wait("d-1", HOUR)
    shop.profiles["d-1"].note_withheld(shop.abandonments[0].id, True)
    shop.did(CUSTOMER, order(ordered_at)).link("d-1", 2 * HOUR)
    assert shop.abandonment_summary == []
    assert shop.counts["outputs_withheld", f"{'retracted' if ordered_at < HOUR else 'recovered'}/follows_withheld"] == 1
    assert shop.profile.latest is not None
    assert not shop.profile.latest.open


# -- triggers


def test_trigger_begun_for_the_device_counts_towards_the_cap_and_does_not_go_on() -> None:
    welcome = Trigger(
        "welcome", on=OnStage("lifecycle", enters=["prospect"]), cap=1, steps=(TriggerStep(), TriggerStep(DAY))
    )
    shop = Shop(default_playbook(triggers=(welcome,))).did("d-1", added(0)).link("d-1", HOUR)
    assert shop.profile.stage == "prospect"
    shop.wait(CUSTOMER, 3 * DAY)
    assert not [output for output in shop.outputs if isinstance(output, Triggered)]
    assert shop.profile.triggers is not None
    assert (shop.profile.triggers.states["welcome"].begun, shop.profile.triggers.states["welcome"].runs) == (1, [])


def test_trigger_begun_by_a_merge_has_the_merge_as_its_cause() -> None:
    second = Trigger("second", on=OnStage("lifecycle", enters=["repeat"]))
    shop = (
        Shop(default_playbook(triggers=(second,))).did(CUSTOMER, order(0)).did("d-1", order(1, "o-2")).link("d-1", HOUR)
    )
    [triggered] = [output for output in shop.outputs if isinstance(output, Triggered)]
    assert triggered.cause == Cause(kind="merge", rule="second", merged=("d-1",))
    assert triggered.occurred_at == T0 + HOUR
    shop.did(CUSTOMER, click(2 * HOUR))
    assert not [o for o in shop.outputs[4:] if isinstance(o, Triggered)]


def test_profile_of_another_playbook_is_migrated_before_a_merge() -> None:
    shop = Shop(default_playbook(digest="1")).did(CUSTOMER, click(0)).did("d-1", added(SECOND))
    shop.lifecycle = Lifecycle(Playbook(digest="2", tracks=(LIFECYCLE, Track("tier", "none", ()))))
    assert (CUSTOMER, None, "none") in shop.link("d-1", HOUR).changes
    assert shop.profile.playbook_tag == 2
