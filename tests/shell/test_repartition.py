"""Events on the wrong partition are applied on their own one: once, in time order, whatever crashes."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest

from streams.contracts.partitioning import Partitioner
from streams.contracts.repartition import UPSTREAM
from streams.core.event_time.inputs import REPARTITION
from streams.core.model.sources import rank_of
from streams.transport.chunks import Chunk, LostBatch
from tests.shell.shop_runs import CLICKS, NOON, ORDERS, expected, goes_wrong, run_to_the_end, same
from tests.support.shell_harness import ShellHarness
from tests.support.shop_events import HOUR, MINUTE, click, order, shop


async def crashing(seed: int, disabled_guard: str = "") -> tuple[bool, ShellHarness]:
    """Run a shop with arbitrary keys on three partitions whose tasks crash at every step. Return True if all outputs
    are right."""
    rng = random.Random(seed)
    end = NOON
    clicks, orders = shop(seed, customers=15, events=400, end=end)
    right = await expected(clicks, orders, end)
    assert len({output["type"] for output in right.values()}) > 2

    harness = ShellHarness(end, 3, disabled_guard)
    for source, events in ((CLICKS, clicks), (ORDERS, orders)):
        for event in events:
            harness.append(source, rng.randrange(3), event, event["occurred_at"])
    await harness.run_randomly(rng, 500, 30)
    await run_to_the_end(harness)
    applied = [sum(profile.orders for _, profile in task.state.profiles.items()) for task in harness.tasks.values()]
    return same(harness.outputs(), right) and sum(applied) == len(orders), harness


@pytest.mark.parametrize("seed", range(12))
async def test_crashes_at_every_step_lose_nothing_and_apply_nothing_twice(seed: int) -> None:
    right, harness = await crashing(seed)
    assert right
    assert harness.counts["repartition_received", "repeated"] > 0
    assert harness.counts["repartition_received", "taken"] > 200


@pytest.mark.parametrize("disabled_guard", ["previous", "taken", "of_upstreams"])
async def test_outputs_are_wrong_with_any_guard_disabled(disabled_guard: str) -> None:
    assert await goes_wrong(lambda seed: crashing(seed, disabled_guard), seeds=range(12))


async def test_a_backlog_on_another_partition_raises_no_false_abandonment() -> None:
    """The order that prevents the abandonment is on a partition whose task has not read it yet, or does not run."""
    customer = "c-1"
    harness = ShellHarness(NOON, 3)
    home = next(n for n in range(3) if harness.tasks[n]._partitioner.partition(customer.encode()) == n)
    other = (home + 1) % 3
    began = NOON - 5 * HOUR
    harness.append(CLICKS, home, click(customer, began, "product_added", product_id="p", price="5"), began)
    harness.append(ORDERS, other, order(customer, began + 10 * MINUTE, "o-1", total="5"), began + 10 * MINUTE)

    for _ in range(100):  # all tasks but the other one
        harness.now += 1_000
        for number in {0, 1, 2} - {other}:
            for rank in harness.settings.read_topics:
                harness.fetch(number, rank)
            await harness.tick(number)
            await harness.commit(number)
    engine = harness.tasks[home].engine
    assert [output["type"] for output in harness.outputs()] == []
    assert engine.watermark is None
    assert engine.watermark_blocked_by() == (rank_of(CLICKS), other)

    await harness.run()
    assert [o["type"] for o in harness.outputs() if o["type"] != "stage_changed"] == []
    assert [o["to_stage"] for o in harness.outputs()] == ["visitor", "prospect", "customer"]
    assert engine.watermark is not None
    assert engine.watermark > harness.now - 17_000


async def test_silent_upstream_partition_blocks_the_watermark_of_all_tasks() -> None:
    harness = ShellHarness(NOON, 2)
    await harness.run()
    before = harness.tasks[0].engine.watermark
    assert before is not None
    for _ in range(30):
        harness.now += 1_000
        harness.fetch(0, REPARTITION)
        await harness.tick(0)
    held = harness.tasks[0].engine.watermark
    assert held is not None
    assert held <= before + 1_000
    assert harness.tasks[0].readings({}).blocked_by_partition == 1


async def test_restart_without_input_keeps_the_watermark_and_the_offsets_taken() -> None:
    harness = ShellHarness(NOON, 2)
    for n in range(20):
        harness.append(CLICKS, n % 2, click(f"c-{n}", NOON - HOUR + n * 1_000), NOON)
    await harness.run()
    progress = {n: dict(task.engine._taken) for n, task in harness.tasks.items()}
    assert any(taken >= 0 for taken in progress[0].values())
    outputs = len(harness.outputs())
    for number in (0, 1):
        harness.restart_task(number)
    engine = harness.tasks[0].engine
    assert engine._taken == progress[0]
    assert engine.slowest() is not None
    await harness.tick(0)
    assert engine.watermark is not None  # from the stored progress: no upstream partition has reported yet
    assert engine.watermark >= harness.now - 20_000
    await harness.run()
    assert len(harness.outputs()) == outputs


async def test_a_fast_partition_does_not_run_ahead_of_a_slow_one_without_bound() -> None:
    """Its events wait at other tasks until the slow partition has caught up: it stops, and the slow one does not."""
    harness = ShellHarness(NOON, 2, max_buffer_bytes=2_000)
    for n in range(300):
        for number in (0, 1):
            harness.append(
                CLICKS, number, click(f"c-{n % 40}", NOON - HOUR + n * 1_000, event_id=f"{number}-{n}"), NOON
            )
    most = 0
    for _ in range(200):
        harness.fetch(0, CLICKS, 10)
        harness.fetch(1, REPARTITION)
        await harness.tick(0)
        harness.now += 200
        most = max(most, harness.tasks[1].engine.repartition_buffered_bytes())
    assert harness.tasks[0].must_pause(CLICKS)
    assert 1_000 < most < 4_000
    assert harness.tasks[0].engine.progress(CLICKS).position < 100
    for _ in range(400):
        harness.now += 200
        for number in (0, 1):
            for rank in harness.settings.read_topics:
                harness.fetch(number, rank, 10)
            await harness.tick(number)
            assert harness.tasks[number].engine.repartition_buffered_bytes() < 6_000
    assert all(task.engine.progress(CLICKS).position == 300 for task in harness.tasks.values())
    assert harness.counts["applied", "clickstream"] == 600


async def test_headers_key_and_timestamp_of_a_forwarded_record_are_kept() -> None:
    harness = ShellHarness(NOON, 2)
    event = click("c-1", NOON - HOUR)
    for partition in (0, 1):
        harness.append_record(
            ("clickstream", partition), b"s-9", json.dumps(event).encode(), [("ce_id", b"7")], NOON - MINUTE
        )
    await harness.run()
    forwarded = [
        r for n in (0, 1) for r in harness.logs[harness.settings.repartition_topic, n] if r.headers[-1][0] == UPSTREAM
    ]
    assert [(r.key, json.loads(r.value), r.headers[0]) for r in forwarded] == [(b"s-9", event, ("ce_id", b"7"))]
    assert json.loads(forwarded[0].headers[1][1])[4] == NOON - MINUTE
    assert harness.counts["applied", "clickstream"] == 2


async def test_applied_upstream_offsets_are_kept_while_repartitioning_is_off() -> None:
    """Otherwise all events still on the topic would be applied again when repartitioning is switched on."""
    harness = ShellHarness(NOON, 2)
    for n in range(20):
        harness.append(CLICKS, n % 2, click(f"c-{n}", NOON - HOUR + n * 1_000), NOON)
    await harness.run()
    taken = {n: task.engine._taken for n, task in harness.tasks.items()}
    settings = harness.settings
    harness.settings = dataclasses.replace(settings, clickstream_co_partitioned=True, orders_co_partitioned=True)
    for number in (0, 1):
        harness.restart_task(number)
    await harness.run()
    assert all(topic != settings.repartition_topic for topic in harness.settings.read_topics.values())
    harness.settings = settings
    for number in (0, 1):
        harness.offsets.pop((settings.repartition_topic, number))  # expired, and reading begins at the start
        harness.restart_task(number)
    assert {n: task.engine._taken for n, task in harness.tasks.items()} == taken
    await harness.run()
    assert harness.counts["applied", "clickstream"] == 20


async def test_foreign_record_on_the_repartition_topic_is_a_dead_letter() -> None:
    harness = ShellHarness(NOON, 2)
    harness.append_record((harness.settings.repartition_topic, 0), b"k", b"{}", [])
    await harness.run()
    letters = [
        r for (topic, _), log in harness.logs.items() if topic == harness.settings.dead_letters_topic for r in log
    ]
    assert [(r.value, dict(r.headers)["__streams.errors.topic"]) for r in letters] == [(b"{}", b"lifecycle-activity")]


async def test_damaged_batch_of_repartitioned_records_is_a_dead_letter_and_blocks_nothing() -> None:
    harness = ShellHarness(NOON, 2)
    for n in range(20):
        harness.append(CLICKS, 0, click(f"c-{n}", NOON - HOUR + n * 1_000), NOON)
    harness.fetch(0, CLICKS)
    await harness.tick(0)
    log = harness.logs[harness.settings.repartition_topic, 1]
    forwarded = sum(record.headers[-1][0] == UPSTREAM for record in log)
    chunk = Chunk(log[3:])
    chunk.start, chunk.next, chunk.lost = 0, len(log), LostBatch(0, 3, "its checksum is wrong")
    harness.tasks[1].receive(chunk)
    await harness.run()
    letters = [
        r for (topic, _), log in harness.logs.items() if topic == harness.settings.dead_letters_topic for r in log
    ]
    assert [dict(r.headers)["__streams.errors.reason"] for r in letters] == [b"corrupt_batch"]
    assert harness.counts["applied", "clickstream"] == 20 - 3
    assert forwarded > 5
    watermark = harness.tasks[1].engine.watermark
    assert watermark is not None
    assert watermark > harness.now - 17_000


def of_another(harness: ShellHarness) -> str:
    """Return a customer with clicks on partition 0 and a profile on partition 1."""
    home = Partitioner(2)
    return next(who for n in range(100) if home.partition((who := f"c-{n}").encode()) == 1)


async def forward(harness: ShellHarness, who: str) -> None:
    harness.append(CLICKS, 0, click(who, harness.now), harness.now)
    harness.fetch(0, CLICKS)
    await harness.tick(0)
    await harness.commit(0)


async def test_damaged_batch_before_a_restart_blocks_no_later_repartitioned_record() -> None:
    harness = ShellHarness(NOON, 2)
    who = of_another(harness)
    await forward(harness, who)
    await harness.run()
    before = harness.tasks[1].engine.repartition_position
    await forward(harness, who)
    chunk = Chunk()
    chunk.start, chunk.next = before, len(harness.logs[harness.settings.repartition_topic, 1])
    chunk.lost = LostBatch(before, chunk.next, "its checksum is wrong")
    harness.tasks[1].receive(chunk)
    await harness.tick(1)
    await harness.commit(1)
    harness.restart_task(1)
    for _ in range(3):
        await forward(harness, who)
        await harness.run()
    assert harness.counts["applied", "clickstream"] == 4
    watermark = harness.tasks[1].engine.watermark
    assert watermark is not None
    assert watermark > harness.now - 17_000


async def test_record_skipped_by_setting_the_offset_blocks_no_later_repartitioned_record() -> None:
    """The log of a worker that ends at a bad record recommends this remedy."""
    harness = ShellHarness(NOON, 2)
    who, at = of_another(harness), (harness.settings.repartition_topic, 1)
    await forward(harness, who)
    await harness.run()
    before = harness.tasks[1].engine.repartition_position
    for _ in range(4):
        await forward(harness, who)
    bad = next(n for n, record in enumerate(harness.logs[at]) if n >= before and record.headers[-1][0] == UPSTREAM)
    harness.offsets[at] = (bad + 1, "")
    for number in (0, 1):
        harness.restart_task(number)
    await harness.run()
    assert harness.counts["applied", "clickstream"] == 4
