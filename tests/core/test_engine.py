"""The engine with a driven clock: merging, watermark, deadlines, what is emitted, crashes at every step of a commit."""

from __future__ import annotations

import pytest

from streams.core.activity import Activity, Source
from streams.core.effects import Abandonment, Emission, Output, StageChange
from streams.core.packing import unpack
from streams.core.policy import DAY, HOUR, MINUTE, SECOND
from streams.core.sources import Fetch
from tests.driver import Driver, once

NOON = 1_763_719_200_000
CLICKS, ORDERS = Source.CLICKSTREAM, Source.ORDERS
TAIL = 15 * SECOND
"""How far behind the present the watermark of drained sources is: delay and lateness."""


def click(at: int, type: str = "product_viewed", customer: str = "c", **fields: object) -> Activity:
    fields = {"product_id": "p"} | fields
    return Activity(
        source=CLICKS, offset=-1, timestamp=0, size=200, at=at, customer=customer, identified=True,
        event_id=f"{customer}{at}{type}", type=type, currency="EUR", **fields,  # type: ignore[arg-type]
    )  # fmt: skip


def order(at: int, order_id: str = "o", customer: str = "c", type: str = "order_completed") -> Activity:
    return Activity(
        source=ORDERS, offset=-1, timestamp=0, size=200, at=at, customer=customer, identified=True,
        event_id=f"{customer}{at}{order_id}{type}", type=type, currency="EUR", order_id=order_id, total=1000,
    )  # fmt: skip


def stages(outputs: list[Output]) -> list[str | None]:
    return [output.to_stage for output in outputs if isinstance(output, StageChange)]


def abandonments(outputs: list[Output]) -> list[tuple[str, int]]:
    return [(output.type, output.step) for output in outputs if isinstance(output, Abandonment)]


@pytest.fixture(autouse=True, params=["memory", "disk"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes no difference where cold profiles and timers are."""
    monkeypatch.setattr(Driver, "on_disk", request.param == "disk")


# -- merging


def test_an_order_further_down_a_backlog_prevents_the_abandonment() -> None:
    """Five hours of backlog: the clicks are read first, the order lies behind other orders."""
    driver = Driver(NOON)
    at = NOON - 5 * HOUR
    driver.put(click(at, "product_added"), click(at + 4 * HOUR, "page_viewed"))
    driver.put(*(order(at - HOUR + n, f"o{n}", f"other{n}") for n in range(10)), order(at + 10 * MINUTE))
    driver.fetch(CLICKS)
    assert driver.received == []  # what the orders of the time say is not known yet
    for _ in range(11):
        driver.fetch(ORDERS, most=1)
    driver.fetch()
    driver.commit()
    assert abandonments(driver.received) == []


def test_nothing_newer_than_a_source_that_is_behind_is_applied() -> None:
    driver = Driver(NOON)
    driver.put(order(NOON - HOUR, "a", "x"), order(NOON - HOUR + 1, "b", "x"))
    driver.put(click(NOON - HOUR - 1, customer="early"), click(NOON - HOUR, customer="same"), click(NOON - HOUR + 1))
    driver.fetch(CLICKS)
    driver.fetch(ORDERS, most=1)  # progress of orders: NOON - HOUR, and one more is there
    assert [o.customer for o in driver.received] == ["early", "same", "x", "x"]
    assert driver.engine.positions() == {CLICKS: 2, ORDERS: 1}
    assert driver.engine.buffered_bytes(CLICKS) == 200
    driver.fetch(ORDERS)
    assert driver.engine.positions() == {CLICKS: 3, ORDERS: 2}
    assert driver.engine.buffered_bytes(CLICKS) == 0


def test_at_equal_times_the_clickstream_goes_first_then_the_offset() -> None:
    driver = Driver(NOON)
    driver.put(
        order(NOON, customer="o1"), order(NOON, customer="o2"), click(NOON, customer="c1"), click(NOON, customer="c2")
    )
    driver.engine.apply(ORDERS, driver.logs[ORDERS], 2, NOON)
    driver._take(driver.engine.apply(CLICKS, driver.logs[CLICKS], 2, NOON))
    driver.fetch()
    assert list(dict.fromkeys(o.customer for o in driver.received)) == ["c1", "c2", "o1", "o2"]


def test_live_a_click_is_applied_at_once_while_the_orders_are_known_to_be_drained() -> None:
    driver = Driver(NOON)
    driver.fetch()
    driver.pass_time(2 * SECOND)
    driver.put(click(driver.now))
    driver.fetch(CLICKS)
    assert stages(driver.received) == ["visitor"]


# -- silence, and what is none


def abandoned_at(driver: Driver, deadline: int) -> bool:
    return any(isinstance(o, Abandonment) and o.occurred_at == deadline for o in driver.received)


def test_a_quiet_partition_fires_within_seconds_of_the_deadline() -> None:
    driver = Driver(NOON)
    driver.run(click(NOON))
    driver.now = NOON + 30 * MINUTE + TAIL - 1
    driver.fetch()
    driver.commit()
    assert not abandoned_at(driver, NOON + 30 * MINUTE)
    driver.pass_time(1)
    driver.fetch()
    driver.commit()
    assert abandoned_at(driver, NOON + 30 * MINUTE)
    assert driver.deadlines == [NOON + 30 * MINUTE]


def test_an_unreachable_leader_invents_no_silence() -> None:
    """The orders cannot be read for an hour; in it the customer buys. No abandonment, then or later."""
    driver = Driver(NOON)
    driver.run(click(NOON, "product_added"))
    driver.pass_time(10 * MINUTE)
    driver.put(order(driver.now))
    for _ in range(60):
        driver.pass_time(MINUTE)
        driver.fetch(CLICKS)
    assert driver.engine.held_by() == (ORDERS, None)
    driver.put(click(driver.now, "page_viewed"))  # own deadlines fire before own events: so this one waits as well
    driver.fetch(CLICKS)
    assert driver.engine.positions()[CLICKS] == 1
    driver.fetch()
    driver.commit()
    assert abandonments(driver.received) == []
    assert stages(driver.received) == ["visitor", "prospect", "customer"]


def test_a_process_that_was_stopped_for_hours_invents_no_silence() -> None:
    """SIGSTOP, three hours, SIGCONT: the response to a fetch of before is seen only now."""
    driver = Driver(NOON)
    driver.run(click(NOON, "product_added"))
    before = driver.now
    driver.put(order(NOON + MINUTE))
    driver.pass_time(3 * HOUR)
    driver._take(driver.engine.advance(driver.now, {CLICKS: Fetch(before, 1), ORDERS: Fetch(before, 0)}))
    driver.tick()
    driver.commit()
    assert driver.engine.watermark == before - TAIL
    driver.fetch()
    driver.commit()
    assert abandonments(driver.received) == []


def test_a_backfill_whose_producer_pauses_is_not_drained() -> None:
    driver = Driver(NOON)
    old = NOON - 30 * DAY
    driver.put(click(old, "product_added"), order(old - DAY, customer="other"))
    driver.fetch()
    driver.pass_time(9 * MINUTE)
    driver.fetch()
    assert abandonments(driver.received) == []
    driver.put(order(old + MINUTE))  # the producer goes on
    driver.fetch()
    driver.pass_time(10 * MINUTE)
    driver.fetch()
    driver.commit()
    assert abandonments(driver.received) == []
    assert "customer" in stages(driver.received)
    assert driver.engine.watermark == driver.now - TAIL  # now it counts


def test_a_restart_without_any_new_input_fires_all_pending_deadlines_of_all_customers() -> None:
    driver = Driver(NOON)
    driver.run(*(click(NOON + n, customer=f"c{n:03}") for n in range(200)))
    assert abandonments(driver.received) == []
    driver.restart()
    driver.now = NOON + 2 * HOUR
    driver.fetch()
    driver.commit()
    assert [o.customer for o in driver.received if isinstance(o, Abandonment)] == [f"c{n:03}" for n in range(200)]


def test_after_a_restart_without_a_fetch_nothing_fires() -> None:
    driver = Driver(NOON)
    driver.run(click(NOON))
    driver.restart()
    driver.now = NOON + 2 * HOUR
    driver.tick()
    driver.commit()
    assert abandonments(driver.received) == []


def test_the_watermark_never_goes_back_also_not_over_a_restart() -> None:
    driver = Driver(NOON)
    driver.run(click(NOON), until=NOON + HOUR)
    before = driver.engine.watermark
    assert before == NOON + HOUR
    driver.put(click(NOON + HOUR + 1, "page_viewed"))
    driver.fetch()
    driver.commit()
    driver.restart()
    driver.now = NOON  # a clock set back
    driver.tick()
    assert driver.engine.watermark == before


# -- crashes


@pytest.mark.parametrize("step", ["snapshot", "changelog", "disk", "outputs"])
def test_a_crash_between_firing_and_commit_loses_and_changes_nothing(step: str) -> None:
    expected = Driver(NOON)
    expected.run(click(NOON, "product_added"), until=NOON + 30 * HOUR)
    driver = Driver(NOON)
    driver.run(click(NOON, "product_added"))
    driver.now = NOON + 30 * HOUR + TAIL
    driver.fetch()
    driver.commit(crash_after=step)
    driver.restart()
    driver.fetch()
    driver.commit()
    assert once(driver.received) == once(expected.received)
    assert dict(driver.engine.state.items()) != {}
    assert [p.sequence for _, p in driver.engine.state.items()] == [
        p.sequence for _, p in expected.engine.state.items()
    ]


@pytest.mark.parametrize("step", ["snapshot", "changelog", "disk", "outputs"])
def test_what_is_read_again_after_a_crash_is_not_applied_again(step: str) -> None:
    driver = Driver(NOON)
    driver.put(click(NOON - 3), click(NOON - 2), click(NOON - 1), order(NOON))
    driver.fetch()
    driver.commit(crash_after=step)
    driver.restart()
    driver.fetch()
    driver.commit()
    profile = next(profile for _, profile in driver.engine.state.items())
    assert (profile.product_views, profile.orders) == (3, 1)
    assert stages(once(driver.received)) == ["visitor", "prospect", "customer"]
    assert driver.counts["replayed", "clickstream"] == (0 if step == "snapshot" else 3)


@pytest.mark.parametrize("step", ["snapshot", "changelog", "disk", "outputs"])
def test_a_profile_forgotten_in_the_crash_stays_forgotten(step: str) -> None:
    driver = Driver(NOON)
    driver.put(click(NOON))
    driver.now = NOON + 500 * DAY
    driver.fetch()
    driver.commit(crash_after=step)
    driver.restart()
    driver.fetch()
    driver.commit()
    outputs = once(driver.received)
    assert stages(outputs) == ["visitor", "dormant", None]
    assert list(driver.engine.state.items()) == []
    driver.commit()
    assert driver.changelog[-1][1] is None  # the tombstone, once its last output is safe
    assert len(driver.engine.state) == 0
    driver.restart()
    assert len(driver.engine.state) == 0


def test_a_staler_record_of_a_zombie_is_passed_over_and_the_fresher_one_written_again() -> None:
    driver = Driver(NOON)
    driver.run(click(NOON))
    stale = driver.changelog[-1]
    driver.run(click(NOON + 1), click(NOON + 2))
    driver.changelog.append(stale)
    driver.restart()
    assert [p.product_views for _, p in driver.engine.state.items()] == [3]
    driver.commit()
    key, value = driver.changelog[-1]
    assert key == stale[0]
    assert value is not None
    assert unpack(value).product_views == 3  # so that whoever reads from here on gets it right as well


# -- what is emitted


def test_outputs_of_a_deadline_wait_for_the_commit_and_keep_their_customers_order() -> None:
    driver = Driver(NOON)
    driver.run(click(NOON - 30 * MINUTE))
    before = len(driver.received)
    driver.put(order(NOON))
    driver.fetch()
    assert driver.received[before:] == []  # the abandonment comes before the order's outputs, and it waits
    driver.commit()
    made = driver.received[before:]
    assert [type(o).__name__ for o in made] == ["Abandonment", "Abandonment", "StageChange"]
    assert abandonments(made) == [("abandoned", 1), ("recovered", 1)]


def test_emit_after_withholds_what_occurred_before_and_what_follows_from_it() -> None:
    driver = Driver(NOON, emission=Emission(emit_after=NOON))
    driver.run(click(NOON - HOUR - 1, "product_added"), until=NOON + 2 * DAY)  # step 1 at 11:59:59.999
    assert driver.received == []
    assert driver.counts["withheld", "stage_changed/before_emit_after"] == 2
    assert driver.counts["withheld", "abandoned/before_emit_after"] == 1
    assert driver.counts["withheld", "abandoned/follows_withheld"] == 1  # step 2, a day later
    outputs = driver.run(order(NOON + 2 * DAY + 1))
    assert abandonments(outputs) == []
    assert driver.counts["withheld", "recovered/follows_withheld"] == 1
    assert stages(outputs) == ["customer"]


def test_what_occurs_at_emit_after_is_emitted_whatever_was_withheld_before() -> None:
    driver = Driver(NOON, emission=Emission(emit_after=NOON))
    outputs = driver.run(click(NOON - HOUR, "product_added"), until=NOON + DAY)
    assert abandonments(outputs) == [("abandoned", 1), ("abandoned", 2)]
    assert stages(outputs) == []


def test_an_abandonment_that_comes_too_late_is_withheld_and_state_advances_all_the_same() -> None:
    driver = Driver(NOON, emission=Emission(max_delay=6 * HOUR))
    driver.run(click(NOON, "product_added"))
    driver.now = NOON + HOUR + 6 * HOUR + 1
    driver.fetch()
    driver.commit()
    assert abandonments(driver.received) == []
    assert driver.counts["withheld", "abandoned/delayed"] == 1
    assert [p.latest is not None and p.latest.step for _, p in driver.engine.state.items()] == [1]
    outputs = driver.run(order(driver.now))
    assert driver.counts["withheld", "recovered/follows_withheld"] == 1
    assert stages(outputs) == ["customer"]  # a stage is never too late


def test_an_abandonment_that_comes_in_time_is_emitted_and_so_is_its_retraction_however_late() -> None:
    driver = Driver(NOON, emission=Emission(max_delay=6 * HOUR))
    driver.run(click(NOON, "product_added"))
    driver.now = NOON + HOUR + 6 * HOUR
    driver.fetch()
    driver.commit()
    assert abandonments(driver.received) == [("abandoned", 1)]
    driver.now = NOON + 20 * HOUR
    assert abandonments(driver.run(order(NOON + 1))) == [("retracted", 1)]


def test_while_a_topic_is_silent_beyond_belief_time_is_held_and_abandonments_are_held_back() -> None:
    driver = Driver(NOON)
    driver.run(click(NOON, "product_added"), click(NOON, "product_added", "other"))
    driver.now = NOON + 2 * HOUR
    fetches = {CLICKS: Fetch(driver.now, 2), ORDERS: Fetch(driver.now, 0)}
    driver._take(driver.engine.advance(driver.now, fetches, silent=frozenset({ORDERS})))
    driver.commit()
    assert abandonments(driver.received) == []
    driver.put(click(driver.now, "page_viewed"))  # clicks go on; this customer's own deadline fires before it
    driver._take(driver.engine.apply(CLICKS, driver.logs[CLICKS][2:], 3, driver.now))
    driver.commit()
    assert driver.counts["applied", "clickstream"] == 3
    assert abandonments(driver.received) == []
    assert driver.counts["withheld", "abandoned/source_silent"] == 1
    driver.put(order(NOON + MINUTE, customer="other"))  # the feed is back, with what it owed
    driver.fetch()
    driver.commit()
    assert abandonments(driver.received) == []


def test_with_a_clock_that_cannot_be_trusted_events_go_on_and_no_deadline_fires() -> None:
    driver = Driver(NOON)
    driver.run(click(NOON, "product_added"))
    ahead = NOON + 5 * HOUR  # the clock was set ahead
    driver.put(click(NOON + MINUTE, "page_viewed"))
    fetches = {CLICKS: Fetch(ahead, 2), ORDERS: Fetch(ahead, 0)}
    driver._take(driver.engine.apply(CLICKS, driver.logs[CLICKS][1:], 2, ahead))
    driver._take(driver.engine.advance(ahead, fetches, clock_trusted=False))
    assert driver.engine.positions()[CLICKS] == 2
    assert driver.deadlines == []
    driver.now = NOON + 2 * MINUTE  # set right: what was seen by the wrong clock is forgotten
    driver.tick()
    assert driver.engine.watermark == NOON - TAIL
    driver.fetch()
    driver.commit()
    assert driver.engine.watermark == driver.now - TAIL
    assert abandonments(driver.received) == []


# -- the tallies


def test_every_event_is_tallied_once() -> None:
    driver = Driver(NOON)
    driver.run(click(NOON), click(NOON), click(NOON - 1), until=NOON + HOUR)
    driver.run(click(NOON + 1))
    assert driver.counts["applied", "clickstream"] == 3
    assert driver.counts["duplicate", "clickstream"] == 1
    assert driver.counts["out_of_order", "clickstream"] == 1
    assert driver.counts["late", "clickstream"] == 1


def test_a_duplicate_fires_no_deadline() -> None:
    driver = Driver(NOON)
    driver.run(click(NOON - 30 * MINUTE))
    copy = click(NOON - 30 * MINUTE)
    copy.at = NOON + MINUTE
    driver.put(copy)
    driver.fetch(CLICKS)
    driver.commit()
    assert driver.counts["duplicate", "clickstream"] == 1
    assert driver.engine.watermark == NOON - TAIL
    assert abandonments(driver.received) == []


def test_population_follows_the_stages() -> None:
    driver = Driver(NOON)
    driver.run(click(NOON, customer="a"), click(NOON, customer="b"), order(NOON + 1, customer="b"))
    assert driver.engine.state.population == {"visitor": 1, "customer": 1}
    driver.restart()
    assert driver.engine.state.population == {"visitor": 1, "customer": 1}
    driver.run(until=NOON + 500 * DAY)
    assert driver.engine.state.population == {"lapsed": 1}


def test_the_same_id_known_and_anonymous_are_two_customers() -> None:
    driver = Driver(NOON)
    anonymous = click(NOON, customer="x")
    anonymous.identified = False
    outputs = driver.run(click(NOON, customer="x", type="page_viewed"), anonymous)
    assert [(o.identified, o.customer) for o in outputs] == [(True, "x"), (False, "x")]
    assert len({o.id for o in outputs}) == 2


# -- what a review found


@pytest.mark.parametrize("restarted", [False, True])
def test_a_restart_in_a_catch_up_invents_no_abandonment(restarted: bool) -> None:
    """The progress that is stored does not run ahead of records that wait to be applied."""
    start = NOON - 5 * HOUR
    driver = Driver(NOON)
    driver.put(click(start, customer="x"), click(start + MINUTE, "product_added"), click(NOON - HOUR, customer="x"))
    driver.put(order(start, "x", "x"), order(start + 30 * MINUTE), order(NOON - HOUR, "y", "x"))
    driver.fetch(ORDERS)
    driver.fetch(CLICKS, most=1)
    driver.commit()
    if restarted:
        driver.restart()
        driver.fetch(CLICKS)
        driver.fetch(ORDERS)
    driver.fetch()
    driver.commit()
    mine = [output for output in once(driver.received) if output.customer == "c"]
    assert abandonments(mine) == []
    assert stages(mine) == ["visitor", "prospect", "customer"]


def test_a_tie_at_the_end_of_a_batch_is_no_different() -> None:
    """The clickstream has shown this millisecond, and may have more of it."""
    driver = Driver(NOON)
    driver.put(click(NOON, customer="other"), click(NOON, "product_added"), order(NOON))
    driver.put(click(NOON + 1, customer="other"), order(NOON + 1, "o2", "other"))
    driver.fetch(ORDERS)
    driver.fetch(CLICKS, most=1)
    driver.fetch()
    mine = [output for output in driver.received if output.customer == "c"]
    assert stages(mine) == ["visitor", "prospect", "customer"]


@pytest.mark.parametrize("step", ["snapshot", "changelog", "disk", "outputs"])
def test_events_of_a_forgotten_profile_that_are_read_again_make_no_new_one(step: str) -> None:
    """Whichever comes first after the crash, the next commit or the reading."""
    anonymous = [click(NOON, customer="a"), click(NOON + DAY, customer="a", type="page_viewed")]
    for activity in anonymous:
        activity.identified = False
    driver = Driver(NOON + 1_000)
    driver.run(anonymous[0])
    driver.now = NOON + 121 * DAY
    driver.put(anonymous[1], click(NOON + 120 * DAY, customer="o"), order(NOON + 120 * DAY, "z", "o"))
    driver.fetch()
    driver.commit(crash_after=step)
    driver.restart()
    driver.commit()
    driver.fetch()
    driver.commit()
    changes = [o for o in once(driver.received) if isinstance(o, StageChange) and o.customer == "a"]
    assert [(c.to_stage, c.sequence) for c in changes] == [("visitor", 1), ("dormant", 2), (None, 3)]
    driver.commit()
    assert all(not key.startswith(b"a") for key in driver.engine.state)


def test_a_duplicate_that_is_read_again_after_its_customer_was_forgotten_stays_one() -> None:
    driver = Driver(NOON)
    copy = click(NOON + 1, type="page_viewed")
    first = click(NOON)
    copy.event_id = first.event_id
    driver.run(order(NOON, "x", "o"))
    driver.now = NOON + 500 * DAY
    driver.put(first, copy, click(NOON + 450 * DAY, customer="o"), order(NOON + 450 * DAY, "y", "o"))
    driver.fetch()
    driver.commit(crash_after="changelog")
    driver.restart()
    driver.fetch()
    driver.commit()
    changes = [o for o in once(driver.received) if isinstance(o, StageChange) and o.customer == "c"]
    assert [(c.to_stage, c.sequence) for c in changes] == [("visitor", 1), ("dormant", 2), (None, 3)]


def test_a_zombies_tombstone_does_not_delete_who_came_back() -> None:
    driver = Driver(NOON)
    driver.run(click(NOON), until=NOON + 500 * DAY)
    driver.run(click(NOON + 500 * DAY + TAIL, "page_viewed"))  # the same id, another life
    driver.changelog.append((driver.changelog[-1][0], None))
    driver.restart()
    assert driver.engine.state.population == {"visitor": 1}
    driver.commit()
    assert driver.changelog[-1][1] is not None
    driver.restart()
    assert driver.engine.state.population == {"visitor": 1}


def test_a_forgotten_profile_that_was_written_again_over_a_zombies_record_is_deleted_in_the_end() -> None:
    driver = Driver(NOON)
    driver.run(click(NOON))
    stale = driver.changelog[-1]
    driver.run(until=NOON + 500 * DAY)
    driver.changelog.append(stale)
    driver.restart()
    assert driver.engine.state.population == {}
    driver.commit()
    driver.commit()
    assert driver.changelog[-1] == (stale[0], None)
    driver.restart()
    assert len(driver.engine.state) == 0


def test_no_amount_is_too_large_for_a_commit() -> None:
    driver = Driver(NOON)
    driver.run(click(NOON, "product_added", price=10**15 - 1, quantity=10**6), until=NOON + 2 * HOUR)
    abandoned = next(o for o in driver.received if isinstance(o, Abandonment))
    assert (abandoned.value, abandoned.currency) == (None, "EUR")
    assert len(driver.changelog) >= 1
