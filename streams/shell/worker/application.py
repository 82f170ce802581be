"""The Faust application: one agent per input topic, the table of profiles, the tasks and readers of the assigned
partitions.

Faust decides who owns which partition and recovers the table; from there on a `PartitionTask` does the work, and a
`RepartitionTask` for a partition of a topic that has not as many of them as there are tasks. Whatever leaves memory and
log disagreeing ends the process (`fail`): the next one recovers.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import faust
from faust.app.base import BootStrategy
from faust.types import TP

from streams import __version__
from streams.core.event_time.inputs import ERASURES, REPARTITION
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.lifecycle.playbook import Playbook
from streams.core.model.event import Source
from streams.core.model.sources import Fetch
from streams.errors import Fault, UserError
from streams.observe.prometheus import Metrics
from streams.settings import Settings
from streams.shell.admin import erasure_requests, topics
from streams.shell.clock import ClockWatch
from streams.shell.commit.at_least_once import AtLeastOnce
from streams.shell.commit.committer import Committer
from streams.shell.commit.exactly_once import ExactlyOnce
from streams.shell.commit.guarantee import Guarantee
from streams.shell.faults import (
    ELECTION_MS,
    CommitLate,
    CoPartitioningChanged,
    Defect,
    FetchingEnded,
    OutOfRange,
    PartitionCountChanged,
    ShutdownForced,
    TopicRecreated,
)
from streams.shell.monitoring import last_failure
from streams.shell.monitoring.http import ErasureEndpoint, Health, HttpServer, LoopLag
from streams.shell.tasks.partition_task import PartitionTask
from streams.shell.tasks.repartition_task import RepartitionTask, name_of
from streams.shell.worker.task_startup import TaskStarter
from streams.shell.worker.watch import Watchdog
from streams.transport import driver

log = logging.getLogger(__name__)

TICK_S = 0.1
TIDY_S = 1.0
"""How often it is looked for what is left of who was erased."""
ERASURE_TIMEOUT_S = 20.0
"""How long who asks for an erasure over HTTP waits for the broker to have the request."""
SMALL_CHUNK = 200
"""Records of a chunk whose outputs may wait for those of the poll's others."""
EXIT_FORCED = 70
"""The exit code when shutting down took too long (EX_SOFTWARE)."""
STUCK_S = 2.0
"""How much later than by a thread of Python the process is ended without one; then the exit code is 1."""


class _BootStrategy(BootStrategy):
    enable_web = False  # whatever the command line says: the HTTP is our own


class App(faust.App):
    """Made by `streams.shell.worker.factory.create_app`."""

    BootStrategy = _BootStrategy

    settings: Settings
    table: Any
    """The `StateTable` of profiles."""
    in_rebalance = False
    """From when partitions are taken to when they are dealt anew."""
    rebalances = 0
    _stopping = False
    _all_committed = True
    """Whether there is nothing that was let go and is not committed."""

    def __init__(
        self, settings: Settings, playbook: Playbook, clock: Callable[[], int], faust_configuration: Mapping[str, Any]
    ) -> None:
        self.settings = settings
        self.changelog_topic = topics.changelog_topic(settings)
        self.source_topics = settings.source_topics
        self.read_topics = settings.read_topics
        self.clock = clock
        self.tasks: dict[int, PartitionTask] = {}
        """By partition: those that process. Empty during a rebalance."""
        self.repartition_tasks: dict[TP, RepartitionTask] = {}
        """As `tasks`, of the sources that are `independent`."""
        self.not_co_partitioned: frozenset[Source] = frozenset()
        """The sources whose topics have not as many partitions as there are tasks."""
        self.failure: str | None = None
        """Why the worker ends, if it does so by itself."""
        self.watch = Watchdog(self, playbook)
        self.partition_counts = dict.fromkeys(Source, settings.partitions)
        """Of the topic of each source, as of the last assignment."""
        self.paused: dict[TP, Source] = {}
        self._clock_watch = ClockWatch(clock, time.monotonic)
        self.health = Health()
        self._loop_lag = LoopLag(self.health)
        self.metrics = Metrics(
            version=__version__,
            ready=self.health.ready,
            event_loop_lag=self._loop_lag.worst,
            clock=lambda: clock() / 1000,
        )
        if (before := last_failure.last(settings.data_dir)) is not None:
            self.metrics.last_failure(before.reason, before.at / 1000, before.times)
        self._guarantee: Guarantee = (
            ExactlyOnce(self) if settings.processing_guarantee == "exactly_once" else AtLeastOnce(self)
        )
        self.committer = Committer(self, self._guarantee)
        self.starter = TaskStarter(self, Lifecycle(playbook, settings.id_namespace), self._guarantee)
        token = settings.erasure_token
        self._http = HttpServer(
            settings.web_host,
            settings.web_port,
            self.health,
            self.metrics.exposition,
            None if token is None else ErasureEndpoint(token, self._ask_for_erasure),
        )
        self.topic_ids: dict[str, str] = {}
        """Of all topics that are read: as they were when they were first seen."""
        super().__init__(settings.app_id, **faust_configuration)

    # -- life

    def on_init_dependencies(self) -> Any:
        """Called by Faust."""
        services = super().on_init_dependencies()
        self.sensors.remove(self.monitor)  # its statistics of each message, which nobody reads, cost …
        self.sensors.add(faust.Sensor())  # … but without any sensor Faust warns at each rebalance
        return services

    async def on_start(self) -> None:
        """Called by Faust when the worker starts."""
        await super().on_start()
        problems, self.not_co_partitioned = await topics.check_for_worker(self.settings)
        if problems:
            self.fail(UserError(" ".join(problem.sentence for problem in problems)))
            raise RuntimeError(self.failure)
        self._http.start()
        log.info("Metrics at %s/metrics", self._http.url)
        for loop in (
            self._loop_lag.run,
            self._tick,
            self._commit,
            self._tidy,
            self.watch.show,
            self.watch.look_at_topics,
        ):
            self.add_future(self._guarded(loop))

    async def stop(self) -> None:
        """Called by Faust on SIGTERM, SIGINT or a crash: commit, leave, and be gone in time whatever happens."""
        if not self._stopping:
            self._stopping = True
            self.health.not_ready("stopping")
            self._watchdog()
            if self.failure is None:
                await self._release(timeout=self.settings.shutdown_timeout / 2000)
            if self.failure is None and (reason := self.crash_reason) is not None:  # of a service of Faust's
                self.fail(reason)
        await super().stop()

    async def on_stop(self) -> None:
        """Called by Faust at the end."""
        await super().on_stop()
        await self._guarantee.close()
        self._http.stop()

    def fail(self, cause: BaseException) -> None:
        """End the worker: nothing more is committed. The log says why and what to do, by the sentence of a `UserError`;
        the next worker's metrics tell the reason of a `Fault`.

        Anything else is an error that nobody foresaw, and is logged with its traceback.
        """
        if self.failure is None:
            foreseen = isinstance(cause, UserError)
            self.failure = str(cause) if foreseen else f"{type(cause).__name__}: {cause}"
            self.tasks, self.repartition_tasks = {}, {}
            behind = cause.behind if isinstance(cause, Fault) else None if foreseen else cause
            log.critical("%s", self.failure, exc_info=behind)
            last_failure.note(self.settings.data_dir, cause, self.clock())
            self._watchdog()
            self.loop.call_soon_threadsafe(self.end, RuntimeError(self.failure))

    def end(self, error: RuntimeError) -> None:
        """How a failed worker is ended: by Faust's crash, unless who runs it has a quieter way."""
        asyncio.ensure_future(self.crash(error))  # noqa: RUF006 - it outlives everybody who could hold it

    @property
    def orderly(self) -> bool:
        """Whether it may end as it is: all is committed, and nothing has failed."""
        return self.failure is None and self._all_committed and not self.working()

    def _leave(self) -> None:
        """Called in a thread of its own when shutting down takes too long."""
        orderly, fault = self.orderly, ShutdownForced()
        log.log(logging.ERROR if orderly else logging.CRITICAL, "%s", fault)
        if self.failure is None and not orderly:
            last_failure.note(self.settings.data_dir, fault, self.clock())
        logging.shutdown()
        os._exit(0 if orderly else EXIT_FORCED)

    def _watchdog(self) -> None:
        seconds = self.settings.shutdown_timeout / 1000
        timer = threading.Timer(seconds, self._leave)
        timer.daemon = True
        timer.start()
        if sys.__stderr__ is not None:  # and if a library does not give the interpreter back, so that no thread runs
            faulthandler.dump_traceback_later(seconds + STUCK_S, exit=True, file=sys.__stderr__)

    async def _guarded(self, loop: Callable[[], Any]) -> None:
        try:
            await loop()
        except asyncio.CancelledError:
            raise
        except Exception as exc:
            self.fail(exc)

    # -- assignment (streams.transport.driver.Owner)

    def on_assigned(self, sources: frozenset[TP]) -> None:
        """A rebalance ends: these sources are ours."""
        self.in_rebalance = False
        if self.failure is None:
            numbers, readers = self.work_of(sources)
            self._guarantee.assigned([*numbers, *(name_of(source, tp.partition) for tp, source in readers.items())])

    @property
    def task_topics(self) -> dict[int, str]:
        """What the tasks read, by rank: `read_topics` without those of sources that are `independent`."""
        return {rank: topic for rank, topic in self.read_topics.items() if rank not in self.not_co_partitioned}

    def work_of(self, sources: Collection[TP]) -> tuple[list[int], dict[TP, Source]]:
        """The numbers of the tasks, and the partitions of the readers, that come of an assignment."""
        read_by_tasks = self.task_topics.values()
        apart = {self.source_topics[source]: source for source in self.not_co_partitioned}
        numbers = {tp.partition for tp in sources if tp.topic in read_by_tasks}
        return sorted(numbers), {tp: apart[tp.topic] for tp in sorted(sources) if tp.topic in apart}

    async def fenced(self) -> None:
        """Called by recovery before it reads anything. Does not return if the worker ends over it."""
        try:
            await self._guarantee.fenced()
        except Exception as exc:
            self.fail(exc)
            await asyncio.Event().wait()

    async def on_sources_assigned(self, sources: frozenset[TP]) -> None:
        """The table is recovered: read where the last commit left off, and begin."""
        try:
            await self.starter.begin(sources)
        except UserError as exc:
            self.fail(exc)

    def is_superseded(self, rebalances: int) -> bool:
        """Whether the worker ends, or a rebalance has begun since there were so many."""
        ends = self.failure is not None or self._stopping
        return ends or self.in_rebalance or self.rebalances != rebalances

    def working(self) -> list[PartitionTask | RepartitionTask]:
        """All that processes and commits at present."""
        return [*self.tasks.values(), *self.repartition_tasks.values()]

    async def on_sources_revoked(self) -> None:
        """A rebalance begins."""
        self.in_rebalance, self.rebalances = True, self.rebalances + 1
        self.health.consumer_rests()
        if self.failure is None and not self._stopping:
            await self._release(timeout=self.settings.rebalance_timeout / 1000)

    async def _release(self, timeout: float) -> None:
        working = self.working()
        self.tasks, self.repartition_tasks = {}, {}
        for one in working:
            one.closed = True
        self.metrics.assigned(())
        self._all_committed = False
        try:
            async with asyncio.timeout(timeout):
                # Also without any: who is told to stop in a rebalance waits for the commit of what was let go there.
                await self.committer.commit(working, leaving=True)
            self._all_committed = True
        except TimeoutError:
            self.fail(CommitLate())
        except asyncio.CancelledError:
            self.fail(CommitLate())
            raise

    async def check_topic_ids(self) -> None:
        """Raises `TopicRecreated` if a topic is not the one that it was."""
        names = {*self.read_topics.values(), topics.changelog_topic(self.settings)}
        for topic, topic_id in (await self.kafka.topic_ids(names)).items():
            self.same_topic(topic, topic_id)
            self.topic_ids[topic] = topic_id

    async def count_partitions(self) -> None:
        """How many partitions the topics of the sources have now. Raises `UserError` where they need another worker."""
        counts = await self.kafka.partition_counts(self.source_topics.values())
        for source, topic in self.source_topics.items():
            count, tasks = counts[topic], self.settings.partitions
            if source in self.not_co_partitioned and count == tasks:
                raise CoPartitioningChanged(topic, tasks)
            if source not in self.not_co_partitioned and count != tasks:
                raise PartitionCountChanged(topic, count, tasks)
            self.partition_counts[source] = count

    def same_topic(self, topic: str, topic_id: str) -> None:
        known = self.topic_ids.get(topic, "")
        if topic_id and known and topic_id != known:
            raise TopicRecreated(topic)

    @property
    def kafka(self) -> driver.Consumer:
        """The consumer, as what it is."""
        assert isinstance(self.consumer, driver.Consumer)
        return self.consumer

    def kafka_producer(self) -> Any:
        """The aiokafka producer that knows no transactions."""
        assert isinstance(self.producer, driver.Producer)
        return self.producer.client

    # -- work

    async def process(self, rank: int, message: Any, polled: driver.Polled) -> None:
        """Called by the agents with what each poll brought of a topic that is read."""
        try:
            for tp, chunk in polled.chunks:
                one = self.reads(tp, rank)
                if one is None or message.generation_id != self.consumer_generation_id:
                    return  # from before a rebalance: it is read again
                self._hand_over(one, rank, tp, chunk)
                if len(chunk) > SMALL_CHUNK:
                    await one.flush()
                if one.must_commit or one.unfinished:
                    await self._go_on([one])
            if not polled.more:  # what is little leaves together; at the latest with the next tick
                for one in self.working():
                    await one.flush()
        except asyncio.CancelledError:
            raise
        except Exception as exc:
            self.fail(exc)

    def _hand_over(self, one: PartitionTask | RepartitionTask, rank: int, tp: TP, chunk: Any) -> None:
        try:
            self._take_in(one, rank, tp, chunk)
        except UserError:
            raise
        except Exception as exc:
            raise Defect(exc, one.next_offsets(), (tp, chunk.start, chunk.next - 1)) from exc

    def _take_in(self, one: PartitionTask | RepartitionTask, rank: int, tp: TP, chunk: Any) -> None:
        if rank == REPARTITION:
            assert not isinstance(one, RepartitionTask)
            one.receive(chunk)
            return
        if rank == ERASURES:
            assert not isinstance(one, RepartitionTask)
            one.erase(chunk)
            return
        source = Source(rank)
        one.process(source, chunk)
        if one.must_pause(source) and tp not in self.paused:
            self.paused[tp] = source
            self.consumer.pause_partitions({tp})

    async def _tick(self) -> None:
        while not self.should_stop:
            await asyncio.sleep(TICK_S)
            if not self.kafka.flow_active:
                self.health.consumer_rests()
            if (ended := self.kafka.fetching_ended) is not None:
                raise FetchingEnded(ended)
            for tp, offset in list(self.kafka.out_of_range.items()):
                raise OutOfRange(tp, offset)
            for tp, ahead in list(self.kafka.ahead.items()):
                if ahead.until - ahead.since > ELECTION_MS:
                    raise OutOfRange(tp, ahead.position)
            working = self.working()
            await self._advance(working)
            await self._go_on(working)
            for tp, source in list(self.paused.items()):
                paused = self.reads(tp, source)
                if paused is not None and paused.may_resume(source):
                    del self.paused[tp]
                    self.consumer.resume_partitions({tp})

    def reads(self, tp: TP, rank: int) -> PartitionTask | RepartitionTask | None:
        """Who reads a partition of a source, or of the activity topic."""
        return self.repartition_tasks.get(tp) if rank in self.not_co_partitioned else self.tasks.get(tp.partition)

    async def _advance(self, working: Collection[PartitionTask | RepartitionTask]) -> None:
        if self._clock_watch.jumped():
            self.kafka.fetches.clear()
            self.kafka.ahead.clear()
            self._guarantee.doubt()
            for one in self.working():
                one.trust.distrust()
        silent = self.watch.silence.silent(self.clock())
        for one in working:
            try:
                one.advance(self.fetches_of(one), silent)
            except UserError:
                raise
            except Exception as exc:
                raise Defect(exc, one.next_offsets()) from exc
        for one in working:
            await one.flush()

    async def _go_on(self, working: Collection[PartitionTask | RepartitionTask]) -> None:
        """What is too much for one step goes on here: between the steps others get a turn, and commits come early."""
        while True:
            if any(one.must_commit for one in working):
                await self.committer.commit(self.working())
            working = [one for one in working if one.unfinished and not one.closed]
            if not working:
                return
            await asyncio.sleep(0)
            await self._advance(working)

    async def _commit(self) -> None:
        while not self.should_stop:
            await self.committer.due(self.working, self.settings.commit_interval / 1000)
            await self.committer.commit(self.working())

    def _ask_for_erasure(self, person: str, identified: bool) -> str:
        """Called in a thread of HTTP (`ErasureEndpoint.ask`)."""

        async def ask() -> str:
            return await erasure_requests.send_request(self.kafka_producer(), self.settings, person, identified)

        asked = asyncio.run_coroutine_threadsafe(ask(), self.loop)
        try:
            return asked.result(ERASURE_TIMEOUT_S)
        finally:
            asked.cancel()

    async def _tidy(self) -> None:
        while not self.should_stop:
            await asyncio.sleep(TIDY_S)
            for number in list(self.table.data.partitions):
                while (state := self.table.data.partitions.get(number)) is not None and state.tidy():
                    await asyncio.sleep(0)

    def fetches_of(self, one: PartitionTask | RepartitionTask) -> dict[int, Fetch]:
        fetches = self.kafka.fetches
        return {rank: fetch for rank, tp in one.read.items() if (fetch := fetches.get(tp))}
