"""With more workers than partitions, a worker without a partition is ready and takes over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker_fixtures import IN_BOTH_GUARANTEES
from tests.support.process_cluster import ProcessCluster, WorkerProcess, wait_until
from tests.support.shop_events import click, now

CUSTOMERS = 20


def assigned(worker: WorkerProcess) -> float:
    return worker.metric("lifecycle_partitions_assigned")


@pytest.mark.slow
@IN_BOTH_GUARANTEES
async def test_worker_without_a_partition_is_ready_and_takes_over(
    make_cluster: Callable[..., Any], tmp_path: Path, guarantee: str
) -> None:
    cluster: ProcessCluster = await make_cluster(partitions="1", processing_guarantee=guarantee)
    workers = [cluster.start_worker(data_dir=str(tmp_path / name)) for name in ("first", "second")]
    for worker in workers:
        await worker.ready()
    await wait_until(lambda: sum(map(assigned, workers)) == 1, "one of them to have the partition")
    spare, busy = sorted(workers, key=assigned)
    await cluster.clicks(*(click(f"c-{n}", now()) for n in range(CUSTOMERS)))
    await wait_until(lambda: busy.metric("lifecycle_customers") == CUSTOMERS, "all customers")
    assert [worker.get("/readyz")[0] for worker in (spare, busy)] == [200, 200]

    busy.terminate()
    assert busy.exit_code() == 0, busy.tail()
    await wait_until(lambda: spare.metric("lifecycle_customers") == CUSTOMERS, "the other to take over")
    assert spare.get("/readyz")[0] == 200
    again = cluster.start_worker(data_dir=str(tmp_path / "first"))  # as in a rolling restart
    await again.ready()
    await cluster.clicks(*(click(f"d-{n}", now()) for n in range(CUSTOMERS)))
    await wait_until(
        lambda: sum(w.metric("lifecycle_customers") for w in (spare, again)) == 2 * CUSTOMERS, "the new ones"
    )
