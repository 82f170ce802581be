"""Harm while it turns out who is who: the same customers, known by half."""

from __future__ import annotations

import asyncio

from tests.chaos.history import Event, parts
from tests.chaos.programs import program
from tests.chaos.run import Run
from tests.chaos.verdict import Verdict, expected
from tests.chaos.workers import ready
from tests.integration.shop import half_known


def known_by_half(seed: int, events: list[Event]) -> list[Event]:
    """These events without some of their ids, and with devices."""
    half = half_known(seed, [event.fields for event in events])
    return [event._replace(fields=fields) for event, fields in zip(events, half, strict=True)]


@program("kill -9 of workers while profiles are merged", short={"kills": 6}, long={"kills": 50})
async def identity(run: Run, *, kills: int) -> Verdict:
    """Two workers that link, on badly keyed topics or, of every other seed, on well keyed ones. Every other kill comes
    when a worker is ready again."""
    keyed = "on" if run.seed % 2 else "off"
    await run.application(linking="on", clickstream_well_keyed=keyed, orders_well_keyed=keyed)
    events = known_by_half(run.seed, run.sessions(sessions=250 * kills))
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
        until = max(event.at for event in events)
        right = expected(run.cluster.settings, events, until, run.directory / "who-is-who")
        merged = sum(d["type"] == "linked" for d in right.outputs.values())
        minima = {"killed": (crew.killed, kills), "linked": (merged, 100)}
        return await run.judge({"kills": kills}, minima=minima)
