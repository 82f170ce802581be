"""Faults during identity resolution: the same customers, partly identified."""

from __future__ import annotations

import asyncio

from tests.chaos.history import Event, parts
from tests.chaos.programs import program
from tests.chaos.run import Run
from tests.chaos.verdict import Verdict, expected
from tests.chaos.workers import ready, stopped_and_woken
from tests.support.shop_events import half_known

LINKED = 100
"""The least number of devices to be linked."""


async def known_by_half(run: Run, sessions: int, **settings: str) -> list[Event]:
    """Return an application with identity resolution and its history: events lack some of their ids, and have devices.
    With every other seed, topics are co-partitioned."""
    keyed = "on" if run.seed % 2 else "off"
    await run.application(
        identity_resolution="on", clickstream_co_partitioned=keyed, orders_co_partitioned=keyed, **settings
    )
    events = run.sessions(sessions=sessions)
    half = half_known(run.seed, [event.fields for event in events])
    return [event._replace(fields=fields) for event, fields in zip(events, half, strict=True)]


def linked(run: Run, events: list[Event]) -> int:
    """Return how many devices were linked to customers."""
    until = max(event.at for event in events)
    right = expected(run.cluster.settings, events, until, run.directory / "who-is-who")
    return sum(document["type"] == "linked" for document in right.outputs.values())


@program("kill -9 of workers while profiles are merged", short={"kills": 6}, long={"kills": 50})
async def identity(run: Run, *, kills: int) -> Verdict:
    """Two workers are killed. Every other kill comes when a worker is ready again."""
    events = await known_by_half(run, 250 * kills)
    await run.open(events)
    crew = run.crew(2)
    async with crew.kept():
        await asyncio.sleep(1)
        await crew.ready()
        for n, part in enumerate(parts(events, kills)):
            pouring = asyncio.create_task(run.pour(part, 2.0))
            victim = run.rng.choice(crew.running())
            if n % 2:
                await ready(run, victim)
            await asyncio.sleep(run.rng.uniform(0.0, 2.0))
            crew.kill(victim)
            await pouring
        minima = {"killed": (crew.killed, kills), "linked": (linked(run, events), LINKED)}
        return await run.judge({"kills": kills}, minima=minima)


@program("SIGSTOP and SIGCONT of workers while profiles are merged", short={"stops": 1}, long={"stops": 12})
async def identity_stale_owners(run: Run, *, stops: int) -> Verdict:
    """Like `stale_owners`. Internal messages of a stale owner must not displace those of its successor."""
    events = await known_by_half(run, 800 * stops, session_timeout="2s")
    return await stopped_and_woken(run, events, stops, {"linked": (linked(run, events), LINKED)})
