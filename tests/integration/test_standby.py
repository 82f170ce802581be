"""A worker with a standby of a partition takes it over without reading the changelog again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams.shell.admin.topic_configs import changelog_topic
from tests.support.process_cluster import ProcessCluster, WorkerProcess, wait_until
from tests.support.shop_events import HOUR, click, now, order

CUSTOMERS = 400
READ = "lifecycle_recovery_records_total"


def customers(*workers: WorkerProcess, **labels: str) -> float:
    return sum(worker.metric("lifecycle_customers", **labels) for worker in workers)


@pytest.mark.parametrize("store", ["memory", pytest.param("rocksdb", marks=pytest.mark.slow)])
async def test_standby_takes_over_and_reads_only_unread_changelog_records(
    make_cluster: Callable[..., Any], tmp_path: Path, store: str
) -> None:
    cluster: ProcessCluster = await make_cluster(standby_replicas="1", state_store=store)
    workers = [cluster.start_worker(data_dir=str(tmp_path / name)) for name in ("first", "second")]
    for worker in workers:
        await worker.ready()
    first, second = workers
    assigned = "lifecycle_partitions_assigned"
    await wait_until(lambda: first.metric(assigned) == 1 and second.metric(assigned) == 1, "one partition each")
    await cluster.clicks(*(click(f"c-{n}", now() - HOUR // 2, event_id=f"a-{n}") for n in range(CUSTOMERS)))
    await wait_until(lambda: customers(*workers) == CUSTOMERS, "all customers")
    lost = first.metric("lifecycle_customers")
    in_log = len(await cluster.read(changelog_topic(cluster.settings)))
    await wait_until(lambda: second.metric(READ) >= lost, "the copy of the other's partition")
    before = second.metric(READ)
    first.kill()
    began = time.monotonic()
    await wait_until(lambda: customers(second) == CUSTOMERS, "the second to take over")
    took, read = time.monotonic() - began, second.metric(READ) - before
    print(f"{store}: {read:.0f} of {in_log} changelog records read at the takeover, {took:.1f} s after the kill")
    assert lost > CUSTOMERS / 4
    assert read < lost / 2  # markers of commits that came since; a copy that began again would read all of them
    await cluster.orders(*(order(f"c-{n}", now(), f"o-{n}") for n in range(CUSTOMERS)))
    await wait_until(lambda: customers(second, stage="customer") == CUSTOMERS, "their first orders")
    changes = await cluster.stage_changes()
    assert len({d["id"] for d in changes if d["to_stage"] == "visitor"}) == CUSTOMERS  # no recovery started again
