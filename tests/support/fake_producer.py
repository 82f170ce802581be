"""A producer that remembers what it sent, and acknowledges at once or when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

SentRecord = tuple[str, int, bytes | None, bytes | None]
"""Topic, partition, key, value."""


class FakeBatch:
    """A batch with room for `room` records."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.records: list[tuple[bytes | None, bytes | None]] = []
        """Key and value of each record."""
        self.headers: list[Sequence[tuple[str, bytes]]] = []
        """The headers of each record."""

    def append(
        self,
        *,
        timestamp: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> object | None:
        """Add a record. Return None if the batch is full, as aiokafka does."""
        if len(self.records) == self.room:
            return None
        self.records.append((key, value))
        self.headers.append(headers)
        return self


class FakeProducer:
    """The part of aiokafka's producer that `Outbox` uses."""

    def __init__(self, *, acknowledging: bool = True, room: int = 1000, partitions: int = 1) -> None:
        self.sent: list[SentRecord] = []
        self.batches = 0
        self.acknowledgements: list[asyncio.Future[object]] = []
        self._acknowledging = acknowledging
        self._room = room
        self._partitions = partitions

    async def partitions_for(self, topic: str) -> set[int]:
        """Return the partitions of a topic."""
        return set(range(self._partitions))

    def create_batch(self) -> FakeBatch:
        """Return an empty batch."""
        return FakeBatch(self._room)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[object]:
        """Send a batch. The returned future is done once it is acknowledged."""
        self.batches += 1
        self.sent += [(topic, partition, key, value) for key, value in batch.records]
        await asyncio.sleep(0)  # yields to other tasks, as aiokafka does
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if self._acknowledging:
            future.set_result(None)
        self.acknowledgements.append(future)
        return future
