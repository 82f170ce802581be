"""`lifecycle demo`: a shop's history through Kafka at high speed, then simulated shoppers, live.

Each phase has its own worker process, topics and consumer group. The history runs with the windows of the default
playbook. These would take hours to watch, so the live phase has a worker with short windows.

The history is on its topics before its worker starts, as after an outage: a worker that has caught up takes a pause for
silence. While the history was still being written, it would fire deadlines that later events of the history prevent.
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

from streams.demo import shop_history
from streams.demo.clients import delete_topics, producer, wall_clock
from streams.demo.configuration import PhaseName, environment, windows
from streams.demo.phase import Phase, PhaseTimeout, run_beside
from streams.demo.shoppers import Shoppers
from streams.demo.terminal import Caption, render, summary
from streams.demo.worker_process import WorkerExited
from streams.devtools.apache_kafka import ApacheKafka
from streams.devtools.broker import EmbeddedBroker, LocalBroker

OWN_KAFKA: Final = "kafka"
"""Value of `--broker`, in place of an address, that starts an Apache Kafka for the demo."""
SHORTENED: Final = "Shortened for the demo; the playbook's windows are 30 min to 180 d."


def run(*, once: bool, seed: int, broker: str | None) -> int:
    """Run the demo for the command line and return its exit code. All started processes have ended when it returns."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # errors reach the user as the sentences below
    demo = Demo(shop_history.locate(), once=once, seed=seed, broker=broker)
    try:
        asyncio.run(demo.run())
    except (WorkerExited, PhaseTimeout) as error:
        print(f"lifecycle: {error}", file=sys.stderr)
        return 1
    except KafkaError as error:
        print(f"lifecycle: the Kafka broker no longer accepts requests ({type(error).__name__}).", file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        return 0 if demo.live else 130
    return 0


class Demo:
    """One run of the demo, with the history in the file at `path`.

    `broker`: the address of a Kafka to use in place of the embedded broker, or `kafka` to start an Apache Kafka.
    """

    def __init__(self, path: Path, *, once: bool, seed: int, broker: str | None) -> None:
        self.live = False
        """True in the live phase, which only Ctrl-C ends."""
        self._data = path
        self._once = once
        self._seed = seed
        self._broker = broker if broker != OWN_KAFKA else None
        self._own: LocalBroker = ApacheKafka() if broker == OWN_KAFKA else EmbeddedBroker()
        self._prefix = "" if self._broker is None else f"demo-{secrets.token_hex(3)}-"
        self._console = Console()

    async def run(self) -> None:
        """Run until the history is processed (`once`), or until SIGINT, SIGTERM or SIGHUP cancels it."""
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        async with AsyncExitStack() as stack:
            broker = self._broker or await self._start(stack)
            kafka = await stack.enter_async_context(producer(broker))
            if self._prefix:
                stack.push_async_callback(delete_topics, broker, self._prefix)
            await self._play_history(broker, kafka, shop_history.history(self._data, wall_clock()))
            if not self._once:
                await self._play_live(broker, kafka)

    async def _start(self, stack: AsyncExitStack) -> str:
        own = stack.enter_context(self._own)
        await stack.enter_async_context(run_beside(own.watch()))
        self._print(f"{own.name[0].upper()}{own.name[1:]} is on {own.address}.")
        return own.address

    async def _play_history(self, broker: str, kafka: AIOKafkaProducer, events: list[shop_history.DemoEvent]) -> None:
        phase = Phase("history", self._environment("history", broker), kafka)
        await phase.make_topics()
        await phase.play(events)
        self._print(f"{len(events):,} events of history are in Kafka; starting a worker on them.")
        caption = Caption("Half a year of a shop, at full speed", windows("history"), shop_history.CREDIT)
        async with phase.watched(self._console, caption):
            await phase.until_processed()
        self._print(summary(phase.statistics, events))
        self._print(f"{'data':<15}{shop_history.CREDIT}, moved by whole days to end within a day of now\n")

    async def _play_live(self, broker: str, kafka: AIOKafkaProducer) -> None:
        phase = Phase("live", self._environment("live", broker), kafka)
        await phase.make_topics()
        self._print("Starting a second worker, with windows short enough to watch, for simulated shoppers.")
        caption = Caption(f"Simulated shoppers, live (seed {self._seed})", windows("live"), SHORTENED)
        try:
            async with phase.watched(self._console, caption):
                self.live = True
                await phase.play_live(Shoppers(self._seed, wall_clock()))
        finally:
            self._console.print(render(phase.statistics, caption, phase.url))

    def _environment(self, name: PhaseName, broker: str) -> dict[str, str]:
        return environment(name, broker, self._prefix, own=self._broker is None)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
