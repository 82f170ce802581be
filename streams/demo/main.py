"""`lifecycle demo`: a shop's history through Kafka at high speed, then simulated shoppers, live.

Each part has a worker process, topics and a consumer group of its own. The history is judged by the windows of the
playbook; they would take hours to watch, so the live part has a worker with short ones. That is why there are two.

The history is on its topics before its worker starts, as after an outage: a worker that has caught up takes silence for
silence, and would fire what a history still being written is about to prevent.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from rich.console import Console

from streams.demo import data
from streams.demo.child import WorkerGone
from streams.demo.configuration import PartName, environment, windows
from streams.demo.kafka import delete_topics, producer, wall_clock
from streams.demo.part import Part, TooSlow, beside
from streams.demo.screen import Caption, render, summary
from streams.demo.shoppers import Shoppers
from streams.devtools.apache_kafka import ApacheKafka
from streams.devtools.broker import EmbeddedBroker, LocalBroker

OWN_KAFKA: Final = "kafka"
"""In place of an address: an Apache Kafka started for the demo."""
SHORTENED: Final = "Shortened for the demo; the playbook's windows are 30 min to 180 d."


def run(*, once: bool, seed: int, broker: str | None) -> int:
    """Called by the command line; returns its exit code. Everything that was started is gone when it returns."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters of it ends in a sentence of ours
    demo = Demo(data.locate(), once=once, seed=seed, broker=broker)
    try:
        asyncio.run(demo.run())
    except (WorkerGone, TooSlow) as error:
        print(f"lifecycle: {error}", file=sys.stderr)
        return 1
    except KafkaError as error:
        print(f"lifecycle: the Kafka broker no longer does what is asked ({type(error).__name__}).", file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        return 0 if demo.live else 130
    return 0


class Demo:
    """One run of it, with the history in a file. `broker` is a Kafka to use in place of the embedded one, or `kafka`
    to start one."""

    def __init__(self, path: Path, *, once: bool, seed: int, broker: str | None) -> None:
        self.live = False
        """Whether it has come to the live part, which only Ctrl-C ends."""
        self._data = path
        self._once = once
        self._seed = seed
        self._broker = broker if broker != OWN_KAFKA else None
        self._own: LocalBroker = ApacheKafka() if broker == OWN_KAFKA else EmbeddedBroker()
        self._prefix = "" if self._broker is None else f"demo-{secrets.token_hex(3)}-"
        self._console = Console()

    async def run(self) -> None:
        """Until the history is through (`once`), or until it is cancelled by SIGINT, SIGTERM or SIGHUP."""
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        async with AsyncExitStack() as stack:
            broker = self._broker or await self._start(stack)
            kafka = await stack.enter_async_context(producer(broker))
            if self._prefix:
                stack.push_async_callback(delete_topics, broker, self._prefix)
            await self._play_history(broker, kafka, data.history(self._data, wall_clock()))
            if not self._once:
                await self._shop_live(broker, kafka)

    async def _start(self, stack: AsyncExitStack) -> str:
        own = stack.enter_context(self._own)
        await stack.enter_async_context(beside(own.watch()))
        self._say(f"{own.name[0].upper()}{own.name[1:]} is on {own.address}.")
        return own.address

    async def _play_history(self, broker: str, kafka: AIOKafkaProducer, events: list[data.Event]) -> None:
        part = Part("history", self._environment("history", broker), kafka)
        await part.make_topics()
        await part.play(events)
        self._say(f"{len(events):,} events of history are in Kafka; starting a worker on them.")
        caption = Caption("Half a year of a shop, at full speed", windows("history"), data.CREDIT)
        async with part.watched(self._console, caption):
            await part.until_processed()
        self._say(summary(part.board, events))
        self._say(f"{'data':<15}{data.CREDIT}, moved by whole days to end within a day of now\n")

    async def _shop_live(self, broker: str, kafka: AIOKafkaProducer) -> None:
        part = Part("live", self._environment("live", broker), kafka)
        await part.make_topics()
        self._say("Starting a second worker, with windows short enough to watch, for simulated shoppers.")
        caption = Caption(f"Simulated shoppers, live (seed {self._seed})", windows("live"), SHORTENED)
        try:
            async with part.watched(self._console, caption):
                self.live = True
                await part.shop(Shoppers(self._seed, wall_clock()))
        finally:
            self._console.print(render(part.board, caption, part.url))

    def _environment(self, name: PartName, broker: str) -> dict[str, str]:
        return environment(name, broker, self._prefix, own=self._broker is None)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
