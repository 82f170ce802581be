"""A worker that was stopped in the middle of a commit, or of taking over, for so long that others took over, wakes up.

It was stopped behind its look at the group: the flush gets through, and what follows it does not.
"""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.errors import CommitFailedError

from streams.core.activity import Source
from streams.core.effects import Snapshot
from streams.core.inputs import ERASURES
from streams.shell.task import PartitionTask
from tests.integration.shop import HOUR, MINUTE
from tests.shell.shop_of_tasks import Died, World
from tests.shell.test_linking import CLICKS, NOON, ORDERS


def view(n: int, who: str, at: int) -> dict[str, Any]:
    return {"event_id": f"e-{n}", "type": "product_viewed", "product_id": "p", "anonymous_id": who, "occurred_at": at}


def visits(*who: str) -> World:
    world = World(NOON, 1, profiles=True)
    for n, one in enumerate(who):
        world.put(CLICKS, 0, view(n, one, NOON - HOUR + n), NOON - HOUR)
    return world


async def commits(world: World) -> None:
    """As it is done at the start: whether or not something has happened."""
    task, snapshot = stopped(world.tasks[0], force=True)
    world.offsets |= await task.write(snapshot)


async def reads(world: World, source: Source, most: int | None = None) -> None:
    world.fetch(0, source, most)
    await world.tick(0)


def stopped(task: PartitionTask, *, force: bool = False) -> tuple[PartitionTask, Snapshot]:
    """The task, and what it was about to write."""
    snapshot = task.snapshot(force=force)
    assert snapshot is not None
    return task, snapshot


async def wakes_up(zombie: PartitionTask, snapshot: Snapshot) -> None:
    with pytest.raises(CommitFailedError):
        await zombie.write(snapshot)


@pytest.mark.parametrize("dies", ["", "flush", "in flush", "flushed", "offsets"])
async def test_whom_it_has_written_last_is_published_by_who_comes_next_but_one(dies: str) -> None:
    """The heir had only begun, and dies before it has read as far. And so may the next one, in its first commit."""
    world = visits("d-0", "d-0", "d-1")
    await reads(world, CLICKS, 1)
    await world.commit(0)
    await reads(world, CLICKS)
    zombie, snapshot = stopped(world.tasks[0])
    world.start(0)
    await commits(world)
    await wakes_up(zombie, snapshot)
    world.start(0)
    if dies:
        await world.commit(0, dies=dies)
    await world.run()
    assert {name: document and document["product_views"] for name, document in world.documents().items()} == {
        "d-0": 2,
        "d-1": 1,
    }
    assert world.published()


async def test_deadlines_that_it_has_written_are_told_by_who_comes_next_but_one() -> None:
    """And if it is killed when it wakes up."""
    world = World(NOON, 1, profiles=True)
    world.put(CLICKS, 0, view(0, "d-0", NOON - 10 * MINUTE), NOON - 10 * MINUTE)
    await world.run()
    world.now += 40 * MINUTE
    await world.tick(0)
    zombie, snapshot = stopped(world.tasks[0])
    assert [type(output).__name__ for output in snapshot.outputs] == ["Abandonment"]
    writer = world.writer(0)
    world.start(0)
    await commits(world)
    writer.dies = "flushed"
    with pytest.raises(Died):
        await zombie.write(snapshot)
    world.start(0)
    await world.run()
    assert [output["kind"] for output in world.outputs() if output["type"] == "abandoned"] == ["browse"]


async def test_who_begins_and_is_stopped_publishes_nothing_before_it_has_asked() -> None:
    world = visits("d-0", "d-0", "d-0")
    await reads(world, CLICKS, 1)
    await world.commit(0)
    await reads(world, CLICKS, 1)
    await world.commit(0, dies="flushed")
    heir = world.tasks[0]  # it owes a document
    world.start(0)
    await world.run()
    assert world.published()
    await heir.flush()
    await wakes_up(*stopped(heir, force=True))
    assert world.published()


async def test_whose_record_had_more_of_one_topic_loses_nothing_of_the_other() -> None:
    """It has three clicks of the customer, its heir one of these and an order that came late."""
    world = World(NOON, 1, profiles=True)
    world.put(CLICKS, 0, {**view(0, "d", NOON - HOUR), "customer_id": "c-9"}, NOON - HOUR)
    of_late = {"event_id": "o-1", "type": "order_completed", "order_id": "o-1", "total": "5", "currency": "EUR"}
    world.put(ORDERS, 0, {**of_late, "event_id": "o-0", "customer_id": "c-8", "occurred_at": NOON - HOUR}, NOON)
    await world.run()
    at = world.now
    world.put(CLICKS, 0, {**view(9, "d", at), "customer_id": "c-7"}, at)
    for n in range(3):
        world.put(CLICKS, 0, {**view(10 + n, "d", at + n), "customer_id": "c-1"}, at)
    world.now += 3_000
    await reads(world, CLICKS)
    zombie, snapshot = stopped(world.tasks[0])
    world.put(ORDERS, 0, {**of_late, "customer_id": "c-1", "occurred_at": at - 8_000}, at)
    world.start(0)
    world.fetch(0, CLICKS, 1)
    world.fetch(0, ORDERS)
    await world.commit(0)
    await wakes_up(zombie, snapshot)
    world.start(0)
    await world.run()
    profile = world.profiles()[True, "c-1"]
    assert (profile["orders"], profile["product_views"]) == (1, 3)


async def test_nor_does_it_delete_the_document_of_who_came_back_after_an_erasure() -> None:
    """Of which it has read the request, and its heir more than that."""
    world = World(NOON, 1, profiles=True)
    world.erase("d-0", NOON - HOUR, identified=False)
    world.fetch(0, ERASURES)
    await world.tick(0)
    zombie, snapshot = stopped(world.tasks[0])
    world.put(CLICKS, 0, view(0, "d-0", NOON), NOON)
    world.start(0)
    await world.run()
    assert world.published()
    assert world.documents()["d-0"] is not None
    await zombie.flush()
    await wakes_up(zombie, snapshot)
    assert world.documents()["d-0"] is not None


async def test_of_who_was_erased_meanwhile_a_document_is_gone_when_it_is_asked_for_again() -> None:
    """It was stopped behind its second look, which is all that keeps it from publishing."""
    world = visits("d-0")
    await reads(world, CLICKS)
    zombie, snapshot = stopped(world.tasks[0])
    world.without = "group"
    world.start(0)
    world.erase("d-0", NOON, identified=False)
    await world.run()
    assert world.documents() == {"d-0": None}
    await zombie.write(snapshot)
    assert world.documents()["d-0"] is not None
    world.start(0)
    world.erase("d-0", world.now, identified=False)
    await world.run()
    assert world.documents() == {"d-0": None}
