"""The input of a backtest from Kafka: everything that the input topics hold as of now, read without a group.

Nothing is committed and nobody's offsets move: a worker that reads the same topics does not notice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine, Mapping
from typing import Any, Final, Self, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.contracts.native import Decoder
from streams.contracts.rejected import Rejected
from streams.core.model.event import Event, Source
from streams.errors import UserError
from streams.replay.play import Refused
from streams.replay.report import Tally
from streams.settings import Settings

T = TypeVar("T")

RECORDS: Final = 2_000
"""Handed on at once, and asked for at once."""
PATIENCE: Final = 60.0
"""Seconds without any record, after which the broker is taken to be away."""


class _Partition:
    """What was read of one and not handed on yet."""

    def __init__(self, number: int, start: int, end: int) -> None:
        self.number = number
        self.start = start
        self.position = start
        self.end = end
        self.waiting: deque[Event] = deque()
        self.reached = 0
        """The largest event time handed on: a record out of order goes where its log has it."""

    @property
    def key(self) -> tuple[int, int]:
        """What is handed on first, of partitions with something waiting."""
        return max(self.reached, self.waiting[0].at), self.number


class TopicReader:
    """A `play.Reader`. The partitions of a topic are merged in time order, each in the order of its log, so that a
    customer's records may lie anywhere. A context manager; offsets are made anew, over all partitions.
    """

    def __init__(
        self, settings: Settings, decoders: Mapping[Source, Decoder], refused: Refused, *, until: int | None
    ) -> None:
        """Events after `until` (ms) are not taken. Clocks are checked against the records' timestamps."""
        self.open = set(Source)
        self.time = 0
        self.tally = Tally()
        self._settings = settings
        self._topics = settings.source_topics
        self._decoders = decoders
        self._refused = refused
        self._until = until
        self._loop = asyncio.new_event_loop()
        self._consumer: Any = None
        self._partitions: dict[Source, list[_Partition]] = {}
        self._positions = dict.fromkeys(Source, 0)

    @property
    def size(self) -> int:
        """Offsets to be read."""
        return sum(p.end - p.start for partitions in self._partitions.values() for p in partitions)

    @property
    def done(self) -> int:
        """Offsets that were."""
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
            activity = first.waiting.popleft()
            first.reached = max(first.reached, activity.at)
            activity.offset = self._positions[source]
            self._positions[source] += 1
            taken.append(activity)
        self.tally.saw(taken)
        self.time = max([self.time, *(activity.at for activity in taken)])
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
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters is told as a sentence

        async def make() -> AIOKafkaConsumer:  # it looks for the running loop
            return AIOKafkaConsumer(
                bootstrap_servers=self._settings.broker,
                group_id=None,
                enable_auto_commit=False,
                isolation_level="read_committed",
                auto_offset_reset="none",
            )

        self._consumer = await make()
        await self._consumer.start()
        known = await self._consumer.topics()
        for source, topic in self._topics.items():
            if topic not in known:
                raise UserError(
                    f"there is no topic {topic} on {self._settings.broker}: `lifecycle settings` shows its name."
                )
            numbers = sorted(self._consumer.partitions_for_topic(topic))
            tps = [TopicPartition(topic, number) for number in numbers]
            starts = await self._consumer.beginning_offsets(tps)
            ends = await self._consumer.end_offsets(tps)
            self._partitions[source] = [_Partition(tp.partition, starts[tp], ends[tp]) for tp in tps]
        self._consumer.assign(
            [TopicPartition(self._topics[source], p.number) for source, all_ in self._partitions.items() for p in all_]
        )
        for source, partitions in self._partitions.items():
            for p in partitions:
                self._consumer.seek(TopicPartition(self._topics[source], p.number), p.start)

    async def _fetch(self, source: Source, partitions: list[_Partition]) -> None:
        """Read on where nothing waits: until something came of any of them, or one has ended."""
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
                    f"{topic} gave nothing for {PATIENCE:.0f} s although it is not at its end: see whether the brokers "
                    "are well, and whether a producer has left a transaction open."
                )

    def _decode(self, source: Source, p: _Partition, record: Any, decode: Any) -> None:
        try:
            activity: Event = decode(record.value, partition=p.number, offset=record.offset, timestamp=record.timestamp)
        except Rejected as rejected:
            self.tally.rejected[rejected.reason] += 1
            self._refused(source, record.offset, record.value or b"", rejected)
            return
        if self._until is not None and activity.at > self._until:
            self.tally.after_until += 1
            return
        activity.timestamp = activity.at  # what was produced late is history all the same
        p.waiting.append(activity)

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._loop.run_until_complete(work)
        except KafkaError as error:
            broker = self._settings.broker
            raise UserError(
                f"the topics on {broker} cannot be read ({type(error).__name__}): see whether it is there."
            ) from None
