"""Parts of `ShellHarness`: stand-ins for the clients of a broker, the guarantee that uses them, and metrics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from streams.contracts.repartition import MESSAGE, PARTS, UPSTREAM
from streams.core.model.counters import EngineCounters
from streams.core.model.event import Source
from streams.observe.prometheus import Metrics
from streams.shell.commit.at_least_once import ImmediateOutput
from streams.shell.commit.changelog import Flush
from streams.shell.commit.guarantee import OnSent, OutputChannel
from streams.shell.commit.metadata import MARKER_KEY
from streams.shell.commit.outbox import Outbox
from streams.transport.transactions import Name
from tests.support.fake_producer import FakeBatch

if TYPE_CHECKING:
    from tests.support.shell_harness import ShellHarness

Sender = int | tuple[Source, int]
"""The task of a partition, or the reader of a source's partition."""


class WorkerDied(Exception):
    """The worker crashed, at the point that the test chose."""


class ChangelogWriter:
    """Write to the changelog of a task. `crash_at` makes it raise `WorkerDied`: in the flush, or after it."""

    def __init__(self, harness: ShellHarness, number: int) -> None:
        self._log = harness.changelogs[number]
        self.skew = 0
        self.crash_at = ""

    async def write(self, changes: Iterable[tuple[bytes, bytes | None]], marker: bytes) -> Flush:
        first = len(self._log)
        changes = list(changes)
        self._log += changes[: len(changes) // 2] if self.crash_at == "in flush" else changes
        if self.crash_at == "in flush":
            raise WorkerDied
        self._log.append((MARKER_KEY, marker))
        if self.crash_at:
            raise WorkerDied
        return Flush(first, len(self._log) - 1, whole=True)


class HarnessProducer:
    """The producer of one task or reader. It acknowledges at once, or loses a batch that the test has it lose."""

    def __init__(self, harness: ShellHarness, sender: Sender) -> None:
        self._harness = harness
        self._sender = sender

    async def partitions_for(self, topic: str) -> set[int]:
        return (
            {0} if topic != self._harness.settings.repartition_topic else set(range(self._harness.settings.partitions))
        )

    def create_batch(self) -> FakeBatch:
        return FakeBatch(5)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[object]:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if topic == self._harness.settings.repartition_topic and self._sender in self._harness.drops_next_batch:
            self._harness.drops_next_batch.discard(self._sender)
            future.set_exception(ConnectionError("the broker was away for too long"))
            return future
        for (key, value), headers in zip(batch.records, batch.headers, strict=True):
            if self._harness.disabled_guard == "previous" and headers and headers[-1][0] in (UPSTREAM, PARTS, MESSAGE):
                name, origin = headers[-1][0], json.loads(headers[-1][1])
                headers = [(name, json.dumps([*origin[:3], -1, origin[4]]).encode())]
            self._harness.append_record((topic, partition), key, value, headers)
        future.set_result(None)
        return future


class HarnessGuarantee:
    """At least once, for one task or reader. `confirm_ownership` is its ownership check."""

    def __init__(
        self,
        harness: ShellHarness,
        sender: Sender,
        changelog: ChangelogWriter | None,
        confirm_ownership: Callable[[], Awaitable[None]],
    ) -> None:
        self._producer = HarnessProducer(harness, sender)
        self._changelog: Any = changelog
        self._confirm_ownership = confirm_ownership

    def open_channel(self, name: Name, sent: OnSent) -> OutputChannel:
        return ImmediateOutput(Outbox(lambda: self._producer, sent), self._changelog, self._confirm_ownership)


class CountingMetrics(Metrics):
    """Metrics that also add the counts of the engine to a counter of the test."""

    def __init__(self, counts: EngineCounters) -> None:
        super().__init__(version="0", ready=lambda: True, event_loop_lag=lambda: 0.0, strict=True)
        self._into = counts

    def engine_counts(self, counts: Any) -> None:
        self._into.update(counts)
        super().engine_counts(counts)
