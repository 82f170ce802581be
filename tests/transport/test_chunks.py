"""Chunks, and what is noted of each fetch. The real path is in tests/integration."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import TopicPartition
from faust.types import TP

from streams.core.sources import Fetch
from streams.transport.chunks import Chunk, chunk_fetches
from streams.transport.pacing import FEW, FLOWING, IDLE, MANY, POURING, TRICKLING, Pacing

CLICKS, PLAIN = TopicPartition("clicks", 0), TopicPartition("plain", 0)


def test_a_chunk_counts_if_the_position_moved() -> None:
    chunk = Chunk()
    chunk.start, chunk.next = 7, 7
    assert not chunk
    chunk.next = 9  # control records, or an aborted batch
    assert chunk
    assert len(chunk) == 0


class Observer:
    def __init__(self) -> None:
        self.fetches: dict[TP, Fetch] = {}
        self.out_of_range: dict[TP, int] = {}

    def is_chunked(self, topic: str) -> bool:
        return topic == "clicks"


class World:
    """A fetcher whose broker answers as the test says."""

    def __init__(self) -> None:
        self.now = 1_000
        self.states: dict[TopicPartition, Any] = {
            tp: SimpleNamespace(timestamp=5, lso=None, highwater=0, awaiting_reset=False) for tp in (CLICKS, PLAIN)
        }
        self.assignment = SimpleNamespace(active=True, state_value=self.states.get)
        self.answer: Callable[[], bool] = lambda: True
        self.fetcher: Any = SimpleNamespace(_proc_fetch_request=self._process, _records={})
        self.observer = Observer()
        chunk_fetches(self.fetcher, self.observer, lambda: self.now)

    async def _process(self, assignment: Any, node: int, request: Any) -> bool:
        return self.answer()

    async def fetch(self) -> None:
        request = SimpleNamespace(topics=[("clicks", [(0, 41, 0)]), ("plain", [(0, 7, 0)])])
        await self.fetcher._proc_fetch_request(self.assignment, 1, request)


async def test_a_successful_fetch_shows_the_end_as_of_when_it_was_sent() -> None:
    world = World()

    def answer() -> bool:
        world.now += 400  # the broker took its time
        world.states[CLICKS].timestamp, world.states[CLICKS].lso, world.states[CLICKS].highwater = 1, 42, 50
        return True

    world.answer = answer
    await world.fetch()
    assert world.observer.fetches == {
        TP("clicks", 0): Fetch(1_000, 42)
    }  # the last stable offset, not the high watermark


async def test_a_fetch_that_failed_shows_nothing() -> None:
    world = World()
    world.answer = lambda: False
    await world.fetch()
    assert world.observer.fetches == {}


async def test_a_response_to_an_assignment_that_is_gone_shows_nothing() -> None:
    world = World()

    def answer() -> bool:
        world.states[CLICKS].timestamp, world.assignment.active = 1, False
        return True

    world.answer = answer
    await world.fetch()
    assert world.observer.fetches == {}


async def test_a_clock_set_back_meanwhile_counts_as_of_now() -> None:
    world = World()

    def answer() -> bool:
        world.now = 200
        world.states[CLICKS].timestamp = 1
        return True

    world.answer = answer
    await world.fetch()
    assert world.observer.fetches[TP("clicks", 0)].sent_at == 200


async def test_a_position_that_a_chunked_topic_does_not_have_is_noted() -> None:
    world = World()

    def answer() -> bool:
        for state in world.states.values():
            state.awaiting_reset = True
        return False

    world.answer = answer
    await world.fetch()
    assert world.observer.out_of_range == {TP("clicks", 0): 41}  # other topics are Faust's


@pytest.mark.parametrize(
    ("records", "ask"),
    [(0, IDLE), (1, TRICKLING), (FEW - 1, TRICKLING), (FEW, FLOWING), (MANY - 1, FLOWING), (MANY, POURING)],
)
def test_a_fetch_waits_for_many_bytes_only_while_records_flow(records: int, ask: object) -> None:
    pacing = Pacing()
    assert pacing.ask == IDLE
    assert pacing.fetched(records) == ask


async def test_the_next_fetch_asks_as_the_last_one_went() -> None:
    world = World()
    assert (world.fetcher._fetch_max_wait_ms, world.fetcher._fetch_min_bytes) == IDLE

    def answer() -> bool:
        world.states[CLICKS].timestamp, world.states[CLICKS].highwater = 1, 41 + FEW
        return True

    world.answer = answer
    await world.fetch()
    assert (world.fetcher._fetch_max_wait_ms, world.fetcher._fetch_min_bytes) == FLOWING
    world.answer = lambda: False
    await world.fetch()
    assert (world.fetcher._fetch_max_wait_ms, world.fetcher._fetch_min_bytes) == IDLE
