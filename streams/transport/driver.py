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
from streams.transport.handover import Handover
from streams.transport.topic_ids import topic_ids

SCHEME = "chunked"
REBALANCING_POLL_S = 0.2
"""What a poll may wait during recovery, whose end waits for it."""
STEP_S = 1.0
"""How often a consumer that waits for room says that it is alive."""


class Polled(NamedTuple):
    """What a poll brought of a topic."""

    chunks: list[tuple[TP, Chunk]]
    more: bool
    """Whether what it brought of another topic follows."""


def wall_clock() -> int:
    """The present, in ms."""
    return time.time_ns() // 1_000_000


class Owner(Protocol):
    """Who owns the chunks: the app. Called on the app's event loop."""

    @property
    def health(self) -> Health:
        """Told of every poll."""

    def on_assigned(self, sources: frozenset[TP]) -> None:
        """A rebalance ends with these sources, nothing is read yet. It must not wait: no heartbeats are sent."""

    async def fenced(self) -> None:
        """Recovery is about to read: return once nobody else can write what it reads."""

    async def on_sources_assigned(self, sources: frozenset[TP]) -> None:
        """The tables are recovered: seek each of `sources`, then processing starts."""

    async def on_sources_revoked(self) -> None:
        """Processing has stopped: commit, and let go of every partition."""


class Health(Protocol):
    """Who watches that the consumer moves."""

    def consumer_heartbeat(self) -> None:
        """The consumer polls."""


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread, reading committed records in chunks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._handover = Handover()
        super().__init__(*args, **kwargs)

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        return consumer

    async def on_start(self) -> None:
        """Called by Faust when the thread starts."""
        await super().on_start()
        parent: Any = self.consumer
        arrived = partial(self._handover.arrived, self._take)
        chunk_fetches(self._ensure_consumer()._fetcher, parent, wall_clock, arrived)

    async def getmany(self, active_partitions: Any, timeout: float) -> Any:
        """Called by `Consumer.getmany`: as Faust's, without its queue of calls, whose tasks cost more than a poll."""
        consumer = self._ensure_consumer()
        if not self.consumer.flow_active:
            return {}
        if consumer._closed:
            raise ConsumerStoppedError
        self.poll_nothing()  # it notes the time: nothing may come for long
        records = consumer._fetcher._records

        def anything() -> bool:
            return any(tp in active_partitions for tp in list(records))  # what came before a pause stays there

        arrived = await self._handover.poll(active_partitions, timeout, anything)
        if arrived is not None:
            return arrived
        fetched = self._fetched(active_partitions, timeout)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(fetched, self.thread_loop))

    def _fetched(self, partitions: Any, timeout: float) -> Coroutine[Any, Any, Any]:
        consumer = self._ensure_consumer()
        return self._fetch_records(consumer, partitions, timeout=timeout, max_records=consumer._max_poll_records)

    def _take(self, partitions: Any) -> Any:
        """What is there, without waiting: nothing during a rebalance."""
        if self._ensure_consumer()._subscription.reassignment_in_progress:
            return {}
        try:
            self._fetched(partitions, 0).send(None)
        except StopIteration as ended:
            return ended.value
        raise AssertionError("a poll without a timeout does not wait")

    def poll_nothing(self) -> None:
        """Called instead of `getmany` while there is nothing to poll: who does not poll for long is made to leave the
        group, and would not be there when there is something to take over."""
        with self._ensure_consumer()._subscription.fetch_context():
            pass  # it notes the time

    @property
    def fetching_ended(self) -> BaseException | None:
        """As `Consumer.fetching_ended`. Read from any thread."""
        try:
            consumer = self._ensure_consumer()
        except ConsumerNotStarted:
            return None
        fetcher, coordinator = consumer._fetcher, consumer._coordinator
        if fetcher is None or coordinator is None:  # it starts
            return None
        if coordinator._pending_exception is not None:
            pending: BaseException = coordinator._pending_exception
            return pending
        ended = [task for task in (fetcher._fetch_task, coordinator._coordination_task) if task.done()]
        failures = (task.exception() for task in ended if not task.cancelled())
        return next((failure for failure in failures if failure is not None), None)

    @property
    def group_generation(self) -> int:
        """As `Consumer.group_generation`. Read from any thread."""
        generation: int = self._ensure_consumer()._coordinator.generation
        return generation

    async def committed_offsets(self, tps: Iterable[TP]) -> dict[TP, OffsetAndMetadata]:
        """What the group has committed, with metadata; partitions without are absent."""
        wanted = [driver.ensure_aiokafka_TP(tp) for tp in tps]
        found: dict[TP, OffsetAndMetadata] = await self.call_thread(self._committed_offsets, wanted)
        return found

    async def _committed_offsets(self, tps: list[Any]) -> dict[TP, OffsetAndMetadata]:
        found = await self._ensure_consumer()._coordinator.fetch_committed_offsets(tps)
        return {ensure_TP(tp): offset for tp, offset in found.items()}

    async def topic_ids(self, topics: Collection[str]) -> dict[str, str]:
        """Topic to id, of those that exist; nothing where the broker knows no ids."""
        # Not by the queue of calls: a commit should not wait behind it while the broker is away.
        asked = topic_ids(self._ensure_consumer()._client, topics)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asked, self.thread_loop))

    async def partition_counts(self, topics: Collection[str]) -> dict[str, int]:
        """As `Consumer.partition_counts`."""
        counted: dict[str, int] = await self.call_thread(self._partition_counts, topics)
        return counted

    async def _partition_counts(self, topics: Collection[str]) -> dict[str, int]:
        client = self._ensure_consumer()._client
        if not await client.force_metadata_update():
            raise NodeNotReadyError("no broker has told of the topics")
        return {topic: len(client.cluster.partitions_for_topic(topic) or ()) for topic in topics}

    async def commit_offsets(self, offsets: Mapping[TP, tuple[int, str]]) -> None:
        """Commit offsets with metadata; raises what the broker answers."""
        consumer = self._ensure_consumer()
        if self.group_generation < 0:
            # The member was given up. Without a generation, a group that is empty would take what is stale by now.
            raise CommitFailedError("this worker is no member of its group any more")
        await self.call_thread(
            consumer.commit, {driver.ensure_aiokafka_TP(tp): OffsetAndMetadata(*o) for tp, o in offsets.items()}
        )


def _message(tp: TP, chunk: Chunk, value: Any, generation: int) -> ConsumerMessage:
    return ConsumerMessage(
        tp.topic, tp.partition, chunk.next - 1, time.time(), 0, None, None, value, None, 0, 0, tp,
        generation_id=generation,
    )  # fmt: skip


async def _resumed(begun: Any, waits_for: Any) -> Any:
    """A coroutine whose first step was made outside of a task, made fit for one."""

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
        """What the last successful fetch of each partition showed. Written by the consumer's thread."""
        self.between_polls = asyncio.Lock()
        """Held by each poll, and by who seeks."""
        self.out_of_range: dict[TP, int] = {}
        """Positions that a topic turned out not to have. Written by the consumer's thread."""
        self.ahead: dict[TP, Ahead] = {}
        """Positions beyond the ends that fetches show. Written by the consumer's thread."""
        self.unreadable: dict[TP, tuple[int, int]] = {}
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
        """Called by Faust's fetcher.

        Yield one message per topic and poll, whose value is the partitions with their chunks (`Polled`): while chunks
        are small, Faust's work for a message costs more than they do. The message bears the first of these partitions.
        Of a changelog, yield a message per partition: recovery counts so.
        """
        self.app.health.consumer_heartbeat()
        if not self.flow_active:
            await self.wait(self.can_resume_flow.wait())
        active = set(self._get_active_partitions())  # as of now: it shrinks where a partition is paused
        if self.app.rebalancing:  # recovery: no sources yet
            active = {tp for tp in active if tp.topic in self.app.tables.changelog_topics}
            timeout = min(timeout, REBALANCING_POLL_S)
        if not active:
            self._thread.poll_nothing()
            await self.sleep(0.05)
            return
        generation = self.app.consumer_generation_id
        async with self.between_polls:
            records: Any = await self._getmany(active_partitions=active, timeout=timeout)
        if not records or self.should_stop or not self.flow_active or self.app.consumer_generation_id != generation:
            return  # what was fetched before a rebalance is read again after it: every partition is sought then
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
        """Called by Faust's fetcher to hand a message over, and for other waits.

        What does not have to wait costs no task: Faust would make four for each chunk.
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
                await asyncio.wait((handing_over,), timeout=STEP_S)
                self.app.health.consumer_heartbeat()  # it waits for room, hence for a commit: a restart would not help
        finally:
            handing_over.cancel()
        return handing_over.result()

    def on_buffer_full(self, tp: TP) -> None:
        """Called by Faust when a queue is nearly full: do nothing.

        The queues, of size 1, always are: a message that is handed over waits for room. Faust would stop to fetch the
        partition, and fetch it again at the next room, even if the app has paused it.
        """

    async def sleep(self, n: Any) -> None:
        """Called by Faust's fetcher before each poll, with 0."""
        if n:
            await super().sleep(n)
        else:
            await asyncio.sleep(0)

    def sources(self) -> frozenset[TP]:
        """The assigned partitions of all topics but changelogs."""
        return self._sources(self.assignment())

    def _sources(self, tps: Iterable[TP]) -> frozenset[TP]:
        changelogs = self.app.tables.changelog_topics
        return frozenset(tp for tp in map(ensure_TP, tps) if tp.topic not in changelogs)

    async def perform_seek(self) -> None:
        """Called by Faust when recovery is complete, before processing starts.

        Not while a poll of before the rebalance is still out: it could bring records of after the seek, and Faust
        empties its queues once more before it goes on.
        """
        async with self.between_polls:
            await self.app.on_sources_assigned(self.sources())

    async def seek_source(self, tp: TP, offset: int) -> None:
        """Read `tp` from `offset`; what was fetched before is dropped."""
        await self.seek_wait({tp: offset})
        self._read_offset[tp] = None

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Called by Faust at the start of every rebalance."""
        self.stop_flow()
        await self.app.on_sources_revoked()
        self.fetches.clear()
        self.ahead.clear()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Called by Faust at the end of every rebalance."""
        self.app.on_assigned(self._sources(assigned))
        await super().on_partitions_assigned(assigned, generation_id)

    async def committed_offsets(self, tps: Iterable[TP]) -> dict[TP, OffsetAndMetadata]:
        """What the group has committed, with metadata; partitions without are absent."""
        return await self._thread.committed_offsets(tps)

    @property
    def fetching_ended(self) -> BaseException | None:
        """By what the client has ceased to send fetches, or to take part in its group, if it has. Polls then bring
        nothing, and raise nothing."""
        return self._thread.fetching_ended

    @property
    def group_generation(self) -> int:
        """The generation of the group that this member is in; negative: it is none any more."""
        return self._thread.group_generation

    async def topic_ids(self, topics: Collection[str]) -> dict[str, str]:
        """Topic to id, of those that exist; nothing where the broker knows no ids."""
        return await self._thread.topic_ids(topics)

    async def partition_counts(self, topics: Collection[str]) -> dict[str, int]:
        """How many partitions topics that are subscribed to have at present."""
        return await self._thread.partition_counts(topics)

    async def commit_offsets(self, offsets: Mapping[TP, tuple[int, str]]) -> None:
        """Commit offsets with metadata; raises what the broker answers."""
        await self._thread.commit_offsets(offsets)


class Producer(driver.Producer):
    """Faust's producer, with acknowledgements that can be awaited."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {**super()._settings_extra(), "acks": "all"}

    @property
    def client(self) -> Any:
        """The aiokafka producer: `await client.send(...)` gives the future of the acknowledgement."""
        return self._ensure_producer()


class Transport(driver.Transport):
    """Registered as `chunked://`."""

    Consumer = Consumer
    Producer = Producer


TRANSPORTS.data[SCHEME] = f"{__name__}:Transport"
