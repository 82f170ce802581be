from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.core.model.event import Source
from streams.core.model.sources import StoredProgress
from streams.settings import Settings
from streams.shell.clock import ClockWatch
from streams.shell.commit.metadata import OffsetMetadata, encode
from streams.shell.monitoring.topic_silence import TopicSilence
from streams.shell.worker.watch import Watchdog
from tests.support.default_playbook import default_playbook

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


def test_stopped_process_observes_no_clock_jump() -> None:
    clocks = Clocks()
    watch = ClockWatch(lambda: clocks.wall_ms, lambda: clocks.monotonic_s)
    clocks.pass_time(5 * HOUR)
    assert not watch.jumped()


def test_topic_is_silent_when_its_end_has_not_moved_for_the_configured_time() -> None:
    watch = TopicSilence({Source.ORDERS: HOUR, Source.CLICKSTREAM: None})
    assert watch.due(10_000) == [Source.ORDERS]
    watch.observe(Source.ORDERS, 7, 10_000)
    assert watch.due(12_000) == []
    watch.observe(Source.ORDERS, 7, 10_000 + HOUR)
    assert watch.silent(10_000 + HOUR) == frozenset()
    assert watch.silent(10_001 + HOUR) == {Source.ORDERS}
    watch.observe(Source.ORDERS, 8, 10_002 + HOUR)
    assert watch.silent(10_002 + HOUR) == frozenset()


def test_worker_that_joins_in_a_silence_counts_it_from_its_start() -> None:
    """Other workers have seen when the silence began."""
    watch = TopicSilence({Source.ORDERS: HOUR, Source.CLICKSTREAM: None})
    assert not watch.knows(Source.ORDERS)
    watch.observe(Source.ORDERS, 7, 3 * HOUR, since=HOUR)
    assert watch.knows(Source.ORDERS)
    assert watch.silent(3 * HOUR) == {Source.ORDERS}
    watch.observe(Source.ORDERS, 8, 3 * HOUR + 1, since=HOUR)
    assert watch.silent(3 * HOUR + 1) == frozenset()
    fast = TopicSilence({Source.ORDERS: HOUR})
    fast.observe(Source.ORDERS, 7, 3 * HOUR, since=9 * HOUR)  # by a clock that is ahead
    assert fast.silent(4 * HOUR + 1) == {Source.ORDERS}


def test_source_without_a_limit_is_never_checked() -> None:
    watch = TopicSilence({Source.ORDERS: None, Source.CLICKSTREAM: None})
    assert watch.due(10 * HOUR) == []
    assert watch.silent(10 * HOUR) == frozenset()


@pytest.mark.parametrize(
    ("metadata", "offset", "silent"),
    [(True, 5, True), (False, 5, False), (True, 4, False), (True, None, False)],
    ids=["known", "unknown", "unread", "never read"],
)
async def test_worker_that_starts_in_a_silence_learns_its_start_from_the_group(
    metadata: bool, offset: int | None, silent: bool
) -> None:
    """If no worker knows its start, it counts from the first check. If there are unread records, it counts from now."""
    now, mark = 9 * HOUR, OffsetMetadata(3, 0, StoredProgress(last_record_at=7 * HOUR))
    shown: list[list[str]] = []

    async def committed_offsets(tps: list[TP]) -> dict[TP, SimpleNamespace]:
        committed = SimpleNamespace(offset=offset, metadata=encode(mark).decode() if metadata else "")
        return {} if offset is None else {TP("orders", 1): committed}

    async def highwaters(*tps: TP) -> dict[TP, int]:
        return {TP("orders", 0): 0, TP("orders", 1): 5}

    app: Any = SimpleNamespace(
        settings=Settings(partitions=2, orders_idle_timeout=HOUR),
        clock=lambda: now,
        topics=SimpleNamespace(partitions_of=lambda source: [TP("orders", 0), TP("orders", 1)]),
        kafka=SimpleNamespace(consumer=SimpleNamespace(committed_offsets=committed_offsets, highwaters=highwaters)),
        metrics=SimpleNamespace(silent_sources=shown.append),
    )
    watch = Watchdog(app, default_playbook())
    await watch.check_silence()
    assert watch.silence.silent(now) == ({Source.ORDERS} if silent else frozenset())
    await watch._watch_silence()
    assert shown == [["orders"] if silent else []]
