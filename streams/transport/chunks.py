"""Chunks: the records of one fetch of one partition, as one Faust event.

This reaches into aiokafka's fetcher, since it has no seam where a fetch could be taken whole.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol

from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.structs import TopicPartition
from faust.serializers.schemas import Schema
from faust.types import TP

from streams.core.sources import Fetch, RawRecord
from streams.transport.pacing import Pacing


class Chunk(list[RawRecord]):
    """Raw records in offset order, and the consumer's position before and after them.

    Control records and aborted batches move the position without a record, so a chunk can be empty and still count:
    it is true if the position moved.
    """

    __slots__ = ("next", "start")
    start: int
    next: int

    def __bool__(self) -> bool:
        return self.start != self.next


class ChunkSchema(Schema[Any, Any]):
    """`app.topic(..., schema=ChunkSchema())`: the events of the topic carry chunks as their value."""

    def compile(self, app: Any, **kwargs: Any) -> Callable[..., Awaitable[Any]]:
        """Called by Faust for the topic: the decoder passes the chunk through."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, None, message)

        return decode


def _take(result: FetchResult, max_records: int | None = None) -> Chunk:
    """As `FetchResult.getall`, but all at once: how many there may be, the size of a fetch says."""
    chunk = Chunk()
    if not result.check_assignment(result._topic_partition) or not result.has_more():
        chunk.start = chunk.next = 0  # the same: it does not count
        return chunk
    records = result._partition_records
    chunk.start = records.next_fetch_offset
    for batch in _batches(records):
        chunk += batch
    chunk.next = records.next_fetch_offset
    result._update_position()
    result._partition_records = None
    records._records_iterator = None  # it refers back: the bytes of the fetch would wait for the garbage collector
    return chunk


def _batches(records: PartitionRecords) -> Iterator[list[RawRecord]]:
    """As `PartitionRecords._unpack_records`, a batch at a time instead of a record."""
    while records._records.has_next():
        batch = records._records.next_batch()
        if records._check_crcs and not batch.validate_crc():
            raise CorruptRecordException(f"Invalid CRC - {records._tp}")
        aborted = False
        if records._isolation_level == READ_COMMITTED and batch.producer_id is not None:
            records._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and records._contains_abort_marker(batch):
                records._aborted_producers.discard(batch.producer_id)
            aborted = batch.is_transactional and batch.producer_id in records._aborted_producers
        if not (aborted or batch.is_control_batch):
            unpacked: list[RawRecord] = list(batch)
            if unpacked and unpacked[0].offset < records.next_fetch_offset:  # a batch that was asked for in its midst
                unpacked = [record for record in unpacked if record.offset >= records.next_fetch_offset]
            yield unpacked
        records.next_fetch_offset = batch.next_offset


class _Results(OrderedDict[TopicPartition, Any]):
    """Takes the place of `Fetcher._records`: what arrives for a chunked topic will be handed out as a `Chunk`."""

    def __init__(self, is_chunked: Callable[[str], bool]) -> None:
        super().__init__()
        self._is_chunked = is_chunked

    def __setitem__(self, tp: TopicPartition, result: Any) -> None:
        if type(result) is FetchResult and self._is_chunked(tp.topic):
            result.getall = functools.partial(_take, result)
        super().__setitem__(tp, result)


class Observer(Protocol):
    """Who wants the chunks. Read and written on the consumer's thread; single items may be read from any thread."""

    fetches: dict[TP, Fetch]
    out_of_range: dict[TP, int]

    def is_chunked(self, topic: str) -> bool:
        """Whether the topic's records come in chunks."""


def chunk_fetches(fetcher: Fetcher, observer: Observer, clock: Callable[[], int]) -> None:
    """Make a started consumer's fetcher hand out chunks, and note what each fetch showed."""
    fetcher._records = _Results(observer.is_chunked)
    process, pacing = fetcher._proc_fetch_request, Pacing()
    fetcher._fetch_max_wait_ms, fetcher._fetch_min_bytes = pacing.ask

    async def observed(assignment: Any, node_id: int, request: Any) -> Any:
        sent_at = clock()
        asked = {TopicPartition(topic, p): offset for topic, parts in request.topics for p, offset, _ in parts}
        for tp in asked:
            assignment.state_value(tp).timestamp = None  # set again by a success only
        result = await process(assignment, node_id, request)
        sent_at = min(sent_at, clock())  # the clock may have been set back meanwhile
        beyond = 0
        if assignment.active:
            for asked_tp, offset in asked.items():
                state, tp = assignment.state_value(asked_tp), TP(asked_tp.topic, asked_tp.partition)
                if state is None:
                    continue
                if state.timestamp is not None:
                    end = state.highwater if state.lso is None else state.lso
                    observer.fetches[tp] = Fetch(sent_at, end)
                    beyond += end - offset
                elif state.awaiting_reset and observer.is_chunked(tp.topic):
                    observer.out_of_range[tp] = offset  # aiokafka would go on from the beginning without a word
        fetcher._fetch_max_wait_ms, fetcher._fetch_min_bytes = pacing.fetched(beyond if result else 0)
        return result

    fetcher._proc_fetch_request = observed
