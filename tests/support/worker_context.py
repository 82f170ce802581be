"""A `WorkerContext` without Kafka and Faust: its consumer is a fake that the test controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiokafka.structs import OffsetAndMetadata
from faust.types import TP

from streams.core.model.sources import Fetch
from streams.observe.prometheus import Metrics
from streams.settings import Settings
from streams.shell.monitoring.health import Health
from streams.shell.tasks.partition_state import PartitionState
from streams.shell.worker.context import TaskRegistry, WorkerContext
from streams.shell.worker.input_topics import InputTopics
from streams.shell.worker.lifetime import Lifetime


class FakeConsumer:
    """A consumer of a group with the given committed offsets. Topics begin at offset 3. `done` records its calls."""

    def __init__(self, committed: Mapping[TP, tuple[int, str]] | None = None) -> None:
        self.committed = dict(committed or {})
        self.done: list[Any] = []
        self.wanted: Any = frozenset()
        """The partitions whose committed offsets were read last."""
        self.counts: dict[str, int] | None = None
        """Partitions of the topics; None for as many as there are tasks."""
        self.highwaters_failure: Exception | None = None
        self.ends: dict[TP, int] = {}
        self.fetches: dict[TP, Fetch] = {}
        self.ahead: dict[TP, Any] = {}
        self.out_of_range: dict[TP, int] = {}
        self.flow_active = True
        self.fetching_ended: BaseException | None = None

    async def committed_offsets(self, tps: Any) -> dict[TP, OffsetAndMetadata]:
        self.done.append("committed read")
        self.wanted = tps
        return {tp: OffsetAndMetadata(*self.committed[tp]) for tp in tps if tp in self.committed}

    async def earliest_offsets(self, *tps: TP) -> dict[TP, int]:
        return dict.fromkeys(tps, 3)

    async def highwaters(self, *tps: TP) -> dict[TP, int]:
        if self.highwaters_failure is not None:
            raise self.highwaters_failure
        return {tp: self.ends.get(tp, 0) for tp in tps}

    async def seek_source(self, tp: TP, offset: int) -> None:
        self.done.append((tp, offset))

    async def topic_ids(self, topics: Any) -> dict[str, str]:
        return {}

    async def partition_counts(self, topics: Any) -> dict[str, int]:
        assert self.counts is not None
        return self.counts


class FakeKafka:
    """The ports of the context."""

    generation = 1

    def __init__(self, consumer: FakeConsumer) -> None:
        self.fake = consumer

    @property
    def consumer(self) -> Any:
        return self.fake

    @property
    def producer(self) -> Any:
        raise AssertionError("the test sends nothing")

    def remaining(self) -> Mapping[TP, int]:
        return {}

    async def read_again(self) -> None:
        """No recovery is under way."""


class FakeTable:
    """The states of the partitions, empty at first. It is its own store."""

    def __init__(self) -> None:
        self.partitions: dict[int, PartitionState] = {}

    @property
    def data(self) -> FakeTable:
        return self

    def partition(self, number: int) -> PartitionState:
        return self.partitions.setdefault(number, PartitionState(number))

    take = partition

    def changelog_tp(self, number: int) -> TP:
        return TP("changelog", number)

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Nothing recovers from it."""


class FakeWorker:
    """A context with its lifetime. `failed` has the causes with which the worker would have ended."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        clock: Callable[[], int] = lambda: 0,
        committed: Mapping[TP, tuple[int, str]] | None = None,
    ) -> None:
        settings = Settings() if settings is None else settings
        self.consumer = FakeConsumer(committed)
        self.consumer.counts = dict.fromkeys(settings.source_topics.values(), settings.partitions)
        self.kafka = FakeKafka(self.consumer)
        self.failed: list[BaseException] = []
        self.table = FakeTable()
        self.spawned = 0
        topics = InputTopics(settings)
        tasks = TaskRegistry(topics)
        self.lifetime = Lifetime(settings, clock, tasks, end=lambda error: None)
        table: Any = self.table
        self.context = WorkerContext(
            settings=settings,
            clock=clock,
            metrics=Metrics(version="0", ready=lambda: True, event_loop_lag=lambda: 0.0, strict=True),
            health=Health(),
            kafka=self.kafka,
            recovery=self.kafka,
            topics=topics,
            tasks=tasks,
            fail=self.failed.append,
            should_stop=lambda: False,
            spawn=self._spawn,
            table=table,
        )

    @property
    def failure(self) -> str | None:
        """Implement `streams.shell.commit.committer.Worker`."""
        return self.lifetime.failure

    def fail(self, cause: BaseException) -> None:
        """Implement `streams.shell.commit.committer.Worker`."""
        self.failed.append(cause)

    @property
    def failures(self) -> list[str]:
        """Return the names of the causes."""
        return [type(cause).__name__ for cause in self.failed]

    def _spawn(self, coroutine: Any) -> None:
        """Drop the coroutine."""
        self.spawned += 1
        coroutine.close()
