"""Chunks: the records of one fetch of one partition, as one value.

This module reaches into aiokafka's fetcher, because that has no interface for a whole fetch.
"""

from __future__ import annotations

import functools
import logging
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple, Protocol

from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.structs import TopicPartition
from faust.serializers.schemas import Schema
from faust.types import TP

from streams.core.model.sources import Fetch, RawRecord
from streams.transport.pacing import Pacing

log = logging.getLogger(__name__)


SELDOM_MS: Final = 1_000
"""Shortest time between two fetches of a topic with `SeldomSchema`. A fetch of the other topics that waits for records
(`streams.transport.pacing.IDLE`) can add to that time."""
READ_AGAIN: Final = 3
"""Number of times that an unreadable batch is fetched again. This helps against damage in
transit, or on one replica."""


class LostBatch(NamedTuple):
    """A batch of records that cannot be read, now or later: damaged, or with an unknown compression."""

    offset: int
    next: int
    why: str


class Chunk(list[RawRecord]):
    """Raw records in offset order, and the consumer's position before and after them.

    Control records and aborted batches move the position without a record. So a chunk without records can count: it is
    true if the position moved.
    """

    __slots__ = ("lost", "next", "start")
    start: int
    next: int
    lost: LostBatch | None
    """Batch that could not be read. The chunk then has no records."""

    def __init__(self, records: Iterable[RawRecord] = ()) -> None:
        super().__init__(records)
        self.lost = None

    def __bool__(self) -> bool:
        return self.start != self.next


class ChunkSchema(Schema[Any, Any]):
    """Schema of a topic whose events carry chunks as their value: `app.topic(..., schema=ChunkSchema())`."""

    def compile(self, app: Any, **kwargs: Any) -> Callable[..., Awaitable[Any]]:
        """Return a decoder that passes the chunk through. Called by Faust for the topic."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, None, message)

        return decode


class SeldomSchema(ChunkSchema):
    """`ChunkSchema` of a topic that is nearly always empty, and whose records may wait for a second or two.

    It is left out of most fetches: a partition in a request costs as much as in an answer without records, tens of
    times a second.
    """


def _take(observer: Observer, result: FetchResult, max_records: int | None = None) -> Chunk:
    """Replace `FetchResult.getall`: return all records of the fetch, whatever `max_records`. Its size bounds them.

    Records before an unreadable batch are returned first. The batch follows alone, as lost, if it still cannot be read
    after `READ_AGAIN` more fetches. aiokafka would raise at each fetch, and so would the next worker.
    """
    chunk = Chunk()
    if not result.check_assignment(result._topic_partition) or not result.has_more():
        chunk.start = chunk.next = 0  # equal: the chunk does not count
        return chunk
    records = result._partition_records
    chunk.start = records.next_fetch_offset
    try:
        for batch in _batches(records):
            chunk += batch
    except _Unreadable as unreadable:
        if records.next_fetch_offset == chunk.start:
            chunk.lost = _give_up(observer, result, unreadable)
            records.next_fetch_offset = chunk.start if chunk.lost is None else chunk.lost.next
    chunk.next = records.next_fetch_offset
    result._update_position()
    result._partition_records = None
    records._records_iterator = None  # in a cycle with `records`: the bytes would wait for the garbage collector
    return chunk


class _Unreadable(Exception):
    """The next batch cannot be read. `next`: the offset behind it, -1 if it is not known."""

    def __init__(self, next: int, why: str) -> None:
        super().__init__(why)
        self.next = next


def _give_up(observer: Observer, result: FetchResult, unreadable: _Unreadable) -> LostBatch | None:
    """Return the lost batch if it was fetched often enough, else None: it is fetched again."""
    asked_tp = result._topic_partition
    tp, state = TP(asked_tp.topic, asked_tp.partition), result._assignment.state_value(asked_tp)
    position, tries = observer.unreadable.get(tp, (-1, 0))
    tries = tries + 1 if position == state.position else 1
    observer.unreadable[tp] = state.position, tries
    log.warning("%s, partition %d: the batch at offset %d cannot be read (%s)", *tp, state.position, unreadable)
    if tries <= READ_AGAIN:
        return None
    plausible = state.position < unreadable.next <= state.highwater
    return LostBatch(state.position, unreadable.next if plausible else state.position + 1, str(unreadable))


def _batches(records: PartitionRecords) -> Iterator[list[RawRecord]]:
    """Do the work of `PartitionRecords._unpack_records` per batch, not per record. Raises `_Unreadable`."""
    while records._records.has_next():
        try:
            batch = records._records.next_batch()
        except CorruptRecordException as error:
            raise _Unreadable(-1, str(error)) from error
        if records._check_crcs and not batch.validate_crc():
            raise _Unreadable(batch.next_offset, "the checksum is wrong")
        aborted = False
        if records._isolation_level == READ_COMMITTED and batch.producer_id is not None:
            records._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and records._contains_abort_marker(batch):
                records._aborted_producers.discard(batch.producer_id)
            aborted = batch.is_transactional and batch.producer_id in records._aborted_producers
        if not (aborted or batch.is_control_batch):
            try:
                unpacked: list[RawRecord] = list(batch)
            except Exception as error:  # from aiokafka or from the library that unpacks it
                raise _Unreadable(batch.next_offset, f"it cannot be unpacked: {type(error).__name__}") from error
            if unpacked and unpacked[0].offset < records.next_fetch_offset:  # the fetch began within the batch
                unpacked = [record for record in unpacked if record.offset >= records.next_fetch_offset]
            yield unpacked
        records.next_fetch_offset = batch.next_offset


class _Results(OrderedDict[TopicPartition, Any]):
    """Replace `Fetcher._records`: hand out each fetch result as a `Chunk`."""

    def __init__(self, observer: Observer) -> None:
        super().__init__()
        self._observer = observer

    def __setitem__(self, tp: TopicPartition, result: Any) -> None:
        if type(result) is FetchResult:
            result.getall = functools.partial(_take, self._observer, result)
        super().__setitem__(tp, result)


class Ahead(NamedTuple):
    """A position of the consumer beyond the end of the partition, as fetches show it."""

    position: int
    end: int
    since: int
    """Time at which the first of these fetches was sent, ms."""
    until: int
    """Time at which the last one was sent, ms."""


class Observer(Protocol):
    """Receiver of the results of fetches. Used on the consumer's thread; single entries may be read from any thread."""

    fetches: dict[TP, Fetch]
    out_of_range: dict[TP, int]
    ahead: dict[TP, Ahead]
    unreadable: dict[TP, tuple[int, int]]
    """Position of an unreadable batch, and the number of fetches of it."""

    def is_seldom(self, topic: str) -> bool:
        """Return True if the topic need not be part of every fetch."""


def chunk_fetches(fetcher: Fetcher, observer: Observer, clock: Callable[[], int], arrived: Callable[[], None]) -> None:
    """Make the fetcher of a started consumer return chunks, and report to `observer` what each fetch shows.

    `arrived` is called after a fetch that returned records.
    """
    fetcher._records = _Results(observer)
    process = fetcher._proc_fetch_request
    pacings: defaultdict[int, Pacing] = defaultdict(Pacing)
    """Pacing by node: the partitions that one leads may be quiet while records of another flow."""
    asked_for_all: dict[int, int] = {}
    """Time of the last fetch of all topics by node, ms."""

    async def observed(assignment: Any, node_id: int, request: Any) -> Any:
        sent_at = clock()
        if 0 <= sent_at - asked_for_all.get(node_id, 0) < SELDOM_MS and (
            often := [(topic, parts) for topic, parts in request.topics if not observer.is_seldom(topic)]
        ):
            request.topics[:] = often
        else:
            asked_for_all[node_id] = sent_at
        asked = {TopicPartition(topic, p): offset for topic, parts in request.topics for p, offset, _ in parts}
        for tp in asked:
            assignment.state_value(tp).timestamp = None  # a success sets it again
        pacing = pacings[node_id]
        request._max_wait_ms, request._min_bytes = pacing.terms
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
                    if end >= offset:
                        observer.fetches[tp] = Fetch(sent_at, end)
                        observer.ahead.pop(tp, None)
                        beyond += end - offset
                    else:  # a newly elected leader does not know the end yet
                        known = observer.ahead.get(tp)
                        observer.ahead[tp] = Ahead(offset, end, sent_at if known is None else known.since, sent_at)
                elif state.awaiting_reset:
                    observer.out_of_range[tp] = offset  # aiokafka would go on from the beginning silently
        pacing.fetched(beyond if result else 0)
        if result:
            arrived()
        return result

    fetcher._proc_fetch_request = observed
