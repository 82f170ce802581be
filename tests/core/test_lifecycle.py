"""Times, sessions, duplicates, forgetting and bounds."""

from __future__ import annotations

import pytest

from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.lifecycle.tracks import Track
from streams.core.model.counters import EngineCounters
from streams.core.model.ids import NAMESPACE, stage_change_id
from streams.core.model.outputs import Cause
from streams.core.model.policy import Policy
from streams.core.profile.codec import pack, packed_size, unpack
from streams.core.profile.recent_ids import find, note, seen_at, tags_of
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
from tests.support.default_playbook import default_playbook

# -- sessions and times


@pytest.mark.parametrize(("gap", "sessions"), [(30 * MINUTE - 1, 1), (30 * MINUTE, 2), (30 * MINUTE + 1, 2)])
def test_a_gap_of_30_min_starts_a_session(gap: int, sessions: int) -> None:
    assert run([click(0), click(gap)]).alive.sessions.count == sessions


def test_passive_events_are_in_no_session() -> None:
    history = run([click(0), click(20 * MINUTE, "message_opened"), click(40 * MINUTE), order(2 * HOUR, channel="pos")])
    assert history.alive.sessions.count == 2


def test_activity_out_of_order_can_close_a_gap() -> None:
    history = run([click(0), click(30 * MINUTE)])
    assert history.alive.sessions.count == 2
    history.play(click(30 * MINUTE - SECOND), click(30 * MINUTE - 2 * SECOND))
    assert history.alive.sessions.count == 1


def test_activity_out_of_order_that_leaves_a_gap_of_30_min_closes_none() -> None:
    assert run([click(0), click(30 * MINUTE + SECOND), click(30 * MINUTE)]).alive.sessions.count == 2


def test_late_activity_between_two_sessions_joins_them() -> None:
    assert run([click(0), click(40 * MINUTE), click(9 * DAY), click(20 * MINUTE)]).alive.sessions.count == 2


def test_activity_older_than_the_kept_sessions_belongs_to_none() -> None:
    """The newest 16 are kept."""
    history = run([click(n * HOUR) for n in range(17)])
    assert history.play(click(20 * MINUTE)).alive.sessions.count == 17
    assert history.play(click(-DAY)).alive.sessions.count == 17
    assert history.play(click(HOUR + 25 * MINUTE), click(HOUR + 50 * MINUTE)).alive.sessions.count == 16


def test_older_events_move_neither_last_seen_nor_the_abandonment_back() -> None:
    history = run([click(HOUR), click(0), click(30 * MINUTE, "product_viewed", "A")])
    profile = history.alive
    assert (profile.first_seen_at, profile.last_seen_at, profile.last_activity_at) == (T0, T0 + HOUR, T0 + HOUR)
    assert profile.sessions.count == 3
    assert profile.product_views == 1
    history.play(until=DAY)
    assert history.abandonment_summary == [("abandoned", "browse", 1, 90 * MINUTE)]


def test_subscribed_is_that_of_the_last_event_by_time() -> None:
    assert run([click(0)]).alive.subscribed is None
    assert run([click(5, "unsubscribed"), click(3, "subscribed")]).alive.subscribed is False
    assert run([click(5, "unsubscribed"), click(5, "subscribed")]).alive.subscribed is True


def test_session_id_is_the_last_one_by_time() -> None:
    history = run([click(5, session_id="s-2"), click(3, session_id="s-1"), click(7), order(8, session_id="s-3")])
    assert history.alive.session_id == "s-2"


# -- duplicates


@pytest.mark.parametrize(("at", "duplicate"), [(-HOUR, 1), (0, 1), (DAY, 1), (DAY + 1, 0)])
def test_copy_of_an_event_within_24_h_is_a_duplicate(at: int, duplicate: int) -> None:
    history = run([click(0, "product_viewed", event_id="e"), click(at, "product_viewed", event_id="e")])
    assert history.duplicates == duplicate
    assert history.alive.product_views == 2 - duplicate


def test_duplicate_window_begins_with_the_applied_copy() -> None:
    copies = [click(n * (DAY - HOUR), event_id="e") for n in range(3)]
    assert run(copies).duplicates == 1


def test_a_duplicate_changes_nothing_and_fires_nothing() -> None:
    history = run([click(0, "product_added", "A", event_id="e")])
    before = pack(history.alive)
    history.play(click(2 * HOUR, "product_added", "A", event_id="e"))
    assert (history.duplicates, pack(history.alive), history.abandonment_summary) == (1, before, [])


def test_reports_of_a_purchase_by_the_browser_and_by_the_server_may_have_one_id() -> None:
    history = run([click(0, "order_completed", event_id="e", order_id="o-1"), order(1, event_id="e")])
    assert (history.duplicates, history.alive.orders) == (0, 1)


def test_events_of_a_page_may_have_one_id() -> None:
    seen = [click(n, "product_viewed", product, event_id="e") for n, product in enumerate("ABA")]
    history = run([*seen, click(3, "page_viewed", event_id="e"), click(4, "product_added", "A", event_id="e")])
    assert (history.duplicates, history.alive.product_views, history.cart) == (1, 2, {"A": 1})


def test_orders_of_two_stores_may_have_one_event_id() -> None:
    sold = [order(0, event_id="e", store="de"), order(1, event_id="e", store="at"), order(2, event_id="e")]
    assert run([*sold, order(3, "o-2", event_id="e"), order(4, event_id="e")]).duplicates == 1


def test_where_the_event_id_is_that_of_the_order_the_time_tells_events_apart() -> None:
    refunds = [order(at, "o-1", "order_refunded", total=1000, event_id="o-1") for at in (1, 2, 2)]
    history = run([order(0, "o-1", event_id="o-1"), *refunds])
    assert (history.duplicates, history.alive.revenue) == (1, 3000)


def test_only_the_newest_event_ids_are_kept_in_order_of_application() -> None:
    history = run([click(n, event_id=f"e-{n}") for n in (3, 1, 2)], policy=Policy(event_ids=2))
    assert history.play(click(4, event_id="e-1"), click(4, event_id="e-2")).duplicates == 2
    assert history.play(click(4, event_id="e-3")).duplicates == 2


def test_an_event_id_applied_again_is_kept_once() -> None:
    events = [click(2 * HOUR, event_id="e-1"), click(0, event_id="e-2"), click(DAY + 1, event_id="e-2")]
    history = run([*events, click(DAY + HOUR, event_id="e-1")], policy=Policy(event_ids=2))
    assert history.duplicates == 1


def test_fingerprints_with_equal_tags_are_distinguished() -> None:
    tags, ids = bytearray(), bytearray()
    note(tags, ids, b"x" * 8, 0, limit=512)
    note(tags, ids, b"x" + b"y" * 7, -5, limit=512)  # of the same tag
    assert find(tags, ids, b"x" * 7 + b"z") == -1
    assert [seen_at(ids, find(tags, ids, known)) for known in (b"x" * 8, b"x" + b"y" * 7)] == [0, -5]
    assert find(tags, ids, bytes(8)) == -1  # as the time of the first one
    assert tags_of(ids) == tags


# -- forgetting


def test_customer_without_orders_is_forgotten_400_days_after_the_last_event() -> None:
    history = run([click(0), click(DAY, "message_opened")], until=401 * DAY - 1)
    assert history.alive.stage == "dormant"
    history.play(until=401 * DAY)
    assert history.profile is None
    last = history.changes[-1]
    assert (last.from_stage, last.to_stage, last.occurred_at, last.sequence) == ("dormant", None, T0 + 401 * DAY, 3)
    assert last.cause == Cause(kind="forgotten", deadline=T0 + 401 * DAY)
    assert last.id == stage_change_id(NAMESPACE, True, "c-1", "lifecycle", 3, None, T0 + 401 * DAY)


def test_anonymous_profile_is_forgotten_after_90_days() -> None:
    history = run([click(0, identified=False)], until=90 * DAY)
    assert history.stages == [("visitor", 0), ("dormant", 30 * DAY), (None, 90 * DAY)]


@pytest.mark.parametrize(
    "events",
    [
        [order(0)],
        [order(0), order(1, type_="order_cancelled")],
        [order(0, type_="order_cancelled"), order(1)],  # completed, although it never counted
    ],
)
def test_customer_with_a_completed_order_is_not_forgotten(events: list[Event]) -> None:
    history = run(events, until=2000 * DAY)
    assert history.profile is not None
    assert history.alive.next_deadline is None


def test_customer_with_only_a_cancellation_is_forgotten() -> None:
    assert run([order(0, type_="order_cancelled")], until=400 * DAY).profile is None


def test_event_after_forgetting_starts_a_fresh_profile() -> None:
    history = run([click(0, "product_added", "A", event_id="e"), click(400 * DAY, event_id="e")])
    assert history.stages[-2:] == [(None, 400 * DAY), ("visitor", 400 * DAY)]
    assert (history.changes[-1].sequence, history.changes[-1].from_stage) == (1, None)
    assert history.alive.first_seen_at == T0 + 400 * DAY


# -- bounds


def test_a_profile_stays_within_its_bytes() -> None:
    policy = Policy(profile_bytes=8 * 1024)
    history = run([click(0)], policy=policy)
    largest = 0
    for n in range(400):
        name = f"{n:0250}"
        history.play(
            click(n * SECOND, "product_added", name, category="x" * 900),
            click(n * SECOND, "product_viewed", name, category="x" * 900),
            click(n * SECOND, "cart_viewed", items=(item(name), item(f"{n}"))),
            order(n * SECOND, name, "order_refunded"),
            order(n * SECOND, name, items=(item("Z"),)),
        )
        largest = max(largest, len(pack(history.alive)))
    assert 4 * 1024 < largest <= policy.profile_bytes
    assert history.counts["trimmed", "orders"] > 0
    assert history.alive.orders == 0
    assert list(history.alive.order_book)[-1] == f"{399:0250}"


def test_trimming_does_not_depend_on_when_the_profile_is_packed() -> None:
    policy = Policy(profile_bytes=8 * 1024)
    once, packed = run([click(0)], policy=policy), run([click(0)], policy=policy)
    for n in range(200):
        event = click(n * SECOND, "product_added", f"{n:0200}", event_id=f"e-{n}")
        once.play(event)
        packed.play(event)
        packed.profile = unpack(pack(packed.alive))
        assert packed.alive.cart == once.alive.cart
    assert once.counts == packed.counts
    assert once.counts["trimmed", "cart_lines"] > 0


def test_deadline_of_another_policy_fires_nothing() -> None:
    """Profiles outlive the numbers that they were packed under."""
    history = run([click(0, "product_added", "A")])
    due = history.alive.next_deadline
    history.lifecycle = Lifecycle(default_playbook(policy=Policy(cart_window=2 * HOUR)))
    before = len(history.outputs)
    history.lifecycle.fire(history.alive, history.outputs, history.counts)
    assert history.outputs[before:] == []
    assert (due, history.alive.next_deadline) == (T0 + HOUR, T0 + 2 * HOUR)


def test_a_playbook_without_abandonment_keeps_the_cart_when_a_stage_changes() -> None:
    """The deadline of `dormant` has the time at which the cart would expire."""
    history = CustomerHistory(Policy())
    history.lifecycle = Lifecycle(default_playbook(abandonment=False))
    history.play(click(0, "product_added", "A"), until=30 * DAY)
    assert history.stages[-1] == ("dormant", 30 * DAY)
    assert history.cart == {"A": 1}


def test_a_playbook_without_deadlines_schedules_none() -> None:
    never = Policy(forget_identified=None, forget_unidentified=None)
    track = Track("lifecycle", "visitor", ())
    history = CustomerHistory(never)
    history.lifecycle = Lifecycle(default_playbook(policy=never, tracks=(track,), abandonment=False))
    assert history.play(click(0, "product_added", "A")).alive.next_deadline is None


def test_a_large_order_costs_a_profile_neither_its_orders_nor_its_event_ids() -> None:
    bought = tuple(item(f"product-{n}-{'x' * 100}") for n in range(700))
    history = run([*(order(n, f"o-{n}") for n in range(50)), order(60_000, "large", items=bought, size=100_000)])
    assert len(history.alive.order_book) == 51
    assert history.alive.orders == 51
    assert packed_size(history.alive) < Policy().profile_bytes


def test_trimming_does_not_depend_on_the_offsets_of_the_events() -> None:
    tight = Policy(profile_bytes=1200)

    def trimmed(first: int) -> tuple[EngineCounters, int]:
        history = run(
            [click(n, "product_viewed", f"p{n}", event_id=str(n), size=5_000) for n in range(40)], policy=tight
        )
        history.alive.applied, history.alive.commit = [first, first], first
        history.play(click(100, "product_viewed", "p", event_id="last", size=5_000))
        return history.counts, len(history.alive.event_ids)

    assert trimmed(0) == trimmed(10**10)
    assert trimmed(0)[0]["trimmed", "event_ids"] > 0


def test_the_times_of_recent_abandonments_are_bounded() -> None:
    history = run([click(0, "product_added", "A")])
    for n in range(1, 600):
        history.play(click(HOUR + n, "message_opened"), click(n))
    assert len(history.alive.recent_steps) <= 512
    assert len(history.abandonments) > 1000


def test_hundreds_of_items_are_trimmed_at_once() -> None:
    items = tuple(item(f"p{n}") for n in range(4000))
    history = run([click(0), *(click(9000 - n, "cart_viewed", items=items) for n in range(6))])
    assert len(history.cart) == 200
    assert history.counts["trimmed", "cart_lines"] >= 3800


def test_an_addition_from_before_an_order_that_left_a_full_log_stays_out() -> None:
    bought = order(2000, items=(item("A"),))
    history = run([bought, *(click(2001 + n, "product_added", "B") for n in range(101))])
    history.play(click(1000, "product_added", "A"))
    assert history.cart == {"B": 101}
