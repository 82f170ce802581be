"""Merged identities stay merged: several partitions give the outputs and profiles of one, whatever crashes."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from aiokafka.errors import CommitFailedError

from streams.contracts.partitioning import Partitioner
from streams.contracts.repartition import MESSAGE, PARTS, UPSTREAM
from streams.core.event_time.inputs import ERASURES, REPARTITION
from streams.core.model.event import Source
from tests.shell.shop_runs import (
    CLICKS,
    CO_PARTITIONED,
    NOON,
    ORDERS,
    Outputs,
    Profiles,
    by_id,
    goes_wrong,
    key_of,
    run_to_the_end,
    same,
)
from tests.support.shell_harness import ShellHarness
from tests.support.shop_events import DAY, HOUR, half_known, in_order, shop


async def on_one(seed: int) -> tuple[list[tuple[Source, dict[str, Any]]], Outputs, Profiles]:
    """Return the events of a shop, and the outputs and profiles that one partition makes of them."""
    half = half_known(seed, in_order(*shop(seed, customers=15, events=400, end=NOON)))
    events = [(ORDERS if "order_id" in event else CLICKS, event) for event in half]
    harness = ShellHarness(NOON, 1, identity_resolution=True, **CO_PARTITIONED)
    for source, event in events:
        harness.append(source, 0, event, event["occurred_at"])
    await run_to_the_end(harness)
    return events, by_id(harness.outputs()), harness.profiles()


async def crashing(
    seed: int, disabled_guard: str = "", *, keyed: bool = True, crashes: bool = True
) -> tuple[bool, ShellHarness, Outputs]:
    """Run the shop on three partitions whose tasks crash at every step. Return True if all outputs and profiles are
    right."""
    rng = random.Random(seed)
    events, outputs, profiles = await on_one(seed)
    harness = ShellHarness(
        NOON, 3, disabled_guard, identity_resolution=True, profiles=True, **(CO_PARTITIONED if keyed else {})
    )
    home = Partitioner(3)
    for source, event in events:
        partition = home.partition(key_of(event)) if keyed else rng.randrange(3)
        harness.append(source, partition, event, event["occurred_at"])
    await harness.run_randomly(rng, 700, 30, crashes=crashes)
    await run_to_the_end(harness)
    right = same(harness.outputs(), outputs) and harness.profiles() == profiles and harness.profiles_are_published()
    return right, harness, outputs


@pytest.mark.parametrize("not_co_partitioned", [{CLICKS: 5}, {CLICKS: 2, ORDERS: 5}], ids=str)
@pytest.mark.parametrize("seed", range(3))
async def test_repartition_tasks_of_other_partition_counts_give_the_outputs_of_one_partition(
    seed: int, not_co_partitioned: dict[Source, int]
) -> None:
    """The topics are not co-partitioned; repartition tasks and tasks crash."""
    rng = random.Random(seed)
    events, outputs, profiles = await on_one(seed)
    harness = ShellHarness(NOON, 3, not_co_partitioned=not_co_partitioned, identity_resolution=True, profiles=True)
    for source, event in events:
        harness.append(source, rng.randrange(not_co_partitioned.get(source, 3)), event, event["occurred_at"])
    for _ in range(700):
        number, reader = rng.randrange(3), rng.choice([*harness.readers])
        match rng.randrange(9):
            case 0 | 1 | 2:
                harness.fetch(number, rng.choice([*harness.tasks[number].read, REPARTITION]), rng.randrange(1, 30))
            case 3 | 4:
                harness.read_source(*reader, rng.randrange(1, 30))
            case 5:
                harness.now += rng.choice([0, 100, 2_000])
                await harness.tick(number)
                await harness.tick_reader(*reader)
            case 6:
                await harness.commit(number)
                await harness.commit_reader(*reader)
            case 7:
                await harness.commit(number, crash_at=rng.choice(["flush", "in flush", "flushed", "offsets"]))
            case 8:
                await harness.commit_reader(*reader, crash_before_offsets=rng.random() < 0.5)
    await run_to_the_end(harness)
    assert same(harness.outputs(), outputs)
    assert harness.profiles() == profiles
    assert harness.profiles_are_published()


async def test_generated_shop_has_links_switches_merges_and_retractions() -> None:
    _, outputs, profiles = await on_one(1)
    types = {output["type"] for output in outputs.values()}
    assert {"stage_changed", "abandoned", "linked", "switched"} <= types
    assert {output["reason"] for output in outputs.values() if output["type"] == "retracted"} >= {"merge"}
    merges = [o for o in outputs.values() if o["type"] == "stage_changed" and o["cause"]["kind"] == "merge"]
    assert any(change["to_stage"] is None for change in merges)
    assert any(identified for identified, _ in profiles)


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("seed", range(4))
async def test_three_partitions_give_the_outputs_of_one(seed: int, keyed: bool) -> None:
    right, harness, outputs = await crashing(seed, keyed=keyed, crashes=False)
    assert by_id(harness.outputs()) == outputs
    assert right
    kinds = {record.headers[-1][0] for n in range(3) for record in harness.logs[harness.settings.repartition_topic, n]}
    assert {PARTS, MESSAGE} <= kinds
    assert (UPSTREAM in kinds) is not keyed


@pytest.mark.parametrize("seed", range(12))
async def test_crashes_at_every_step_lose_nothing_and_apply_nothing_twice(seed: int) -> None:
    right, harness, _ = await crashing(seed, keyed=seed % 2 == 0)
    assert right
    assert harness.counts["repartition_received", "repeated"] > 0
    assert harness.counts["internal_messages", "devices"] > 0
    assert harness.counts["internal_messages", "carts"] > 0


@pytest.mark.parametrize("disabled_guard", ["previous", "taken", "of_upstreams"])
async def test_outputs_are_wrong_with_any_guard_disabled(disabled_guard: str) -> None:
    seeds = (24, *range(40))  # few of them need `taken`
    assert await goes_wrong(lambda seed: crashing(seed, disabled_guard, keyed=seed % 4 < 2), seeds)


@pytest.mark.parametrize("asked", [True, False])
async def test_internal_messages_of_a_stale_owner_displace_none_of_its_successor(asked: bool) -> None:
    """The stale owner applied a click before an order that came a little late. Its successor reads both, and applies
    them in time order. So both give the same number to different first messages: if one is taken, the other is
    ignored."""
    harness = ShellHarness(NOON, 1, "" if asked else "group", identity_resolution=True, **CO_PARTITIONED)
    for n in (1, 2):
        event = {"event_id": f"e-{n}", "type": "product_viewed", "product_id": "p", "anonymous_id": f"d-{n}"}
        harness.append(CLICKS, 0, {**event, "customer_id": f"c-{n}", "occurred_at": NOON - HOUR}, NOON)
    await harness.run()
    click = {"event_id": "e-3", "type": "product_viewed", "product_id": "p", "anonymous_id": "d-1"}
    harness.append(CLICKS, 0, {**click, "occurred_at": harness.now - 1_000})
    for _ in range(5):
        harness.now += 100
        for rank in harness.tasks[0].read:
            harness.fetch(0, rank)
        await harness.tick(0)
    stale = harness.tasks[0]
    snapshot = stale.snapshot()
    assert snapshot is not None
    assert [item.customer for item in snapshot.content.messages] == ["c-1"]

    harness.restart_task(0)
    if asked:
        with pytest.raises(CommitFailedError):
            await snapshot.write()
    else:
        await snapshot.write()
    late = {"event_id": "e-4", "type": "order_completed", "order_id": "o-1", "anonymous_id": "d-2", "total": 10}
    harness.append(ORDERS, 0, {**late, "occurred_at": harness.now - 4_000})
    await run_to_the_end(harness)
    found = {key: (profile["product_views"], profile["orders"]) for key, profile in harness.profiles().items()}
    assert (found == {(True, "c-1"): (2, 0), (True, "c-2"): (1, 1)}) is asked


async def test_merged_profiles_stay_merged_after_identity_resolution_is_switched_off() -> None:
    harness = ShellHarness(NOON, 2, identity_resolution=True, **CO_PARTITIONED)
    home = Partitioner(2)

    def put(event: dict[str, Any]) -> None:
        harness.append(CLICKS, home.partition(key_of(event)), event, event["occurred_at"])

    device = {"type": "product_viewed", "anonymous_id": "d-1", "product_id": "p"}
    put({**device, "event_id": "e-1", "occurred_at": NOON - 3 * HOUR})
    put({**device, "event_id": "e-2", "occurred_at": NOON - 2 * HOUR, "customer_id": "c-1"})
    await harness.run()
    assert {key: profile["product_views"] for key, profile in harness.profiles().items()} == {(True, "c-1"): 2}
    known = {output["id"] for output in harness.outputs()}

    harness.settings = dataclasses.replace(harness.settings, identity_resolution=False)
    for number in (0, 1):
        harness.restart_task(number, forwards=False)
    put({**device, "event_id": "e-3", "occurred_at": NOON - HOUR})
    put({**device, "event_id": "e-4", "occurred_at": NOON - HOUR + 1, "customer_id": "c-1"})
    await harness.run()
    assert {key: profile["product_views"] for key, profile in harness.profiles().items()} == {
        (True, "c-1"): 3,
        (False, "d-1"): 1,
    }
    changes = [o for o in harness.outputs() if o["type"] == "stage_changed" and o["id"] not in known]
    assert {(c["customer_id"], c["to_stage"]) for c in changes} == {("d-1", "visitor"), ("c-1", "prospect")}
    before = harness.profiles()
    for number in (0, 1):
        harness.restart_task(number, forwards=False)
    assert harness.profiles() == before


async def test_events_that_wait_for_devices_are_bounded_and_none_waits_for_ever() -> None:
    """Customers wait for messages of devices, which wait for commits. Sources are paused in turn meanwhile."""
    bound = 4_000
    harness = ShellHarness(NOON, 2, identity_resolution=True, max_buffer_bytes=bound)
    rng = random.Random(1)
    for source, event in (await on_one(1))[0]:
        harness.append(source, rng.randrange(2), event, event["occurred_at"])
    most = 0
    for n in range(3_000):
        harness.now += 200
        for number in (0, 1):
            for rank in harness.tasks[number].read:
                harness.fetch(number, rank, 5)
            await harness.tick(number)
            engine = harness.tasks[number].engine
            most = max([most, *(engine.buffered_bytes(source) for source in Source)])
            if n % 20 == number:
                await harness.commit(number)
        if harness.counts["applied", "clickstream"] + harness.counts["applied", "orders"] == 400:
            break
    assert bound < most < 2 * bound
    assert harness.counts["applied", "clickstream"] + harness.counts["applied", "orders"] == 400


async def test_merged_device_does_not_delete_the_document_of_the_customer_with_its_id() -> None:
    """Some trackers use one id for the device and for its customer."""
    harness = ShellHarness(NOON, 1, identity_resolution=True, profiles=True, **CO_PARTITIONED)
    event = {"event_id": "e-1", "type": "page_viewed", "customer_id": "u-1", "anonymous_id": "u-1"}
    for n in range(2):
        harness.append(CLICKS, 0, {**event, "event_id": f"e-{n}", "occurred_at": NOON - HOUR}, NOON - HOUR)
    harness.fetch(0, CLICKS, 1)
    for _ in range(4):  # the customer's event is applied before the link is sent: more events of that time may arrive
        harness.now += 1_000
        for rank in (ORDERS, REPARTITION):
            harness.fetch(0, rank)
        await harness.tick(0)
        await harness.commit(0)
    assert (harness.counts["applied", "clickstream"], harness.counts["identity_resolution", "linked"]) == (1, 0)
    log = harness.logs[harness.settings.profiles_topic, 0]
    assert len(log) == 1
    harness.fetch(0, CLICKS)
    await harness.run()
    assert harness.counts["identity_resolution", "linked"] == 1
    assert all(record.value is not None for record in log)


async def test_crash_before_the_documents_keeps_the_customers_document_of_a_device_with_its_id() -> None:
    """The crash comes after the changelog has the owner of the device, and before the document."""
    harness = ShellHarness(NOON, 1, identity_resolution=True, profiles=True, **CO_PARTITIONED)
    event = {"type": "page_viewed", "customer_id": "u-1"}
    harness.append(CLICKS, 0, {**event, "event_id": "e-0", "occurred_at": NOON - 2 * HOUR}, NOON - 2 * HOUR)
    await harness.run()
    harness.append(
        CLICKS, 0, {**event, "event_id": "e-1", "occurred_at": NOON - HOUR, "anonymous_id": "u-1"}, NOON - HOUR
    )
    died = False
    for _ in range(10):
        harness.now += 1_000
        for rank in harness.tasks[0].read:
            harness.fetch(0, rank)
        await harness.tick(0)
        if not died and harness.counts["identity_resolution", "linked"]:
            await harness.commit(0, crash_at="flushed")
            died = True
            await harness.commit(0)
            assert harness.profile_documents() == {"u-1": harness.profiles()[True, "u-1"]}
    assert died
    await harness.run()
    assert all(record.value is not None for record in harness.logs[harness.settings.profiles_topic, 0])
    assert harness.profile_documents() == {"u-1": harness.profiles()[True, "u-1"]}


@pytest.mark.parametrize("identity_resolution", [True, False])
@pytest.mark.parametrize("crash_at", ["", "flushed", "offsets"])
async def test_erased_device_does_not_delete_the_document_of_the_customer_with_its_id(
    identity_resolution: bool, crash_at: str
) -> None:
    """The device was linked to the customer, or had a document of its own under the id."""
    harness = ShellHarness(
        NOON,
        1,
        identity_resolution=identity_resolution,
        profiles=True,
        **(CO_PARTITIONED if identity_resolution else {}),
    )
    for n, ids in enumerate(({"customer_id": "u-1", "anonymous_id": "u-1"}, {"anonymous_id": "u-1"})):
        event = {"event_id": f"e-{n}", "type": "page_viewed", "occurred_at": NOON - HOUR + n}
        harness.append(CLICKS, 0, {**event, **ids}, NOON - HOUR)
    await harness.run()
    harness.request_erasure("u-1", NOON, identified=False)
    harness.fetch(0, ERASURES)
    await harness.tick(0)
    await harness.commit(0, crash_at=crash_at)
    await harness.run()
    assert harness.profiles().keys() == {(True, "u-1")}
    assert harness.profile_documents() == {"u-1": harness.profiles()[True, "u-1"]}
    harness.request_erasure("u-1", NOON + 1)
    await harness.run()
    assert harness.profile_documents() == {"u-1": None}


async def test_forgotten_device_does_not_delete_the_document_of_the_customer_with_its_id() -> None:
    harness = ShellHarness(NOON, 1, identity_resolution=True, profiles=True, **CO_PARTITIONED)
    event = {"event_id": "e-1", "type": "page_viewed", "customer_id": "u-1", "anonymous_id": "u-1"}
    order = {"event_id": "e-2", "type": "order_completed", "customer_id": "u-1", "order_id": "o-1", "total": "5.00"}
    other = {"event_id": "e-3", "type": "page_viewed", "customer_id": "u-1", "anonymous_id": "d-1"}
    for source, one in ((CLICKS, event), (ORDERS, order), (CLICKS, other)):
        harness.append(source, 0, {**one, "occurred_at": NOON - HOUR}, NOON - HOUR)
    await harness.run()
    assert len(harness.tasks[0].state.profiles) == 3
    harness.now = NOON + 400 * DAY
    await harness.run()
    assert len(harness.tasks[0].state.profiles) == 1
    assert harness.profile_documents() == {"u-1": harness.profiles()[True, "u-1"], "d-1": None}


@pytest.mark.parametrize("partitions", [1, 2])
async def test_more_events_of_one_instant_than_may_wait_do_not_stop_a_source(partitions: int) -> None:
    """A shop imports events that have only a day as their time. Links are resolved once all of that instant has
    arrived."""
    harness, home = (
        ShellHarness(NOON, partitions, identity_resolution=True, max_buffer_bytes=2_000, **CO_PARTITIONED),
        Partitioner(partitions),
    )
    for n in range(401):
        event = {"event_id": f"e-{n}", "type": "page_viewed", "customer_id": f"c-{n}", "anonymous_id": f"d-{n}"}
        at = NOON - DAY + (n == 400)
        harness.append(CLICKS, home.partition(key_of(event)), {**event, "occurred_at": at}, at)
    for _ in range(100):
        harness.now += 1_000
        for number in range(partitions):
            for rank in harness.tasks[number].read:
                harness.fetch(number, rank, 20)
            await harness.tick(number)
            await harness.commit(number)
    assert harness.counts["applied", "clickstream"] == 401
    assert harness.counts["identity_resolution", "linked"] == 401


async def test_tasks_in_a_backlog_report_and_commit_without_waiting_for_the_clock() -> None:
    """Six rounds take 0.3 seconds: by the clock alone there would be one report and no commit."""
    harness, home = ShellHarness(NOON, 3, identity_resolution=True, **CO_PARTITIONED), Partitioner(3)
    for source, event in (await on_one(1))[0]:
        harness.append(source, home.partition(key_of(event)), event, event["occurred_at"])
    rounds = commits = 0
    while harness.counts["applied", "clickstream"] + harness.counts["applied", "orders"] < 400:
        rounds += 1
        assert rounds <= 6
        harness.now += 50
        for number, task in harness.tasks.items():
            for rank in task.read:
                harness.fetch(number, rank, 100)
            await task.flush()
            if rounds % 2 == 0:
                await harness.tick(number)
            if task.awaited:
                commits += 1
                await harness.commit(number)
    assert 3 <= commits <= 10
    harness.now += 5_000  # at the end no task waits for commits, which come by the clock
    for number in harness.tasks:
        await harness.tick(number)
    for number, task in harness.tasks.items():
        harness.fetch(number, REPARTITION)
        await harness.tick(number)
        assert not task.awaited
