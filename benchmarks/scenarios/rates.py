"""The worker at a rate of singly produced events: shared by `latency` and `idle`."""

from __future__ import annotations

import asyncio
import json
import time
from typing import NamedTuple

from benchmarks.kafka import Broker
from benchmarks.scenarios.lab import application, cpu_s, load, memory_mb
from tests.support.process_cluster import ProcessCluster

WARM_UP_S = 15.0
"""Beginning of each run that is not measured: connections, caches, and above all the JIT of the broker warm up."""


class AtRate(NamedTuple):
    """Figures of one run."""

    cores: float
    """CPU of the worker's process, in cores."""
    memory_mb: float
    """Resident memory at the end."""
    latencies_ms: list[float]
    """Times from a record's append on its input topic to that of its stage change on the output topic."""
    of_devices_ms: list[float]
    """Latencies of events that name only a device; `latencies_ms` has those of the other events."""


async def at_rate(
    broker: Broker, rate: int, seconds: float, settle: float = 1.0, *, alone: float | None = None, **settings: str
) -> AtRate:
    """Run a worker at a rate of events per second (0: none) for `seconds`. `alone`: see `load`.

    `settle`: seconds until all outputs are sent after the last event. Stage changes of the last `settle` - 1 seconds
    are not measured: they waited because no more events came.
    """
    async with application(broker, **settings) as cluster:
        worker = cluster.start_worker()
        await worker.ready()
        options = [] if alone is None else [f"--alone={alone}"]
        source = load(cluster, f"--rate={rate}", f"--seconds={WARM_UP_S + seconds}", *options) if rate else None
        await asyncio.sleep(WARM_UP_S)
        counted_from = time.time() * 1000
        used, began = cpu_s(worker), time.monotonic()
        if source is None:
            await asyncio.sleep(seconds)
        elif await asyncio.to_thread(source.wait) != 0:
            raise RuntimeError("the load failed")
        cores = (cpu_s(worker) - used) / (time.monotonic() - began)
        memory, counted_to = memory_mb(worker), (time.time() - settle + 1.0) * 1000
        await asyncio.sleep(settle)
        return AtRate(cores, memory, *(await latencies(cluster, counted_from, counted_to) if rate else ([], [])))


async def latencies(cluster: ProcessCluster, counted_from: float, counted_to: float) -> tuple[list[float], list[float]]:
    """Return the latencies, ms, of stage changes by events that arrived between the two times: of events that name
    their customer, and of others. Raise if an expected stage change is missing."""
    settings = cluster.settings
    arrived: dict[str, int] = {}
    alone: set[str] = set()
    customers: set[str] = set()
    for topic in (settings.clickstream_topic, settings.orders_topic):
        for record in await cluster.read(topic):
            event = json.loads(record.value)
            arrived[event["event_id"]] = record.timestamp
            if "customer_id" in event:
                customers.add(event["customer_id"])
            else:
                alone.add(event["event_id"])
    taken: list[float] = []
    of_devices: list[float] = []
    for record in await cluster.read(settings.stage_changes_topic):
        change = json.loads(record.value)
        customers.discard(change["customer_id"])
        cause = change["cause"].get("event_id")
        if (
            cause is not None and counted_from <= arrived[cause] <= counted_to
        ):  # what follows from a merge has no event of its own
            (of_devices if cause in alone else taken).append(float(record.timestamp - arrived[cause]))
    if customers:
        raise RuntimeError(f"{len(customers)} customers entered no stage")
    return taken, of_devices
