"""CPU per event against the number of customers, against the number of events, and of two workers against one."""

from __future__ import annotations

import asyncio

from benchmarks import job
from benchmarks.kafka import Broker
from benchmarks.scenarios import bulk
from benchmarks.scenarios.lab import application, arguments, report
from benchmarks.scenarios.shop import mix

EVENTS = 200_000
CUSTOMERS = (10_000, 100_000, 1_000_000)
FEW, MANY = CUSTOMERS[0], CUSTOMERS[-1]
FLAT, LINEAR = "<= 1.2", "<= 1.1"
"""Goals of the cost per event with a hundred times the customers, and with four times the events, as ratios."""


async def per_event(broker: Broker, events: int, customers: int, workers: int = 1) -> float:
    """Return the microseconds of CPU per event of a mix, for workers with that number of customers."""
    async with application(broker) as cluster:
        started = [cluster.start_worker() for _ in range(workers)]
        for worker in started:
            await worker.ready()
        await bulk.filled(cluster, customers, until=job.START_MS - 1)
        return await bulk.cpu_us(cluster, started, customers, mix(events, customers))


async def run(broker: Broker, runs: int, events: int = EVENTS) -> None:
    """Measure and report, interleaved."""
    by_customers: dict[int, list[float]] = {customers: [] for customers in CUSTOMERS}
    by_events: dict[int, list[float]] = {events * factor: [] for factor in (1, 2, 4)}
    two: list[float] = []
    for _ in range(runs):
        for customers, values in by_customers.items():
            values.append(await per_event(broker, events, customers))
        for number, values in by_events.items():
            values.append(await per_event(broker, number, FEW))
        two.append(await per_event(broker, events, FEW, workers=2))
    for customers, values in by_customers.items():
        report("scale", f"CPU per event, {customers} customers, {events} events", values, "us")
    for number, values in by_events.items():
        report("scale", f"CPU per event, {FEW} customers, {number} events", values, "us")
    flat = [many / few for few, many in zip(by_customers[FEW], by_customers[MANY], strict=True)]
    report("scale", f"CPU per event, {MANY} customers against {FEW}", flat, "times", FLAT)
    linear = [most / fewest for fewest, most in zip(by_events[events], by_events[4 * events], strict=True)]
    report("scale", f"CPU per event, {4 * events} events against {events}", linear, "times", LINEAR)
    report("scale", f"CPU per event, two workers, {FEW} customers, {events} events", two, "us")
    gains = [2 * alone / both for alone, both in zip(by_events[events], two, strict=True)]
    report("scale", "work of two workers against one, at equal CPU", gains, "times", ">= 1.8")


if __name__ == "__main__":
    given = arguments(events=EVENTS)
    with Broker() as broker:
        asyncio.run(run(broker, given.runs, given.events))
