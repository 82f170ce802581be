"""Costs of `exactly_once`: CPU per event against the default mode; latency for a reader of committed records; many
partitions in one worker.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer

from benchmarks.kafka import Broker
from benchmarks.scenarios import bulk
from benchmarks.scenarios.lab import application, arguments, cpu_s, load, percentile, report
from benchmarks.scenarios.mix import COMMON, common
from benchmarks.scenarios.rates import WARM_UP_S
from tests.support.process_cluster import ProcessCluster

EVENTS = 400_000
SECONDS = 30.0
RATE = 1_000
PARTITIONS = 200
MODES = ("at_least_once", "exactly_once")


async def run(
    broker: Broker, runs: int, events: int = EVENTS, seconds: float = SECONDS, partitions: int = PARTITIONS
) -> None:
    """Measure and report."""
    await cpu(broker, runs, events)
    await latency(broker, runs, seconds)
    await many(broker, runs, seconds, partitions)


async def cpu(broker: Broker, runs: int, events: int) -> None:
    """Measure the common job in both modes, interleaved, with a commit a second."""
    used: dict[str, list[float]] = {mode: [] for mode in MODES}
    for number in range(runs):
        for mode in MODES if number % 2 == 0 else reversed(MODES):
            async with application(broker, lateness="0s", processing_guarantee=mode) as cluster:
                worker = cluster.start_worker(program=COMMON)
                await worker.ready()
                used[mode].append(await bulk.cpu_us(cluster, [worker], 0, common(events)))
    for mode in MODES:
        report("exactly_once", f"CPU per event, {mode}, {events} events", used[mode], "us")
    ratios = [exactly / least for least, exactly in zip(used["at_least_once"], used["exactly_once"], strict=True)]
    report("exactly_once", "CPU per event, exactly_once against at_least_once", ratios, "times", "<= 1.1")


async def latency(broker: Broker, runs: int, seconds: float) -> None:
    """Measure the time from an event's append to its stage change at a reader of committed records, on one clock."""
    taken = [await _latencies(broker, seconds) for _ in range(runs)]
    for percent, goal in ((50, ""), (99, "<= 250")):
        values = [percentile(latencies, percent) for latencies in taken]
        what = f"p{percent} of a read_committed reader at {RATE} events/s, a commit each 100 ms"
        report("exactly_once", what, values, "ms", goal)


async def _latencies(broker: Broker, seconds: float) -> list[float]:
    async with application(broker, processing_guarantee="exactly_once", commit_interval="100ms") as cluster:
        worker = cluster.start_worker()
        await worker.ready()
        async with _reader(cluster) as seen:
            source = load(cluster, f"--rate={RATE}", f"--seconds={WARM_UP_S + seconds}")
            await asyncio.sleep(WARM_UP_S)
            counted_from = time.time() * 1000
            if await asyncio.to_thread(source.wait) != 0:
                raise RuntimeError("the load failed")
            await asyncio.sleep(1.0)
        settings, arrived = cluster.settings, dict[str, int]()
        for topic in (settings.clickstream_topic, settings.orders_topic):
            for record in await cluster.read(topic):
                arrived[json.loads(record.value)["event_id"]] = record.timestamp
        return [at - arrived[cause] for cause, at in seen.items() if arrived[cause] >= counted_from]


@asynccontextmanager
async def _reader(cluster: ProcessCluster) -> AsyncIterator[dict[str, float]]:
    """Run a client that notes the times at which it receives outputs. Raise if an output comes twice."""
    seen: dict[str, float] = {}
    topic = cluster.settings.stage_changes_topic
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=cluster.settings.broker,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
    )

    async def read() -> None:
        ids: set[str] = set()
        async for record in consumer:
            now, change = time.time() * 1000, json.loads(record.value)
            if change["id"] in ids:
                raise RuntimeError(f"{change['id']} came twice")
            ids.add(change["id"])
            seen[change["cause"]["event_id"]] = now

    await consumer.start()
    reading = asyncio.create_task(read())
    try:
        yield seen
    finally:
        if reading.done():
            reading.result()
        reading.cancel()
        await consumer.stop()


async def many(broker: Broker, runs: int, seconds: float, partitions: int) -> None:
    """Measure one worker with all partitions, an event for each about every 200 ms, and a commit a second."""
    cores: dict[str, list[float]] = {mode: [] for mode in MODES}
    commits: list[float] = []
    for _ in range(runs):
        for mode in MODES:
            settings = {"processing_guarantee": mode, "partitions": str(partitions)}
            async with application(broker, **settings) as cluster:
                worker = cluster.start_worker()
                await worker.ready()
                source = load(cluster, f"--rate={RATE}", f"--seconds={WARM_UP_S + seconds}")
                await asyncio.sleep(WARM_UP_S)
                used, began = cpu_s(worker), time.monotonic()
                before = worker.metric("lifecycle_transactions_total", outcome="committed")
                if await asyncio.to_thread(source.wait) != 0:
                    raise RuntimeError("the load failed")
                cores[mode].append((cpu_s(worker) - used) / (time.monotonic() - began))
                if mode == "exactly_once":
                    made = worker.metric("lifecycle_transactions_total", outcome="committed") - before
                    commits.append(made / (time.monotonic() - began))
    for mode in MODES:
        what = f"CPU at {RATE} events/s on {partitions} partitions, {mode}"
        report("exactly_once", what, [100 * share for share in cores[mode]], "% of a core")
    costs = [
        1000 * (exactly - least) / rate
        for least, exactly, rate in zip(cores["at_least_once"], cores["exactly_once"], commits, strict=True)
    ]
    report("exactly_once", f"CPU more per partition and commit, {partitions} partitions", costs, "ms")


if __name__ == "__main__":
    given = arguments(events=EVENTS, seconds=SECONDS, partitions=PARTITIONS)
    with Broker() as broker:
        asyncio.run(run(broker, given.runs, given.events, given.seconds, given.partitions))
