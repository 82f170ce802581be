"""What the worker does at a rate of singly produced events: shared by `latency` and `idle`."""

from __future__ import annotations

import asyncio
import json
import time
from typing import NamedTuple

from benchmarks.kafka import Broker
from benchmarks.scenarios.lab import application, cpu_s, load, memory_mb
from tests.support.process_cluster import ProcessCluster

WARM_UP_S = 15.0
"""Of each run's beginning, not counted: connections, caches, above all the JIT of the broker, which lags until then."""


class AtRate(NamedTuple):
    """One run."""

    cores: float
    """CPU of the worker's process, in cores."""
    memory_mb: float
    """Resident, at the end."""
    latencies_ms: list[float]
    """From a record's append time on its input topic to that of its stage change on the output topic."""
    of_devices_ms: list[float]
    """As `latencies_ms`, which has none of these: of events that tell a device alone."""


async def at_rate(
    broker: Broker, rate: int, seconds: float, settle: float = 1.0, *, alone: float | None = None, **settings: str
) -> AtRate:
    """Let a worker have so many events a second (0: none) for so long. `alone`: see `load`.

    `settle`: s until all is out after the last. What comes in the last so many seconds, but one, is not counted: what
    held it up was that nothing more came.
    """
    async with application(broker, **settings) as cluster:
        worker = cluster.start_worker()
        await worker.ready()
        told = [] if alone is None else [f"--alone={alone}"]
        source = load(cluster, f"--rate={rate}", f"--seconds={WARM_UP_S + seconds}", *told) if rate else None
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
    """Of every stage change by what arrived between, ms: of events that tell their customer, and of others. Raises if
    one that must be there is missing."""
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
