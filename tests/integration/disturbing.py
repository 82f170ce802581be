"""Workers that something happens to while they recover, for tests: run by `Cluster.start_worker(program=…)`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from streams.settings import load
from streams.shell import recovering, watching
from streams.shell.at_least_once import AtLeastOnce
from streams.shell.worker import run
from streams.transport.driver import Consumer
from streams.transport.recovery import Recovery


def frozen_broker(pid: int) -> str:
    """The broker with this process id stands still once recovery asks for the first time where the changelogs end."""
    return f"from tests.integration import disturbing; disturbing.freeze({pid})"


def lost_chunk(*, mended: bool) -> str:
    """What is first fetched of a changelog is dropped. `mended`: reading may start again."""
    return f"from tests.integration import disturbing; disturbing.drop(mended={mended})"


def unguarded() -> str:
    """A worker that does not ask, before it writes, whether its partitions are still its own."""
    return "from tests.integration import disturbing; disturbing.trust()"


def trust() -> None:
    guarantee: Any = AtLeastOnce

    async def believe(self: Any, leaving: bool) -> None:
        """That nothing has happened."""

    guarantee._check_membership = believe
    sys.exit(run(load()))


def freeze(pid: int) -> None:
    recovery: Any = Recovery
    build = recovery._build_highwaters

    async def build_later(self: Any, *args: Any) -> None:
        recovery._build_highwaters = build
        os.kill(pid, signal.SIGSTOP)
        print("frozen", flush=True)
        await build(self, *args)

    recovery._build_highwaters = build_later
    sys.exit(run(load()))


def drop(*, mended: bool) -> None:
    consumer: Any = Consumer
    getmany = consumer.getmany
    dropped: list[Any] = []

    async def without_the_first(self: Any, timeout: float) -> Any:
        async for tp, message in getmany(self, timeout):
            if not dropped and tp.topic in self.app.tables.changelog_topics and self.app.in_recovery:
                dropped.append(message)
                print("dropped", flush=True)
                continue
            yield tp, message

    consumer.getmany = without_the_first
    recovering.STALLED_S = 2.0
    watching.FACTS_S = 0.2
    if not mended:
        recovery: Any = Recovery

        async def nothing(self: Any) -> None:
            """As if the position were right."""

        recovery.read_again = nothing
    sys.exit(run(load()))
