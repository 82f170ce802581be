"""Chunks, and the facts noted of each fetch. tests/integration has the real path."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from faust.types import TP

from streams.core.model.sources import Fetch
from streams.transport.chunks import READ_AGAIN, SELDOM_MS, Ahead, Chunk, LostBatch, chunk_fetches
from streams.transport.pacing import FEW, FLOWING, IDLE, MANY, POURING, TRICKLING, Pacing

CLICKS, ERASURES = TopicPartition("clicks", 0), TopicPartition("erasures", 0)


def test_chunk_without_records_is_true_if_the_position_moved() -> None:
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
        self.ahead: dict[TP, Ahead] = {}
        self.unreadable: dict[TP, tuple[int, int]] = {}

    def is_seldom(self, topic: str) -> bool:
        return topic == "erasures"


class FetcherHarness:
    """A fetcher with a broker that the test drives."""

    def __init__(self) -> None:
        self.now = 1_000
        self.states: dict[TopicPartition, Any] = {
            tp: SimpleNamespace(timestamp=5, lso=None, highwater=50, awaiting_reset=False) for tp in (CLICKS, ERASURES)
        }
        self.assignment = SimpleNamespace(active=True, state_value=self.states.get)
        self.answer: Callable[[], bool] = lambda: True
        self.asked: list[str] = []
        """The topics of the last fetch."""
        self.ask: tuple[int, int] = (0, 0)
        """The wait (ms) and the bytes of the last fetch."""
        self.fetcher: Any = SimpleNamespace(_proc_fetch_request=self._process, _records={})
        self.observer = Observer()
        self.on_arrival: Callable[[], None] = lambda: self.arrivals.append(self.now)
        self.arrivals: list[int] = []
        """Times at which an arrival was signalled."""
        chunk_fetches(self.fetcher, self.observer, lambda: self.now, lambda: self.on_arrival())

    async def _process(self, assignment: Any, node: int, request: Any) -> bool:
        self.asked = [topic for topic, _ in request.topics]
        self.ask = request._max_wait_ms, request._min_bytes
        return self.answer()

    async def fetch(self, *topics: str, node: int = 1) -> None:
        of = {"clicks": [(0, 41, 0)], "erasures": [(0, 7, 0)]}
        request = SimpleNamespace(topics=[(topic, of[topic]) for topic in topics or of])
        await self.fetcher._proc_fetch_request(self.assignment, node, request)


async def test_a_successful_fetch_shows_the_end_as_of_when_it_was_sent() -> None:
    harness = FetcherHarness()

    def answer() -> bool:
        harness.now += 400  # the broker took its time
        harness.states[CLICKS].timestamp, harness.states[CLICKS].lso, harness.states[CLICKS].highwater = 1, 42, 50
        return True

    harness.answer = answer
    await harness.fetch()
    assert harness.observer.fetches == {
        TP("clicks", 0): Fetch(1_000, 42)
    }  # the last stable offset, not the high watermark


async def test_a_fetch_that_failed_shows_nothing() -> None:
    harness = FetcherHarness()
    harness.answer = lambda: False
    await harness.fetch()
    assert harness.observer.fetches == {}
    assert harness.arrivals == []


async def test_arrival_is_signalled_after_its_fetch_was_noted() -> None:
    harness = FetcherHarness()

    def answer() -> bool:
        harness.states[CLICKS].timestamp = 1
        return True

    harness.answer = answer
    seen: list[bool] = []
    harness.on_arrival = lambda: seen.append(TP("clicks", 0) in harness.observer.fetches)
    await harness.fetch()
    assert seen == [True]


async def test_response_of_a_former_assignment_shows_nothing() -> None:
    harness = FetcherHarness()

    def answer() -> bool:
        harness.states[CLICKS].timestamp, harness.assignment.active = 1, False
        return True

    harness.answer = answer
    await harness.fetch()
    assert harness.observer.fetches == {}


async def test_fetch_during_which_the_clock_was_set_back_counts_as_of_now() -> None:
    harness = FetcherHarness()

    def answer() -> bool:
        harness.now = 200
        harness.states[CLICKS].timestamp = 1
        return True

    harness.answer = answer
    await harness.fetch()
    assert harness.observer.fetches[TP("clicks", 0)].sent_at == 200


async def test_position_that_a_topic_does_not_have_is_noted() -> None:
    harness = FetcherHarness()

    def answer() -> bool:
        for state in harness.states.values():
            state.awaiting_reset = True
        return False

    harness.answer = answer
    await harness.fetch()
    assert harness.observer.out_of_range == {TP("clicks", 0): 41, TP("erasures", 0): 7}


async def test_an_end_before_the_position_proves_nothing_and_is_noted_until_it_is_right() -> None:
    """A leader that was just elected shows such an end, and so does a topic that was deleted and created again."""
    harness = FetcherHarness()
    end = 30

    def answer() -> bool:
        harness.states[CLICKS].timestamp, harness.states[CLICKS].lso = 1, end
        return False

    harness.answer = answer
    await harness.fetch()
    harness.now += 500
    await harness.fetch()
    assert harness.observer.fetches == {}
    assert harness.observer.ahead == {TP("clicks", 0): Ahead(41, 30, 1_000, 1_500)}
    end = 41
    await harness.fetch()
    assert harness.observer.fetches == {TP("clicks", 0): Fetch(1_500, 41)}
    assert harness.observer.ahead == {}


@pytest.mark.parametrize(
    ("records", "ask"),
    [(0, IDLE), (1, TRICKLING), (FEW - 1, TRICKLING), (FEW, FLOWING), (MANY - 1, FLOWING), (MANY, POURING)],
)
def test_a_fetch_waits_for_many_bytes_only_while_records_flow(records: int, ask: object) -> None:
    pacing = Pacing()
    assert pacing.terms == IDLE
    pacing.fetched(records)
    assert pacing.terms == ask


async def test_fetch_waits_as_the_last_fetch_from_that_node_suggests() -> None:
    harness = FetcherHarness()

    def flowing() -> bool:
        harness.states[CLICKS].timestamp, harness.states[CLICKS].highwater = 1, 41 + FEW
        return True

    harness.answer = flowing
    await harness.fetch()
    assert harness.ask == IDLE
    await harness.fetch()
    assert harness.ask == FLOWING
    harness.answer = lambda: False
    await harness.fetch(node=2)  # a node that leads quiet partitions
    assert harness.ask == IDLE
    await harness.fetch()
    assert harness.ask == FLOWING
    await harness.fetch()
    assert harness.ask == IDLE


async def test_seldom_topic_is_fetched_once_a_second_from_each_node() -> None:
    harness = FetcherHarness()
    await harness.fetch()
    assert harness.asked == ["clicks", "erasures"]
    harness.states[ERASURES].timestamp = 5
    harness.now += SELDOM_MS - 1
    await harness.fetch()
    assert harness.asked == ["clicks"]
    assert harness.states[ERASURES].timestamp == 5  # a fetch without the topic is no failure of it
    await harness.fetch("erasures")
    assert harness.asked == ["erasures"]  # the request has no other topic
    await harness.fetch()
    assert harness.asked == ["clicks"]
    await harness.fetch(node=2)
    assert harness.asked == ["clicks", "erasures"]
    harness.now += SELDOM_MS
    await harness.fetch()
    assert harness.asked == ["clicks", "erasures"]
    harness.now -= 10 * SELDOM_MS  # the clock was set back
    await harness.fetch()
    assert harness.asked == ["clicks", "erasures"]


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
    batch(50, [b"d"]),  # the records before were compacted away
    batch(51, [b"after"], producer=7, kind=TRANSACTIONAL),
    batch(52, [b""], producer=8, kind=TRANSACTIONAL | CONTROL),
]


def fetched(log: list[bytes], offset: int, *, chunked: bool) -> tuple[Any, Any]:
    """Return the result of a fetch as `Fetcher._records` has it, and the records that it was made of."""
    records = PartitionRecords(CLICKS, MemoryRecords(b"".join(log)), [(7, 43)], offset, None, None, True, 1)
    state = SimpleNamespace(paused=False, position=offset, consumed_to=lambda position: None)
    assignment = SimpleNamespace(active=True, state_value=lambda tp: state)
    result = FetchResult(CLICKS, assignment=assignment, partition_records=records, backoff=0)
    if chunked:
        fetcher = FetcherHarness().fetcher
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


def damaged(data: bytes) -> bytes:
    return data[:-2] + b"!" + data[-1:]


def unpackable(data: bytes) -> bytes:
    """Return a batch that claims to be gzip, with a right checksum."""
    said = bytearray(data)
    said[22] |= 1
    said[17:21] = calc_crc32c(bytes(said[21:])).to_bytes(4, "big")
    return bytes(said)


def taken(log: list[bytes], offset: int, fetcher: Any) -> Any:
    """Return the chunk of the next fetch at an offset."""
    records = PartitionRecords(CLICKS, MemoryRecords(b"".join(log)), [], offset, None, None, True, 1)
    state = SimpleNamespace(paused=False, position=offset, consumed_to=lambda position: None, highwater=54)
    assignment = SimpleNamespace(active=True, state_value=lambda tp: state)
    fetcher._records[CLICKS] = FetchResult(CLICKS, assignment=assignment, partition_records=records, backoff=0)
    result = fetcher._records[CLICKS]
    chunk = result.getall()
    assert not result.has_more()
    return chunk


@pytest.mark.parametrize(
    ("damage", "why"),
    [(damaged, "the checksum is wrong"), (unpackable, "unpacked"), (lambda data: data[:20], "less than")],
)
def test_unreadable_batch_is_fetched_again_then_lost_and_the_next_batch_is_read(
    damage: Callable[[bytes], bytes], why: str
) -> None:
    """Raising an error would end this worker and every later one."""
    broken = damage(LOG[5])
    if len(broken) < 60:  # a batch that is cut short looks like the end of the fetch
        broken = broken[:8] + (len(broken) - 12).to_bytes(4, "big") + broken[12:]
    log, fetcher = [*LOG[4:5], broken, *LOG[6:]], FetcherHarness().fetcher
    before = taken(log, 50, fetcher)
    assert ([record.value for record in before], before.lost, before.next) == ([b"d"], None, 51)
    for _ in range(READ_AGAIN):
        assert not taken(log[1:], 51, fetcher)
    lost = taken(log[1:], 51, fetcher)
    assert (lost.lost.offset, lost.lost.next, lost.next, list(lost)) == (51, 52, 52, [])
    assert why in lost.lost.why.lower()
    assert taken(log[2:], 52, fetcher).next == 53


def test_a_batch_that_was_damaged_on_its_way_is_read() -> None:
    fetcher = FetcherHarness().fetcher
    for _ in range(READ_AGAIN):
        assert not taken([damaged(LOG[0])], 40, fetcher)
    assert [record.value for record in taken([LOG[0]], 40, fetcher)] == [b"a", b"b", b"c"]


def test_damaged_batch_header_loses_a_single_offset() -> None:
    """The next offset follows, until the broker returns the batch behind."""
    wild = bytearray(LOG[0])
    wild[23:27] = (1 << 30).to_bytes(4, "big")  # the last offset's delta
    fetcher = FetcherHarness().fetcher
    for _ in range(READ_AGAIN):
        taken([bytes(wild)], 41, fetcher)
    assert taken([bytes(wild)], 41, fetcher).lost == LostBatch(41, 42, "the checksum is wrong")


@pytest.mark.parametrize("codec", range(1, 5))
def test_records_of_every_codec_are_read(codec: int) -> None:
    """The codecs are gzip, snappy, lz4 and zstd."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 16)
    for n in range(3):
        builder.append(n, 1_000 + n, b"k", b"value" * 100, [])
    chunk = taken([bytes(builder.build())], 0, FetcherHarness().fetcher)
    assert [record.value for record in chunk] == [b"value" * 100] * 3


def test_bytes_of_a_fetch_are_freed_with_its_chunk() -> None:
    """The garbage collector runs rarely, and garbage that waits for it would add up."""
    result, records = fetched(LOG, 40, chunked=True)
    alive = weakref.ref(records)
    result.getall()
    gc.disable()
    try:
        del records
        assert alive() is None
    finally:
        gc.enable()
