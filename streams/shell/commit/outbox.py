"""The outbox of a task: records are sent in order, and acknowledged.

Records are sent in batches, and those of each topic partition keep the order in which they were put. `settled` returns
when the broker has acknowledged all of them. A send that fails is final, since the producer has retried by then:
`settled` raises it, and the worker commits nothing more.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec

from streams.contracts.partitioning import Partitioner
from streams.core.model.outputs import Output
from streams.shell.commit.batches import batches
from streams.shell.commit.changelog import skew_of

Headers = Sequence[tuple[str, bytes]]


class OutgoingRecord(msgspec.Struct, frozen=True, gc=False):
    """One record to be sent: to `partition`, else to the partition of its key, or to any if it has no key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp: int | None = None
    """ms; None for the time of production."""
    output: Output | None = None
    """The output that the record carries, if it is one."""
    caused_at: int | None = None
    """Kafka timestamp (ms) of the record that caused the output, if a record did."""
    partition: int | None = None
    """The partition to send to; None for that of the key."""


class BatchProducer(Protocol):
    """The part of `aiokafka.AIOKafkaProducer` that is used."""

    async def partitions_for(self, topic: str) -> set[int]:
        """Return the partitions of a topic."""

    def create_batch(self) -> Any:
        """Return an empty batch (`aiokafka.producer.message_accumulator.BatchBuilder`)."""

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Awaitable[object]:
        """Queue a batch. Return its acknowledgement."""


class Outbox:
    """The records of one task on their way out."""

    def __init__(
        self,
        producer: Callable[[], BatchProducer],
        sent: Callable[[Sequence[OutgoingRecord]], None],
        clock: Callable[[], int] | None = None,
    ) -> None:
        """`sent` is called with records of one topic once the broker has them. `clock` is the worker's, if it is to be
        compared with the broker's.
        """
        self._producer = producer
        self._sent = sent
        self._clock = clock
        self.skew: int | None = None
        """Skew that the last batch for a topic with append times showed, see `skew_of`."""
        self._waiting: list[OutgoingRecord] = []
        self._sending = asyncio.Lock()
        self._unacknowledged: set[asyncio.Future[object]] = set()
        self._failure: BaseException | None = None
        self._partitioners: dict[str, Partitioner] = {}

    def put(self, record: OutgoingRecord) -> None:
        """Add a record. Does not wait: safe in the same step as the state change it belongs to."""
        self._waiting.append(record)

    async def flush(self) -> None:
        """Hand everything put so far to the producer, in order."""
        if not self._waiting and not self._sending.locked():
            return
        async with self._sending:
            waiting, self._waiting = self._waiting, []
            try:
                await self._send(waiting)
            except asyncio.CancelledError:
                self._failure = self._failure or ConnectionError("sending was cancelled")
                raise
            except Exception as error:  # the records were taken and are not on their way: `settled` must raise
                self._failure = self._failure or error
                raise

    async def _send(self, records: Sequence[OutgoingRecord]) -> None:
        producer = self._producer()
        for topic in {record.topic for record in records} - self._partitioners.keys():
            self._partitioners[topic] = Partitioner(len(await producer.partitions_for(topic)))
        by_partition: dict[tuple[str, int], list[OutgoingRecord]] = {}
        for record in records:
            partition = record.partition
            if partition is None:  # without a key any partition will do, and one is best for batches
                partition = 0 if record.key is None else self._partitioners[record.topic].partition(record.key)
            by_partition.setdefault((record.topic, partition), []).append(record)
        for (topic, partition), of_partition in by_partition.items():
            for batch, contents in batches(producer.create_batch, of_partition, _append, _too_large):
                began = 0 if self._clock is None else self._clock()
                acknowledgement = asyncio.ensure_future(await producer.send_batch(batch, topic, partition=partition))
                self._unacknowledged.add(acknowledgement)
                acknowledgement.add_done_callback(functools.partial(self._done, contents, began))

    async def settled(self) -> None:
        """Return when all that was put before the call is acknowledged. Raise what a send failed with."""
        await self.flush()
        if self._unacknowledged:
            await asyncio.wait(set(self._unacknowledged))
        if self._failure is not None:
            raise self._failure

    def _done(self, records: Sequence[OutgoingRecord], began: int, acknowledgement: asyncio.Future[Any]) -> None:
        self._unacknowledged.discard(acknowledgement)
        if acknowledgement.cancelled():
            self._failure = self._failure or ConnectionError(f"sending to {records[0].topic} was cancelled")
        elif (error := acknowledgement.exception()) is not None:
            self._failure = self._failure or error
        else:
            if (
                self._clock is not None
                and (skew := skew_of(acknowledgement.result(), began, self._clock())) is not None
            ):
                self.skew = skew
            self._sent(records)


def _append(batch: Any, record: OutgoingRecord) -> object:
    headers = record.headers
    return batch.append(
        timestamp=record.timestamp,
        key=record.key,
        value=record.value,
        headers=headers if isinstance(headers, list) else list(headers),
    )


def _too_large(record: OutgoingRecord) -> str:
    return f"a record of {len(record.value or b'')} bytes does not fit a batch of {record.topic}"
