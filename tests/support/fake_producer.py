"""A producer that remembers, and acknowledges at once or when told to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

Sent = tuple[str, int, bytes | None, bytes | None]
"""Topic, partition, key, value."""


class Batch:
    """Holds so many records."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.records: list[tuple[bytes | None, bytes | None]] = []

    def append(
        self,
        *,
        timestamp: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> object | None:
        """As aiokafka's: None if it is full."""
        if len(self.records) == self.room:
            return None
        self.records.append((key, value))
        return self


class Producer:
    """What `Outbox` needs of aiokafka's."""

    def __init__(self, *, acknowledging: bool = True, room: int = 1000, partitions: int = 1) -> None:
        self.sent: list[Sent] = []
        self.batches = 0
        self.acknowledgements: list[asyncio.Future[object]] = []
        self._acknowledging = acknowledging
        self._room = room
        self._partitions = partitions

    async def partitions_for(self, topic: str) -> set[int]:
        """As aiokafka's."""
        return set(range(self._partitions))

    def create_batch(self) -> Batch:
        """As aiokafka's."""
        return Batch(self._room)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[object]:
        """As aiokafka's."""
        self.batches += 1
        self.sent += [(topic, partition, key, value) for key, value in batch.records]
        await asyncio.sleep(0)  # another task gets its turn, as in aiokafka
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if self._acknowledging:
            future.set_result(None)
        self.acknowledgements.append(future)
        return future
