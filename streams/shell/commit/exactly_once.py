"""Exactly once: all that a commit of a partition writes is one Kafka transaction.

Outputs, dead letters, forwarded records, profiles, changelog, and the group's offsets with their metadata: who reads
committed records sees all of it or nothing. Whoever takes a partition over fences its predecessor before reading
anything, so what is read is final, and a worker that was taken for dead commits nothing more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain

from aiokafka.errors import KafkaError, ProducerFenced
from faust.types import TP

from streams.errors import Fault, UserError
from streams.observe.prometheus import Metrics
from streams.settings import Settings
from streams.shell.admin.topics import changelog_topic
from streams.shell.commit.changelog import Changelog, Flush
from streams.shell.commit.guarantee import PATIENCE_S, Commit, Guarantee, OnSent, OutputChannel, Write
from streams.shell.commit.outbox import Outbox, Record
from streams.shell.faults import Fenced
from streams.transport.transactions import Name, TransactionalProducer, Transactions

FULL = 10_000
FULL_BYTES = 8 << 20
"""So many records, or bytes of them, wait for a commit at most (a chunk's worth aside)."""


class TransactionalOutput(OutputChannel):
    """Everything waits for the commit."""

    def __init__(
        self,
        producer: Callable[[], TransactionalProducer],
        changelog: Changelog | None,
        *,
        group: str,
        sent: OnSent,
        metrics: Metrics,
        clock: Callable[[], int] | None = None,
    ) -> None:
        """A reader has no changelog, but a clock that is to be held against the broker's."""
        self._changelog = changelog
        self._producer = producer
        self._group = group
        self._sent = sent
        self._metrics = metrics
        self._acknowledged: list[Sequence[Record]] = []
        self._outbox = Outbox(producer, self._acknowledged.append, clock)
        self._waiting: list[Record] = []
        self._bytes = 0

    @property
    def skew(self) -> int | None:
        """As `OutputChannel`."""
        return self._outbox.skew if self._changelog is None else self._changelog.skew

    @property
    def full(self) -> bool:
        """As `OutputChannel`."""
        return len(self._waiting) > FULL or self._bytes > FULL_BYTES

    @property
    def owes(self) -> bool:
        """As `OutputChannel`: an output comes with a change, but what is said to other tasks may not."""
        return bool(self._waiting)

    def put(self, record: Record) -> None:
        """As `OutputChannel`."""
        self._waiting.append(record)
        self._bytes += len(record.value or b"")

    async def flush(self) -> None:
        """Nothing leaves before the commit."""

    def cut(self, *, outputs: bool) -> None:
        """As `OutputChannel`."""
        for record in self._waiting:
            self._outbox.put(record)
        self._waiting, self._bytes = [], 0

    async def write(self, commit: Commit) -> Flush | None:
        """Everything, the offsets included, in one transaction."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_S):
                flush = await self._transaction(commit)
        except Exception as error:
            self._metrics.transaction("fenced" if isinstance(error, ProducerFenced) else "failed")
            raise
        self._metrics.transaction("committed", time.perf_counter() - began)
        for records in self._acknowledged:
            self._sent(records)
        self._acknowledged.clear()
        # Behind it lies the control record of the transaction.
        return None if flush is None else flush._replace(last=flush.last + 1)

    async def _transaction(self, commit: Commit) -> Flush | None:
        producer = self._producer()
        for record in chain(commit.records, commit.latest or ()):
            self._outbox.put(record)
        await producer.begin_transaction()
        # Each acknowledgement is waited for: aiokafka commits a transaction although a batch in it has failed.
        flush, *_ = await asyncio.gather(
            self._flush(commit), self._outbox.settled(), producer.send_offsets(commit.offsets, self._group)
        )
        await producer.commit_transaction()
        return flush

    async def _flush(self, commit: Commit) -> Flush | None:
        return None if self._changelog is None else await self._changelog.write(commit.changes, commit.marker)


class ExactlyOnce(Guarantee):
    """Each task and each reader commits by itself, in transactions of its own producer."""

    def __init__(self, settings: Settings, metrics: Metrics, clock: Callable[[], int]) -> None:
        self._broker = settings.broker
        self._group = settings.app_id
        self._changelog_topic = changelog_topic(settings)
        self._metrics = metrics
        self._clock = clock
        self._transactions = Transactions(settings.broker, settings.app_id, settings.transaction_timeout)

    def delivery(self, name: Name, sent: OnSent) -> OutputChannel:
        """As `Guarantee`."""
        producer, changelog = self._transactions.producer(name), None
        if isinstance(name, int):
            changelog = Changelog(lambda: producer, self._changelog_topic, name, clock=self._clock, marker_apart=False)
        return TransactionalOutput(
            lambda: producer,
            changelog,
            group=self._group,
            sent=sent,
            metrics=self._metrics,
            clock=self._clock if changelog is None else None,
        )

    def assigned(self, names: Collection[Name]) -> None:
        """As `Guarantee`: also what we keep, since somebody may have had it in between."""
        self._transactions.fence(names)

    def doubt(self) -> None:
        """Nothing is done: who has our partitions has fenced us."""

    async def fenced(self) -> None:
        """As `Guarantee`."""
        try:
            await self._transactions.fenced()
        except KafkaError as error:
            raise UserError(
                f"The broker on {self._broker} refuses a transaction ({type(error).__name__}). "
                "LIFECYCLE_PROCESSING_GUARANTEE=exactly_once needs an Apache Kafka, which the embedded broker is not, "
                "and the right to use transactional ids that begin with "
                f"{self._group}-. Without it, set at_least_once."
            ) from error

    def begin(self, offsets: Mapping[TP, tuple[int, str]], first: Mapping[TP, tuple[int, str]]) -> None:
        """Nothing is done: the first offsets are committed with the first state."""

    async def write(self, writes: Sequence[Write], *, leaving: bool) -> None:
        """As `Guarantee`."""
        await asyncio.gather(*(write() for write in writes))

    def explain(self, error: Exception) -> Fault | None:
        """As `Guarantee`."""
        return Fenced() if isinstance(error, ProducerFenced) else None

    async def close(self) -> None:
        """As `Guarantee`."""
        await self._transactions.close()
