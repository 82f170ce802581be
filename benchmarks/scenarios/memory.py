"""Resident memory of the worker's process with a million customers in memory, or five million in RocksDB.

The worker has processed one event of each customer. The settled size is measured; the peak is another row.
"""

from __future__ import annotations

import asyncio

from benchmarks.kafka import Broker
from benchmarks.scenarios import bulk
from benchmarks.scenarios.lab import application, arguments, memory_mb, report
from streams.transport.driver import wall_clock
from tests.support.process_cluster import wait_until

CUSTOMERS = {"memory": 1_000_000, "rocksdb": 5_000_000}
GOALS = {"memory": "<= 700", "rocksdb": "<= 1000"}


async def run(broker: Broker, runs: int, store: str = "memory", customers: int = 0) -> None:
    """Measure and report. The settings reject an unknown store."""
    customers = customers or CUSTOMERS[store]
    resident, peak = [], []
    for _ in range(runs):
        async with application(broker, **({} if store == "memory" else {"state_store": store})) as cluster:
            worker = cluster.start_worker()
            await worker.ready()
            await bulk.filled(cluster, customers, until=wall_clock())
            # The metric is of the last second.
            await wait_until(lambda w=worker: w.metric("lifecycle_customers") == customers, "all customers")  # type: ignore[misc]
            resident.append(memory_mb(worker))
            peak.append(memory_mb(worker, "VmHWM"))
    goal = GOALS[store] if customers == CUSTOMERS[store] else ""
    report("memory", f"resident, {customers} customers, {store}", resident, "MB", goal)
    report("memory", f"peak, {customers} customers, {store}", peak, "MB")


if __name__ == "__main__":
    given = arguments(store="memory", customers=0)
    with Broker() as broker:
        asyncio.run(run(broker, given.runs, given.store, given.customers))
