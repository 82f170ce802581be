"""A worker that was stopped within a commit or a takeover resumes after others took over. It was stopped after its
ownership check: its flush succeeds, and nothing after the flush does."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.errors import CommitFailedError

from streams.core.event_time.inputs import ERASURES
from streams.core.model.event import Source
from streams.shell.tasks.partition_commits import PartitionSnapshot
from streams.shell.tasks.partition_task import PartitionTask
from tests.shell.shop_runs import CLICKS, NOON, ORDERS
from tests.support.shell_fakes import WorkerDied
from tests.support.shell_harness import ShellHarness
from tests.support.shop_events import HOUR, MINUTE


def view(n: int, who: str, at: int) -> dict[str, Any]:
    return {"event_id": f"e-{n}", "type": "product_viewed", "product_id": "p", "anonymous_id": who, "occurred_at": at}


def visits(*who: str) -> ShellHarness:
    harness = ShellHarness(NOON, 1, profiles=True)
    for n, one in enumerate(who):
        harness.append(CLICKS, 0, view(n, one, NOON - HOUR + n), NOON - HOUR)
    return harness


async def commits(harness: ShellHarness) -> None:
    """Commit with or without changes, as a task does at its start."""
    harness.offsets |= await stopped(harness.tasks[0], force=True).write()


async def reads(harness: ShellHarness, source: Source, most: int | None = None) -> None:
    harness.fetch(0, source, most)
    await harness.tick(0)


def stopped(task: PartitionTask, *, force: bool = False) -> PartitionSnapshot:
    """Return the snapshot that a task was about to write."""
    snapshot = task.snapshot(force=force)
    assert snapshot is not None
    return snapshot


async def wakes_up(snapshot: PartitionSnapshot) -> None:
    """Let the stale owner of a snapshot go on."""
    with pytest.raises(CommitFailedError):
        await snapshot.write()


@pytest.mark.parametrize("crash_at", ["", "flush", "in flush", "flushed", "offsets"])
async def test_profile_last_written_by_a_stale_owner_is_published_by_a_later_successor(crash_at: str) -> None:
    """The first successor has only started, and crashes before it has read as far. The next one may crash in its first
    commit."""
    harness = visits("d-0", "d-0", "d-1")
    await reads(harness, CLICKS, 1)
    await harness.commit(0)
    await reads(harness, CLICKS)
    snapshot = stopped(harness.tasks[0])
    harness.restart_task(0)
    await commits(harness)
    await wakes_up(snapshot)
    harness.restart_task(0)
    if crash_at:
        await harness.commit(0, crash_at=crash_at)
    await harness.run()
    assert {name: document and document["product_views"] for name, document in harness.profile_documents().items()} == {
        "d-0": 2,
        "d-1": 1,
    }
    assert harness.profiles_are_published()


async def test_outputs_of_deadlines_written_by_a_stale_owner_are_sent_by_a_later_successor() -> None:
    """The stale owner is killed when it resumes."""
    harness = ShellHarness(NOON, 1, profiles=True)
    harness.append(CLICKS, 0, view(0, "d-0", NOON - 10 * MINUTE), NOON - 10 * MINUTE)
    await harness.run()
    harness.now += 40 * MINUTE
    await harness.tick(0)
    snapshot = stopped(harness.tasks[0])
    assert [type(output).__name__ for output in snapshot.content.outputs] == ["Abandonment"]
    writer = harness.changelog_writer(0)
    harness.restart_task(0)
    await commits(harness)
    writer.crash_at = "flushed"
    with pytest.raises(WorkerDied):
        await snapshot.write()
    harness.restart_task(0)
    await harness.run()
    assert [output["kind"] for output in harness.outputs() if output["type"] == "abandoned"] == ["browse"]


async def test_stale_successor_publishes_nothing_before_its_ownership_check() -> None:
    harness = visits("d-0", "d-0", "d-0")
    await reads(harness, CLICKS, 1)
    await harness.commit(0)
    await reads(harness, CLICKS, 1)
    await harness.commit(0, crash_at="flushed")
    successor = harness.tasks[0]  # its document is pending
    harness.restart_task(0)
    await harness.run()
    assert harness.profiles_are_published()
    await successor.flush()
    await wakes_up(stopped(successor, force=True))
    assert harness.profiles_are_published()


async def test_record_of_a_stale_owner_with_more_clicks_does_not_lose_an_order() -> None:
    """The stale owner applied three clicks of the customer, its successor one of these and an order that came late."""
    harness = ShellHarness(NOON, 1, profiles=True)
    harness.append(CLICKS, 0, {**view(0, "d", NOON - HOUR), "customer_id": "c-9"}, NOON - HOUR)
    of_late = {"event_id": "o-1", "type": "order_completed", "order_id": "o-1", "total": "5", "currency": "EUR"}
    harness.append(ORDERS, 0, {**of_late, "event_id": "o-0", "customer_id": "c-8", "occurred_at": NOON - HOUR}, NOON)
    await harness.run()
    at = harness.now
    harness.append(CLICKS, 0, {**view(9, "d", at), "customer_id": "c-7"}, at)
    for n in range(3):
        harness.append(CLICKS, 0, {**view(10 + n, "d", at + n), "customer_id": "c-1"}, at)
    harness.now += 3_000
    await reads(harness, CLICKS)
    snapshot = stopped(harness.tasks[0])
    harness.append(ORDERS, 0, {**of_late, "customer_id": "c-1", "occurred_at": at - 8_000}, at)
    harness.restart_task(0)
    harness.fetch(0, CLICKS, 1)
    harness.fetch(0, ORDERS)
    await harness.commit(0)
    await wakes_up(snapshot)
    harness.restart_task(0)
    await harness.run()
    profile = harness.profiles()[True, "c-1"]
    assert (profile["orders"], profile["product_views"]) == (1, 3)


async def test_stale_owner_does_not_delete_the_document_of_a_customer_who_came_back_after_an_erasure() -> None:
    """The stale owner has read the erasure request, and its successor has read more than that."""
    harness = ShellHarness(NOON, 1, profiles=True)
    harness.request_erasure("d-0", NOON - HOUR, identified=False)
    harness.fetch(0, ERASURES)
    await harness.tick(0)
    stale = harness.tasks[0]
    snapshot = stopped(stale)
    harness.append(CLICKS, 0, view(0, "d-0", NOON), NOON)
    harness.restart_task(0)
    await harness.run()
    assert harness.profiles_are_published()
    assert harness.profile_documents()["d-0"] is not None
    await stale.flush()
    await wakes_up(snapshot)
    assert harness.profile_documents()["d-0"] is not None


async def test_second_erasure_request_deletes_a_document_that_a_stale_owner_published() -> None:
    """The stale owner was stopped after its second ownership check, which is its last one before it publishes."""
    harness = visits("d-0")
    await reads(harness, CLICKS)
    snapshot = stopped(harness.tasks[0])
    harness.disabled_guard = "group"
    harness.restart_task(0)
    harness.request_erasure("d-0", NOON, identified=False)
    await harness.run()
    assert harness.profile_documents() == {"d-0": None}
    await snapshot.write()
    assert harness.profile_documents()["d-0"] is not None
    harness.restart_task(0)
    harness.request_erasure("d-0", harness.now, identified=False)
    await harness.run()
    assert harness.profile_documents() == {"d-0": None}
