"""Transactional producers: one for each partition task and repartition task, over a few connections that they share.

The transactional id is `<app>-<name>`. A worker that is assigned a partition starts a producer with that id, which
aborts an open transaction of its predecessor and fences it. A worker does so for the partitions that it keeps too, with
a fresh producer, because another worker may have had them in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

CLIENTS = 4
"""Number of clients that a worker's producers share. Each has two connections to every broker."""
REQUEST_TIMEOUT_MS = 10_000
MAX_BATCH_BYTES = 1 << 19
MAX_REQUEST_BYTES = 4 << 20
RETRY_S = 0.5

Name = int | str
"""Partition of a task, or name of a repartition task."""


class TransactionalProducer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
    """A producer with a transactional id, on a client that it does not own."""

    def __init__(self, client: AIOKafkaClient, transactional_id: str, timeout_ms: int) -> None:
        super().__init__(
            bootstrap_servers=client._bootstrap_servers,
            transactional_id=transactional_id,
            transaction_timeout_ms=timeout_ms,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        self.client = self._sender.client = client
        self._metadata = self._message_accumulator._cluster = client.cluster

    async def start(self) -> None:
        """Fence: return once the broker has given this producer the transactional id. Raises the broker's error."""
        await self._sender.start()

    async def stop(self) -> None:
        """Stop the producer. Its client stays open."""
        self._closed = True
        with suppress(Exception):  # the sender of a fenced producer has ended with that error
            await self._sender.close()

    async def send_offsets(self, offsets: Mapping[tuple[str, int], tuple[int, str]], group: str) -> None:
        """Add offsets of a group, with metadata, to the transaction."""
        await self.send_offsets_to_transaction(
            {TopicPartition(*at): OffsetAndMetadata(*offset) for at, offset in offsets.items()}, group
        )


class Transactions:
    """Transactional producers of a worker. Used on the app's event loop."""

    def __init__(self, bootstrap_servers: str, app_id: str, timeout_ms: int) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._app_id = app_id
        self._timeout_ms = timeout_ms
        self._clients: dict[int, asyncio.Task[AIOKafkaClient]] = {}
        self._starting: dict[Name, asyncio.Task[TransactionalProducer]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def fence(self, names: Collection[Name]) -> None:
        """Start a fresh producer for each name, and stop those of other names. Does not wait, see `fenced`."""
        before, self._starting = self._starting, {}
        for n, name in enumerate(names):
            self._starting[name] = asyncio.create_task(self._start(name, n % CLIENTS, before.pop(name, None)))
        for left in before.values():
            self._in_background(self._stop(left))

    async def fenced(self) -> None:
        """Return once all producers of the last `fence` have started. Raises the error of a broker that refuses."""
        while True:
            starting = self._starting
            ended = await asyncio.gather(*map(asyncio.shield, starting.values()), return_exceptions=True)
            if starting is self._starting:
                for refusal in ended:
                    if isinstance(refusal, BaseException):
                        raise refusal
                return

    def producer(self, name: Name) -> TransactionalProducer:
        """Return the producer of a name whose predecessor is fenced."""
        return self._starting[name].result()

    async def close(self) -> None:
        """Stop all producers and disconnect."""
        self.fence(())
        await asyncio.gather(*self._closing, return_exceptions=True)
        for connecting in self._clients.values():
            connecting.cancel()
            with suppress(Exception, asyncio.CancelledError):
                await (await connecting).close()

    async def _start(
        self, name: Name, client: int, before: asyncio.Task[TransactionalProducer] | None
    ) -> TransactionalProducer:
        if before is not None:
            await asyncio.wait([before])  # otherwise it could fence this one
            self._in_background(self._stop(before))
        while True:
            producer = TransactionalProducer(await self._client(client), f"{self._app_id}-{name}", self._timeout_ms)
            try:
                await producer.start()
            except BaseException as error:
                await producer.stop()
                if not _is_transient(error):
                    raise
            else:
                return producer
            await asyncio.sleep(RETRY_S)

    async def _client(self, number: int) -> AIOKafkaClient:
        if number not in self._clients:
            self._clients[number] = asyncio.create_task(self._connect(number))
        return await asyncio.shield(self._clients[number])

    async def _connect(self, number: int) -> AIOKafkaClient:
        while True:
            client = AIOKafkaClient(
                bootstrap_servers=self._bootstrap_servers,
                client_id=f"{self._app_id}-transactions-{number}",
                request_timeout_ms=REQUEST_TIMEOUT_MS,
            )
            try:
                await client.bootstrap()
            except KafkaConnectionError:
                await asyncio.sleep(RETRY_S)
            else:
                return client

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _stop(self, starting: asyncio.Task[TransactionalProducer]) -> None:
        await asyncio.wait([starting])
        if not starting.cancelled() and starting.exception() is None:
            await starting.result().stop()


def _is_transient(error: BaseException) -> bool:
    """Return True if the broker was away. aiokafka raises the same type as for a refusal; only the cause differs."""
    cause = error.__cause__
    return isinstance(cause, KafkaError) and bool(cause.retriable)
