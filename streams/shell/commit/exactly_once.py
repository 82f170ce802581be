"""Exactly once: everything that a commit of a task writes is one Kafka transaction.

It holds outputs, dead letters, repartitioned records, profiles, changelog, and the group's offsets with their metadata:
a reader of committed records sees all of it or nothing. The successor of a partition fences its predecessor before it
reads anything. So what it reads is final, and a stale owner commits nothing more. `streams.shell.commit.checkpoint`
explains the steps of a commit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from aiokafka.errors import KafkaError, ProducerFenced
from faust.types import TP

from streams.errors import Fault, UserError
from streams.observe.prometheus import Metrics
from streams.settings import Settings
from streams.shell.admin.topic_configs import changelog_topic
from streams.shell.commit.changelog import Changelog, Flush
from streams.shell.commit.checkpoint import write_exactly_once
from streams.shell.commit.guarantee import PATIENCE_S, Commit, Guarantee, OnSent, OutputChannel
from streams.shell.commit.outbox import Outbox, OutgoingRecord
from streams.shell.faults import Fenced
from streams.transport.transactions import Name, TransactionalProducer, Transactions

FULL = 10_000
FULL_BYTES = 8 << 20
"""The most records, and bytes of them, that wait for a commit (up to a chunk more)."""


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
        """A repartition task has no changelog. It gives its `clock`, which is compared with the broker's."""
        self._changelog = changelog
        self._producer = producer
        self._group = group
        self._sent = sent
        self._metrics = metrics
        self._acknowledged: list[Sequence[OutgoingRecord]] = []
        self._outbox = Outbox(producer, self._acknowledged.append, clock)
        self._waiting: list[OutgoingRecord] = []
        self._bytes = 0

    @property
    def skew(self) -> int | None:
        return self._outbox.skew if self._changelog is None else self._changelog.skew

    @property
    def full(self) -> bool:
        return len(self._waiting) > FULL or self._bytes > FULL_BYTES

    @property
    def owes(self) -> bool:
        """True if records wait. An output comes with a change of state, but a progress report may not."""
        return bool(self._waiting)

    def put(self, record: OutgoingRecord) -> None:
        self._waiting.append(record)
        self._bytes += len(record.value or b"")

    async def flush(self) -> None:
        """Do nothing: nothing leaves before the commit."""

    def cut(self, *, outputs: bool) -> None:
        for record in self._waiting:
            self._outbox.put(record)
        self._waiting, self._bytes = [], 0

    async def write(self, commit: Commit) -> Flush | None:
        """Write everything, the offsets included, in one transaction."""
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
        # The control record of the transaction lies behind the flush.
        return None if flush is None else flush._replace(last=flush.last + 1)

    async def _transaction(self, commit: Commit) -> Flush | None:
        return await write_exactly_once(
            commit, self._outbox, self._changelog, producer=self._producer(), group=self._group
        )


class ExactlyOnce(Guarantee):
    """Each task commits by itself, in transactions of its own producer."""

    def __init__(self, settings: Settings, metrics: Metrics, clock: Callable[[], int]) -> None:
        self._broker = settings.broker
        self._group = settings.app_id
        self._changelog_topic = changelog_topic(settings)
        self._metrics = metrics
        self._clock = clock
        self._transactions = Transactions(settings.broker, settings.app_id, settings.transaction_timeout)

    def open_channel(self, name: Name, sent: OnSent) -> OutputChannel:
        producer, changelog = self._transactions.producer(name), None
        if isinstance(name, int):
            changelog = Changelog(
                lambda: producer, self._changelog_topic, name, clock=self._clock, separate_marker=False
            )
        return TransactionalOutput(
            lambda: producer,
            changelog,
            group=self._group,
            sent=sent,
            metrics=self._metrics,
            clock=self._clock if changelog is None else None,
        )

    def assigned(self, names: Collection[Name]) -> None:
        """Fence the predecessors of these tasks, also of those that the worker keeps: another worker may have had them
        in between.
        """
        self._transactions.fence(names)

    def doubt(self) -> None:
        """Do nothing: a successor has fenced this worker's producers."""

    async def fenced(self) -> None:
        try:
            await self._transactions.fenced()
        except KafkaError as error:
            raise UserError(
                f"The broker on {self._broker} refuses a transaction ({type(error).__name__}). "
                "LIFECYCLE_PROCESSING_GUARANTEE=exactly_once needs an Apache Kafka, which the embedded broker is not, "
                "and the right to use transactional ids that begin with "
                f"{self._group}-. Otherwise, set at_least_once."
            ) from error

    def begin(self, offsets: Mapping[TP, tuple[int, str]], first: Mapping[TP, tuple[int, str]]) -> None:
        """Do nothing: the first offsets are committed with the first state."""

    async def confirm_ownership(self, *, leaving: bool) -> None:
        """Do nothing: the transaction of a fenced producer fails."""

    async def commit_offsets(self, offsets: Mapping[TP, tuple[int, str]]) -> None:
        """Do nothing: the offsets of each task are in its transaction."""

    def explain(self, error: Exception) -> Fault | None:
        return Fenced() if isinstance(error, ProducerFenced) else None

    async def close(self) -> None:
        await self._transactions.close()
