"""With event-time ordering, events out of order give the outputs of events in order, whatever crashes."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest

from streams.contracts.partitioning import Partitioner
from streams.core.event_time.inputs import REPARTITION
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
from tests.support.shell_harness import DELAY, LATENESS, ShellHarness
from tests.support.shop_events import DAY, MINUTE, half_known, in_order, shop


def close(seed: int) -> list[dict[str, Any]]:
    """Return a shop with an event every two seconds and few customers."""
    events = half_known(seed, in_order(*shop(seed, customers=8, events=400, end=NOON)))
    first = events[0]["occurred_at"]
    return [{**event, "occurred_at": first + (event["occurred_at"] - first) // 300} for event in events]


def disordered(seed: int, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    delayed = [(event["occurred_at"] + rng.randrange(LATENESS), n, event) for n, event in enumerate(events)]
    return [event for _, _, event in sorted(delayed, key=lambda of: of[:2])]


def source_of(event: dict[str, Any]) -> Source:
    return ORDERS if "order_id" in event else CLICKS


async def in_time(events: list[dict[str, Any]], **settings: Any) -> tuple[Outputs, Profiles]:
    """Return the outputs and profiles of one partition for the events in order."""
    harness = ShellHarness(NOON, 1, **settings)
    for event in events:
        harness.append(source_of(event), 0, event, event["occurred_at"])
    await run_to_the_end(harness)
    return by_id(harness.outputs()), harness.profiles()


async def crashing(seed: int, *, ordering: str = "event_time", **settings: Any) -> tuple[bool, ShellHarness]:
    """Run the events out of order on three partitions whose tasks crash at every step. Return True if all of it is
    right."""
    rng, events, home = random.Random(seed), close(seed), Partitioner(3)
    outputs, profiles = await in_time(events, identity_resolution=settings.get("identity_resolution", False))
    keyed = settings.get("clickstream_co_partitioned", False)
    harness = ShellHarness(NOON, 3, ordering=ordering, profiles=True, **settings)
    for event in disordered(seed, events):
        partition = home.partition(key_of(event)) if keyed else rng.randrange(3)
        harness.append(source_of(event), partition, event, event["occurred_at"])
    await harness.run_randomly(rng, 700, 12)
    await run_to_the_end(harness)
    return same(
        harness.outputs(), outputs
    ) and harness.profiles() == profiles and harness.profiles_are_published(), harness


@pytest.mark.parametrize(("keyed", "identity_resolution"), [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize("seed", range(4))
async def test_crashes_at_every_step_keep_the_outputs_of_time_order(
    seed: int, keyed: bool, identity_resolution: bool
) -> None:
    right, harness = await crashing(seed, identity_resolution=identity_resolution, **(CO_PARTITIONED if keyed else {}))
    assert right
    assert harness.counts["repartition_received", "repeated"] > 0
    assert harness.counts["out_of_order", "clickstream"] == 0


async def test_arrival_order_gives_other_outputs() -> None:
    assert await goes_wrong(lambda seed: crashing(seed, ordering="arrival", identity_resolution=True), seeds=range(3))


async def test_changing_the_ordering_setting_loses_and_repeats_no_event() -> None:
    events = close(1)
    outputs, profiles = await in_time(events)
    harness, rng = ShellHarness(NOON, 2, ordering="event_time"), random.Random(1)
    for event in disordered(1, events):
        harness.append(source_of(event), rng.randrange(2), event, event["occurred_at"])
    for n in range(400):
        number = n % 2
        harness.fetch(number, rng.choice([CLICKS, ORDERS, REPARTITION]), rng.randrange(1, 12))
        harness.now += 100
        await harness.tick(number)
        if n % 7 == 0:
            await harness.commit(number, crash_at=rng.choice(["in flush", "offsets", ""]))
        if n % 50 == 0:
            ordering = "arrival" if harness.settings.ordering == "event_time" else "time"
            harness.settings = dataclasses.replace(harness.settings, ordering=ordering)
            harness.restart_task(number)
    await run_to_the_end(harness)
    lasting = ("orders", "revenue", "product_views", "sessions", "checkouts", "first_seen_at", "last_seen_at")
    found = harness.profiles()
    assert found.keys() == profiles.keys()
    for who, profile in found.items():
        assert {name: profile[name] for name in lasting} == {name: profiles[who][name] for name in lasting}
    assert outputs


@pytest.mark.parametrize("identity_resolution", [False, True])
async def test_more_events_than_may_wait_are_buffered_and_no_source_stops(identity_resolution: bool) -> None:
    """Events that wait for their own source must not pause it: the bound is for events ahead of other sources."""
    events = close(2)
    outputs, profiles = await in_time(events, identity_resolution=identity_resolution)
    harness, rng = (
        ShellHarness(NOON, 2, ordering="event_time", identity_resolution=identity_resolution, max_buffer_bytes=500),
        random.Random(1),
    )
    for event in disordered(2, events):
        harness.append(source_of(event), rng.randrange(2), event, event["occurred_at"])
    for n in range(3_000):
        harness.now += 200
        for number in (0, 1):
            for rank in harness.tasks[number].read:
                harness.fetch(number, rank, 5)
            await harness.tick(number)
            if n % 5 == number:
                await harness.commit(number)
        if harness.counts["applied", "clickstream"] + harness.counts["applied", "orders"] == len(events):
            break
    harness.now += 2 * DAY
    await harness.run()
    assert (by_id(harness.outputs()), harness.profiles()) == (outputs, profiles)


@pytest.mark.parametrize("ordering", ["arrival", "event_time"])
async def test_live_event_is_applied_after_delay_and_lateness_and_after_an_earlier_link(ordering: str) -> None:
    """An anonymous event arrives while an earlier link of its device is still on its way."""
    harness, home = ShellHarness(NOON, 4, ordering=ordering, identity_resolution=True, **CO_PARTITIONED), Partitioner(4)
    assert home.partition(b"c-2") != home.partition(b"d-1")

    def put(**event: Any) -> None:
        harness.append(CLICKS, home.partition(key_of(event)), {"type": "product_viewed", "product_id": "p", **event})

    async def seconds(number: int) -> None:
        for _ in range(number):
            harness.now += 1_000
            for task in harness.tasks.values():
                for rank in task.read:
                    harness.fetch(task.number, rank)
                await harness.tick(task.number)
                await harness.commit(task.number)

    await seconds(20)
    put(event_id="e-1", customer_id="c-1", anonymous_id="d-1", occurred_at=harness.now - 20)
    put(event_id="e-2", customer_id="c-2", anonymous_id="d-1", occurred_at=harness.now - 10)
    put(event_id="e-3", anonymous_id="d-1", occurred_at=harness.now)
    for rank in (CLICKS, REPARTITION):
        harness.fetch(home.partition(b"d-1"), rank)
    await harness.tick(home.partition(b"d-1"))
    await seconds((DELAY + LATENESS) // 1_000)
    changed = [output for output in harness.outputs() if output["type"] == "stage_changed"]
    assert len(changed) == (0 if ordering == "event_time" else 2)
    await seconds(8)
    first = 1 if ordering == "event_time" else 2
    assert {who: profile["product_views"] for who, profile in harness.profiles().items()} == {
        (True, "c-1"): first,
        (True, "c-2"): 3 - first,
    }
    assert len([output for output in harness.outputs() if output["type"] == "stage_changed"]) == 2
    assert harness.now - NOON < MINUTE
