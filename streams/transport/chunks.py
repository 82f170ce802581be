"""Chunks: the records of one fetch of one partition, as one Faust event.

This reaches into aiokafka's fetcher, since it has no seam where a fetch could be taken whole.
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
"""How often at most a topic with `SeldomSchema` is asked for. Idle, a fetch that waits without it is out for so long as
well (`streams.transport.pacing.IDLE`)."""
READ_AGAIN: Final = 3
"""How often what cannot be read is fetched again: what was damaged on its way, or on one of the copies, heals so."""


class Lost(NamedTuple):
    """A batch of records that cannot be read, now or later: damaged, or compressed in a way that is not known here."""

    offset: int
    next: int
    why: str


class Chunk(list[RawRecord]):
    """Raw records in offset order, and the consumer's position before and after them.

    Control records and aborted batches move the position without a record, so a chunk can be empty and still count:
    it is true if the position moved.
    """

    __slots__ = ("lost", "next", "start")
    start: int
    next: int
    lost: Lost | None
    """What the chunk consists of instead of records."""

    def __init__(self, records: Iterable[RawRecord] = ()) -> None:
        super().__init__(records)
        self.lost = None

    def __bool__(self) -> bool:
        return self.start != self.next


class ChunkSchema(Schema[Any, Any]):
    """`app.topic(..., schema=ChunkSchema())`: the events of the topic carry chunks as their value."""

    def compile(self, app: Any, **kwargs: Any) -> Callable[..., Awaitable[Any]]:
        """Called by Faust for the topic: the decoder passes the chunk through."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, None, message)

        return decode


class SeldomSchema(ChunkSchema):
    """As `ChunkSchema`, for a topic that is nearly always empty, and whose records may wait for a second or two.

    To ask for a partition costs as much as to learn that there is nothing, with each of tens of fetches a second.
    """


def _take(observer: Observer, result: FetchResult, max_records: int | None = None) -> Chunk:
    """As `FetchResult.getall`, but all at once: how many there may be, the size of a fetch says.

    What comes before a batch that cannot be read is handed out, and then the batch alone, as lost, if it still cannot
    be read after some fetches. aiokafka would raise at each, and so would the next worker.
    """
    chunk = Chunk()
    if not result.check_assignment(result._topic_partition) or not result.has_more():
        chunk.start = chunk.next = 0  # the same: it does not count
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
    records._records_iterator = None  # it refers back: the bytes of the fetch would wait for the garbage collector
    return chunk


class _Unreadable(Exception):
    """The next batch. `next`: the offset behind it, as far as can be told."""

    def __init__(self, next: int, why: str) -> None:
        super().__init__(why)
        self.next = next


def _give_up(observer: Observer, result: FetchResult, unreadable: _Unreadable) -> Lost | None:
    """What is lost, if it was fetched often enough."""
    asked_tp = result._topic_partition
    tp, state = TP(asked_tp.topic, asked_tp.partition), result._assignment.state_value(asked_tp)
    position, tries = observer.unreadable.get(tp, (-1, 0))
    tries = tries + 1 if position == state.position else 1
    observer.unreadable[tp] = state.position, tries
    log.warning("%s, partition %d: what is at offset %d cannot be read (%s)", *tp, state.position, unreadable)
    if tries <= READ_AGAIN:
        return None
    plausible = state.position < unreadable.next <= state.highwater
    return Lost(state.position, unreadable.next if plausible else state.position + 1, str(unreadable))


def _batches(records: PartitionRecords) -> Iterator[list[RawRecord]]:
    """As `PartitionRecords._unpack_records`, a batch at a time instead of a record. Raises `_Unreadable`."""
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
            except Exception as error:  # of aiokafka or of the library that unpacks it
                raise _Unreadable(batch.next_offset, f"it cannot be unpacked: {type(error).__name__}") from error
            if unpacked and unpacked[0].offset < records.next_fetch_offset:  # a batch that was asked for in its midst
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
    """A position beyond the end that fetches show."""

    position: int
    end: int
    since: int
    """When the first of them was sent, ms."""
    until: int
    """When the last was."""


class Observer(Protocol):
    """Who wants the chunks. Read and written on the consumer's thread; single items may be read from any thread."""

    fetches: dict[TP, Fetch]
    out_of_range: dict[TP, int]
    ahead: dict[TP, Ahead]
    unreadable: dict[TP, tuple[int, int]]
    """The position of what could not be read, and how often."""

    def is_seldom(self, topic: str) -> bool:
        """Return True if the topic need not be part of every fetch."""


def chunk_fetches(fetcher: Fetcher, observer: Observer, clock: Callable[[], int], arrived: Callable[[], None]) -> None:
    """Make a started consumer's fetcher hand out chunks, and note what each fetch showed; `arrived` is called when one
    has brought something."""
    fetcher._records = _Results(observer)
    process = fetcher._proc_fetch_request
    pacings: defaultdict[int, Pacing] = defaultdict(Pacing)
    """By node: what one leads may be quiet while another's flows."""
    asked_for_all: dict[int, int] = {}
    """By node, when a fetch was last for everything, ms."""

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
            assignment.state_value(tp).timestamp = None  # set again by a success only
        pacing = pacings[node_id]
        request._max_wait_ms, request._min_bytes = pacing.ask
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
                    else:  # a leader that was just elected does not know the end yet
                        known = observer.ahead.get(tp)
                        observer.ahead[tp] = Ahead(offset, end, sent_at if known is None else known.since, sent_at)
                elif state.awaiting_reset:
                    observer.out_of_range[tp] = offset  # aiokafka would go on from the beginning without a word
        pacing.fetched(beyond if result else 0)
        if result:
            arrived()
        return result

    fetcher._proc_fetch_request = observed
