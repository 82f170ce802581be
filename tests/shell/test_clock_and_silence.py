from __future__ import annotations

from streams.core.activity import Source
from streams.shell.clock import ClockWatch
from streams.shell.silence import SilenceWatch

HOUR = 3_600_000


class Clocks:
    def __init__(self) -> None:
        self.wall_ms = 1_763_719_200_000
        self.monotonic_s = 50.0

    def pass_time(self, ms: int) -> None:
        self.wall_ms += ms
        self.monotonic_s += ms / 1000


def test_a_wall_clock_that_is_set_is_noticed_once() -> None:
    clocks = Clocks()
    watch = ClockWatch(lambda: clocks.wall_ms, lambda: clocks.monotonic_s)
    clocks.pass_time(100)
    assert not watch.jumped()
    for jump in (3 * HOUR, -3 * HOUR):
        clocks.wall_ms += jump
        assert watch.jumped()
        clocks.pass_time(100)
        assert not watch.jumped()


def test_a_stopped_process_sees_no_jump() -> None:
    clocks = Clocks()
    watch = ClockWatch(lambda: clocks.wall_ms, lambda: clocks.monotonic_s)
    clocks.pass_time(5 * HOUR)
    assert not watch.jumped()


def test_a_topic_is_silent_when_its_end_has_not_moved_for_longer_than_its_owner_believes() -> None:
    watch = SilenceWatch({Source.ORDERS: HOUR, Source.CLICKSTREAM: None})
    assert watch.due(10_000) == [Source.ORDERS]
    watch.saw(Source.ORDERS, 7, 10_000)
    assert watch.due(12_000) == []
    watch.saw(Source.ORDERS, 7, 10_000 + HOUR)
    assert watch.silent(10_000 + HOUR) == frozenset()
    assert watch.silent(10_001 + HOUR) == {Source.ORDERS}
    watch.saw(Source.ORDERS, 8, 10_002 + HOUR)
    assert watch.silent(10_002 + HOUR) == frozenset()


def test_a_source_without_a_limit_is_never_looked_at() -> None:
    watch = SilenceWatch({Source.ORDERS: None, Source.CLICKSTREAM: None})
    assert watch.due(10 * HOUR) == []
    assert watch.silent(10 * HOUR) == frozenset()
