"""What it costs that topics are not keyed by customer: CPU per event of a worker with the default playbook.

Its records are forwarded by Kafka to where they belong, so each is read, decoded and written once more. That topics
which are keyed well pay nothing is measured too, beside what they pay if they are not declared so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from benchmarks import job
from benchmarks.kafka import Broker
from benchmarks.scenarios import bulk, shop
from benchmarks.scenarios.lab import application, arguments, report
from benchmarks.scenarios.shop import Event

EVENTS = 200_000
FORWARDED = {"clickstream_well_keyed": "off", "orders_well_keyed": "off"}


def badly_keyed(events: Iterable[Event]) -> Iterable[Event]:
    """The same events in the same order, with keys that say nothing of their customers."""
    return (event._replace(customer=f"k{n % 997}") for n, event in enumerate(events))


async def run(broker: Broker, runs: int, events: int = EVENTS) -> None:
    """Measure and report, interleaved."""
    mix = shop.mix(events, job.CUSTOMERS)
    cases = {
        "keyed by customer, and declared so": (mix, {}),
        "keyed by customer, not declared so": (mix, FORWARDED),
        "not keyed by customer": (list(badly_keyed(mix)), FORWARDED),
    }
    figures: dict[str, list[float]] = {case: [] for case in cases}
    shares: dict[str, float] = {}
    for _ in range(runs):
        for case, (records, settings) in cases.items():
            async with application(broker, **settings) as cluster:
                worker = cluster.start_worker()
                await worker.ready()
                figures[case].append(await bulk.cpu_us(cluster, [worker], 0, records))
                shares[case] = round(worker.metric("lifecycle_forwarded_records_total") / events, 3)
    for case, runs_of_it in figures.items():
        report("forwarding", f"CPU per event, {case}, {events} events", runs_of_it, "us", forwarded=shares[case])


if __name__ == "__main__":
    given = arguments(events=EVENTS)
    with Broker() as broker:
        asyncio.run(run(broker, given.runs, given.events))
