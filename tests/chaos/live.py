"""Faults while time passes: events are of the last hour, and deadlines come due during the run. No deadline comes due
for hours after it, so that a replay until its end gives the expected outputs."""

from __future__ import annotations

import asyncio
import random
import signal

from aiokafka.admin import NewTopic

from streams.contracts import times
from streams.core.model.event import Source
from tests.chaos.brokers import cluster_of
from tests.chaos.history import Event
from tests.chaos.programs import program
from tests.chaos.run import Run
from tests.chaos.verdict import Verdict
from tests.support.process_cluster import wait_until
from tests.support.shop_events import HOUR, MINUTE, click, now, order

QUICK = {"lateness": "1s", "clickstream_delay": "1s", "orders_delay": "1s"}
PRODUCT = {"product_id": "p", "price": "9.99", "currency": "EUR"}


def viewed(customer: str, due: int) -> Event:
    """Return a view whose abandonment is due at this time."""
    at = due - 30 * MINUTE
    return Event(at, Source.CLICKSTREAM, click(customer, at, "product_viewed", **PRODUCT))


def carted(customer: str, due: int) -> Event:
    """Return an addition to the cart whose abandonment is due at this time, which must be in the future."""
    at = due - HOUR
    return Event(at, Source.CLICKSTREAM, click(customer, at, "product_added", **PRODUCT))


def bought(customer: str, at: int) -> Event:
    """An order."""
    return Event(at, Source.ORDERS, order(customer, at, f"o-{customer}", total="9.99", currency="EUR"))


def due_between(rng: random.Random, customers: int, first: int, last: int) -> list[tuple[int, Event]]:
    """Return views and additions in time order, each with the time at which its abandonment is due."""
    events = []
    for n in range(customers):
        due = rng.randrange(first, last)
        events.append((due, (viewed if n % 2 else carted)(f"c-{n}", due)))
    return sorted(events, key=lambda event: event[1].at)


async def sleep_until(at: int) -> None:
    """Sleep until a time, ms."""
    await asyncio.sleep(max(0, at - now()) / 1000)


@program("clock jumps of a worker by hours, both ways", short={"jumps": 4}, long={"jumps": 40})
async def clock_jumps(run: Run, *, jumps: int) -> Verdict:
    """One of two workers is hours ahead or behind for seconds, again and again, while abandonments come due."""
    await run.application(**QUICK)
    clock = run.directory / "clock"
    clock.write_text("0")
    crew = run.crew(2)
    crew.programs[0] = f"from tests.chaos import clocks; clocks.main({str(clock)!r})"
    async with crew.kept():
        await asyncio.sleep(1)
        await crew.ready()
        first, last = now() + 1_000, now() + 1_000 + 4_000 * jumps
        pending = due_between(run.rng, 60 * jumps, first, last)
        await run.produce(event for _, event in pending)
        due_then = 0
        for n in range(jumps):
            hours = run.rng.choice([-1, 1]) * run.rng.uniform(0.5, 6.0) if n % 2 == 0 else 0
            clock.write_text(str(int(hours * HOUR)))
            jumped = now()
            await asyncio.sleep(run.rng.uniform(2.0, 6.0))
            due_then += sum(jumped < due <= now() for due, _ in pending) if hours else 0
        clock.write_text("0")
        await sleep_until(last + 3_000)
        noticed = sum(worker.log.read_text().count("off the broker's") for worker in run.cluster.workers)
        minima = {"due while it was off": (due_then, 5 * jumps), "times that it noticed": (noticed, jumps // 4)}
        return await run.judge({"jumps": jumps}, live=True, minima=minima)


@program("a source without its leader while the other flows", short={"seconds": 20}, long={"seconds": 180}, nodes=3)
async def leader_away(run: Run, *, seconds: int) -> Verdict:
    """The only node with the orders is killed. Meanwhile abandonments come due, and the clickstream goes on. The last
    carts that come due in the outage are bought while their orders cannot be written; these come within the delay of
    their source."""
    cluster = cluster_of(run)
    alone = cluster.nodes[2]
    orders = NewTopic(
        "orders_topic",
        -1,
        -1,
        replica_assignments={n: [alone.node] for n in range(4)},
        topic_configs={"message.timestamp.type": "LogAppendTime"},
    )
    await run.application(orders, **QUICK | {"orders_delay": "45s"})
    first = now() + 15_000
    back = first + seconds * 1_000
    pending = due_between(run.rng, 400, first, back + 10_000)
    await run.produce(event for _, event in pending)
    crew = run.crew(2)
    async with crew.kept():
        await asyncio.sleep(1)
        await crew.ready()
        await sleep_until(first)
        alone.kill()
        buyers = [
            bought(event.fields["customer_id"], due - 500) for due, event in pending if back - 4_000 < due <= back
        ]
        buyers.sort(key=lambda event: event.at)
        await sleep_until(back - 4_000)
        ordering = asyncio.create_task(run.produce(buyers))
        due_then = sum(first < due <= back for due, _ in pending)
        while now() < back:
            await run.produce([Event(now(), Source.CLICKSTREAM, click(f"passer-by-{now()}", now()))])
            await asyncio.sleep(0.5)
        invented = [
            d for d in await run.received() if d["type"] == "abandoned" and times.parse(d["occurred_at"]) > first
        ]
        waiting = 0 if ordering.done() else len(buyers)
        await asyncio.to_thread(cluster.start, [alone])
        await ordering
        await sleep_until(back + 12_000)
        return await run.judge(
            {"seconds": seconds},
            live=True,
            limits={"abandonments due and sent while it was away": (len(invented), 0)},
            minima={"due while it was away": (due_then, 200), "orders that waited for it": (waiting, 1)},
        )


@program(
    "a crash between firing and commit, then the sources race differently", short={"crashes": 2}, long={"crashes": 20}
)
async def racing(run: Run, *, crashes: int) -> Verdict:
    """Abandonments that fired or were sent, but not committed, are prevented the second time by late orders."""
    await run.application(**QUICK, partitions="1", commit_interval="1s")
    die = run.directory / "die"
    crew = run.crew(1, program=f"from tests.chaos import dying; dying.main({str(die)!r})")
    killed = 0
    for n in range(crashes):
        crew.replace()
        await crew.ready()
        due = now() + 5_000
        await run.produce(viewed(f"abandons-{n}-{k}", due) for k in range(20))
        await sleep_until(due - 1_500)
        die.touch()
        lookers = [f"looks-{n}-{k}" for k in range(20)]
        at = now()
        await run.produce(
            Event(at + k, Source.CLICKSTREAM, click(customer, at + k, "product_viewed", **PRODUCT))
            for k in range(3)
            for customer in lookers
        )
        worker = crew.workers[0]
        assert worker is not None
        await wait_until(lambda died=worker: died.process.poll() is not None, "the crash")  # type: ignore[misc]
        killed += worker.process.returncode == -signal.SIGKILL
        die.unlink()
        await run.produce(
            [bought(customer, at - 100) for customer in lookers]
            + [bought(f"abandons-{n}-{k}", due - 500) for k in range(20)]
        )
    async with crew.kept():
        await asyncio.sleep(5)
        at_least_once = run.mode == "at_least_once"
        verdict = await run.judge(
            {"crashes": crashes},
            live=True,
            minima={"killed in a commit": (killed, crashes)},
            ends={-signal.SIGKILL: crashes},
            tolerates=("orphaned",) if at_least_once else (),
        )
        if at_least_once:
            verdict.minima["orphaned"] = verdict.orphaned, crashes
        return verdict
