"""Somebody is erased: nothing of them stays but a hash, whatever crashes, comes late, or is read again."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from streams.core.activity import Activity, Source
from streams.core.effects import Abandonment, IdentityChange, Output, StageChange
from streams.core.engine import PartitionEngine
from streams.core.erasing import MARK, Marks, is_mark
from streams.core.packing import pack, unpack
from streams.core.policy import DAY, HOUR, MINUTE, SECOND
from streams.core.sources import Erasure
from streams.core.state import TaskState, record_key
from tests.core.test_engine import click, order
from tests.driver import Driver, once

NOON = 1_763_719_200_000
CLICKS = Source.CLICKSTREAM
PERSON = "somebody@example.org"
KEY = record_key(PERSON, True)


@pytest.fixture(autouse=True, params=["memory", "disk"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes no difference where cold profiles and timers are."""
    monkeypatch.setattr(Driver, "on_disk", request.param == "disk")


def request(at: int = NOON, customer: str = PERSON, identified: bool = True, home: bool = True) -> Erasure:
    return Erasure(customer, identified, at, f"r-{at}", home)


def added(at: int, customer: str = PERSON) -> Activity:
    return click(at, "product_added", customer)


def told(outputs: list[Output]) -> list[tuple[str, str | None]]:
    return [
        ("stage", output.to_stage) if isinstance(output, StageChange) else (output.type, None)
        for output in outputs
        if isinstance(output, StageChange | IdentityChange | Abandonment)
    ]


def settle(driver: Driver) -> None:
    """Commit until nothing is owed, and take away what traces are left."""
    for _ in range(3):
        driver.commit()
    traces = driver.engine.state.traces
    while traces.looking:
        traces.look(2)
    driver.commit()
    if traces.found or traces.written:
        traces.removed()
    driver.commit()


def everything_in(thing: object) -> Iterator[object]:
    """All that can be reached from there, also through compiled objects."""
    seen: set[int] = set()
    queue = [thing]
    while queue:
        one = queue.pop()
        if id(one) in seen or isinstance(one, type) or type(one).__name__ in ("module", "function"):
            continue
        seen.add(id(one))
        yield one
        queue += gc.get_referents(one)


def names(driver: Driver) -> list[object]:
    """What of the state, in memory and on disk, names the person."""
    if driver.disk is not None:
        driver.disk.writes.clear()  # the disk does not remember what it was once told
    return [
        one
        for one in everything_in(driver.engine.state)
        if (isinstance(one, str) and PERSON in one)
        or (isinstance(one, bytes | bytearray) and PERSON.encode() in bytes(one))
    ]


def test_a_profile_ends_and_subscribers_are_told_once_the_changelog_has_it() -> None:
    driver = Driver(NOON)
    driver.run(added(NOON - HOUR), order(NOON - 30 * MINUTE, customer=PERSON), added(NOON - 20 * MINUTE))
    before = len(driver.received)
    driver.erase(request())
    assert driver.received[before:] == []
    driver.commit(crash_after="changelog")
    driver.restart()
    assert told(driver.received[before:]) == [("stage", None), ("erased", None)]
    end, notice = driver.received[before:]
    assert isinstance(end, StageChange)
    assert (end.cause.kind, end.from_stage, end.occurred_at) == ("erased", "customer", NOON)
    assert isinstance(notice, IdentityChange)
    assert (notice.customer, notice.identified, notice.request_id) == (PERSON, True, f"r-{NOON}")
    assert driver.engine.state.population == {}
    assert driver.counts["erasures", "applied"] == 1
    driver.run(until=NOON + 40 * DAY)
    assert told(once(driver.received[before:])) == [("stage", None), ("erased", None)]  # its deadlines are gone with it


def test_nothing_that_names_the_person_stays_in_memory_or_on_disk() -> None:
    driver = Driver(NOON)
    others = [added(NOON - HOUR + n * MINUTE, f"c{n}") for n in range(20)]
    driver.run(*others, added(NOON - 3 * HOUR), until=NOON - HOUR)
    driver.run(added(NOON - 50 * MINUTE), order(NOON - 40 * MINUTE, customer=PERSON), added(NOON - 30 * MINUTE))
    assert names(driver)
    driver.erase(request())
    settle(driver)
    assert names(driver) == []
    assert [key for key, value in driver.changelog if is_mark(key)] == [driver.engine.state.marks.key_of(KEY)]
    assert dict(driver.changelog)[KEY] is None
    assert len(driver.engine.state) == 20
    driver.restart()
    settle(driver)
    assert names(driver) == []


def test_timers_of_others_are_not_taken_away_with_those_of_who_was_erased() -> None:
    driver = Driver(NOON)
    driver.run(*(added(NOON - HOUR + n * MINUTE, f"c{n}") for n in range(20)), added(NOON - HOUR + 30 * SECOND))
    driver.erase(request())
    settle(driver)
    driver.run(until=NOON + 2 * HOUR)
    abandoned = {o.customer for o in driver.received if isinstance(o, Abandonment) and o.step == 1}
    assert abandoned == {f"c{n}" for n in range(20)}


def test_older_events_bring_nobody_back_and_later_ones_begin_anew() -> None:
    driver = Driver(NOON)
    driver.run(order(NOON - HOUR, customer=PERSON))
    driver.erase(request())
    settle(driver)
    received = len(driver.received)
    driver.now += MINUTE
    driver.run(added(NOON - MINUTE), added(NOON), order(NOON - 5, "late", PERSON))
    assert driver.received[received:] == []
    assert driver.engine.state.get(KEY) is None
    assert driver.counts["erased", "clickstream"] == 2
    driver.run(click(NOON + 1, "page_viewed", PERSON))
    fresh = driver.engine.state.get(KEY)
    assert fresh is not None
    assert (fresh.sequence, fresh.stage, fresh.orders) == (1, "visitor", 0)
    driver.run(order(NOON - 5, "later still", PERSON))
    driver.restart()
    driver.run(order(NOON - 6, "and later", PERSON))
    fresh = driver.engine.state.get(KEY)
    assert fresh is not None
    assert (fresh.orders, fresh.first_seen_at) == (0, NOON + 1)
    assert driver.counts["erased", "orders"] == 3


def test_an_older_event_does_not_get_at_a_grave_either() -> None:
    driver = Driver(NOON)
    driver.run(order(NOON - HOUR, customer=PERSON))
    driver.erase(request())
    driver.put(order(NOON - 5, "late", PERSON))
    driver.fetch()
    assert driver.counts["erased", "orders"] == 1
    driver.put(click(NOON + 1, "page_viewed", PERSON))
    driver.now += MINUTE
    driver.fetch()
    driver.put(order(NOON - 4, "later", PERSON))
    driver.fetch()
    fresh = driver.engine.state.get(KEY)
    assert fresh is not None
    assert (fresh.stage, fresh.orders) == ("visitor", 0)


@pytest.mark.parametrize("crash_after", ["", "snapshot", "changelog", "disk", "outputs"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_crash_at_any_step_leaves_nobody_behind(crash_after: str, times: int) -> None:
    """The erasure may be done again from the beginning; what was read before may be read again."""
    driver = Driver(NOON)
    driver.put(added(NOON - HOUR), order(NOON - 40 * MINUTE, customer=PERSON))
    driver.fetch()
    driver.erase(request())
    for _ in range(times):
        driver.commit(crash_after=crash_after)
        driver.restart()
        driver.fetch()
        driver.erase()
    settle(driver)
    assert driver.engine.state.get(KEY) is None
    assert len(driver.engine.state) == 0
    assert names(driver) == []
    outputs = once(driver.received)
    assert [o.type for o in outputs if isinstance(o, IdentityChange)] == ["erased"]
    assert told(outputs)[-1] == ("erased", None)
    driver.restart()
    driver.run(until=NOON + 2 * DAY)
    assert told(once(driver.received))[-1] == ("erased", None)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_flush_that_was_cut_off_leaves_nobody_behind(part: int) -> None:
    driver = Driver(NOON)
    driver.run(added(NOON - HOUR))
    driver.erase(request())
    whole = driver.engine.snapshot()
    assert whole is not None
    assert [is_mark(key) for key, _ in whole.changes] == [False, True]
    driver.changelog += whole.changes[:part]
    driver.restart()
    driver.erase()
    settle(driver)
    assert len(driver.engine.state) == 0
    assert told(once(driver.received))[-1] == ("erased", None)


def test_somebody_who_is_not_known_is_told_of_all_the_same_and_remembered() -> None:
    driver = Driver(NOON)
    driver.erase(request())
    assert told(driver.received) == [("erased", None)]
    driver.commit()
    driver.run(added(NOON - 5))
    assert len(driver.engine.state) == 0


def test_elsewhere_only_the_mark_is_kept() -> None:
    driver = Driver(NOON)
    driver.erase(request(home=False))
    driver.commit()
    assert driver.received == []
    assert driver.counts["erasures", "applied"] == 0
    assert [key for key, _ in driver.changelog] == [driver.engine.state.marks.key_of(KEY)]
    driver.restart()
    assert driver.engine.state.marks.erased_at(KEY) == NOON


def test_a_request_that_is_read_again_does_not_erase_who_came_back() -> None:
    driver = Driver(NOON)
    driver.erase(request())
    driver.commit()
    driver.now += MINUTE
    driver.run(click(NOON + 1, "page_viewed", PERSON))
    driver.erasures = 0  # its offset expired
    driver.restart()
    driver.erase()
    driver.commit()
    assert driver.engine.state.get(KEY) is not None
    assert driver.counts["erasures", "repeated"] == 1
    driver.erase(request(NOON + MINUTE))  # asked for anew
    settle(driver)
    assert driver.engine.state.get(KEY) is None
    assert driver.engine.state.marks.number == 1


def test_a_person_and_a_device_of_the_same_id_are_two() -> None:
    driver = Driver(NOON)
    device = added(NOON - HOUR)
    device.identified, device.event_id = False, "device"
    driver.run(device, added(NOON - HOUR))
    driver.erase(request(identified=False))
    settle(driver)
    assert list(driver.engine.state) == [KEY]


def zombie(at: int) -> bytes:
    """A profile as a worker had it that had lost the partition, from before the erasure."""
    engine = Driver(NOON)
    engine.run(added(at))
    profile = engine.engine.state.get(KEY)
    assert profile is not None
    profile.applied = [7, 7]
    return pack(profile)


def test_a_zombies_record_brings_nobody_back() -> None:
    driver = Driver(NOON)
    driver.run(added(NOON - HOUR))
    driver.erase(request())
    settle(driver)
    driver.changelog.append((KEY, zombie(NOON - HOUR)))
    driver.restart()
    assert len(driver.engine.state) == 0
    written = len(driver.changelog)
    driver.commit()
    assert driver.changelog[written:] == [(KEY, None)]
    driver.restart()
    driver.commit()
    assert len(driver.changelog) == written + 1
    driver.now += MINUTE
    driver.run(click(NOON + 1, "page_viewed", PERSON))
    driver.restart()
    assert len(driver.engine.state) == 1  # who came back is nobody's zombie


@pytest.mark.parametrize("place", ["between profile and mark", "behind the mark", "behind who came back"])
def test_a_zombie_that_had_applied_more_brings_nobody_back(place: str) -> None:
    """Events of before that whoever erased passes over."""
    driver = Driver(NOON)
    driver.run(added(NOON - HOUR))
    driver.erase(request())
    driver.commit()
    if place == "behind who came back":
        driver.now += MINUTE
        driver.run(click(NOON + 1, "page_viewed", PERSON))
        driver.commit()
    [mark] = [at for at, (key, _) in enumerate(driver.changelog) if is_mark(key)]
    driver.changelog.insert(mark if place == "between profile and mark" else len(driver.changelog), (KEY, zombie(NOON)))
    driver.restart()
    settle(driver)
    [*left] = driver.engine.state.items()
    if place == "behind who came back":
        [(_, profile)] = left
        assert (profile.erased_at, profile.first_seen_at) == (NOON, NOON + 1)
        assert unpack(dict(driver.changelog)[KEY] or b"").erased_at == NOON
    else:
        assert left == []
        assert dict(driver.changelog)[KEY] is None


def test_a_mark_that_a_staler_one_follows_is_written_again() -> None:
    state = TaskState()
    earlier, later = TaskState(), TaskState()
    for one, at in ((earlier, NOON), (later, NOON + 1)):
        one.marks.set(KEY, at)
    [(mark, stale)], [(_, fresh)] = earlier.changes(1, {}), later.changes(1, {})
    for value in (stale, fresh, stale):
        state.restore(mark, value)
    assert state.marks.erased_at(KEY) == NOON + 1
    assert state.changes(2, {}) == [(mark, fresh)]
    state.restore(mark, None)
    assert state.changes(3, {}) == [(mark, fresh)]
    assert state.marks.number == 1


def test_marks_name_nobody_and_need_the_salt() -> None:
    states = [TaskState(salt=salt) for salt in (b"", b"a", b"b")]
    keys = {state.marks.key_of(KEY) for state in states}
    assert len(keys) == 3
    for key in keys:
        assert key.startswith(MARK)
        assert len(key) == 17


def test_without_erasures_nothing_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    state = TaskState()
    engine = PartitionEngine(Driver(NOON)._lifecycle, state=state)
    monkeypatch.setattr(Marks, "key_of", None)  # it would raise
    event = added(NOON)
    event.offset = 0
    engine.apply(CLICKS, [event], 1, NOON)
    engine.advance(NOON)


def test_what_a_grave_holds_is_no_more_than_is_needed_to_end_it() -> None:
    driver = Driver(NOON)
    driver.run(order(NOON - HOUR, "a-secret-order", PERSON))
    driver.erase(request())
    snapshot = driver.engine.snapshot()
    assert snapshot is not None
    value = dict(snapshot.changes)[KEY]
    assert value is not None
    assert b"a-secret-order" not in value
    assert unpack(value).erased_at == NOON
