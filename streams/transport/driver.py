"""The Faust transport that reads records in chunks: URL scheme `chunked://`.

Every topic that is read has a `ChunkSchema` and `acks=False`: each poll gives one event (`Polled`), and the app commits
the offsets (`Consumer.commit_offsets`), never Faust. The application has no other topics: the changelog of a
`StateTable` has a `ChunkSchema`, and Faust's leader topic is switched off.
"""

from __future__ import annotations

import asyncio
import inspect
import time
import types
from collections.abc import AsyncIterator, Collection, Coroutine, Generator, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

from aiokafka.errors import CommitFailedError, ConsumerStoppedError, NodeNotReadyError
from aiokafka.structs import OffsetAndMetadata
from faust.exceptions import ConsumerNotStarted
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode.services import WaitResults

from streams.core.model.sources import Fetch
from streams.transport.chunks import Ahead, Chunk, SeldomSchema, chunk_fetches
from streams.transport.fetch_watch import FetchWatch
from streams.transport.handover import Handover
from streams.transport.topic_ids import topic_ids

SCHEME = "chunked"
REBALANCING_POLL_S = 0.2
"""Longest wait of a poll during recovery, whose end waits for the poll."""
HEARTBEAT_S = 1.0
"""Interval of the heartbeats of a consumer that waits for room."""


class Polled(NamedTuple):
    """The chunks of one topic that a poll returned."""

    chunks: list[tuple[TP, Chunk]]
    more: bool
    """True if chunks of another topic from the same poll follow."""


def wall_clock() -> int:
    """Return the present time, in epoch ms."""
    return time.time_ns() // 1_000_000


class Owner(Protocol):
    """Owner of the chunks: the app. Called on the app's event loop."""

    @property
    def health(self) -> HeartbeatReceiver:
        """Receiver of a heartbeat with every poll."""

    def on_assigned(self, sources: frozenset[TP]) -> None:
        """A rebalance ends with these partitions; nothing is read yet. Must not wait: no heartbeats are sent."""

    async def fenced(self) -> None:
        """Recovery is about to read: return once no other worker can write to what it reads."""

    async def on_sources_assigned(self, sources: frozenset[TP]) -> None:
        """The tables are recovered: seek each of `sources`. Processing starts after it."""

    async def on_sources_revoked(self) -> None:
        """Processing has stopped: commit, and release every partition."""


class HeartbeatReceiver(Protocol):
    """Receiver of the heartbeats of the consumer."""

    def consumer_heartbeat(self) -> None:
        """Note that the consumer has polled."""


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread, which reads committed records in chunks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._handover = Handover()
        super().__init__(*args, **kwargs)

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        return consumer

    async def on_start(self) -> None:
        """Make the fetcher return chunks. Called by Faust when the thread starts."""
        await super().on_start()
        parent: Any = self.consumer
        arrived = partial(self._handover.arrived, self._take)
        chunk_fetches(self._ensure_consumer()._fetcher, parent, wall_clock, arrived)

    async def getmany(self, active_partitions: Any, timeout: float) -> Any:
        """Poll. Called by `Consumer.getmany`. Faust would pass it through a queue of calls, whose tasks cost more."""
        consumer = self._ensure_consumer()
        if not self.consumer.flow_active:
            return {}
        if consumer._closed:
            raise ConsumerStoppedError
        self.note_poll()  # no record may come for long
        records = consumer._fetcher._records

        def anything() -> bool:
            return any(tp in active_partitions for tp in list(records))  # those of paused partitions stay there

        arrived = await self._handover.poll(active_partitions, timeout, anything)
        if arrived is not None:
            return arrived
        fetched = self._fetched(active_partitions, timeout)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(fetched, self.thread_loop))

    def _fetched(self, partitions: Any, timeout: float) -> Coroutine[Any, Any, Any]:
        consumer = self._ensure_consumer()
        return self._fetch_records(consumer, partitions, timeout=timeout, max_records=consumer._max_poll_records)

    def _take(self, partitions: Any) -> Any:
        """Return the records that are there, without waiting; none during a rebalance."""
        if self._ensure_consumer()._subscription.reassignment_in_progress:
            return {}
        try:
            self._fetched(partitions, 0).send(None)
        except StopIteration as ended:
            return ended.value
        raise AssertionError("a poll without a timeout does not wait")

    def note_poll(self) -> None:
        """Have the client note the time of a poll. Called instead of `getmany` while there is nothing to poll.

        A client that does not poll for long leaves the group, and would then not be assigned any partition.
        """
        with self._ensure_consumer()._subscription.fetch_context():
            pass

    @property
    def fetching_ended(self) -> BaseException | None:
        """Implement `Consumer.fetching_ended`. Callable from any thread."""
        try:
            consumer = self._ensure_consumer()
        except ConsumerNotStarted:
            return None
        fetcher, coordinator = consumer._fetcher, consumer._coordinator
        if fetcher is None or coordinator is None:  # the consumer is starting
            return None
        if coordinator._pending_exception is not None:
            pending: BaseException = coordinator._pending_exception
            return pending
        ended = [task for task in (fetcher._fetch_task, coordinator._coordination_task) if task.done()]
        failures = (task.exception() for task in ended if not task.cancelled())
        return next((failure for failure in failures if failure is not None), None)

    @property
    def group_generation(self) -> int:
        """Implement `Consumer.group_generation`. Callable from any thread."""
        generation: int = self._ensure_consumer()._coordinator.generation
        return generation

    async def committed_offsets(self, tps: Iterable[TP]) -> dict[TP, OffsetAndMetadata]:
        """Return the committed offsets of the group, with metadata; partitions without one are absent."""
        wanted = [driver.ensure_aiokafka_TP(tp) for tp in tps]
        found: dict[TP, OffsetAndMetadata] = await self.call_thread(self._committed_offsets, wanted)
        return found

    async def _committed_offsets(self, tps: list[Any]) -> dict[TP, OffsetAndMetadata]:
        found = await self._ensure_consumer()._coordinator.fetch_committed_offsets(tps)
        return {ensure_TP(tp): offset for tp, offset in found.items()}

    async def topic_ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the ids of the topics that exist; an empty dict if the broker has no ids."""
        # Not through the queue of calls: a commit must not wait behind this one while the broker is away.
        request = topic_ids(self._ensure_consumer()._client, topics)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(request, self.thread_loop))

    async def partition_counts(self, topics: Collection[str]) -> dict[str, int]:
        """Implement `Consumer.partition_counts`."""
        counted: dict[str, int] = await self.call_thread(self._partition_counts, topics)
        return counted

    async def _partition_counts(self, topics: Collection[str]) -> dict[str, int]:
        client = self._ensure_consumer()._client
        if not await client.force_metadata_update():
            raise NodeNotReadyError("no broker has returned metadata of the topics")
        return {topic: len(client.cluster.partitions_for_topic(topic) or ()) for topic in topics}

    async def commit_offsets(self, offsets: Mapping[TP, tuple[int, str]]) -> None:
        """Commit offsets with metadata. Raises the error of the broker."""
        consumer = self._ensure_consumer()
        if self.group_generation < 0:
            # The group has removed the member. Without a generation, an empty group would accept the stale offsets.
            raise CommitFailedError("this worker is no longer a member of its group")
        await self.call_thread(
            consumer.commit, {driver.ensure_aiokafka_TP(tp): OffsetAndMetadata(*o) for tp, o in offsets.items()}
        )


def _message(tp: TP, chunk: Chunk, value: Any, generation: int) -> ConsumerMessage:
    return ConsumerMessage(
        tp.topic, tp.partition, chunk.next - 1, time.time(), 0, None, None, value, None, 0, 0, tp,
        generation_id=generation,
    )  # fmt: skip


async def _resumed(begun: Any, waits_for: Any) -> Any:
    """Continue in a task a coroutine whose first step was made outside of one."""

    @types.coroutine
    def go_on() -> Generator[Any, Any, Any]:
        yield waits_for
        return (yield from begun)

    return await go_on()


class Consumer(driver.Consumer):
    """Faust's consumer, reading chunks."""

    app: Any
    """An `Owner`."""
    _thread: ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.fetches: dict[TP, Fetch] = {}
        """Last successful fetch of each partition. Written by the consumer's thread."""
        self.between_polls = asyncio.Lock()
        """Held by each poll, and by each seek."""
        self.out_of_range: dict[TP, int] = {}
        """Positions that do not exist in their topic. Written by the consumer's thread."""
        self.ahead: dict[TP, Ahead] = {}
        """Positions beyond the ends that fetches show. Written by the consumer's thread."""
        self.unreadable: dict[TP, tuple[int, int]] = {}
        self._fetch_watch = FetchWatch()
        self._seldom: set[str] = set()
        self._topics_seen = -1
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def is_seldom(self, topic: str) -> bool:
        """Return True if the topic need not be part of every fetch. Callable from any thread."""
        topics = self.app.topics
        if len(topics) != self._topics_seen:
            seen = len(topics)
            self._seldom = {n for t in list(topics) if isinstance(t.schema, SeldomSchema) for n in t.topics}
            self._topics_seen = seen  # last: the consumer's thread calls this method as well
        return topic in self._seldom

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """Poll. Called by Faust's fetcher.

        Yield one message per topic and poll, whose value is the partitions with their chunks (`Polled`): while chunks
        are small, Faust's work for a message costs more than they do. The message bears the first of these partitions.
        Of a changelog, yield a message per partition: recovery counts so.
        """
        self.app.health.consumer_heartbeat()
        if not self.flow_active:
            await self.wait(self.can_resume_flow.wait())
        active = set(self._get_active_partitions())  # a copy: it shrinks when a partition is paused
        if self.app.rebalancing:  # in recovery no sources are read yet
            active = {tp for tp in active if tp.topic in self.app.tables.changelog_topics}
            timeout = min(timeout, REBALANCING_POLL_S)
        if not active:
            self._thread.note_poll()
            await self.sleep(0.05)
            return
        generation = self.app.consumer_generation_id
        async with self.between_polls:
            records: Any = await self._getmany(active_partitions=active, timeout=timeout)
        if not records or self.should_stop or not self.flow_active or self.app.consumer_generation_id != generation:
            return  # records fetched before a rebalance are read again after it: every partition is sought then
        polled: dict[str, list[tuple[TP, Chunk]]] = {}
        for tp, chunk in records.items():
            tp = ensure_TP(tp)
            if tp not in active:
                continue
            if tp.topic in self.app.tables.changelog_topics:
                if not self.flow_active or self.app.consumer_generation_id != generation:
                    return
                yield tp, _message(tp, chunk, chunk, generation)
            else:
                polled.setdefault(tp.topic, []).append((tp, chunk))
        last = next(reversed(polled.values()), None)
        for chunks in polled.values():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return
            tp, chunk = chunks[0]
            yield tp, _message(tp, chunk, Polled(chunks, more=chunks is not last), generation)

    async def wait_first(self, *coros: Any, timeout: Any = None) -> Any:
        """Wait for the first coroutine to end. Called by Faust's fetcher to hand a message over, and for other waits.

        If the first one need not wait, no task is made: Faust would make four for each chunk.
        """
        if not all(map(inspect.iscoroutine, coros)):
            return await super().wait_first(*coros, timeout=timeout)
        first, *others = coros
        try:
            waits_for = first.send(None)
        except BaseException as ended:
            for other in others:
                other.close()
            if not isinstance(ended, StopIteration):
                raise
            return WaitResults([], [], True) if self.should_stop else WaitResults([first], [ended.value], False)
        handing_over = asyncio.ensure_future(super().wait_first(_resumed(first, waits_for), *others, timeout=timeout))
        try:
            while not handing_over.done():
                await asyncio.wait((handing_over,), timeout=HEARTBEAT_S)
                self.app.health.consumer_heartbeat()  # it waits for room, hence for a commit: a restart would not help
        finally:
            handing_over.cancel()
        return handing_over.result()

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Log an error if a partition is not fetched. Called by Faust every few seconds for each assigned one.

        Partitions that are paused are not to be fetched, and changelogs only during recovery.
        """
        if self.flow_active and tp in self._get_active_partitions():
            self._fetch_watch.observe(tp, self.fetches.get(tp), now)
        else:
            self._fetch_watch.forget(tp)

    def on_buffer_full(self, tp: TP) -> None:
        """Called by Faust when a queue is nearly full: do nothing.

        The queues, of size 1, always are: a message that is handed over waits for room. Faust would stop to fetch the
        partition, and fetch it again at the next room, even if the app has paused it.
        """

    async def sleep(self, n: Any) -> None:
        """Sleep. Called by Faust's fetcher before each poll, with 0."""
        if n:
            await super().sleep(n)
        else:
            await asyncio.sleep(0)

    def sources(self) -> frozenset[TP]:
        """Return the assigned partitions of all topics but changelogs."""
        return self._sources(self.assignment())

    def _sources(self, tps: Iterable[TP]) -> frozenset[TP]:
        changelogs = self.app.tables.changelog_topics
        return frozenset(tp for tp in map(ensure_TP, tps) if tp.topic not in changelogs)

    async def perform_seek(self) -> None:
        """Have the app seek. Called by Faust when recovery is complete, before processing starts.

        A poll from before the rebalance must have ended: it could return records from after the seek, and they would be
        lost, because Faust empties its queues once more before it goes on.
        """
        async with self.between_polls:
            await self.app.on_sources_assigned(self.sources())

    async def seek_source(self, tp: TP, offset: int) -> None:
        """Read `tp` from `offset`. Records that were fetched before are dropped."""
        await self.seek_wait({tp: offset})
        self._read_offset[tp] = None

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Stop, and have the app commit. Called by Faust at the start of every rebalance."""
        self.stop_flow()
        await self.app.on_sources_revoked()
        self.fetches.clear()
        self.ahead.clear()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Report the assignment to the app. Called by Faust at the end of every rebalance."""
        self.app.on_assigned(self._sources(assigned))
        await super().on_partitions_assigned(assigned, generation_id)

    async def committed_offsets(self, tps: Iterable[TP]) -> dict[TP, OffsetAndMetadata]:
        """Return the committed offsets of the group, with metadata; partitions without one are absent."""
        return await self._thread.committed_offsets(tps)

    @property
    def fetching_ended(self) -> BaseException | None:
        """Error for which the client has stopped fetching or left its group; None if it has not.

        Polls then return no records and raise no error.
        """
        return self._thread.fetching_ended

    @property
    def group_generation(self) -> int:
        """Generation of the group; negative if this worker is no longer a member."""
        return self._thread.group_generation

    async def topic_ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the ids of the topics that exist; an empty dict if the broker has no ids."""
        return await self._thread.topic_ids(topics)

    async def partition_counts(self, topics: Collection[str]) -> dict[str, int]:
        """Return the present number of partitions of subscribed topics."""
        return await self._thread.partition_counts(topics)

    async def commit_offsets(self, offsets: Mapping[TP, tuple[int, str]]) -> None:
        """Commit offsets with metadata. Raises the error of the broker."""
        await self._thread.commit_offsets(offsets)


class Producer(driver.Producer):
    """Faust's producer, with acknowledgements that can be awaited."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {**super()._settings_extra(), "acks": "all"}

    @property
    def client(self) -> Any:
        """The aiokafka producer. `await client.send(...)` returns the future of the acknowledgement."""
        return self._ensure_producer()


class Transport(driver.Transport):
    """Transport registered as `chunked://`."""

    Consumer = Consumer
    Producer = Producer


TRANSPORTS.data[SCHEME] = f"{__name__}:Transport"
