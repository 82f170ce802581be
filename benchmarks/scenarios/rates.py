"""What the worker does at a rate of singly produced events: shared by `latency` and `idle`."""

from __future__ import annotations

import asyncio
import json
import time
from typing import NamedTuple

from benchmarks.kafka import Broker
from benchmarks.scenarios.lab import application, cpu_s, load, memory_mb
from tests.integration.cluster import Cluster

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


async def at_rate(broker: Broker, rate: int, seconds: float, settle: float = 1.0, **settings: str) -> AtRate:
    """Let a worker have so many events a second (0: none) for so long. `settle`: s until all is out after the last."""
    async with application(broker, **settings) as cluster:
        worker = cluster.start_worker()
        await worker.ready()
        source = load(cluster, f"--rate={rate}", f"--seconds={WARM_UP_S + seconds}") if rate else None
        await asyncio.sleep(WARM_UP_S)
        counted_from = time.time() * 1000
        used, began = cpu_s(worker), time.monotonic()
        if source is None:
            await asyncio.sleep(seconds)
        elif await asyncio.to_thread(source.wait) != 0:
            raise RuntimeError("the load failed")
        cores = (cpu_s(worker) - used) / (time.monotonic() - began)
        memory = memory_mb(worker)
        await asyncio.sleep(settle)
        return AtRate(cores, memory, await latencies(cluster, counted_from) if rate else [])


async def latencies(cluster: Cluster, counted_from: float) -> list[float]:
    """Of every stage change, ms. Raises if one that must be there is missing."""
    settings = cluster.settings
    arrived: dict[str, int] = {}
    customers: set[str] = set()
    for topic in (settings.clickstream_topic, settings.orders_topic):
        for record in await cluster.read(topic):
            event = json.loads(record.value)
            arrived[event["event_id"]] = record.timestamp
            customers.add(event["customer_id"])
    taken = []
    for record in await cluster.read(settings.stage_changes_topic):
        change = json.loads(record.value)
        customers.discard(change["customer_id"])
        arrival = arrived[change["cause"]["event_id"]]
        if arrival >= counted_from:
            taken.append(float(record.timestamp - arrival))
    if customers:
        raise RuntimeError(f"{len(customers)} customers entered no stage")
    return taken
