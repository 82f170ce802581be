"""Sending, in order and acknowledged.

What is put is sent in the order put; `settled` returns when the broker has acknowledged all of it. A send that fails is
final (the producer has retried by then): it raises there, and the worker commits nothing more.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

Headers = Sequence[tuple[str, bytes]]


class Record(msgspec.Struct, frozen=True):
    """One record to be sent, to the partition of its key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp: int | None = None
    """ms; None for the time of production."""
    acknowledged: Callable[[], None] | None = None
    """Called once the broker has it."""


class Producer(Protocol):
    """What of `aiokafka.AIOKafkaProducer` is used."""

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Headers | None = None,
    ) -> Awaitable[object]:
        """Queue one record; the awaitable is its acknowledgement."""


class Outbox:
    """The records of one partition task on their way out."""

    def __init__(self, producer: Callable[[], Producer]) -> None:
        self._producer = producer
        self._waiting: deque[Record] = deque()
        self._sending = asyncio.Lock()
        self._unacknowledged: set[asyncio.Future[object]] = set()
        self._failure: BaseException | None = None

    def put(self, record: Record) -> None:
        """Add a record. Does not wait: safe in the same step as the state change it belongs to."""
        self._waiting.append(record)

    async def flush(self) -> None:
        """Hand everything put so far to the producer, in order."""
        async with self._sending:
            while self._waiting:
                record = self._waiting.popleft()
                acknowledgement = asyncio.ensure_future(
                    await self._producer().send(
                        record.topic,
                        record.value,
                        key=record.key,
                        timestamp_ms=record.timestamp,
                        headers=list(record.headers),
                    )
                )
                self._unacknowledged.add(acknowledgement)
                acknowledgement.add_done_callback(functools.partial(self._done, record))

    async def settled(self) -> None:
        """Return when all that was put before the call is acknowledged. Raises what a send has failed with."""
        await self.flush()
        if self._unacknowledged:
            await asyncio.wait(set(self._unacknowledged))
        if self._failure is not None:
            raise self._failure

    def _done(self, record: Record, acknowledgement: asyncio.Future[object]) -> None:
        self._unacknowledged.discard(acknowledgement)
        if acknowledgement.cancelled():
            self._failure = self._failure or ConnectionError(f"sending to {record.topic} was cancelled")
        elif (error := acknowledgement.exception()) is not None:
            self._failure = self._failure or error
        elif record.acknowledged is not None:
            record.acknowledged()
