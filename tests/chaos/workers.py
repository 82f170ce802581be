"""Faults of workers: killed, replaced, too many and too few, stopped and resumed."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Mapping

from tests.chaos.history import Event, parts
from tests.chaos.programs import program
from tests.chaos.run import Run
from tests.chaos.verdict import Verdict
from tests.support.process_cluster import wait_until


@program("kill -9 of workers at random moments", short={"kills": 6}, long={"kills": 50})
async def kills(run: Run, *, kills: int) -> Verdict:
    """Two workers are killed. Every other kill comes when a worker is ready again, the others while it starts, recovers
    or joins."""
    await run.application()
    events = run.sessions(sessions=250 * kills)
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
                await asyncio.sleep(run.rng.uniform(0.0, 1.0))
            else:
                await asyncio.sleep(run.rng.uniform(0.0, 2.5))
            crew.kill(victim)
            await pouring
        return await run.judge({"kills": kills}, minima={"killed": (crew.killed, kills)})


async def ready(run: Run, slot: int) -> None:
    """Wait until the worker of a slot processes, unless it ends."""
    worker = run.crews[-1].workers[slot]
    assert worker is not None
    await worker.ready_or_gone()


@program("rolling restarts of three workers", short={"rounds": 1}, long={"rounds": 8})
async def rolling(run: Run, *, rounds: int) -> Verdict:
    """Each worker in turn is stopped, has to end in time with exit code 0, and is replaced."""
    await run.application()
    events = run.sessions(sessions=1_200 * rounds)
    await run.open(events)
    crew = run.crew(3)
    crew.replace()
    await crew.ready()
    for n, part in enumerate(parts(events, 3 * rounds)):
        pouring = asyncio.create_task(run.pour(part, 2.5))
        await asyncio.sleep(run.rng.uniform(0.2, 1.5))
        await crew.terminate(n % 3)
        crew.start(n % 3)
        await crew.ready()
        await pouring
    return await run.judge({"restarts": 3 * rounds})


@program("workers joining and leaving every few seconds", short={"changes": 6}, long={"changes": 40})
async def coming_and_going(run: Run, *, changes: int) -> Verdict:
    """One to four workers start and end, in turn with and without a graceful stop, without waiting for rebalances."""
    await run.application()
    events = run.sessions(sessions=250 * changes)
    await run.open(events)
    crew = run.crew(4)
    crew.start(0)
    for part in parts(events, changes):
        pouring = asyncio.create_task(run.pour(part, 2.0))
        here = crew.running()
        free = [slot for slot in range(4) if slot not in here]
        if free and (len(here) <= 1 or run.rng.random() < 0.55):
            crew.start(run.rng.choice(free))
        elif run.rng.random() < 0.5:
            crew.kill(run.rng.choice(here))
        else:
            await crew.terminate(run.rng.choice(here))
        await pouring
        await asyncio.sleep(run.rng.uniform(0.0, 2.0))
    harm = {"changes": changes, "workers started": crew.started, "killed": crew.killed}
    least = crew.started // 2  # of those of this part
    async with crew.kept():
        verdict = await run.judge(harm)
        worked = sum(
            re.search(r"Processing partitions \[\d", w.log.read_text()) is not None for w in run.cluster.workers
        )
        verdict.minima["workers that came to work"] = worked, least
        return verdict


@program("SIGSTOP for longer than the session, then SIGCONT", short={"stops": 1}, long={"stops": 12})
async def stale_owners(run: Run, *, stops: int) -> Verdict:
    """A stopped worker resumes with old state and half a commit, after others took over its partitions."""
    await run.application(session_timeout="2s")
    return await stopped_and_woken(run, run.sessions(sessions=800 * stops), stops)


async def stopped_and_woken(
    run: Run, events: list[Event], stops: int, more: Mapping[str, tuple[float, float]] = {}
) -> Verdict:
    """One of two workers is stopped for longer than the session, again and again. `more` gives further minima."""
    await run.open(events)
    crew = run.crew(2)
    lost = 0
    async with crew.kept():
        for part in parts(events, stops):
            await asyncio.sleep(0.5)
            await crew.ready()
            pouring = asyncio.create_task(run.pour(part, 8.0))
            await asyncio.sleep(run.rng.uniform(0.5, 1.5))
            slot = run.rng.choice(crew.running())
            victim = crew.workers[slot]
            assert victim is not None
            await wait_until(lambda: crew.partitions(slot) > 0, "its partitions")  # noqa: B023
            victim.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(5.0)
            lost += await has_all(run, 1 - slot)
            victim.process.send_signal(signal.SIGCONT)
            await pouring
        minima = {"that lost their partitions": (lost, stops), **more}
        return await run.judge({"stops": stops}, minima=minima, ends={1: 2 * stops})


async def has_all(run: Run, slot: int) -> bool:
    """Return whether the worker of a slot gets all partitions within some seconds."""
    crew, all_of_them = run.crews[-1], run.cluster.settings.partitions
    try:
        await wait_until(lambda: crew.partitions(slot) == all_of_them, "all partitions in one place", 15.0)
    except AssertionError:
        return False
    return True
