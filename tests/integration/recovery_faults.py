"""Workers that are disturbed while they recover, for `ProcessCluster.start_worker(program=…)`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from typing import Any

from streams.settings import load
from streams.shell.commit.changelog import Change, Changelog
from streams.shell.monitoring import recovery_progress
from streams.shell.worker import watch
from streams.shell.worker.command import run
from streams.transport.driver import Consumer
from streams.transport.recovery import Recovery


def frozen_broker(pid: int) -> str:
    """Return a worker that stops the broker with this process id when its recovery first asks for the ends of
    changelogs."""
    return f"from tests.integration import recovery_faults; recovery_faults.freeze({pid})"


def lost_chunk(*, mended: bool) -> str:
    """Return a worker that drops the first chunk of a changelog. `mended`: reading may start again."""
    return f"from tests.integration import recovery_faults; recovery_faults.drop(mended={mended})"


def stopped_with(change: bytes) -> str:
    """Return a worker that stops itself (SIGSTOP) before it writes a change that contains these bytes, after its last
    ownership check."""
    return f"from tests.integration import recovery_faults; recovery_faults.stop_with({change!r})"


def stop_with(change: bytes) -> None:
    changelog: Any = Changelog
    write = changelog.write

    async def stop_and_write(self: Any, changes: Iterable[Change], marker: bytes) -> Any:
        changes = list(changes)
        if any(change in key or change in (value or b"") for key, value in changes):
            os.kill(os.getpid(), signal.SIGSTOP)
        return await write(self, changes, marker)

    changelog.write = stop_and_write
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
    recovery_progress.STALLED_S = 2.0
    watch.SHOW_S = 0.2
    if not mended:
        recovery: Any = Recovery

        async def nothing(self: Any) -> None:
            """Do not read again."""

        recovery.read_again = nothing
    sys.exit(run(load()))
