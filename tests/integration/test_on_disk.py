"""A worker with its state in RocksDB: restarts that continue from the files, and files that cannot be used."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams.shell.admin.topic_configs import changelog_topic
from streams.shell.tasks.partition_state import STATE_DIRECTORY
from tests.support.broker_fixtures import ON_APACHE_KAFKA
from tests.support.process_cluster import ProcessCluster, WorkerProcess, wait_until
from tests.support.shop_events import HOUR, MINUTE, click, now, order

CUSTOMERS = 40


async def worked(cluster: ProcessCluster) -> None:
    """Let a worker process some customers and end in order."""
    worker = cluster.start_worker()
    await worker.ready()
    await cluster.clicks(*(click(f"c-{n}", now() - HOUR, event_id=f"a-{n}") for n in range(CUSTOMERS)))
    await wait_until(lambda: worker.metric("lifecycle_customers") == CUSTOMERS, "all customers")
    worker.terminate()
    assert worker.exit_code() == 0


async def knows_all(worker: WorkerProcess) -> float:
    """Wait until a worker has all customers. Return the number of changelog records that it read."""
    await worker.ready()
    await wait_until(lambda: worker.metric("lifecycle_customers") == CUSTOMERS, "all customers")
    return worker.metric("lifecycle_recovery_records_total")


async def in_changelog(cluster: ProcessCluster) -> int:
    return len(await cluster.read(changelog_topic(cluster.settings)))


def files(cluster: ProcessCluster) -> Path:
    return cluster.settings.data_dir / STATE_DIRECTORY / changelog_topic(cluster.settings)


async def test_restart_reads_only_the_records_that_are_not_on_disk(make_cluster: Callable[..., Any]) -> None:
    cluster: ProcessCluster = await make_cluster(state_store="rocksdb")
    await worked(cluster)
    assert await in_changelog(cluster) >= CUSTOMERS
    second = cluster.start_worker()
    assert await knows_all(second) == 0
    await cluster.orders(*(order(f"c-{n}", now() - MINUTE, f"o-{n}") for n in range(CUSTOMERS)))
    await wait_until(lambda: second.metric("lifecycle_customers", stage="customer") == CUSTOMERS, "their first orders")
    second.kill()  # the files may lack the records that it wrote since its start
    third = cluster.start_worker()
    read = await knows_all(third)
    await wait_until(lambda: third.metric("lifecycle_customers", stage="customer") == CUSTOMERS, "their first orders")
    assert read < await in_changelog(cluster) - CUSTOMERS
    changes = await cluster.stage_changes()
    assert len({d["id"] for d in changes if d["to_stage"] == "visitor"}) == CUSTOMERS
    assert len({d["id"] for d in changes if d["to_stage"] == "customer"}) == CUSTOMERS


async def test_files_that_are_damaged_or_gone_are_read_from_the_changelog(make_cluster: Callable[..., Any]) -> None:
    cluster: ProcessCluster = await make_cluster(state_store="rocksdb")
    await worked(cluster)
    (files(cluster) / "0" / "CURRENT").write_text("nothing")
    shutil.rmtree(files(cluster) / "1")
    second = cluster.start_worker()
    assert await knows_all(second) >= CUSTOMERS
    assert "damaged" in second.tail()


@pytest.mark.slow
@ON_APACHE_KAFKA
async def test_files_that_are_ahead_of_the_changelog_are_discarded(make_cluster: Callable[..., Any]) -> None:
    """This happens when a Kafka cluster was set up again under the same names."""
    cluster: ProcessCluster = await make_cluster(state_store="rocksdb")
    await worked(cluster)
    other: ProcessCluster = await make_cluster(state_store="rocksdb")
    shutil.copytree(files(cluster), files(other))
    worker = other.start_worker()
    await worker.ready()
    assert worker.metric("lifecycle_customers") == 0
    assert "but the changelog ends at" in worker.tail()


@pytest.mark.slow
@ON_APACHE_KAFKA
async def test_files_of_another_changelog_end_the_worker_and_are_deleted(make_cluster: Callable[..., Any]) -> None:
    """The topic was created again, and already has more records than the files know of."""
    cluster: ProcessCluster = await make_cluster(state_store="rocksdb")
    starting = cluster.start_worker()
    await starting.ready()
    starting.terminate()
    assert starting.exit_code() == 0
    other: ProcessCluster = await make_cluster(state_store="rocksdb")
    await worked(other)
    shutil.rmtree(files(other))
    shutil.copytree(files(cluster), files(other))
    worker = other.start_worker()
    await wait_until(lambda: worker.process.poll() is not None, "the end of the worker")
    assert worker.process.returncode == 1
    assert "a changelog that no longer exists" in worker.tail()
    assert await knows_all(other.start_worker()) >= CUSTOMERS


@pytest.mark.slow
@ON_APACHE_KAFKA
async def test_partition_assigned_again_is_read_on_from_its_files(
    make_cluster: Callable[..., Any], tmp_path: Path
) -> None:
    cluster: ProcessCluster = await make_cluster(state_store="rocksdb")
    first = cluster.start_worker()
    await first.ready()
    await cluster.clicks(*(click(f"c-{n}", now() - HOUR, event_id=f"a-{n}") for n in range(CUSTOMERS)))
    await wait_until(lambda: first.metric("lifecycle_customers") == CUSTOMERS, "all customers")
    second = cluster.start_worker(data_dir=str(tmp_path / "second"))
    await second.ready()
    await wait_until(lambda: first.metric("lifecycle_partitions_assigned") == 1, "one partition each")
    await cluster.orders(*(order(f"c-{n}", now() - MINUTE, f"o-{n}") for n in range(CUSTOMERS)))

    def customers(*workers: WorkerProcess) -> float:
        return sum(worker.metric("lifecycle_customers", stage="customer") for worker in workers)

    await wait_until(lambda: customers(first, second) == CUSTOMERS, "their first orders")
    second.terminate()
    assert second.exit_code() == 0
    await wait_until(lambda: customers(first) == CUSTOMERS, "all with the first")
    assert 0 < first.metric("lifecycle_recovery_records_total") < CUSTOMERS + 20


async def test_two_workers_of_one_directory_are_refused(make_cluster: Callable[..., Any]) -> None:
    cluster: ProcessCluster = await make_cluster(state_store="rocksdb")
    first = cluster.start_worker()
    await first.ready()
    second = cluster.start_worker()
    await wait_until(lambda: second.process.poll() is not None, "the end of the second")
    assert second.process.returncode == 2
    assert "Give each worker on a machine a LIFECYCLE_DATA_DIR of its own" in second.tail()
