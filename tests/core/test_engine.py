"""The engine with a driven clock: merging, watermark, deadlines, output filter, crashes at every step of a commit."""

from __future__ import annotations

import pytest

from streams.core.model.currencies import PIECE, PRICE_UNIT
from streams.core.model.outputs import Abandonment, EmissionPolicy, StageChange
from streams.core.model.policy import DAY, HOUR, MINUTE, SECOND
from streams.core.model.sources import Fetch, rank_of
from streams.core.profile.codec import unpack
from tests.core.engine_helpers import CLICKS, NOON, ORDERS, TAIL, abandonments, click, order, stages
from tests.support.single_partition import SinglePartitionHarness, without_repeats


@pytest.fixture(autouse=True, params=["memory", "disk"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test with cold profiles and timers in memory and on disk."""
    monkeypatch.setattr(SinglePartitionHarness, "on_disk", request.param == "disk")


# -- merging


def test_an_order_further_down_a_backlog_prevents_the_abandonment() -> None:
    """Five hours of backlog: the clicks are read first, the order lies behind other orders."""
    harness = SinglePartitionHarness(NOON)
    at = NOON - 5 * HOUR
    harness.append(click(at, "product_added"), click(at + 4 * HOUR, "page_viewed"))
    harness.append(*(order(at - HOUR + n, f"o{n}", f"other{n}") for n in range(10)), order(at + 10 * MINUTE))
    harness.fetch(CLICKS)
    assert harness.received == []  # the orders of that time are not known yet
    for _ in range(11):
        harness.fetch(ORDERS, most=1)
    harness.fetch()
    harness.commit()
    assert abandonments(harness.received) == []


def test_event_newer_than_a_source_that_is_behind_is_not_applied() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.append(order(NOON - HOUR, "a", "x"), order(NOON - HOUR + 1, "b", "x"))
    harness.append(
        click(NOON - HOUR - 1, customer="early"), click(NOON - HOUR, customer="same"), click(NOON - HOUR + 1)
    )
    harness.fetch(CLICKS)
    harness.fetch(ORDERS, most=1)  # progress of orders: NOON - HOUR, and one more is there
    assert [o.customer for o in harness.received] == ["early", "same", "x", "x"]
    assert harness.engine.positions() == {CLICKS: 2, ORDERS: 1}
    assert harness.engine.buffered_bytes(CLICKS) == 200
    harness.fetch(ORDERS)
    assert harness.engine.positions() == {CLICKS: 3, ORDERS: 2}
    assert harness.engine.buffered_bytes(CLICKS) == 0


def test_at_equal_times_the_clickstream_goes_first_then_the_offset() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.append(
        order(NOON, customer="o1"), order(NOON, customer="o2"), click(NOON, customer="c1"), click(NOON, customer="c2")
    )
    harness.engine.ingest(ORDERS, harness.logs[ORDERS], 2, NOON)
    harness._take(harness.engine.ingest(CLICKS, harness.logs[CLICKS], 2, NOON))
    harness.fetch()
    assert list(dict.fromkeys(o.customer for o in harness.received)) == ["c1", "c2", "o1", "o2"]


def test_live_click_is_applied_at_once_while_orders_are_known_to_be_caught_up() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.fetch()
    harness.pass_time(2 * SECOND)
    harness.append(click(harness.now))
    harness.fetch(CLICKS)
    assert stages(harness.received) == ["visitor"]


# -- silence, and what is none


def abandoned_at(harness: SinglePartitionHarness, deadline: int) -> bool:
    return any(isinstance(o, Abandonment) and o.occurred_at == deadline for o in harness.received)


def test_a_quiet_partition_fires_within_seconds_of_the_deadline() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(click(NOON))
    harness.now = NOON + 30 * MINUTE + TAIL - 1
    harness.fetch()
    harness.commit()
    assert not abandoned_at(harness, NOON + 30 * MINUTE)
    harness.pass_time(1)
    harness.fetch()
    harness.commit()
    assert abandoned_at(harness, NOON + 30 * MINUTE)
    assert harness.deadlines == [NOON + 30 * MINUTE]


def test_an_unreachable_leader_invents_no_silence() -> None:
    """The orders cannot be read for an hour; in it the customer buys. No abandonment, then or later."""
    harness = SinglePartitionHarness(NOON)
    harness.run(click(NOON, "product_added"))
    harness.pass_time(10 * MINUTE)
    harness.append(order(harness.now))
    for _ in range(60):
        harness.pass_time(MINUTE)
        harness.fetch(CLICKS)
    assert harness.engine.watermark_blocked_by() == (rank_of(ORDERS), None)
    harness.append(
        click(harness.now, "page_viewed")
    )  # deadlines fire before events of their customer, so this event waits as well
    harness.fetch(CLICKS)
    assert harness.engine.positions()[CLICKS] == 1
    harness.fetch()
    harness.commit()
    assert abandonments(harness.received) == []
    assert stages(harness.received) == ["visitor", "prospect", "customer"]


def test_a_process_that_was_stopped_for_hours_invents_no_silence() -> None:
    """SIGSTOP, three hours, SIGCONT: the response to a fetch from before is processed only then."""
    harness = SinglePartitionHarness(NOON)
    harness.run(click(NOON, "product_added"))
    before = harness.now
    harness.append(order(NOON + MINUTE))
    harness.pass_time(3 * HOUR)
    harness._take(harness.engine.advance(harness.now, {CLICKS: Fetch(before, 1), ORDERS: Fetch(before, 0)}))
    harness.tick()
    harness.commit()
    assert harness.engine.watermark == before - TAIL
    harness.fetch()
    harness.commit()
    assert abandonments(harness.received) == []


def test_backfill_whose_producer_pauses_is_not_caught_up() -> None:
    harness = SinglePartitionHarness(NOON)
    old = NOON - 30 * DAY
    harness.append(click(old, "product_added"), order(old - DAY, customer="other"))
    harness.fetch()
    harness.pass_time(9 * MINUTE)
    harness.fetch()
    assert abandonments(harness.received) == []
    harness.append(order(old + MINUTE))  # the producer goes on
    harness.fetch()
    harness.pass_time(10 * MINUTE)
    harness.fetch()
    harness.commit()
    assert abandonments(harness.received) == []
    assert "customer" in stages(harness.received)
    assert harness.engine.watermark == harness.now - TAIL  # now it counts


def test_a_restart_without_any_new_input_fires_all_pending_deadlines_of_all_customers() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(*(click(NOON + n, customer=f"c{n:03}") for n in range(200)))
    assert abandonments(harness.received) == []
    harness.restart()
    harness.now = NOON + 2 * HOUR
    harness.fetch()
    harness.commit()
    assert [o.customer for o in harness.received if isinstance(o, Abandonment)] == [f"c{n:03}" for n in range(200)]


def test_after_a_restart_without_a_fetch_nothing_fires() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(click(NOON))
    harness.restart()
    harness.now = NOON + 2 * HOUR
    harness.tick()
    harness.commit()
    assert abandonments(harness.received) == []


def test_the_watermark_never_goes_back_also_not_over_a_restart() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(click(NOON), until=NOON + HOUR)
    before = harness.engine.watermark
    assert before == NOON + HOUR
    harness.append(click(NOON + HOUR + 1, "page_viewed"))
    harness.fetch()
    harness.commit()
    harness.restart()
    harness.now = NOON  # a clock set back
    harness.tick()
    assert harness.engine.watermark == before


# -- crashes


@pytest.mark.parametrize("step", ["snapshot", "changelog", "disk", "outputs"])
def test_a_crash_between_firing_and_commit_loses_and_changes_nothing(step: str) -> None:
    expected = SinglePartitionHarness(NOON)
    expected.run(click(NOON, "product_added"), until=NOON + 30 * HOUR)
    harness = SinglePartitionHarness(NOON)
    harness.run(click(NOON, "product_added"))
    harness.now = NOON + 30 * HOUR + TAIL
    harness.fetch()
    harness.commit(crash_after=step)
    harness.restart()
    harness.fetch()
    harness.commit()
    assert without_repeats(harness.received) == without_repeats(expected.received)
    assert dict(harness.engine.state.items()) != {}
    assert [p.sequence for _, p in harness.engine.state.items()] == [
        p.sequence for _, p in expected.engine.state.items()
    ]


@pytest.mark.parametrize("step", ["snapshot", "changelog", "disk", "outputs"])
def test_records_read_again_after_a_crash_are_not_applied_again(step: str) -> None:
    harness = SinglePartitionHarness(NOON)
    harness.append(click(NOON - 3), click(NOON - 2), click(NOON - 1), order(NOON))
    harness.fetch()
    harness.commit(crash_after=step)
    harness.restart()
    harness.fetch()
    harness.commit()
    profile = next(profile for _, profile in harness.engine.state.items())
    assert (profile.product_views, profile.orders) == (3, 1)
    assert stages(without_repeats(harness.received)) == ["visitor", "prospect", "customer"]
    assert harness.counts["replayed", "clickstream"] == (0 if step == "snapshot" else 3)


@pytest.mark.parametrize("step", ["snapshot", "changelog", "disk", "outputs"])
def test_a_profile_forgotten_in_the_crash_stays_forgotten(step: str) -> None:
    harness = SinglePartitionHarness(NOON)
    harness.append(click(NOON))
    harness.now = NOON + 500 * DAY
    harness.fetch()
    harness.commit(crash_after=step)
    harness.restart()
    harness.fetch()
    harness.commit()
    outputs = without_repeats(harness.received)
    assert stages(outputs) == ["visitor", "dormant", None]
    assert list(harness.engine.state.items()) == []
    harness.commit()
    assert harness.changelog[-1][1] is None  # the tombstone, once its last output is safe
    assert len(harness.engine.state) == 0
    harness.restart()
    assert len(harness.engine.state) == 0


def test_older_record_of_a_stale_owner_is_ignored_and_the_newer_one_written_again() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(click(NOON))
    stale = harness.changelog[-1]
    harness.run(click(NOON + 1), click(NOON + 2))
    harness.changelog.append(stale)
    harness.restart()
    assert [p.product_views for _, p in harness.engine.state.items()] == [3]
    harness.commit()
    key, value = harness.changelog[-1]
    assert key == stale[0]
    assert value is not None
    assert unpack(value).product_views == 3  # a worker that reads from here on recovers it as well


# -- what is emitted


def test_outputs_of_a_deadline_wait_for_the_commit_and_keep_their_customers_order() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(click(NOON - 30 * MINUTE))
    before = len(harness.received)
    harness.append(order(NOON))
    harness.fetch()
    assert harness.received[before:] == []  # the abandonment comes before the order's outputs, and it waits
    harness.commit()
    made = harness.received[before:]
    assert [type(o).__name__ for o in made] == ["Abandonment", "Abandonment", "StageChange"]
    assert abandonments(made) == [("abandoned", 1), ("recovered", 1)]


def test_emit_after_withholds_what_occurred_before_and_what_follows_from_it() -> None:
    harness = SinglePartitionHarness(NOON, emission=EmissionPolicy(emit_after=NOON))
    harness.run(click(NOON - HOUR - 1, "product_added"), until=NOON + 2 * DAY)  # step 1 at 11:59:59.999
    assert harness.received == []
    assert harness.counts["outputs_withheld", "stage_changed/before_emit_after"] == 2
    assert harness.counts["outputs_withheld", "abandoned/before_emit_after"] == 1
    assert harness.counts["outputs_withheld", "abandoned/follows_withheld"] == 1  # step 2, a day later
    outputs = harness.run(order(NOON + 2 * DAY + 1))
    assert abandonments(outputs) == []
    assert harness.counts["outputs_withheld", "recovered/follows_withheld"] == 1
    assert stages(outputs) == ["customer"]


def test_output_at_emit_after_is_sent_whatever_was_withheld_before() -> None:
    harness = SinglePartitionHarness(NOON, emission=EmissionPolicy(emit_after=NOON))
    outputs = harness.run(click(NOON - HOUR, "product_added"), until=NOON + DAY)
    assert abandonments(outputs) == [("abandoned", 1), ("abandoned", 2)]
    assert stages(outputs) == []


def test_an_abandonment_that_comes_too_late_is_withheld_and_state_advances_all_the_same() -> None:
    harness = SinglePartitionHarness(NOON, emission=EmissionPolicy(max_delay=6 * HOUR))
    harness.run(click(NOON, "product_added"))
    harness.now = NOON + HOUR + 6 * HOUR + 1
    harness.fetch()
    harness.commit()
    assert abandonments(harness.received) == []
    assert harness.counts["outputs_withheld", "abandoned/delayed"] == 1
    assert [p.latest is not None and p.latest.step for _, p in harness.engine.state.items()] == [1]
    outputs = harness.run(order(harness.now))
    assert harness.counts["outputs_withheld", "recovered/follows_withheld"] == 1
    assert stages(outputs) == ["customer"]  # a stage is never too late


def test_an_abandonment_that_comes_in_time_is_emitted_and_so_is_its_retraction_however_late() -> None:
    harness = SinglePartitionHarness(NOON, emission=EmissionPolicy(max_delay=6 * HOUR))
    harness.run(click(NOON, "product_added"))
    harness.now = NOON + HOUR + 6 * HOUR
    harness.fetch()
    harness.commit()
    assert abandonments(harness.received) == [("abandoned", 1)]
    harness.now = NOON + 20 * HOUR
    assert abandonments(harness.run(order(NOON + 1))) == [("retracted", 1)]


def test_topic_silent_beyond_its_limit_blocks_the_watermark_and_abandonments() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(click(NOON, "product_added"), click(NOON, "product_added", "other"))
    harness.now = NOON + 2 * HOUR
    fetches = {CLICKS: Fetch(harness.now, 2), ORDERS: Fetch(harness.now, 0)}
    harness._take(harness.engine.advance(harness.now, fetches, silent=frozenset({ORDERS})))
    harness.commit()
    assert abandonments(harness.received) == []
    harness.append(click(harness.now, "page_viewed"))  # clicks go on; this customer's own deadline fires before it
    harness._take(harness.engine.ingest(CLICKS, harness.logs[CLICKS][2:], 3, harness.now))
    harness.commit()
    assert harness.counts["applied", "clickstream"] == 3
    assert abandonments(harness.received) == []
    assert harness.counts["outputs_withheld", "abandoned/source_silent"] == 1
    harness.append(order(NOON + MINUTE, customer="other"))  # the feed is back, with its delayed records
    harness.fetch()
    harness.commit()
    assert abandonments(harness.received) == []


def test_untrusted_clock_lets_events_through_and_fires_no_deadline() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(click(NOON, "product_added"))
    ahead = NOON + 5 * HOUR  # the clock was set ahead
    harness.append(click(NOON + MINUTE, "page_viewed"))
    fetches = {CLICKS: Fetch(ahead, 2), ORDERS: Fetch(ahead, 0)}
    harness._take(harness.engine.ingest(CLICKS, harness.logs[CLICKS][1:], 2, ahead))
    harness._take(harness.engine.advance(ahead, fetches, clock_trusted=False))
    assert harness.engine.positions()[CLICKS] == 2
    assert harness.deadlines == []
    harness.now = NOON + 2 * MINUTE  # set right: progress measured by the wrong clock is discarded
    harness.tick()
    assert harness.engine.watermark == NOON - TAIL
    harness.fetch()
    harness.commit()
    assert harness.engine.watermark == harness.now - TAIL
    assert abandonments(harness.received) == []


# -- the tallies


def test_every_event_is_counted_once() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(click(NOON), click(NOON), click(NOON - 1), until=NOON + HOUR)
    harness.run(click(NOON + 1))
    assert harness.counts["applied", "clickstream"] == 3
    assert harness.counts["duplicate", "clickstream"] == 1
    assert harness.counts["out_of_order", "clickstream"] == 1
    assert harness.counts["late", "clickstream"] == 1


def test_a_duplicate_fires_no_deadline() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(click(NOON - 30 * MINUTE))
    copy = click(NOON - 30 * MINUTE)
    copy.at = NOON + MINUTE
    harness.append(copy)
    harness.fetch(CLICKS)
    harness.commit()
    assert harness.counts["duplicate", "clickstream"] == 1
    assert harness.engine.watermark == NOON - TAIL
    assert abandonments(harness.received) == []


def test_population_follows_the_stages() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(click(NOON, customer="a"), click(NOON, customer="b"), order(NOON + 1, customer="b"))
    assert harness.engine.state.population == {"visitor": 1, "customer": 1}
    harness.restart()
    assert harness.engine.state.population == {"visitor": 1, "customer": 1}
    harness.run(until=NOON + 500 * DAY)
    assert harness.engine.state.population == {"lapsed": 1}


def test_the_same_id_known_and_anonymous_are_two_customers() -> None:
    harness = SinglePartitionHarness(NOON)
    anonymous = click(NOON, customer="x")
    anonymous.identified = False
    outputs = harness.run(click(NOON, customer="x", type="page_viewed"), anonymous)
    assert [(o.identified, o.customer) for o in outputs] == [(True, "x"), (False, "x")]
    assert len({o.id for o in outputs}) == 2


# -- what a review found


@pytest.mark.parametrize("restarted", [False, True])
def test_a_restart_in_a_catch_up_invents_no_abandonment(restarted: bool) -> None:
    """The stored progress is not ahead of records that wait to be applied."""
    start = NOON - 5 * HOUR
    harness = SinglePartitionHarness(NOON)
    harness.append(click(start, customer="x"), click(start + MINUTE, "product_added"), click(NOON - HOUR, customer="x"))
    harness.append(order(start, "x", "x"), order(start + 30 * MINUTE), order(NOON - HOUR, "y", "x"))
    harness.fetch(ORDERS)
    harness.fetch(CLICKS, most=1)
    harness.commit()
    if restarted:
        harness.restart()
        harness.fetch(CLICKS)
        harness.fetch(ORDERS)
    harness.fetch()
    harness.commit()
    mine = [output for output in without_repeats(harness.received) if output.customer == "c"]
    assert abandonments(mine) == []
    assert stages(mine) == ["visitor", "prospect", "customer"]


def test_events_of_equal_times_across_batches_keep_their_order() -> None:
    """The clickstream has shown this millisecond, and may have more events of it."""
    harness = SinglePartitionHarness(NOON)
    harness.append(click(NOON, customer="other"), click(NOON, "product_added"), order(NOON))
    harness.append(click(NOON + 1, customer="other"), order(NOON + 1, "o2", "other"))
    harness.fetch(ORDERS)
    harness.fetch(CLICKS, most=1)
    harness.fetch()
    mine = [output for output in harness.received if output.customer == "c"]
    assert stages(mine) == ["visitor", "prospect", "customer"]


@pytest.mark.parametrize("step", ["snapshot", "changelog", "disk", "outputs"])
def test_events_of_a_forgotten_profile_that_are_read_again_make_no_new_one(step: str) -> None:
    """The next commit or the reading may come first after the crash."""
    anonymous = [click(NOON, customer="a"), click(NOON + DAY, customer="a", type="page_viewed")]
    for event in anonymous:
        event.identified = False
    harness = SinglePartitionHarness(NOON + 1_000)
    harness.run(anonymous[0])
    harness.now = NOON + 121 * DAY
    harness.append(anonymous[1], click(NOON + 120 * DAY, customer="o"), order(NOON + 120 * DAY, "z", "o"))
    harness.fetch()
    harness.commit(crash_after=step)
    harness.restart()
    harness.commit()
    harness.fetch()
    harness.commit()
    changes = [o for o in without_repeats(harness.received) if isinstance(o, StageChange) and o.customer == "a"]
    assert [(c.to_stage, c.sequence) for c in changes] == [("visitor", 1), ("dormant", 2), (None, 3)]
    harness.commit()
    assert all(not key.startswith(b"a") for key in harness.engine.state)


def test_a_duplicate_that_is_read_again_after_its_customer_was_forgotten_stays_one() -> None:
    harness = SinglePartitionHarness(NOON)
    copy = click(NOON + 1, type="page_viewed")
    first = click(NOON)
    copy.event_id = first.event_id
    harness.run(order(NOON, "x", "o"))
    harness.now = NOON + 500 * DAY
    harness.append(first, copy, click(NOON + 450 * DAY, customer="o"), order(NOON + 450 * DAY, "y", "o"))
    harness.fetch()
    harness.commit(crash_after="changelog")
    harness.restart()
    harness.fetch()
    harness.commit()
    changes = [o for o in without_repeats(harness.received) if isinstance(o, StageChange) and o.customer == "c"]
    assert [(c.to_stage, c.sequence) for c in changes] == [("visitor", 1), ("dormant", 2), (None, 3)]


def test_tombstone_of_a_stale_owner_does_not_delete_a_customer_who_came_back() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(click(NOON), until=NOON + 500 * DAY)
    harness.run(click(NOON + 500 * DAY + TAIL, "page_viewed"))  # the same id, another life
    harness.changelog.append((harness.changelog[-1][0], None))
    harness.restart()
    assert harness.engine.state.population == {"visitor": 1}
    harness.commit()
    assert harness.changelog[-1][1] is not None
    harness.restart()
    assert harness.engine.state.population == {"visitor": 1}


def test_forgotten_profile_rewritten_over_a_stale_owners_record_is_deleted_in_the_end() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(click(NOON))
    stale = harness.changelog[-1]
    harness.run(until=NOON + 500 * DAY)
    harness.changelog.append(stale)
    harness.restart()
    assert harness.engine.state.population == {}
    harness.commit()
    harness.commit()
    assert harness.changelog[-1] == (stale[0], None)
    harness.restart()
    assert len(harness.engine.state) == 0


def test_no_amount_is_too_large_for_a_commit() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(
        click(NOON, "product_added", price=(10**15 - 1) * PRICE_UNIT, quantity=10**6 * PIECE), until=NOON + 2 * HOUR
    )
    abandoned = next(o for o in harness.received if isinstance(o, Abandonment))
    assert (abandoned.value, abandoned.currency) == (None, "EUR")
    assert len(harness.changelog) >= 1
