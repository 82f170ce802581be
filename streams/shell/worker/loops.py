"""The work of a worker: records are processed as polls bring them, time passes at every tick, commits come in time.

The state of a task changes only in steps that do not await, so these loops need no locks around it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Any

from faust.types import TP

from streams.core.event_time.inputs import ERASURES, REPARTITION
from streams.core.model.event import Source
from streams.errors import UserError
from streams.shell.clock import ClockWatch
from streams.shell.commit.committer import Committer
from streams.shell.commit.guarantee import Guarantee
from streams.shell.faults import ELECTION_MS, Defect, FetchingEnded, OutOfRange
from streams.shell.monitoring.topic_silence import TopicSilence
from streams.shell.tasks.partition_state import PartitionState
from streams.shell.tasks.partition_task import PartitionTask
from streams.shell.tasks.task import Task
from streams.shell.worker.context import WorkerContext
from streams.transport import driver
from streams.transport.chunks import Chunk

TICK_S = 0.1
TIDY_S = 1.0
"""Seconds between two removals of erasure residue."""
SMALL_CHUNK = 200
"""The outputs of a chunk with no more records than this may wait for the outputs of the poll's other chunks."""


class WorkLoops:
    """Called by the agents (`process`); the other loops run until the worker ends."""

    def __init__(
        self, context: WorkerContext, guarantee: Guarantee, committer: Committer, silence: TopicSilence
    ) -> None:
        self._context = context
        self._guarantee = guarantee
        self._committer = committer
        self._silence = silence
        self._clock_watch = ClockWatch(context.clock, time.monotonic)

    async def process(self, rank: int, message: Any, polled: driver.Polled) -> None:
        """Process the chunks of one topic that a poll returned. An exception ends the worker."""
        context, tasks = self._context, self._context.tasks
        try:
            for tp, chunk in polled.chunks:
                task = tasks.reader_of(tp, rank)
                if task is None or message.generation_id != context.kafka.generation:
                    return  # fetched before a rebalance: the records are read again
                self._hand_over(task, rank, tp, chunk)
                if len(chunk) > SMALL_CHUNK:
                    await task.flush()
                if task.must_commit or task.unfinished:
                    await self._finish([task])
            if not polled.more:  # small chunks are sent together, with the next tick at the latest
                for task in tasks.all():
                    await task.flush()
        except asyncio.CancelledError:
            raise
        except Exception as exc:
            context.fail(exc)

    async def tick(self) -> None:
        """Let time pass for all tasks, every 100 ms. Raise what must end the worker."""
        context, tasks = self._context, self._context.tasks
        while not context.should_stop():
            await asyncio.sleep(TICK_S)
            consumer = context.kafka.consumer
            if not consumer.flow_active:
                context.health.consumer_rests()
            if (ended := consumer.fetching_ended) is not None:
                raise FetchingEnded(ended)
            for tp, offset in list(consumer.out_of_range.items()):
                raise OutOfRange(tp, offset)
            for tp, ahead in list(consumer.ahead.items()):
                if ahead.until - ahead.since > ELECTION_MS:
                    raise OutOfRange(tp, ahead.position)
            working = tasks.all()
            await self._advance(working)
            await self._finish(working)
            for tp, source in list(tasks.paused.items()):
                paused = tasks.reader_of(tp, source)
                if paused is not None and paused.may_resume(source):
                    del tasks.paused[tp]
                    consumer.resume_partitions({tp})

    async def commit(self) -> None:
        """Commit at an interval, and earlier when tasks wait for a commit."""
        while not self._context.should_stop():
            await self._committer.due(self._context.tasks.all, self._context.settings.commit_interval / 1000)
            await self._committer.commit(self._context.tasks.all())

    async def tidy(self) -> None:
        """Remove erasure residue every second, also from standby copies."""
        while not self._context.should_stop():
            await asyncio.sleep(TIDY_S)
            partitions = self._context.states.data.partitions
            for number in list(partitions):
                while isinstance(state := partitions.get(number), PartitionState) and state.tidy():
                    await asyncio.sleep(0)

    def _hand_over(self, task: Task, rank: int, tp: TP, chunk: Chunk) -> None:
        """Hand a chunk to its task. Raise `Defect` for an exception that is not foreseen."""
        try:
            self._take_in(task, rank, tp, chunk)
        except UserError:
            raise
        except Exception as exc:
            raise Defect(exc, task.next_offsets(), (tp, chunk.start, chunk.next - 1)) from exc

    def _take_in(self, task: Task, rank: int, tp: TP, chunk: Chunk) -> None:
        if rank == REPARTITION:
            assert isinstance(task, PartitionTask)
            task.receive(chunk)
            return
        if rank == ERASURES:
            assert isinstance(task, PartitionTask)
            task.erase(chunk)
            return
        source = Source(rank)
        task.process(source, chunk)
        if task.must_pause(source) and tp not in self._context.tasks.paused:
            self._context.tasks.paused[tp] = source
            self._context.kafka.consumer.pause_partitions({tp})

    async def _advance(self, tasks: Collection[Task]) -> None:
        """Let time pass for these tasks, and send what they put out."""
        context = self._context
        if self._clock_watch.jumped():
            consumer = context.kafka.consumer
            consumer.fetches.clear()
            consumer.ahead.clear()
            self._guarantee.doubt()
            for task in context.tasks.all():
                task.trust.distrust()
        silent = self._silence.silent(context.clock())
        for task in tasks:
            try:
                task.advance(context.fetches_of(task), silent)
            except UserError:
                raise
            except Exception as exc:
                raise Defect(exc, task.next_offsets()) from exc
        for task in tasks:
            await task.flush()

    async def _finish(self, tasks: Collection[Task]) -> None:
        """Advance tasks until none has work left over from its budget.

        Between the steps other coroutines run, and a commit is made when a task needs one.
        """
        while True:
            if any(task.must_commit for task in tasks):
                await self._committer.commit(self._context.tasks.all())
            tasks = [task for task in tasks if task.unfinished and not task.closed]
            if not tasks:
                return
            await asyncio.sleep(0)
            await self._advance(tasks)
