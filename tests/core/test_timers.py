from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.core.timers import Timers


def test_the_earliest_comes_up_first_and_only_when_due() -> None:
    timers = Timers()
    timers.arm(b"b", 20)
    timers.arm(b"a", 10)
    assert timers.due(9) is None
    assert timers.due(10) == b"a"
    assert timers.due(19) is None
    assert timers.due(20) == b"b"
    assert timers.due(1_000) is None


def test_a_later_deadline_costs_nothing_and_an_earlier_one_takes_over() -> None:
    timers = Timers()
    timers.arm(b"a", 10)
    timers.arm(b"a", 30)
    assert len(timers) == 1
    assert timers.due(10) == b"a"  # a hint: the engine looks and arms again
    timers.arm(b"a", 30)
    timers.arm(b"a", 5)
    assert timers.due(5) == b"a"
    assert timers.due(1_000) is None


def test_equal_deadlines_come_up_in_the_order_of_their_keys() -> None:
    timers = Timers()
    for key in (b"c", b"a", b"b"):
        timers.arm(key, 10)
    assert [timers.due(10) for _ in range(4)] == [b"a", b"b", b"c", None]


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.integers(0, 50)), max_size=40))
def test_no_deadline_is_missed(arms: list[tuple[bytes, int]]) -> None:
    """Whatever was armed, each key comes up at or before the least deadline it was armed with."""
    timers = Timers()
    least: dict[bytes, int] = {}
    for key, deadline in arms:
        timers.arm(key, deadline)
        least[key] = min(deadline, least.get(key, deadline))
    for now in range(51):
        while (due := timers.due(now)) is not None:
            assert least.pop(due) == now
    assert not least
