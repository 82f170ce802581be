"""An erasure leaves only a hash of the customer, despite crashes, late events and records that are read again."""

from __future__ import annotations

import pytest

from streams.core.engine.partition_engine import PartitionEngine
from streams.core.model.outputs import Abandonment, IdentityChange, Output, StageChange
from streams.core.model.policy import DAY, HOUR, MINUTE, SECOND
from streams.core.profile.codec import pack, unpack
from streams.core.store.erasure_markers import MARKER_PREFIX, ErasureMarkers, is_marker
from streams.core.store.task_state import TaskState
from tests.core.engine_helpers import CLICKS, NOON, click, order
from tests.core.erasure_helpers import KEY, PERSON, added, names, request, settle
from tests.support.single_partition import SinglePartitionHarness, without_repeats


@pytest.fixture(autouse=True, params=["memory", "disk"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test with packed profiles and timers in memory and on disk."""
    monkeypatch.setattr(SinglePartitionHarness, "on_disk", request.param == "disk")


def reported(outputs: list[Output]) -> list[tuple[str, str | None]]:
    return [
        ("stage", output.to_stage) if isinstance(output, StageChange) else (output.type, None)
        for output in outputs
        if isinstance(output, StageChange | IdentityChange | Abandonment)
    ]


def test_erasure_is_reported_once_the_changelog_has_it() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(added(NOON - HOUR), order(NOON - 30 * MINUTE, customer=PERSON), added(NOON - 20 * MINUTE))
    before = len(harness.received)
    harness.erase(request())
    assert harness.received[before:] == []
    harness.commit(crash_after="changelog")
    harness.restart()
    assert reported(harness.received[before:]) == [("stage", None), ("erased", None)]
    end, notice = harness.received[before:]
    assert isinstance(end, StageChange)
    assert (end.cause.kind, end.from_stage, end.occurred_at) == ("erased", "customer", NOON)
    assert isinstance(notice, IdentityChange)
    assert (notice.customer, notice.identified, notice.request_id) == (PERSON, True, f"r-{NOON}")
    assert harness.engine.state.population == {}
    assert harness.counts["erasures", "applied"] == 1
    harness.run(until=NOON + 40 * DAY)
    assert reported(without_repeats(harness.received[before:])) == [
        ("stage", None),
        ("erased", None),
    ]  # its deadlines are gone with it


def test_no_record_of_an_erased_customer_stays_in_memory_or_on_disk() -> None:
    harness = SinglePartitionHarness(NOON)
    others = [added(NOON - HOUR + n * MINUTE, f"c{n}") for n in range(20)]
    harness.run(*others, added(NOON - 3 * HOUR), until=NOON - HOUR)
    harness.run(added(NOON - 50 * MINUTE), order(NOON - 40 * MINUTE, customer=PERSON), added(NOON - 30 * MINUTE))
    assert names(harness)
    harness.erase(request())
    settle(harness)
    assert names(harness) == []
    assert [key for key, value in harness.changelog if is_marker(key)] == [harness.engine.state.markers.key_of(KEY)]
    assert dict(harness.changelog)[KEY] is None
    assert len(harness.engine.state) == 20
    harness.restart()
    settle(harness)
    assert names(harness) == []


def test_timers_of_others_stay_when_those_of_an_erased_customer_are_purged() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(*(added(NOON - HOUR + n * MINUTE, f"c{n}") for n in range(20)), added(NOON - HOUR + 30 * SECOND))
    harness.erase(request())
    settle(harness)
    harness.run(until=NOON + 2 * HOUR)
    abandoned = {o.customer for o in harness.received if isinstance(o, Abandonment) and o.step == 1}
    assert abandoned == {f"c{n}" for n in range(20)}


def test_older_events_restore_no_erased_customer_and_later_ones_start_a_new_profile() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(order(NOON - HOUR, customer=PERSON))
    harness.erase(request())
    settle(harness)
    received = len(harness.received)
    harness.now += MINUTE
    harness.run(added(NOON - MINUTE), added(NOON), order(NOON - 5, "late", PERSON))
    assert harness.received[received:] == []
    assert harness.engine.state.get(KEY) is None
    assert harness.counts["erased", "clickstream"] == 2
    harness.run(click(NOON + 1, "page_viewed", PERSON))
    fresh = harness.engine.state.get(KEY)
    assert fresh is not None
    assert (fresh.sequence, fresh.stage, fresh.orders) == (1, "visitor", 0)
    harness.run(order(NOON - 5, "later still", PERSON))
    harness.restart()
    harness.run(order(NOON - 6, "and later", PERSON))
    fresh = harness.engine.state.get(KEY)
    assert fresh is not None
    assert (fresh.orders, fresh.first_seen_at) == (0, NOON + 1)
    assert harness.counts["erased", "orders"] == 3


def test_older_event_does_not_revive_a_pending_tombstone() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(order(NOON - HOUR, customer=PERSON))
    harness.erase(request())
    harness.append(order(NOON - 5, "late", PERSON))
    harness.fetch()
    assert harness.counts["erased", "orders"] == 1
    harness.append(click(NOON + 1, "page_viewed", PERSON))
    harness.now += MINUTE
    harness.fetch()
    harness.append(order(NOON - 4, "later", PERSON))
    harness.fetch()
    fresh = harness.engine.state.get(KEY)
    assert fresh is not None
    assert (fresh.stage, fresh.orders) == ("visitor", 0)


@pytest.mark.parametrize("crash_after", ["", "snapshot", "changelog", "disk", "outputs"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_crash_at_any_step_of_an_erasure_leaves_nothing_of_the_customer(crash_after: str, times: int) -> None:
    """The erasure may start again from its beginning, and records that were read before may be read again."""
    harness = SinglePartitionHarness(NOON)
    harness.append(added(NOON - HOUR), order(NOON - 40 * MINUTE, customer=PERSON))
    harness.fetch()
    harness.erase(request())
    for _ in range(times):
        harness.commit(crash_after=crash_after)
        harness.restart()
        harness.fetch()
        harness.erase()
    settle(harness)
    assert harness.engine.state.get(KEY) is None
    assert len(harness.engine.state) == 0
    assert names(harness) == []
    outputs = without_repeats(harness.received)
    assert [o.type for o in outputs if isinstance(o, IdentityChange)] == ["erased"]
    assert reported(outputs)[-1] == ("erased", None)
    harness.restart()
    harness.run(until=NOON + 2 * DAY)
    assert reported(without_repeats(harness.received))[-1] == ("erased", None)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_cut_flush_of_an_erasure_leaves_nothing_of_the_customer(part: int) -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(added(NOON - HOUR))
    harness.erase(request())
    whole = harness.engine.snapshot()
    assert whole is not None
    assert [is_marker(key) for key, _ in whole.changes] == [False, True]
    harness.changelog += whole.changes[:part]
    harness.restart()
    harness.erase()
    settle(harness)
    assert len(harness.engine.state) == 0
    assert reported(without_repeats(harness.received))[-1] == ("erased", None)


def test_erasure_of_an_unknown_customer_is_reported_and_remembered() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.erase(request())
    assert reported(harness.received) == [("erased", None)]
    harness.commit()
    harness.run(added(NOON - 5))
    assert len(harness.engine.state) == 0


def test_other_partitions_keep_only_the_erasure_marker() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.erase(request(home=False))
    harness.commit()
    assert harness.received == []
    assert harness.counts["erasures", "applied"] == 0
    assert [key for key, _ in harness.changelog] == [harness.engine.state.markers.key_of(KEY)]
    harness.restart()
    assert harness.engine.state.markers.erased_at(KEY) == NOON


def test_request_read_again_does_not_erase_a_customer_who_came_back() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.erase(request())
    harness.commit()
    harness.now += MINUTE
    harness.run(click(NOON + 1, "page_viewed", PERSON))
    harness.erasures_position = 0  # its offset expired
    harness.restart()
    harness.erase()
    harness.commit()
    assert harness.engine.state.get(KEY) is not None
    assert harness.counts["erasures", "repeated"] == 1
    harness.erase(request(NOON + MINUTE))  # a later request
    settle(harness)
    assert harness.engine.state.get(KEY) is None
    assert harness.engine.state.markers.number == 1


def test_customer_and_device_with_the_same_id_are_erased_separately() -> None:
    harness = SinglePartitionHarness(NOON)
    device = added(NOON - HOUR)
    device.identified, device.event_id = False, "device"
    harness.run(device, added(NOON - HOUR))
    harness.erase(request(identified=False))
    settle(harness)
    assert list(harness.engine.state) == [KEY]


def stale_record(at: int) -> bytes:
    """Return a record of the customer that a stale owner writes, from before the erasure."""
    engine = SinglePartitionHarness(NOON)
    engine.run(added(at))
    profile = engine.engine.state.get(KEY)
    assert profile is not None
    profile.applied = [7, 7]
    return pack(profile)


def test_record_of_a_stale_owner_restores_no_erased_customer() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(added(NOON - HOUR))
    harness.erase(request())
    settle(harness)
    harness.changelog.append((KEY, stale_record(NOON - HOUR)))
    harness.restart()
    assert len(harness.engine.state) == 0
    written = len(harness.changelog)
    harness.commit()
    assert harness.changelog[written:] == [(KEY, None)]
    harness.restart()
    harness.commit()
    assert len(harness.changelog) == written + 1
    harness.now += MINUTE
    harness.run(click(NOON + 1, "page_viewed", PERSON))
    harness.restart()
    assert len(harness.engine.state) == 1  # the profile of a customer who came back is not a stale record


@pytest.mark.parametrize("place", ["between profile and marker", "after the marker", "after the return"])
def test_stale_owner_that_applied_more_restores_no_erased_customer(place: str) -> None:
    """The stale owner applied events from before the erasure that the current owner drops."""
    harness = SinglePartitionHarness(NOON)
    harness.run(added(NOON - HOUR))
    harness.erase(request())
    harness.commit()
    if place == "after the return":
        harness.now += MINUTE
        harness.run(click(NOON + 1, "page_viewed", PERSON))
        harness.commit()
    [marker] = [at for at, (key, _) in enumerate(harness.changelog) if is_marker(key)]
    harness.changelog.insert(
        marker if place == "between profile and marker" else len(harness.changelog), (KEY, stale_record(NOON))
    )
    harness.restart()
    settle(harness)
    [*left] = harness.engine.state.items()
    if place == "after the return":
        [(_, profile)] = left
        assert (profile.erased_at, profile.first_seen_at) == (NOON, NOON + 1)
        assert unpack(dict(harness.changelog)[KEY] or b"").erased_at == NOON
    else:
        assert left == []
        assert dict(harness.changelog)[KEY] is None


def test_erasure_marker_overwritten_by_an_older_one_is_written_again() -> None:
    state = TaskState()
    earlier, later = TaskState(), TaskState()
    for one, at in ((earlier, NOON), (later, NOON + 1)):
        one.markers.set(KEY, at)
    [(mark, stale)], [(_, fresh)] = earlier.changes(1, {}), later.changes(1, {})
    for value in (stale, fresh, stale):
        state.restore(mark, value)
    assert state.markers.erased_at(KEY) == NOON + 1
    assert state.changes(2, {}) == [(mark, fresh)]
    state.restore(mark, None)
    assert state.changes(3, {}) == [(mark, fresh)]
    assert state.markers.number == 1


def test_erasure_markers_contain_no_id_and_need_the_salt() -> None:
    states = [TaskState(salt=salt) for salt in (b"", b"a", b"b")]
    keys = {state.markers.key_of(KEY) for state in states}
    assert len(keys) == 3
    for key in keys:
        assert key.startswith(MARKER_PREFIX)
        assert len(key) == 17


def test_markers_are_not_read_without_erasures(monkeypatch: pytest.MonkeyPatch) -> None:
    state = TaskState()
    engine = PartitionEngine(SinglePartitionHarness(NOON)._lifecycle, state=state)
    monkeypatch.setattr(ErasureMarkers, "key_of", None)  # it would raise
    event = added(NOON)
    event.offset = 0
    engine.ingest(CLICKS, [event], 1, NOON)
    engine.advance(NOON)


def test_pending_tombstone_holds_no_personal_data() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.run(order(NOON - HOUR, "a-secret-order", PERSON))
    harness.erase(request())
    snapshot = harness.engine.snapshot()
    assert snapshot is not None
    value = dict(snapshot.changes)[KEY]
    assert value is not None
    assert b"a-secret-order" not in value
    assert unpack(value).erased_at == NOON
