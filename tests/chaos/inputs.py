"""Faults of the input: a producer that stalls, repeated and reordered records, a backlog with late orders."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiokafka.admin import NewTopic

from streams.core.model.event import Source
from tests.chaos import history
from tests.chaos.history import Event, parts
from tests.chaos.programs import program
from tests.chaos.run import Run
from tests.chaos.verdict import Verdict, expected
from tests.support.process_cluster import key_of
from tests.support.shop_events import HOUR, MINUTE, now


def at_stake(run: Run, events: Iterable[Event]) -> int:
    """Return how many abandonments would be invented without orders."""
    events = list(events)
    until = max(event.at for event in events)
    clicks = [event for event in events if event.source is Source.CLICKSTREAM]
    right = expected(run.cluster.settings, events, until, run.directory / "with-orders").outputs
    blind = expected(run.cluster.settings, clicks, until, run.directory / "without-orders").outputs
    return sum(document["type"] == "abandoned" and id not in right for id, document in blind.items())


@program(
    "a backfill with a producer that stalls", short={"stalls": 2, "seconds": 6}, long={"stalls": 10, "seconds": 60}
)
async def backfill_stalls(run: Run, *, stalls: int, seconds: int) -> Verdict:
    """The orders of a backfill pause for longer than delay and lateness, while the clicks go on, hours ahead."""
    idle = f"{4 * seconds + 30}s"
    await run.application(lateness="1s", clickstream_delay="1s", orders_delay="1s", backfill_idle=idle)
    events = run.sessions(sessions=1_200 * stalls)
    await run.open(events)
    crew = run.crew(2)
    async with crew.kept():
        await asyncio.sleep(1)
        await crew.ready()
        for part in parts(events, stalls):
            await run.pour([event for event in part if event.source is Source.CLICKSTREAM], 2.0)
            await asyncio.sleep(seconds)
            await run.pour([event for event in part if event.source is Source.ORDERS], 1.0)
        minima = {"at stake": (at_stake(run, events), 50 * stalls)}
        return await run.judge({"stalls": stalls, "seconds": seconds}, minima=minima)


@program("duplicated input", short={"sessions": 1_500}, long={"sessions": 20_000})
async def duplicated(run: Run, *, sessions: int) -> Verdict:
    """Every third record is repeated, some twice, up to 20 h of event time later. Then a worker is killed."""
    await run.application()
    events = run.sessions(sessions=sessions)
    arrivals = [(event.at, event) for event in events]
    arrivals += [(e.at + run.rng.randrange(20 * HOUR), e) for e in events if run.rng.random() < 0.33]
    arrivals += [(e.at + run.rng.randrange(20 * HOUR), e) for e in events if run.rng.random() < 0.05]
    copies = [event for _, event in sorted(arrivals, key=lambda arrival: arrival[0])]
    await run.open(events)
    crew = run.crew(2)
    async with crew.kept():
        await asyncio.sleep(1)
        await crew.ready()
        pouring = asyncio.create_task(run.pour(copies, 5.0))
        await asyncio.sleep(2)
        crew.kill(0)
        await pouring
        run.events.sort(key=lambda event: event.at)
        return await run.judge({"copies": len(copies) - len(events)}, minima={"killed": (crew.killed, 1)})


@program("input out of order within `lateness`", short={"sessions": 1_500}, long={"sessions": 20_000})
async def reordered_within(run: Run, *, sessions: int) -> Verdict:
    """Every third record comes up to `lateness` (2 min) late, some twice."""
    return await reordered(run, sessions, "2m", 2 * MINUTE)


@program("input out of order beyond `lateness`", short={"sessions": 1_500}, long={"sessions": 20_000})
async def reordered_beyond(run: Run, *, sessions: int) -> Verdict:
    """Every third record comes up to 20 min late, some twice; `lateness` is 10 s."""
    return await reordered(run, sessions, "10s", 20 * MINUTE)


@program("the same within `lateness`, applied by time", short={"sessions": 1_500}, long={"sessions": 20_000})
async def reordered_by_time(run: Run, *, sessions: int) -> Verdict:
    """Like `reordered_within`, with event-time ordering. Every output is compared with the log in order."""
    return await reordered(run, sessions, "2m", 2 * MINUTE, "event_time")


async def reordered(run: Run, sessions: int, lateness: str, delay: int, ordering: str = "arrival") -> Verdict:
    """Run a program with such input, with a kill in the middle, and compare the parts that do not depend on the
    order."""
    await run.application(lateness=lateness, ordering=ordering)
    events = run.sessions(sessions=sessions)
    arrivals = [(e.at + (run.rng.randrange(delay) if run.rng.random() < 0.33 else 0), e) for e in events]
    arrivals += [(e.at + run.rng.randrange(delay), e) for e in events if run.rng.random() < 0.05]
    await run.open(events)
    crew = run.crew(2)
    async with crew.kept():
        await asyncio.sleep(1)
        await crew.ready()
        arriving = [event for _, event in sorted(arrivals, key=lambda arrival: arrival[0])]
        late = behind(arriving)
        pouring = asyncio.create_task(run.pour(arriving, 5.0))
        await asyncio.sleep(2)
        crew.kill(0)
        await pouring
        run.events.sort(key=lambda event: event.at)
        beyond = sum(by > run.cluster.settings.lateness for by in late)
        within = delay <= run.cluster.settings.lateness
        minima = {"killed": (crew.killed, 1), "out of order": (len(late), sessions // 10)}
        too_late = {"beyond the lateness": (beyond, 0 if within else sessions // 20)}
        return await run.judge(
            {"delayed": sum(at > event.at for at, event in arrivals)},
            roughly=ordering == "arrival",
            limits=too_late if within else {},
            minima=minima if within else minima | too_late,
        )


def behind(arriving: Iterable[Event]) -> list[int]:
    """Return by how much each late event is older than an earlier one of its customer, ms."""
    latest: dict[str, int] = {}
    found = []
    for event in arriving:
        newest = latest.setdefault(key_of(event.fields), event.at)
        if newest > event.at:
            found.append(newest - event.at)
        latest[key_of(event.fields)] = max(newest, event.at)
    return found


@program("a five-hour backlog with the orders behind the clicks", short={"sessions": 3_000}, long={"sessions": 40_000})
async def backlog(run: Run, *, sessions: int) -> Verdict:
    """The records are as old as their events, as after an outage. Orders take ten times as long to read."""
    kept = {"message.timestamp.type": "CreateTime"}
    topics = [NewTopic(name, 4, 1, topic_configs=kept) for name in ("clickstream_topic", "orders_topic")]
    await run.application(*topics)
    events = history.history(run.seed, customers=sessions, sessions=sessions, end=now() - 75 * MINUTE, span=5 * HOUR)
    for event in events:
        if event.source is Source.ORDERS:
            event.fields["properties"] = {"padding": "x" * 4_000}
    await run.produce([e for e in events if e.source is Source.CLICKSTREAM], timestamps=True)
    await run.produce([e for e in events if e.source is Source.ORDERS], timestamps=True)
    crew = run.crew(2)
    async with crew.kept():
        minima = {"at stake": (at_stake(run, events), sessions // 10)}
        return await run.judge({"hours": 5}, live=True, minima=minima)
