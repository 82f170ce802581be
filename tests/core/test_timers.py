from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.core.store.timers import Timers


def test_earliest_deadline_comes_up_first_and_only_when_due() -> None:
    timers = Timers()
    timers.schedule(b"b", 20)
    timers.schedule(b"a", 10)
    assert timers.due(9) is None
    assert timers.due(10) == b"a"
    assert timers.due(19) is None
    assert timers.due(20) == b"b"
    assert timers.due(1_000) is None


def test_deadline_moved_later_writes_nothing_and_one_moved_earlier_comes_up_first() -> None:
    timers = Timers()
    timers.schedule(b"a", 10)
    timers.schedule(b"a", 30)
    assert len(timers) == 1
    assert timers.due(10) == b"a"  # a hint: the engine checks, and schedules again
    timers.schedule(b"a", 30)
    timers.schedule(b"a", 5)
    assert len(timers) == 1
    assert timers.due(5) == b"a"
    assert timers.due(29) is None
    assert timers.due(1_000) == b"a"  # a hint without effect
    assert timers.due(1_000) is None


def test_equal_deadlines_come_up_in_the_order_of_their_keys() -> None:
    timers = Timers()
    for key in (b"c", b"a", b"b"):
        timers.schedule(key, 10)
    assert [timers.due(10) for _ in range(4)] == [b"a", b"b", b"c", None]


DEADLINES = st.integers(-5, 50) | st.integers(-5, 50).map(lambda n: n << 18)
"""Times within one bucket and across several, from before 1970 on."""


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c" * 300]), DEADLINES), max_size=40))
def test_no_deadline_is_missed(scheduled: list[tuple[bytes, int]]) -> None:
    """Each key comes up at its earliest scheduled deadline, and not before it."""
    timers = Timers()
    least: dict[bytes, int] = {}
    for key, deadline in scheduled:
        timers.schedule(key, deadline)
        least[key] = min(deadline, least.get(key, deadline))
    assert len(timers) == len(least)
    for now in sorted({deadline for _, deadline in scheduled}):
        while (due := timers.due(now)) is not None:
            assert least.pop(due, now) == now
    assert not least


def test_evicted_profile_that_comes_up_too_early_is_rescheduled() -> None:
    timers = Timers()
    timers.restored(b"a", None, 10)
    timers.restored(b"a", 10, 3 << 20)
    assert len(timers) == 1
    assert timers.due(2 << 20) == b"a"
    timers.schedule(b"a", 3 << 20)
    assert len(timers) == 1
    assert timers.due((3 << 20) - 1) is None
    assert timers.due(3 << 20) == b"a"
    timers.loaded(b"a", 3 << 20)
    timers.cancel(b"a")
    assert len(timers) == 0
    assert timers.due(9 << 20) is None


def test_purge_removes_the_timers_of_the_given_keys_only() -> None:
    timers = Timers()
    far = 5 << 20
    for key in (b"a", b"b", b"c"):
        timers.schedule(key, 10)
        timers.schedule(key, 8)
        timers.restored(key + b"-far", None, far)
    timers.schedule(b"back again", far)
    assert timers.due(8) == b"a"  # and the others of that stretch came near
    erased = {b"b", b"b-far", b"back again"}
    walk = timers.purge(lambda key: key in erased)
    for _ in walk:
        erased.discard(b"back again")
    assert [timers.due(10) for _ in range(5)] == [b"c", b"a", b"c", None, None]
    assert [timers.due(far) for _ in range(4)] == [b"a-far", b"back again", b"c-far", None]


def test_timers_that_come_near_during_a_purge_are_purged_too() -> None:
    timers = Timers()
    for n in range(10):
        timers.schedule(b"%d" % n, n << 20)
    walk = timers.purge(lambda key: key != b"3")
    next(walk)
    assert timers.due(1 << 20) == b"0"
    assert timers.due(1 << 20) == b"1"
    for _ in walk:
        pass
    assert [timers.due(10 << 20) for _ in range(2)] == [b"3", None]
