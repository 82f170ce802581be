"""Recovery time, from the start of a process that replaces a killed one (-9) to its recovered state: our worker, and
stock Faust.

The membership of the killed process has expired before, so that the group does not wait for it. Our worker has a
million customers. Stock Faust, which would take too long to fill, has a tenth; a start without state is measured as
well, and the difference is per record. Its values are the events as JSON, of about the size of our profiles.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

from benchmarks import kafka
from benchmarks.job import PARTITIONS
from benchmarks.kafka import Broker
from benchmarks.scenarios import bulk
from benchmarks.scenarios.lab import application, arguments, memory_mb, report
from streams.transport.driver import wall_clock
from tests.support.process_cluster import ProcessCluster, wait_until

CUSTOMERS = 1_000_000
STOCK_SHARE = 10


async def ours(broker: Broker, customers: int, runs: int) -> tuple[list[float], float, float]:
    """Return the seconds to recover `customers` customers, and none, and the resident MB afterwards."""
    async with application(broker) as cluster:

        async def start() -> float:
            began = time.monotonic()
            worker = cluster.start_worker()
            await worker.ready()
            return time.monotonic() - began

        async def kill() -> None:
            cluster.stop()
            await _forgotten(cluster, cluster.settings.app_id)

        nothing = statistics.median(await _restarts(start, kill, runs))
        await start()
        await bulk.filled(cluster, customers, until=wall_clock())
        await kill()
        took = await _restarts(start, kill, runs - 1) + [await start()]
        recovered = cluster.workers[-1]
        assert await wait_until(lambda: recovered.metric("lifecycle_customers") == customers, f"{customers} customers")
        return took, nothing, memory_mb(recovered)


async def stock(broker: Broker, customers: int, runs: int) -> tuple[list[float], float]:
    """Return the seconds that stock Faust takes to recover `customers` customers, and none."""
    async with application(broker) as cluster:
        group = f"{cluster.settings.app_id}-stock"
        running: list[subprocess.Popen[str]] = []

        async def start() -> float:
            began = time.monotonic()
            running.append(_stock(cluster, group))
            await asyncio.to_thread(_recovered, running[-1])
            return time.monotonic() - began

        async def kill() -> None:
            process = running.pop()
            process.kill()
            process.wait()
            await _forgotten(cluster, group)

        try:
            await start()
            await kill()  # which has made the changelog
            nothing = statistics.median(await _restarts(start, kill, runs))
            await start()
            await bulk.filled(cluster, customers, until=wall_clock(), group=group)
            await kill()
            return await _restarts(start, kill, runs), nothing
        finally:
            for process in running:
                process.kill()
                process.wait()


async def _restarts(
    start: Callable[[], Awaitable[float]], kill: Callable[[], Awaitable[None]], runs: int
) -> list[float]:
    took = []
    for _ in range(runs):
        took.append(await start())
        await kill()
    return took


async def _forgotten(cluster: ProcessCluster, group: str) -> None:
    client = kafka.Cluster(cluster.settings.broker)
    await wait_until(lambda: client.members(group) == 0, f"{group} to be empty")


def _stock(cluster: ProcessCluster, group: str) -> subprocess.Popen[str]:
    settings = cluster.settings
    command = [sys.executable, "-m", "benchmarks.scenarios.stock_faust", "--broker", settings.broker, "--group", group]
    command += ["--topic", settings.clickstream_topic, "--partitions", str(PARTITIONS)]
    command += ["--data-dir", str(cluster.directory / "stock")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _recovered(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    if not any("recovered" in line for line in process.stdout):  # its spinner writes there as well
        raise RuntimeError(f"stock Faust ended with {process.wait()}")


async def run(broker: Broker, runs: int, customers: int = CUSTOMERS) -> None:
    """Measure and report."""
    took, nothing, resident = await ours(broker, customers, runs)
    fewer = customers // STOCK_SHARE
    stock_took, stock_nothing = await stock(broker, fewer, runs)
    per_record = [1e6 * (seconds - nothing) / customers for seconds in took]
    stock_per_record = [1e6 * (seconds - stock_nothing) / fewer for seconds in stock_took]
    goal = "< 10" if customers == CUSTOMERS else ""
    report("recovery", f"start after kill -9 to processing, {customers} customers", took, "s", goal)
    report("recovery", "the same with none", [nothing], "s")
    report("recovery", "per record", per_record, "us")
    report("recovery", f"stock Faust: start after kill -9 to its table recovered, {fewer} customers", stock_took, "s")
    report("recovery", "stock Faust: the same with none", [stock_nothing], "s")
    report("recovery", "stock Faust: per record", stock_per_record, "us")
    ratios = [theirs / of_ours for of_ours, theirs in zip(per_record, stock_per_record, strict=True)]
    report("recovery", "stock Faust's time per record against ours", ratios, "times", ">= 20")
    report("recovery", f"resident after recovery, {customers} customers", [resident], "MB")


if __name__ == "__main__":
    given = arguments(customers=CUSTOMERS)
    with Broker() as broker:
        asyncio.run(run(broker, given.runs, given.customers))
