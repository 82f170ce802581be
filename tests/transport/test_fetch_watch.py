"""The alarm about partitions that are not fetched: silent while fetches succeed, raised when they do not."""

from __future__ import annotations

import logging

import pytest
from faust.types import TP

from streams.core.model.sources import Fetch
from streams.transport.fetch_watch import OVERDUE_S, FetchWatch
from tests.transport.test_driver import CLICKS, VISITS, Driven

CHECK_S = 7


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]


async def idle(consumer: Driven, seconds: int, *fetched: TP) -> None:
    """Let Faust check both partitions, of which only `fetched` are fetched. All are at their ends."""
    for now in range(0, seconds, CHECK_S):
        for tp in fetched:
            consumer.fetches[tp] = Fetch(now * 1000, 12)
        for tp in (CLICKS, VISITS):
            consumer.verify_event_path(now, tp)


def driven() -> Driven:
    consumer = Driven()
    consumer.fetches, consumer._fetch_watch, consumer.active = {}, FetchWatch(), {CLICKS, VISITS}
    return consumer


async def test_idle_consumer_raises_no_alarm(caplog: pytest.LogCaptureFixture) -> None:
    await idle(driven(), 3600, CLICKS, VISITS)
    assert alarms(caplog) == []


async def test_partition_without_fetches_raises_an_alarm(caplog: pytest.LogCaptureFixture) -> None:
    await idle(driven(), int(OVERDUE_S) + 2 * CHECK_S, CLICKS)
    assert alarms(caplog)[0].startswith("No fetch of partition 0 of visits has succeeded for 63 s: ")
    assert not any("clicks" in alarm for alarm in alarms(caplog))


async def test_paused_partition_raises_no_alarm_and_its_pause_does_not_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    consumer = driven()
    consumer.active = {CLICKS}
    await idle(consumer, 3600, CLICKS)
    consumer.active = {CLICKS, VISITS}
    consumer.verify_event_path(3600, VISITS)
    consumer.verify_event_path(3600 + OVERDUE_S - 1, VISITS)
    assert alarms(caplog) == []


async def test_consumer_that_rests_in_a_rebalance_raises_no_alarm(caplog: pytest.LogCaptureFixture) -> None:
    consumer = driven()
    consumer.flow_active = False
    await idle(consumer, 3600)
    assert alarms(caplog) == []
