"""One phase of the demo: a worker on its own topics, the events sent to it, and its outputs and metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from aiokafka import AIOKafkaProducer
from rich.console import Console
from rich.live import Live

from streams.demo.clients import produce, subscribe, wall_clock
from streams.demo.configuration import PhaseName
from streams.demo.scrape import scrape
from streams.demo.shop_history import DemoEvent
from streams.demo.shoppers import Shoppers
from streams.demo.statistics import Statistics
from streams.demo.terminal import Caption, progress_line, render
from streams.demo.worker_process import WorkerProcess
from streams.settings import load
from streams.shell.admin import topics

START_TIMEOUT: Final = 60.0
PROCESS_TIMEOUT: Final = 300.0
QUIET: Final = 3.0
"""Seconds without an output after which all outputs are taken to have come. Several commits fit into it."""
CAUGHT_UP: Final = 60.0
"""Seconds. A watermark with a smaller lag has passed the whole history."""
SCRAPE_EVERY: Final = 0.1
LINE_EVERY: Final = 2.0
FRAMES_PER_SECOND: Final = 5


class PhaseTimeout(Exception):
    """The worker did not answer, or did not process the events, in time."""


class Phase:
    """One phase. `environment` has the settings of its worker."""

    def __init__(self, name: PhaseName, environment: Mapping[str, str], kafka: AIOKafkaProducer) -> None:
        self.settings = load(environment)
        self.statistics = Statistics(self.settings)
        self._name = name
        self._environment = environment
        self._kafka = kafka
        self._inputs = self.settings.source_topics
        self.url = f"http://{self.settings.web_host}:{self.settings.web_port}"

    async def make_topics(self) -> None:
        """Create the topics. Must be called first."""
        await topics.ensure(self.settings)

    async def play(self, events: Iterable[DemoEvent]) -> None:
        """Send the events as fast as the broker accepts them. Return when all are acknowledged."""
        self.statistics.played += await produce(self._kafka, self._inputs, events)

    async def play_live(self, shoppers: Shoppers) -> None:
        """Send each event of the shoppers at its time. Never returns."""
        while True:
            await self.play(shoppers.due(wall_clock()))
            await asyncio.sleep(max(0.0, shoppers.next_at - wall_clock()) / 1000)

    @asynccontextmanager
    async def watched(self, console: Console, caption: Caption) -> AsyncIterator[None]:
        """Run the worker, a subscriber to its outputs, the scraper of its metrics, and the screen during the body."""
        answered = asyncio.Event()
        async with (
            WorkerProcess(self._name, self._environment) as worker,
            run_beside(worker.watch(), subscribe(self.settings, self.statistics), self._measure(answered)),
        ):
            try:
                await asyncio.wait_for(answered.wait(), START_TIMEOUT)
            except TimeoutError:
                raise PhaseTimeout(f"the demo's worker did not answer within {START_TIMEOUT:.0f} s.") from None
            async with run_beside(self._show(console, caption)):
                yield

    async def until_processed(self) -> None:
        """Return when all events played are processed and their outputs received. Raise `PhaseTimeout` if that takes
        longer than `PROCESS_TIMEOUT`."""
        statistics, received = self.statistics, -1
        began = quiet_since = time.perf_counter()
        while True:
            now = time.perf_counter()
            if not self._all_received() or statistics.received != received:
                received, quiet_since = statistics.received, now
            elif now - quiet_since > QUIET:
                return
            if now - began > PROCESS_TIMEOUT:
                raise PhaseTimeout(
                    f"the demo's worker has processed {statistics.processed:,} of {statistics.played:,} events after "
                    f"{PROCESS_TIMEOUT:.0f} s, and {statistics.received:,} of {statistics.sent:,} outputs have come."
                )
            await asyncio.sleep(SCRAPE_EVERY)

    def _all_received(self) -> bool:
        """Return True if all events are processed, all watermarks are current, and all outputs sent have come."""
        statistics = self.statistics
        caught_up = sum(lag < CAUGHT_UP for lag in statistics.watermark_lags) == self.settings.partitions
        return statistics.processed == statistics.played and caught_up and statistics.received == statistics.sent

    async def _measure(self, answered: asyncio.Event) -> None:
        async with aiohttp.ClientSession() as http:
            while True:
                if (found := await scrape(http, self.url)) is not None:
                    self.statistics.update_from_metrics(found, time.perf_counter())
                    answered.set()
                await asyncio.sleep(SCRAPE_EVERY)

    async def _show(self, console: Console, caption: Caption) -> None:
        """Show the screen, or print progress lines if there is no terminal. Never returns."""
        if not console.is_terminal:
            while True:
                console.print(
                    progress_line(self.statistics, caption.title), markup=False, highlight=False, soft_wrap=True
                )
                await asyncio.sleep(LINE_EVERY)
        with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                live.update(render(self.statistics, caption, self.url), refresh=True)
                await asyncio.sleep(1 / FRAMES_PER_SECOND)


@asynccontextmanager
async def run_beside(*endless: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run the coroutines during the body. An exception of one of them ends the body, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in endless]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as raised:
        raise raised.exceptions[0] from None
