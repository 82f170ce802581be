"""The input of a backtest from Kafka: everything that the input topics hold now, read without a consumer group.

Nothing is committed. A worker that reads the same topics is not affected.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine, Mapping
from typing import Any, Final, Self, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.contracts.native import Decoder
from streams.contracts.rejected import Rejected
from streams.core.model.event import Event, Source
from streams.errors import UserError
from streams.replay.log_run import OnRejected
from streams.replay.summary import Tally
from streams.settings import Settings
from streams.transport.topic_metadata import partition_counts

T = TypeVar("T")

RECORDS: Final = 2_000
"""Most records per call of `read`, and per poll."""
PATIENCE: Final = 60.0
"""Seconds without a record after which reading fails."""


class _Partition:
    """One partition, with the events that were read and not returned yet."""

    def __init__(self, number: int, start: int, end: int) -> None:
        self.number = number
        self.start = start
        self.position = start
        self.end = end
        self.waiting: deque[Event] = deque()
        self.reached = 0
        """The latest event time returned, ms. An event out of order keeps its place in the log."""

    @property
    def key(self) -> tuple[int, int]:
        """Sort key among partitions with waiting events: the one with the least key is next."""
        return max(self.reached, self.waiting[0].at), self.number


class TopicReader:
    """A `log_run.Reader` of the input topics. A context manager.

    It merges the partitions of a topic in time order, each in the order of its log. So the records of a customer may be
    on any partition. Events get new offsets, which count over all partitions.
    """

    def __init__(
        self, settings: Settings, decoders: Mapping[Source, Decoder], on_rejected: OnRejected, *, until: int | None
    ) -> None:
        """Events after `until` (ms) are left out. Events too far after their record's timestamp are rejected."""
        self.open = set(Source)
        self.time = 0
        self.tally = Tally(decoded=[decoder.counts for decoder in decoders.values()])
        self._settings = settings
        self._topics = settings.source_topics
        self._decoders = decoders
        self._on_rejected = on_rejected
        self._until = until
        self._loop = asyncio.new_event_loop()
        self._consumer: Any = None
        self._partitions: dict[Source, list[_Partition]] = {}
        self._positions = dict.fromkeys(Source, 0)

    @property
    def size(self) -> int:
        """Number of offsets to read."""
        return sum(p.end - p.start for partitions in self._partitions.values() for p in partitions)

    @property
    def done(self) -> int:
        """Number of offsets read."""
        return sum(min(p.position, p.end) - p.start for partitions in self._partitions.values() for p in partitions)

    def read(self, source: Source) -> list[Event]:
        partitions, taken = self._partitions[source], list[Event]()
        while len(taken) < RECORDS:
            empty = [p for p in partitions if not p.waiting and p.position < p.end]
            if empty:
                if taken:
                    break
                self._await(self._fetch(source, empty))
                continue
            waiting = [p for p in partitions if p.waiting]
            if not waiting:
                if not taken:
                    self.open.discard(source)
                break
            first = min(waiting, key=lambda p: p.key)
            event = first.waiting.popleft()
            first.reached = max(first.reached, event.at)
            event.offset = self._positions[source]
            self._positions[source] += 1
            taken.append(event)
        self.tally.count_events(source, taken, self._settings.lateness)
        self.time = max([self.time, *(event.at for event in taken)])
        return taken

    def position(self, source: Source) -> int:
        return self._positions[source]

    def __enter__(self) -> Self:
        try:
            self._await(self._start())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._consumer is not None:
            self._loop.run_until_complete(asyncio.wait_for(self._consumer.stop(), 10))
        self._loop.close()

    async def _start(self) -> None:
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # errors are reported as one sentence

        async def make() -> AIOKafkaConsumer:  # the constructor needs the running loop
            return AIOKafkaConsumer(
                bootstrap_servers=self._settings.broker,
                group_id=None,
                enable_auto_commit=False,
                isolation_level="read_committed",
                auto_offset_reset="none",
            )

        known = await self._partitions_of_topics()
        self._consumer = await make()
        await self._consumer.start()
        for source, topic in self._topics.items():
            if topic not in known:
                raise UserError(
                    f"there is no topic {topic} on {self._settings.broker}: `lifecycle settings` shows its name."
                )
            tps = [TopicPartition(topic, number) for number in range(known[topic])]
            starts = await self._consumer.beginning_offsets(tps)
            ends = await self._consumer.end_offsets(tps)
            self._partitions[source] = [_Partition(tp.partition, starts[tp], ends[tp]) for tp in tps]
        self._consumer.assign(
            [TopicPartition(self._topics[source], p.number) for source, all_ in self._partitions.items() for p in all_]
        )
        for source, partitions in self._partitions.items():
            for p in partitions:
                self._consumer.seek(TopicPartition(self._topics[source], p.number), p.start)

    async def _partitions_of_topics(self) -> dict[str, int]:
        """Return the number of partitions of each topic. A consumer knows only topics that it was given."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._settings.broker)
        try:
            await admin.start()
            return await partition_counts(admin)
        finally:
            await admin.close()

    async def _fetch(self, source: Source, partitions: list[_Partition]) -> None:
        """Read these partitions, which have no waiting events, until one of them has brought some or has ended.

        Raise `UserError` after `PATIENCE` without a record.
        """
        topic, decode = self._topics[source], self._decoders[source].decode
        tps = {TopicPartition(topic, p.number): p for p in partitions}
        deadline = time.monotonic() + PATIENCE
        while True:
            fetched = await self._consumer.getmany(*tps, timeout_ms=500, max_records=RECORDS)
            moved = False
            for tp, p in tps.items():
                for record in fetched.get(tp, ()):
                    if record.offset < p.end:
                        self._decode(source, p, record, decode)
                position = min(await self._consumer.position(tp), p.end)
                moved = moved or position > p.position
                p.position = position
            if moved:
                return
            if time.monotonic() > deadline:
                raise UserError(
                    f"{topic} brought no record for {PATIENCE:.0f} s, although its end is not reached: check that the "
                    "brokers are well and that no producer has left a transaction open."
                )

    def _decode(self, source: Source, p: _Partition, record: Any, decode: Any) -> None:
        try:
            event: Event = decode(record.value, partition=p.number, offset=record.offset, timestamp=record.timestamp)
        except Rejected as rejected:
            self.tally.rejected[rejected.reason] += 1
            self._on_rejected(source, record.offset, record.value or b"", rejected)
            return
        if self._until is not None and event.at > self._until:
            self.tally.after_until += 1
            return
        event.timestamp = event.at  # history counts as read in time, however late it was produced
        p.waiting.append(event)

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._loop.run_until_complete(work)
        except KafkaError as error:
            broker = self._settings.broker
            raise UserError(
                f"the topics on {broker} cannot be read ({type(error).__name__}): check that the broker is running."
            ) from None
