"""The Faust application of a worker: it puts the parts together, and passes on what Faust calls.

Faust decides who owns which partition, and recovers the table. From there on `Assignment` starts and releases the
tasks, `WorkLoops` processes and commits, and `Watchdog` shows how far they are. If memory and changelog
come to disagree, `Lifetime` ends the process, and the next one recovers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import faust
from faust.app.base import BootStrategy
from faust.types import TP

from streams import __version__
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.lifecycle.playbook import Playbook
from streams.errors import UserError
from streams.observe.prometheus import Metrics
from streams.settings import Settings
from streams.shell.admin import erasure_requests, topics
from streams.shell.commit.at_least_once import AtLeastOnce
from streams.shell.commit.committer import Committer
from streams.shell.commit.exactly_once import ExactlyOnce
from streams.shell.commit.guarantee import Guarantee
from streams.shell.commit.playbook_history import playbook_id
from streams.shell.monitoring import last_failure
from streams.shell.monitoring.health import Health, LoopLag
from streams.shell.monitoring.http import ErasureEndpoint, HttpServer
from streams.shell.worker.assignment import Assignment
from streams.shell.worker.context import TaskRegistry, WorkerContext
from streams.shell.worker.input_topics import InputTopics
from streams.shell.worker.kafka import FaustKafka
from streams.shell.worker.lifetime import Lifetime
from streams.shell.worker.loops import WorkLoops
from streams.shell.worker.task_startup import TaskFactory
from streams.shell.worker.watch import Watchdog

log = logging.getLogger(__name__)

ERASURE_TIMEOUT_S = 20.0
"""Seconds for which an erasure request over HTTP waits until the broker has it."""


class _BootStrategy(BootStrategy):
    enable_web = False  # whatever the command line says: a worker has its own HTTP server


class App(faust.App):
    """Created by `streams.shell.worker.factory.create_app`. Implements `streams.transport.driver.Owner`."""

    BootStrategy = _BootStrategy

    def __init__(
        self, settings: Settings, playbook: Playbook, clock: Callable[[], int], faust_configuration: Mapping[str, Any]
    ) -> None:
        self.settings = settings
        self.health = Health()
        self._loop_lag = LoopLag(self.health)
        self.metrics = Metrics(
            version=__version__,
            playbook=playbook_id(playbook) if playbook.digest else None,
            ready=self.health.ready,
            event_loop_lag=self._loop_lag.worst,
            clock=lambda: clock() / 1000,
        )
        if (before := last_failure.last(settings.data_dir)) is not None:
            self.metrics.last_failure(before.reason, before.at / 1000, before.times)
        kafka, input_topics = FaustKafka(self), InputTopics(settings)
        tasks = TaskRegistry(input_topics)
        self.lifetime = Lifetime(
            settings, clock, tasks, end=lambda error: self.loop.call_soon_threadsafe(self.end, error)
        )
        self.context = WorkerContext(
            settings=settings,
            clock=clock,
            metrics=self.metrics,
            health=self.health,
            kafka=kafka,
            recovery=kafka,
            topics=input_topics,
            tasks=tasks,
            fail=self.lifetime.fail,
            should_stop=lambda: self.should_stop,
            spawn=self.add_future,
        )
        self.guarantee: Guarantee = (
            ExactlyOnce(settings, self.metrics, clock)
            if settings.processing_guarantee == "exactly_once"
            else AtLeastOnce(settings, clock, group=lambda: kafka.consumer, producer=lambda: kafka.producer)
        )
        committer = Committer(self.guarantee, self.metrics, self.lifetime)
        watchdog = Watchdog(self.context, playbook)
        factory = TaskFactory(
            self.context, Lifecycle(playbook, settings.id_namespace), self.guarantee, watchdog.slowest_anywhere
        )
        self._assignments = Assignment(
            self.context, self.lifetime, self.guarantee, committer, factory, watchdog.check_silence
        )
        self._loops = WorkLoops(self.context, self.guarantee, committer, watchdog.silence)
        self.process = self._loops.process
        self._watchdog = watchdog
        token = settings.erasure_token
        self._http = HttpServer(
            settings.web_host,
            settings.web_port,
            self.health,
            self.metrics.exposition,
            None if token is None else ErasureEndpoint(token, self._request_erasure),
        )
        super().__init__(settings.app_id, **faust_configuration)

    # -- start and end

    def on_init_dependencies(self) -> Any:
        """Called by Faust."""
        services = super().on_init_dependencies()
        # The monitor's statistics of each message cost CPU and are not used. Without any sensor Faust warns at each
        # rebalance, so it gets one that does nothing.
        self.sensors.remove(self.monitor)
        self.sensors.add(faust.Sensor())
        return services

    async def on_start(self) -> None:
        """Called by Faust when the worker starts."""
        await super().on_start()
        problems, self.context.topics.not_co_partitioned = await topics.check_for_worker(self.settings)
        if problems:
            self.fail(UserError(" ".join(problem.sentence for problem in problems)))
            raise RuntimeError(self.failure)
        self._http.start()
        log.info("Metrics at %s/metrics", self._http.url)
        for loop in (
            self._loop_lag.run,
            self._loops.tick,
            self._loops.commit,
            self._loops.tidy,
            self._watchdog.show,
            self._check_topics,
        ):
            self.add_future(self._guarded(loop))

    async def stop(self) -> None:
        """Called by Faust on SIGTERM, SIGINT or a crash: commit, leave the group, and end in time in any case."""
        lifetime = self.lifetime
        if not lifetime.stopping:
            lifetime.stopping = True
            self.health.not_ready("stopping")
            lifetime.start_exit_timer()
            if lifetime.failure is None:
                await self._assignments.release(timeout=self.settings.shutdown_timeout / 2000)
            if lifetime.failure is None and (reason := self.crash_reason) is not None:  # a service of Faust has crashed
                self.fail(reason)
        await super().stop()

    async def on_stop(self) -> None:
        """Called by Faust at the end."""
        await super().on_stop()
        await self.guarantee.close()
        self._http.stop()

    @property
    def failure(self) -> str | None:
        """Reason for which the worker ends by itself."""
        return self.lifetime.failure

    @property
    def orderly(self) -> bool:
        """True if the worker may end as it is: everything is committed, and nothing has failed."""
        return self.lifetime.orderly

    def fail(self, cause: BaseException) -> None:
        """End the worker without another commit, see `Lifetime.fail`. Also called by the table."""
        self.lifetime.fail(cause)

    def end(self, error: RuntimeError) -> None:
        """End a failed worker by Faust's crash. `streams.shell.worker.command` replaces this by a quieter way."""
        asyncio.ensure_future(self.crash(error))  # noqa: RUF006 - it outlives everything that could hold it

    async def _guarded(self, loop: Callable[[], Awaitable[None]]) -> None:
        """Run a loop. An exception in it ends the worker."""
        try:
            await loop()
        except asyncio.CancelledError:
            raise
        except Exception as exc:
            self.fail(exc)

    async def _check_topics(self) -> None:
        await self._watchdog.check_topics(lambda: self._assignments.settled)

    def _request_erasure(self, person: str, identified: bool) -> str:
        """Implement `ErasureEndpoint.ask`. Called in a thread of the HTTP server."""

        async def ask() -> str:
            return await erasure_requests.send_request(self.context.kafka.producer, self.settings, person, identified)

        asked = asyncio.run_coroutine_threadsafe(ask(), self.loop)
        try:
            return asked.result(ERASURE_TIMEOUT_S)
        finally:
            asked.cancel()

    # -- rebalances (streams.transport.driver.Owner)

    def on_assigned(self, sources: frozenset[TP]) -> None:
        """Called by the consumer when a rebalance ends. Does not wait."""
        self._assignments.assigned(sources)

    async def fenced(self) -> None:
        """Called by recovery before it reads anything."""
        await self._assignments.fenced()

    async def on_sources_assigned(self, sources: frozenset[TP]) -> None:
        """Called by the consumer when the table is recovered."""
        await self._assignments.recovered(sources)

    async def on_sources_revoked(self) -> None:
        """Called by the consumer when a rebalance begins."""
        await self._assignments.revoked()
