"""Costs of repartitioning and identity resolution: CPU per event of a worker with the default playbook.

Records of topics that are not keyed by customer are repartitioned through Kafka, so each is read, decoded and written
once more. Co-partitioned topics are measured too, declared as such (they should cost nothing more) and not declared.
Identity resolution is measured without devices, with device and customer in each event, and with only the device in
every other event, which becomes an internal message to the customer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from benchmarks import job
from benchmarks.kafka import Broker
from benchmarks.scenarios import bulk, shop
from benchmarks.scenarios.lab import application, arguments, report
from benchmarks.scenarios.shop import Event

EVENTS = 200_000
FORWARDED = {"clickstream_co_partitioned": "off", "orders_co_partitioned": "off"}
IDENTITY_RESOLUTION = {"identity_resolution": "on"}
AT_ITS_END = {"backfill_idle": "3s"}
"""The last records wait until their sources are caught up."""
SENT = {
    "forwarded": "lifecycle_repartition_sent_records_total",
    "parts": "lifecycle_repartition_sent_parts_total",
    "messages": "lifecycle_internal_messages_total",
}


def badly_keyed(events: Iterable[Event]) -> Iterable[Event]:
    """Return the same events in the same order, with keys that do not depend on their customers."""
    return (event._replace(customer=f"k{n % 997}") for n, event in enumerate(events))


def on_devices(events: Iterable[Event], alone: int) -> Iterable[Event]:
    """Return the same events with a device of each customer. One of `alone` events names only the device (0: none)."""
    for n, event in enumerate(events):
        document = json.loads(event.value)
        device = document["anonymous_id"] = f"d-{event.customer}"
        key = event.customer
        if alone and n % alone == 0:
            del document["customer_id"]
            key = device
        yield event._replace(customer=key, value=json.dumps(document, separators=(",", ":")).encode())


async def run(broker: Broker, runs: int, events: int = EVENTS) -> None:
    """Measure and report, interleaved."""
    mix = shop.mix(events, job.CUSTOMERS)
    cases = {
        "keyed by customer, and declared so": (mix, {}),
        "keyed by customer, not declared so": (mix, FORWARDED),
        "not keyed by customer": (list(badly_keyed(mix)), FORWARDED),
        "identity resolution, no event names a device": (mix, IDENTITY_RESOLUTION),
        "identity resolution, every event names customer and device": (list(on_devices(mix, 0)), IDENTITY_RESOLUTION),
        "identity resolution, every other event names only the device": (list(on_devices(mix, 2)), IDENTITY_RESOLUTION),
    }
    figures: dict[str, list[float]] = {case: [] for case in cases}
    shares: dict[str, dict[str, Any]] = {}
    for _ in range(runs):
        for case, (records, settings) in cases.items():
            async with application(broker, **AT_ITS_END, **settings) as cluster:
                worker = cluster.start_worker()
                await worker.ready()
                figures[case].append(await bulk.cpu_us(cluster, [worker], 0, records))
                shares[case] = {name: round(worker.metric(metric) / events, 3) for name, metric in SENT.items()}
    for case, runs_of_it in figures.items():
        report("forwarding", f"CPU per event, {case}, {events} events", runs_of_it, "us", **shares[case])


if __name__ == "__main__":
    given = arguments(events=EVENTS)
    with Broker() as broker:
        asyncio.run(run(broker, given.runs, given.events))
