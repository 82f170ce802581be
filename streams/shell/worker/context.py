"""The context that the parts of one worker share: settings, clock, metrics, health, the ports to Kafka and to recovery,
the input topics, the tasks at work, and `fail`.

The application creates one `WorkerContext`. Every other part receives it, or only the members that it needs. So no part
imports the application.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from faust.types import TP

from streams.core.model.event import Source
from streams.core.model.sources import Fetch
from streams.observe.prometheus import Metrics
from streams.settings import Settings
from streams.shell.commit.outbox import BatchProducer
from streams.shell.monitoring.health import Health
from streams.shell.tasks.partition_task import PartitionTask
from streams.shell.tasks.repartition_task import RepartitionTask
from streams.shell.tasks.task import Task
from streams.shell.worker.input_topics import InputTopics
from streams.transport import driver
from streams.transport.table import StateTable


class KafkaPort(Protocol):
    """The clients of this worker. They exist once Faust has created them."""

    @property
    def consumer(self) -> driver.Consumer:
        """The consumer, which also answers questions about topics and committed offsets."""

    @property
    def producer(self) -> BatchProducer:
        """The aiokafka producer that knows no transactions."""

    @property
    def generation(self) -> int:
        """Generation of the group, as Faust stamps it on messages."""


class RecoveryPort(Protocol):
    """The recovery of the state table."""

    def remaining(self) -> Mapping[TP, int]:
        """Return the records that recovery has yet to read, by changelog partition; empty if none is under way."""

    async def read_again(self) -> None:
        """Read on from the offsets that the states contain, whatever the position of the consumer."""


class TaskRegistry:
    """The tasks at work. Empty in a rebalance, and once the worker has failed."""

    def __init__(self, topics: InputTopics) -> None:
        self._topics = topics
        self.partitions: dict[int, PartitionTask] = {}
        """Partition tasks, by partition number."""
        self.repartition: dict[TP, RepartitionTask] = {}
        """Repartition tasks, by the partition that they read."""
        self.paused: dict[TP, Source] = {}
        """Partitions that are not fetched, because their records are too far ahead of others."""

    def all(self) -> list[Task]:
        """Return everything that processes and commits at present."""
        return [*self.partitions.values(), *self.repartition.values()]

    def reader_of(self, tp: TP, rank: int) -> Task | None:
        """Return the task that reads a partition of the topic of a rank."""
        if rank in self._topics.not_co_partitioned:
            return self.repartition.get(tp)
        return self.partitions.get(tp.partition)

    def replace(self, partitions: dict[int, PartitionTask], repartition: dict[TP, RepartitionTask]) -> None:
        """Put these tasks to work."""
        self.partitions, self.repartition = partitions, repartition

    def remove_all(self) -> list[Task]:
        """Take every task from work without closing it, and return them."""
        tasks = self.all()
        self.partitions, self.repartition = {}, {}
        return tasks


@dataclass
class WorkerContext:
    """One per worker."""

    settings: Settings
    clock: Callable[[], int]
    """Wall clock, ms."""
    metrics: Metrics
    health: Health
    kafka: KafkaPort
    recovery: RecoveryPort
    topics: InputTopics
    tasks: TaskRegistry
    fail: Callable[[BaseException], None]
    """End the worker, see `Lifetime.fail`."""
    should_stop: Callable[[], bool]
    """Return True once the loops of the worker must end."""
    spawn: Callable[[Any], object]
    """Run a coroutine beside everything else, until the worker ends."""
    table: StateTable | None = None
    """The states of the partitions, set by the factory."""

    @property
    def states(self) -> StateTable:
        """The states of the partitions."""
        assert self.table is not None
        return self.table

    def fetches_of(self, task: Task) -> dict[int, Fetch]:
        """Return the last fetch of each partition that a task reads, by rank, where there was one."""
        fetches = self.kafka.consumer.fetches
        return {rank: fetch for rank, tp in task.read.items() if (fetch := fetches.get(tp))}
