"""Pauses of a partition's outputs when its worker ends, with and without a graceful stop."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from contextlib import suppress
from typing import Any

from streams.contracts import times
from streams.core.model.event import Source
from tests.chaos.history import Event
from tests.chaos.live import QUICK
from tests.chaos.programs import program
from tests.chaos.run import Run
from tests.chaos.verdict import Verdict
from tests.support.shop_events import MINUTE, click, now

FAILOVER = {"session_timeout": "5s", "heartbeat_interval": "1s", "standby_replicas": "1"}
"""The settings that docs/operations.md recommends for a failover in less than 10 s."""
PARTITIONS = 4
FAILOVER_S = 10.0
HANDOVER_S = 5.0
IN_A_TEST = 6
"""The short version is a test, which may run on a busy machine. It bounds a single pause by so many times the limit."""


@program("failover: kill -9, and a worker with a warm standby takes over", short={"times": 1}, long={"times": 10})
async def failover(run: Run, *, times: int) -> Verdict:
    """Measure from the kill to the first output after it, in the slowest partition."""
    return await interrupted(run, times, kill=True)


@program("hand-over: SIGTERM, and the other worker goes on", short={"times": 1}, long={"times": 10})
async def handover(run: Run, *, times: int) -> Verdict:
    """Measure from SIGTERM to the first output after it, in the slowest partition."""
    return await interrupted(run, times, kill=False)


async def interrupted(run: Run, rounds: int, *, kill: bool) -> Verdict:
    """Send new customers all the time, each with an immediate output, while workers end one after the other."""
    await run.application(**FAILOVER, **QUICK, partitions=str(PARTITIONS))
    old = now() - 20 * MINUTE
    await run.produce(Event(old, Source.CLICKSTREAM, click(f"old-{n}", old)) for n in range(20_000))
    crew = run.crew(2)
    crew.replace()
    await crew.ready()
    going = asyncio.create_task(visitors(run))
    gone: list[int] = []
    had: list[int] = []
    for n in range(rounds):
        await asyncio.sleep(8.0)
        had.append(crew.partitions(n % 2))
        gone.append(now())
        if kill:
            crew.kill(n % 2)
        else:
            await crew.terminate(n % 2)
        await asyncio.sleep(max(0.0, 12.0 - (now() - gone[-1]) / 1000))
        crew.start(n % 2)
        await crew.ready()
    going.cancel()
    with suppress(asyncio.CancelledError):
        await going
    records = await run.read(run.cluster.settings.stage_changes_topic)
    took = [round(standstill(records, at) / 1000, 1) for at in gone]
    name, most = ("failover, s", FAILOVER_S) if kill else ("hand-over, s", HANDOVER_S)
    most *= IN_A_TEST if rounds == 1 else 1
    return await run.judge(
        {"times": rounds},
        live=True,
        limits={name: (max(took), most)},
        minima={"partitions of who goes": (min(had), 1)},
        seconds=sorted(took),
    )


async def visitors(run: Run) -> None:
    """Send about 100 new customers a second, without end."""
    n = 0
    while True:
        await run.produce(Event(now(), Source.CLICKSTREAM, click(f"v-{n + k}", now())) for k in range(10))
        n += 10
        await asyncio.sleep(0.1)


def standstill(records: list[Any], at: int) -> int:
    """Return the ms from a time to the first output of a later event, in the slowest partition."""
    first: defaultdict[int, list[int]] = defaultdict(list)
    for record in records:
        document = json.loads(record.value)
        if document["customer_id"].startswith("v-") and times.parse(document["occurred_at"]) > at:
            first[record.partition].append(record.timestamp)
    assert len(first) == PARTITIONS
    return max(min(came) for came in first.values()) - at
