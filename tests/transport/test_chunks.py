"""Chunks, and what is noted of each fetch. The real path is in tests/integration."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
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


# ----------------------------------------------------------------------------------------------- what is in a fetch

CONTROL = 0x20


def batch(base: int, values: list[bytes], *, producer: int = -1, kind: int = 0) -> bytes:
    """A record batch as a broker stores it. `kind`: the bits of the attributes for transactional and control."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=producer, producer_epoch=0, base_sequence=0,
        batch_size=1 << 16,
    )  # fmt: skip
    for n, value in enumerate(values):
        builder.append(n, 1_000 + n, ABORT if kind & CONTROL else b"k", value, [])
    data = bytearray(builder.build())
    data[0:8] = base.to_bytes(8, "big")
    data[21:23] = kind.to_bytes(2, "big")
    data[17:21] = calc_crc32c(bytes(data[21:])).to_bytes(4, "big")
    return bytes(data)


TRANSACTIONAL = 0x10
ABORT = bytes(4)  # version 0, type 0
LOG = [
    batch(40, [b"a", b"b", b"c"]),
    batch(43, [b"aborted"] * 2, producer=7, kind=TRANSACTIONAL),
    batch(45, [b"kept"], producer=8, kind=TRANSACTIONAL),
    batch(46, [b""], producer=7, kind=TRANSACTIONAL | CONTROL),
    batch(50, [b"d"]),  # what was before is compacted away
    batch(51, [b"after"], producer=7, kind=TRANSACTIONAL),
    batch(52, [b""], producer=8, kind=TRANSACTIONAL | CONTROL),
]


def fetched(log: list[bytes], offset: int, *, chunked: bool) -> tuple[Any, Any]:
    """A fetch's result, as `Fetcher._records` gives it out for a topic, and the records it was made of."""
    records = PartitionRecords(CLICKS, MemoryRecords(b"".join(log)), [(7, 43)], offset, None, None, True, 1)
    state = SimpleNamespace(paused=False, position=offset, consumed_to=lambda position: None)
    assignment = SimpleNamespace(active=True, state_value=lambda tp: state)
    result = FetchResult(CLICKS, assignment=assignment, partition_records=records, backoff=0)
    if chunked:
        fetcher = World().fetcher
        fetcher._records[CLICKS] = result
        result = fetcher._records[CLICKS]
    return result, records


@pytest.mark.parametrize("offset", [40, 42, 43, 44, 45, 50, 52])
def test_a_chunk_has_the_records_that_aiokafka_would_give(offset: int) -> None:
    log = [data for n, data in enumerate(LOG) if [42, 44, 45, 46, 50, 51, 52][n] >= offset]  # a broker begins with it
    plain, records = fetched(log, offset, chunked=False)
    expected, end = [(record.offset, record.value) for record in plain.getall()], records.next_fetch_offset
    result, _ = fetched(log, offset, chunked=True)
    chunk = result.getall()
    assert [(record.offset, record.value) for record in chunk] == expected
    assert (chunk.start, chunk.next) == (offset, end) == (offset, 53)
    assert b"aborted" not in dict(expected).values()
    assert not result.has_more()


def test_a_chunk_with_a_wrong_checksum_is_refused() -> None:
    result, _ = fetched([LOG[0][:-2] + b"!" + LOG[0][-1:]], 40, chunked=True)
    with pytest.raises(CorruptRecordException):
        result.getall()


def test_the_bytes_of_a_fetch_go_with_its_chunk() -> None:
    """The garbage collector is told to look rarely: what waited for it would add up."""
    result, records = fetched(LOG, 40, chunked=True)
    alive = weakref.ref(records)
    result.getall()
    gc.disable()
    try:
        del records
        assert alive() is None
    finally:
        gc.enable()
