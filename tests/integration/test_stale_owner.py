"""A worker that was stopped for longer than its session resumes with old state, and must do no harm."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import pytest

from streams.shell.admin.topic_configs import changelog_topic
from streams.shell.commit.metadata import MARKER_KEY, decode_marker
from tests.integration import recovery_faults
from tests.support.broker_fixtures import ON_APACHE_KAFKA
from tests.support.process_cluster import ProcessCluster, WorkerProcess, wait_until
from tests.support.shop_events import MINUTE, click, now, order


async def test_stale_owner_leaves_without_touching_partitions_of_others(make_cluster: Callable[..., Any]) -> None:
    cluster: ProcessCluster = await make_cluster(partitions="1")
    stale_owner = cluster.start_worker()
    await stale_owner.ready()
    start = now() - 10 * MINUTE
    await cluster.clicks(*(click(f"c-{n}", start, "product_viewed", product_id="p") for n in range(30)))
    await wait_until(lambda: stale_owner.metric("lifecycle_events_total", outcome="applied") == 30, "30 events")
    stale_owner.process.send_signal(signal.SIGSTOP)
    successor = cluster.start_worker()
    await successor.ready()
    await wait_until(lambda: successor.metric("lifecycle_partitions_assigned") == 1, "the successor to take over")
    await cluster.orders(*(order(f"c-{n}", start + MINUTE, f"o-{n}") for n in range(30)))
    await wait_until(
        lambda: successor.metric("lifecycle_events_total", source="orders") == 30, "30 orders with the successor"
    )
    stale_owner.process.send_signal(signal.SIGCONT)
    await cluster.clicks(*(click(f"c-{n}", start + 2 * MINUTE, "message_clicked") for n in range(30)))

    def clicks(worker: WorkerProcess) -> float:
        if worker.process.poll() is not None:
            return 0
        return worker.metric("lifecycle_events_total", source="clickstream", outcome="applied")

    await wait_until(lambda: clicks(successor) >= 30 or clicks(stale_owner) == 60, "30 more clicks, with either")
    # The next owner has the whole state, whether the worker left or joined again.
    successor.kill()
    if stale_owner.process.poll() is None:
        stale_owner.kill()
    last = cluster.start_worker()
    await last.ready()
    await wait_until(lambda: last.metric("lifecycle_customers", stage="customer") == 30, "30 customers")
    assert last.metric("lifecycle_customers") == 30
    changes = await cluster.stage_changes()
    assert {(d["customer_id"], d["to_stage"], d["sequence"]) for d in changes} == {
        (f"c-{n}", stage, sequence) for n in range(30) for sequence, stage in ((1, "visitor"), (2, "customer"))
    }
    assert len({d["id"] for d in changes}) == 60


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.slow
@ON_APACHE_KAFKA
async def test_stale_owner_stopped_before_its_check_writes_nothing_to_the_changelog(
    make_cluster: Callable[..., Any], guarded: bool
) -> None:
    """A worker stopped after its last ownership check does write: then the changelog has a commit that is older than
    the one before it."""
    cluster: ProcessCluster = await make_cluster(partitions="1", commit_interval="60s" if guarded else "2s")
    stale_owner = cluster.start_worker(program="" if guarded else recovery_faults.stopped_with(b"c-29"))
    await stale_owner.ready()
    start = now() - 10 * MINUTE
    await cluster.clicks(click("c-0", start))
    await wait_until(lambda: cluster.stage_changes(), "a first commit")
    await wait_until(lambda: committed_numbers(cluster), "its marker")
    await cluster.clicks(*(click(f"c-{n}", start) for n in range(1, 30)))
    if guarded:
        await wait_until(lambda: stale_owner.metric("lifecycle_events_total", outcome="applied") == 30, "30 events")
        stale_owner.process.send_signal(signal.SIGSTOP)  # before it writes them
    else:
        await wait_until(lambda: stale_owner.stopped, "its way to the changelog")
    successor = cluster.start_worker(commit_interval="200ms")
    await successor.ready()
    await wait_until(lambda: successor.metric("lifecycle_partitions_assigned") == 1, "the successor to take over")
    for n in range(5):
        await cluster.orders(*(order(f"c-{m}", start + MINUTE + n, f"o-{n}-{m}") for m in range(30)))
        taken = 30 * (n + 1)
        await wait_until(
            lambda: successor.metric("lifecycle_events_total", source="orders") == taken,  # noqa: B023
            "the orders",
        )
        await asyncio.sleep(0.5)
    stale_owner.process.send_signal(signal.SIGCONT)
    if guarded:
        await asyncio.sleep(6)
        numbers = await committed_numbers(cluster)
        assert numbers == sorted(set(numbers))
    else:
        await wait_until(lambda: out_of_order(cluster), "the commit of the stale owner")


async def committed_numbers(cluster: ProcessCluster) -> list[int]:
    """Return the numbers of the commits in the changelog, in its order."""
    records = await cluster.read(changelog_topic(cluster.settings))
    marks = [decode_marker(record.value) for record in records if record.key == MARKER_KEY]
    return [mark.commit for mark in marks if mark is not None]


async def out_of_order(cluster: ProcessCluster) -> bool:
    numbers = await committed_numbers(cluster)
    return numbers != sorted(set(numbers))
