"""The partitions of a worker, from their assignment by the group to their release.

At an assignment Faust recovers the state. Then the tasks start where the last commit left off. At a release the last
commit of the tasks is made.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import Enum, auto

from faust.types import TP

from streams.core.event_time.inputs import upstream_id
from streams.errors import UserError
from streams.shell.commit.committer import Committer
from streams.shell.commit.guarantee import Guarantee
from streams.shell.faults import CommitLate
from streams.shell.tasks.repartition_task import name_of
from streams.shell.worker.context import WorkerContext
from streams.shell.worker.lifetime import Lifetime
from streams.shell.worker.start_offsets import StartOffsetFinder
from streams.shell.worker.task_startup import TaskFactory
from streams.transport.patience import patiently

log = logging.getLogger(__name__)


class GroupStatus(Enum):
    """The place of a worker in its group."""

    JOINING = auto()
    """Before the first rebalance."""
    REBALANCING = auto()
    """From the revocation of partitions to the next assignment."""
    ASSIGNED = auto()
    """The group has assigned partitions, or none. Recovery may still be under way."""


class Assignment:
    """Called by the application at rebalances (see `streams.transport.driver.Owner`)."""

    def __init__(
        self,
        context: WorkerContext,
        lifetime: Lifetime,
        guarantee: Guarantee,
        committer: Committer,
        factory: TaskFactory,
        check_silence: Callable[[], Awaitable[None]],
    ) -> None:
        """`check_silence` finds out which topics have been silent: see `Watchdog.check_silence`."""
        self.status = GroupStatus.JOINING
        self._rebalances = 0
        self._context = context
        self._lifetime = lifetime
        self._guarantee = guarantee
        self._committer = committer
        self._factory = factory
        self._offsets = StartOffsetFinder(context)
        self._check_silence = check_silence

    @property
    def settled(self) -> bool:
        """True from an assignment to the next rebalance, or to the end of the worker, whose client may be closed."""
        return self.status is GroupStatus.ASSIGNED and not self._lifetime.ends

    def assigned(self, sources: frozenset[TP]) -> None:
        """Note that a rebalance has ended with these partitions, of which nothing is read yet. Does not wait."""
        self.status = GroupStatus.ASSIGNED
        if self._lifetime.failure is None:
            numbers, repartition = self._context.topics.work_of(sources)
            names = [name_of(source, tp.partition) for tp, source in repartition.items()]
            self._guarantee.assigned([*numbers, *names])

    async def fenced(self) -> None:
        """Return once no other worker can write to the assigned partitions. Never returns if the worker has to end."""
        try:
            await self._guarantee.fenced()
        except Exception as exc:
            self._context.fail(exc)
            await asyncio.Event().wait()

    async def recovered(self, sources: frozenset[TP]) -> None:
        """Start the tasks: the state is recovered. A `UserError` ends the worker."""
        try:
            await self._begin(sources)
        except UserError as exc:
            self._context.fail(exc)

    async def revoked(self) -> None:
        """Release everything: a rebalance begins."""
        self.status, self._rebalances = GroupStatus.REBALANCING, self._rebalances + 1
        self._context.health.consumer_rests()
        if not self._lifetime.ends:
            await self.release(timeout=self._context.settings.rebalance_timeout / 1000)

    async def release(self, timeout: float) -> None:
        """Take every task from work and make its last commit within `timeout` (s), or end the worker."""
        tasks = self._context.tasks.remove_all()
        for task in tasks:
            task.close()
        self._context.metrics.assigned(())
        self._lifetime.all_committed = False
        try:
            async with asyncio.timeout(timeout):
                # Also without any task: a worker that must stop in a rebalance waits for the commit of what was
                # released there.
                await self._committer.commit(tasks, leaving=True)
            self._lifetime.all_committed = True
        except TimeoutError:
            self._context.fail(CommitLate())
        except asyncio.CancelledError:
            self._context.fail(CommitLate())
            raise

    def _superseded(self, rebalances: int) -> bool:
        """Return True if the worker ends, or another rebalance has begun since there were `rebalances`."""
        rebalancing = self.status is GroupStatus.REBALANCING
        return self._lifetime.ends or rebalancing or self._rebalances != rebalances

    async def _begin(self, sources: frozenset[TP]) -> None:
        context, topics = self._context, self._context.topics
        consumer, rebalances = context.kafka.consumer, self._rebalances
        consumer.fetches.clear()
        await patiently(topics.check_ids, consumer)
        await patiently(topics.count_partitions, consumer)
        await patiently(self._check_silence)
        await self.fenced()  # recovery has waited for it too: from now on the committed offsets are final
        numbers, sources_by_tp = topics.work_of(sources)
        offsets = await self._offsets.find(sources, numbers)
        if self._superseded(rebalances):
            return  # recovery calls again for the partitions of the next assignment
        metadata, tasks = offsets.metadata(), {}
        for number in numbers:
            of_task = {rank: TP(topic, number) for rank, topic in topics.by_rank.items()}
            if missing := [topic for topic in topics.of_tasks().values() if TP(topic, number) not in sources]:
                raise UserError(
                    f"Partition {number} of {missing[0]} was not assigned together with that of the other topics: give "
                    "all input topics the same number of partitions, and all workers the same settings."
                )
            positions = {
                rank: offsets.starts[tp] for rank, tp in of_task.items() if rank not in topics.not_co_partitioned
            }
            texts = {rank: metadata[tp] for rank, tp in of_task.items() if tp in metadata}
            tasks[number] = self._factory.partition_task(number, positions, texts)
        taken = self._offsets.taken(numbers)
        repartition = {
            tp: self._factory.repartition_task(
                source,
                tp,
                offsets.starts[tp],
                metadata.get(tp, ""),
                taken.get(upstream_id(source, tp.partition), -1),
            )
            for tp, source in sources_by_tp.items()
        }
        for tp, offset in offsets.starts.items():
            await consumer.seek_source(tp, offset)
        if self._superseded(rebalances):
            return
        context.tasks.paused.clear()
        self._guarantee.begin(
            {TP(*tp): (known.offset, known.metadata) for tp, known in offsets.committed.items() if tp in sources},
            first={tp: (offsets.starts[tp], "") for tp in offsets.earliest},
        )
        context.tasks.replace(tasks, repartition)
        context.metrics.assigned(tasks.keys(), repartition.keys())
        context.health.recovered()
        # At once, since append times show whether the clock can be trusted.
        context.spawn(self._committer.commit(context.tasks.all()))
        log.info("Processing partitions %s", numbers)
        if repartition:
            log.info("Repartitioning: %s", ", ".join(f"{tp.topic}/{tp.partition}" for tp in repartition))
