"""Disturbed recoveries: a broker that stalls, and changelog records that are fetched and lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams.devtools.broker import LocalBroker
from tests.integration import recovery_faults
from tests.support.broker_fixtures import ON_APACHE_KAFKA
from tests.support.process_cluster import ProcessCluster, wait_until
from tests.support.shop_events import click, now

CUSTOMERS = 20


async def with_customers(cluster: ProcessCluster) -> None:
    worker = cluster.start_worker()
    await worker.ready()
    await cluster.clicks(*(click(f"c-{n}", now(), event_id=f"a-{n}") for n in range(CUSTOMERS)))
    await wait_until(lambda: worker.metric("lifecycle_customers") == CUSTOMERS, "all customers")
    worker.terminate()
    assert worker.exit_code() == 0, worker.tail()


@pytest.mark.slow
@ON_APACHE_KAFKA
async def test_changelog_records_dropped_in_recovery_are_read_again(make_cluster: Callable[..., Any]) -> None:
    cluster: ProcessCluster = await make_cluster(partitions="1")
    await with_customers(cluster)
    worker = cluster.start_worker(program=recovery_faults.lost_chunk(mended=True))
    await worker.ready()
    assert "dropped" in worker.log.read_text()
    assert worker.metric("lifecycle_recovery_restarts_total") >= 1
    await wait_until(lambda: worker.metric("lifecycle_customers") == CUSTOMERS, "all customers")


@pytest.mark.slow
@ON_APACHE_KAFKA
async def test_stalled_recovery_ends_the_worker_with_a_sentence(make_cluster: Callable[..., Any]) -> None:
    cluster: ProcessCluster = await make_cluster(partitions="1")
    await with_customers(cluster)
    worker = cluster.start_worker(program=recovery_faults.lost_chunk(mended=False))
    await wait_until(lambda: worker.process.poll() is not None, "the end of the worker")
    assert worker.process.returncode == 1
    [said] = [line for line in worker.log.read_text().splitlines() if " CRITICAL " in line]
    assert "although the broker answers, and 3 restarts of reading have not helped" in said


@pytest.mark.slow
@ON_APACHE_KAFKA
async def test_worker_waits_for_a_broker_that_stalls_in_a_rebalance(
    broker_type: Callable[[], LocalBroker], tmp_path: Path
) -> None:
    """It stalls for longer than any timeout of aiokafka (40 s)."""
    with broker_type() as broker:
        cluster = ProcessCluster(broker.address, tmp_path, partitions="1")
        await cluster.create_topics()
        await with_customers(cluster)
        assert broker.pid is not None
        worker = cluster.start_worker(program=recovery_faults.frozen_broker(broker.pid))
        try:
            await wait_until(lambda: "frozen" in worker.log.read_text(), "the broker to stand still")
            await asyncio.sleep(60)
            assert worker.process.poll() is None, worker.tail()
            assert worker.get("/healthz")[0] == 200
            assert worker.get("/readyz")[0] == 503
            os.kill(broker.pid, signal.SIGCONT)
            await wait_until(lambda: worker.metric("lifecycle_customers") == CUSTOMERS, "all customers")
            await cluster.clicks(*(click(f"d-{n}", now()) for n in range(10)))
            await wait_until(lambda: worker.metric("lifecycle_events_total", outcome="applied") == 10, "10 events")
        finally:
            os.kill(broker.pid, signal.SIGCONT)
            cluster.stop()
