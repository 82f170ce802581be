"""One part of the demo: a worker on topics of its own, what goes in, and what is seen of it from outside."""

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

from streams.demo.board import Board
from streams.demo.child import WorkerProcess
from streams.demo.configuration import PartName
from streams.demo.data import Event
from streams.demo.kafka import produce, subscribe, wall_clock
from streams.demo.scrape import scrape
from streams.demo.screen import Caption, progress_line, render
from streams.demo.shoppers import Shoppers
from streams.settings import load
from streams.shell.admin import topics

START_TIMEOUT: Final = 60.0
PROCESS_TIMEOUT: Final = 300.0
QUIET: Final = 3.0
"""Seconds without an output after which nothing more is taken to come: several commits."""
CAUGHT_UP: Final = 60.0
"""Seconds: a watermark no further behind has passed the whole history."""
SCRAPE_EVERY: Final = 0.1
LINE_EVERY: Final = 2.0
FRAMES_PER_SECOND: Final = 5


class TooSlow(Exception):
    """Something did not happen in its time."""


class Part:
    """Made, fed and watched by `streams.demo.main`. `environment` sets up its worker."""

    def __init__(self, name: PartName, environment: Mapping[str, str], kafka: AIOKafkaProducer) -> None:
        self.settings = load(environment)
        self.board = Board(self.settings)
        self._name = name
        self._environment = environment
        self._kafka = kafka
        self._inputs = self.settings.source_topics
        self.url = f"http://{self.settings.web_host}:{self.settings.web_port}"

    async def make_topics(self) -> None:
        """First."""
        await topics.ensure(self.settings)

    async def play(self, events: Iterable[Event]) -> None:
        """As fast as the broker takes them; returns when all are acknowledged."""
        self.board.played += await produce(self._kafka, self._inputs, events)

    async def shop(self, shoppers: Shoppers) -> None:
        """Each event when it happens, without end."""
        while True:
            await self.play(shoppers.due(wall_clock()))
            await asyncio.sleep(max(0.0, shoppers.next_at - wall_clock()) / 1000)

    @asynccontextmanager
    async def watched(self, console: Console, caption: Caption) -> AsyncIterator[None]:
        """For as long as the body runs: the worker, a subscriber to its outputs, its metrics, and the screen."""
        answered = asyncio.Event()
        async with (
            WorkerProcess(self._name, self._environment) as worker,
            beside(worker.watch(), subscribe(self.settings, self.board), self._measure(answered)),
        ):
            try:
                await asyncio.wait_for(answered.wait(), START_TIMEOUT)
            except TimeoutError:
                raise TooSlow(f"the demo's worker did not answer within {START_TIMEOUT:.0f} s.") from None
            async with beside(self._show(console, caption)):
                yield

    async def until_processed(self) -> None:
        """Return when everything played is processed and what follows from it received."""
        board, received = self.board, -1
        began = quiet_since = time.perf_counter()
        while True:
            now = time.perf_counter()
            if not self._all_received() or board.received != received:
                received, quiet_since = board.received, now
            elif now - quiet_since > QUIET:
                return
            if now - began > PROCESS_TIMEOUT:
                raise TooSlow(
                    f"the demo's worker has processed {board.processed:,} of {board.played:,} events after "
                    f"{PROCESS_TIMEOUT:.0f} s, and {board.received:,} of {board.sent:,} outputs have come."
                )
            await asyncio.sleep(SCRAPE_EVERY)

    def _all_received(self) -> bool:
        """Whether all events are processed, time has passed their deadlines, and all outputs sent have come."""
        board = self.board
        caught_up = sum(lag < CAUGHT_UP for lag in board.watermark_lags) == self.settings.partitions
        return board.processed == board.played and caught_up and board.received == board.sent

    async def _measure(self, answered: asyncio.Event) -> None:
        async with aiohttp.ClientSession() as http:
            while True:
                if (found := await scrape(http, self.url)) is not None:
                    self.board.measured(found, time.perf_counter())
                    answered.set()
                await asyncio.sleep(SCRAPE_EVERY)

    async def _show(self, console: Console, caption: Caption) -> None:
        """The screen, or lines where there is no terminal; without end."""
        if not console.is_terminal:
            while True:
                console.print(progress_line(self.board, caption.title), markup=False, highlight=False, soft_wrap=True)
                await asyncio.sleep(LINE_EVERY)
        with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                live.update(render(self.board, caption, self.url), refresh=True)
                await asyncio.sleep(1 / FRAMES_PER_SECOND)


@asynccontextmanager
async def beside(*endless: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these for as long as the body runs. What one of them raises ends the body, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in endless]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as raised:
        raise raised.exceptions[0] from None
