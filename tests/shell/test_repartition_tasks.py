"""Topics that are not co-partitioned are read by repartition tasks, and give the same outputs."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from faust.types import TP

from streams.core.event_time.inputs import REPARTITION
from streams.core.model.event import Source
from streams.core.model.sources import Fetch, StoredProgress, rank_of
from streams.shell.commit.metadata import decode_metadata
from streams.shell.faults import PartitionsAdded, RecordsMissing, Truncated
from streams.shell.monitoring.slowest_partition import NONE_TO_WAIT_FOR, slowest
from streams.transport.chunks import Chunk, LostBatch
from tests.shell.shop_runs import NOON, by_id, expected, goes_wrong, run_to_the_end
from tests.support.shell_harness import ShellHarness
from tests.support.shop_events import HOUR, MINUTE, click, order, shop

CLICKS, ORDERS = Source.CLICKSTREAM, Source.ORDERS
COUNTS = ({CLICKS: 5}, {ORDERS: 2}, {CLICKS: 2, ORDERS: 5}, {CLICKS: 4, ORDERS: 4}, {CLICKS: 1})
"""Numbers of partitions beside three tasks, of one source or of both. Another source has arbitrary keys."""


async def crashing(
    seed: int, not_co_partitioned: dict[Source, int], disabled_guard: str = ""
) -> tuple[bool, ShellHarness]:
    """Run a shop whose tasks and repartition tasks crash at every step. Return True if all outputs are right."""
    rng = random.Random(seed)
    clicks, orders = shop(seed, customers=15, events=400, end=NOON)
    right = await expected(clicks, orders, NOON)
    harness = ShellHarness(NOON, 3, disabled_guard, not_co_partitioned)
    for source, events in ((CLICKS, clicks), (ORDERS, orders)):
        for event in events:
            harness.append(source, rng.randrange(not_co_partitioned.get(source, 3)), event, event["occurred_at"])
    for _ in range(700):
        number, reader = rng.randrange(3), rng.choice([*harness.readers])
        match rng.randrange(13):
            case 0 | 1 | 2 | 3:
                harness.fetch(number, rng.choice([*harness.tasks[number].read, REPARTITION]), rng.randrange(1, 30))
            case 4 | 5 | 6:
                harness.read_source(*reader, rng.randrange(1, 30))
            case 7:
                harness.now += rng.choice([0, 100, 2_000])
                await harness.tick(number)
            case 8:
                harness.now += rng.choice([0, 100, 2_000])
                await harness.tick_reader(*reader)
            case 9:
                await harness.commit(number)
                await harness.commit_reader(*reader)
            case 10:
                await harness.commit(number, crash_at=rng.choice(["flush", "in flush", "offsets"]))
            case 11:
                await harness.commit_reader(*reader, crash_before_offsets=rng.random() < 0.7)
            case 12 if rng.random() < 0.3:
                harness.drops_next_batch.add(number if rng.random() < 0.5 else reader)
    harness.drops_next_batch.clear()
    await run_to_the_end(harness)
    applied = [sum(profile.orders for _, profile in task.state.profiles.items()) for task in harness.tasks.values()]
    return by_id(harness.outputs()) == right and sum(applied) == len(orders), harness


@pytest.mark.parametrize("not_co_partitioned", COUNTS, ids=str)
@pytest.mark.parametrize("seed", range(4))
async def test_crashes_at_every_step_lose_nothing_and_apply_nothing_twice(
    seed: int, not_co_partitioned: dict[Source, int]
) -> None:
    right, harness = await crashing(seed, not_co_partitioned)
    assert right
    assert harness.counts["repartition_received", "repeated"] > 0
    assert harness.counts["repartition_received", "taken"] > 25


@pytest.mark.parametrize("disabled_guard", ["previous", "taken", "of_upstreams"])
async def test_outputs_are_wrong_with_any_guard_disabled(disabled_guard: str) -> None:
    assert await goes_wrong(lambda seed: crashing(seed, COUNTS[2], disabled_guard), seeds=range(12))


@pytest.mark.parametrize("not_co_partitioned", [{CLICKS: 5, ORDERS: 2}, {ORDERS: 5}], ids=str)
async def test_a_backlog_of_a_partition_without_its_repartition_task_raises_no_false_abandonment(
    not_co_partitioned: dict[Source, int],
) -> None:
    """The order that prevents the abandonment is on a partition without a reader at present."""
    began = NOON - 5 * HOUR
    harness = ShellHarness(NOON, 3, not_co_partitioned=not_co_partitioned)
    home = harness.tasks[0]._partitioner.partition(b"c-1")
    harness.append(CLICKS, home, click("c-1", began, "product_added", product_id="p", price="5"), began)
    harness.append(ORDERS, 1, order("c-1", began + 10 * MINUTE, "o-1", total="5"), began + 10 * MINUTE)
    away = harness.readers.pop((ORDERS, 1))
    for _ in range(5):
        await harness.run()
    engine = harness.tasks[home].engine
    assert harness.outputs() == []
    assert engine.watermark is None
    assert engine.watermark_blocked_by() == (rank_of(ORDERS), 1)
    assert harness.tasks[home].readings({}).blocked_by_partition == 1

    harness.readers[ORDERS, 1] = away
    await harness.run()
    assert [o["type"] for o in harness.outputs() if o["type"] != "stage_changed"] == []
    assert [o["to_stage"] for o in harness.outputs()] == ["visitor", "prospect", "customer"]
    assert engine.watermark is not None
    assert engine.watermark > harness.now - 17_000


async def test_repartition_task_sends_nothing_before_its_first_commit() -> None:
    """The first commit writes an offset. A partition with events but without an offset has lost its offset."""
    harness = ShellHarness(NOON, 1, not_co_partitioned={CLICKS: 2})
    harness.append(CLICKS, 1, click("c", NOON))
    harness.read_source(CLICKS, 1)
    await harness.tick_reader(CLICKS, 1)
    activity = harness.logs[harness.settings.repartition_topic, 0]
    assert activity == []
    await harness.commit_reader(CLICKS, 1)
    assert len(activity) == 2
    harness.append(CLICKS, 1, click("d", NOON))
    harness.read_source(CLICKS, 1)
    await harness.readers[CLICKS, 1].flush()
    assert len(activity) == 3


async def test_progress_and_topic_are_stored_with_the_offset_and_restored_from_it() -> None:
    harness = ShellHarness(NOON, 1, not_co_partitioned={CLICKS: 2})
    harness.append(CLICKS, 0, click("c", NOON - 3 * HOUR))
    await harness.run()
    offset, metadata = harness.offsets["clickstream", 0]
    mark = decode_metadata(metadata)
    assert (offset, mark is not None and mark.repartition_task) == (1, True)
    assert mark is not None
    assert mark.progress == StoredProgress(harness.now - 5_000, True, mark.progress.last_record_at)
    harness.restart_reader(CLICKS, 0)
    assert harness.readers[CLICKS, 0].slowest() == harness.now - 5_000
    assert harness.readers[CLICKS, 0].snapshot(force=True) is not None


async def test_record_that_a_repartition_task_rejects_is_a_dead_letter_of_its_partition() -> None:
    harness = ShellHarness(NOON, 2, not_co_partitioned={ORDERS: 5})
    harness.append_record(("orders", 4), b"k", b"{", [], NOON)
    reader = harness.readers[ORDERS, 4]
    harness.read_source(ORDERS, 4)
    chunk = Chunk([])
    chunk.start, chunk.next, chunk.lost = 1, 4, LostBatch(1, 4, "its checksum is wrong")
    reader.process(ORDERS, chunk)
    await harness.commit_reader(ORDERS, 4)
    [*_, one, two] = [r for (topic, _), log in harness.logs.items() if topic == "lifecycle-dead-letters" for r in log]
    told = [{name.rpartition(".")[2]: value for name, value in dict(r.headers).items()} for r in (one, two)]
    assert [(t["reason"], t["topic"], t["partition"], t["offset"]) for t in told] == [
        (b"not_json", b"orders", b"4", b"0"),
        (b"corrupt_batch", b"orders", b"4", b"1"),
    ]
    assert harness.counts["rejected", "orders"] == 2
    assert harness.offsets["orders", 4][0] == 4
    assert reader.next_offsets() == {TP("orders", 4): 4}


async def test_records_that_were_never_read_and_are_gone_end_the_worker() -> None:
    harness = ShellHarness(NOON, 2, not_co_partitioned={ORDERS: 3})
    chunk = Chunk([])
    chunk.start = chunk.next = 5
    with pytest.raises(RecordsMissing, match="orders, partition 2: offset 0 is next, but the topic begins at 5"):
        harness.readers[ORDERS, 2].process(ORDERS, chunk)


async def test_topic_that_ends_before_applied_records_ends_the_worker() -> None:
    """The topic was truncated: tasks would take new records for those that they had, and drop them."""
    reader = ShellHarness(NOON, 2, not_co_partitioned={ORDERS: 3}).readers[ORDERS, 2]
    reader._taken = 7
    reader.advance({ORDERS: Fetch(NOON, 3)}, frozenset())
    reader.advance({ORDERS: Fetch(NOON + 39_000, 3)}, frozenset())
    assert reader.progress(ORDERS).fetch is None  # a leader that was just elected may show that for a moment
    reader.advance({ORDERS: Fetch(NOON + 41_000, 8)}, frozenset())
    assert reader.progress(ORDERS).fetch is not None
    reader.advance({ORDERS: Fetch(NOON + 42_000, 3)}, frozenset())
    with pytest.raises(Truncated, match="orders, partition 2, ends at offset 3, but the state contains"):
        reader.advance({ORDERS: Fetch(NOON + 82_000, 3)}, frozenset())


async def test_repartition_task_ahead_of_the_slowest_source_is_paused() -> None:
    harness = ShellHarness(NOON, 2, not_co_partitioned={CLICKS: 3}, max_buffer_bytes=2_000)
    for n in range(300):
        for partition in range(3):
            event = click(f"c-{n % 40}", NOON - HOUR + n * 1_000, event_id=f"{partition}-{n}")
            harness.append(CLICKS, partition, event, NOON)
    fast = harness.readers[CLICKS, 0]
    for _ in range(100):
        harness.read_source(CLICKS, 0, 10)
        await harness.tick_reader(CLICKS, 0)
        await harness.commit_reader(CLICKS, 0)
        for number in (0, 1):
            harness.fetch(number, REPARTITION)
            await harness.tick(number)
        harness.now += 200
    assert fast.must_pause(CLICKS)
    assert 5 < fast.position(CLICKS) < 50
    assert fast.readings().source.buffered_bytes > 2_000
    await harness.run()
    assert [reader.position(CLICKS) for reader in harness.readers.values()] == [300, 300, 300]
    assert harness.counts["applied", "clickstream"] == 900
    assert fast.may_resume(CLICKS)


async def test_grown_topic_is_waited_for_and_earlier_events_are_not_applied_again() -> None:
    """Three tasks read the three partitions of a topic; then it has five. The last commits did not complete."""
    clicks, orders = shop(3, customers=15, events=300, end=NOON)
    rng = random.Random(3)
    half = clicks[len(clicks) // 2]["occurred_at"]
    harness = ShellHarness(half, 3)
    for source, events in ((CLICKS, clicks), (ORDERS, orders)):
        for event in events:
            if event["occurred_at"] < half:
                harness.append(source, rng.randrange(3), event, event["occurred_at"])
    for n in range(120):
        number = rng.randrange(3)
        harness.fetch(number, rng.choice([CLICKS, ORDERS, REPARTITION, REPARTITION]), 5)
        harness.now += 100
        await harness.tick(number)
        if n % 30 == 0:
            await harness.commit(number)
    harness.now, harness.not_co_partitioned = NOON, {CLICKS: 5}
    for source, events in ((CLICKS, clicks), (ORDERS, orders)):
        for event in events:
            if event["occurred_at"] >= half:
                harness.append(source, rng.randrange(5 if source is CLICKS else 3), event, event["occurred_at"])
    for number in range(3):
        await harness.commit(number, crash_at="offsets")
        harness.restart_task(number)
    for partition in range(5):
        harness.restart_reader(CLICKS, partition)
    assert harness.counts["applied", "clickstream"] > 20
    assert harness.counts["replayed", "clickstream"] == 0
    await run_to_the_end(harness)
    assert by_id(harness.outputs()) == await expected(clicks, orders, NOON)
    views = sum(p.product_views for task in harness.tasks.values() for _, p in task.state.profiles.items())
    assert views == sum(event["type"] == "product_viewed" for event in clicks)
    assert harness.counts["replayed", "clickstream"] > 0


async def test_record_from_an_unknown_upstream_partition_ends_the_worker_and_is_not_lost() -> None:
    harness = ShellHarness(NOON, 2, not_co_partitioned={CLICKS: 3})
    home = harness.tasks[0]._partitioner.partition(b"c-1")
    await harness.run()
    harness.not_co_partitioned = {CLICKS: 4}
    harness.restart_reader(CLICKS, 3)
    harness.append(CLICKS, 3, click("c-1", NOON))
    harness.read_source(CLICKS, 3)
    await harness.commit_reader(CLICKS, 3)
    with pytest.raises(PartitionsAdded, match="clickstream has more partitions"):
        harness.fetch(home, REPARTITION)
    for number in (0, 1):
        harness.restart_task(number)
    await harness.run()
    assert [o["customer_id"] for o in harness.outputs()] == ["c-1"]


async def test_a_clock_that_is_not_trusted_yet_proves_no_silence() -> None:
    harness = ShellHarness(NOON, 1, not_co_partitioned={CLICKS: 2})
    reader = harness.readers[CLICKS, 0]
    reader.trust.given = False
    await harness.tick_reader(CLICKS, 0)
    assert reader.slowest() is None
    reader.trust.given = True
    reader.advance({CLICKS: Fetch(NOON - 1, 0)}, frozenset({CLICKS}))
    assert reader.slowest() is None  # the whole topic is silent for too long
    reader.advance({CLICKS: Fetch(NOON, 0)}, frozenset())
    assert reader.slowest() == NOON - 5_000
    assert reader.lag({CLICKS: Fetch(NOON, 7)}) == {("clickstream", 0): 7}
    assert reader.read == {0: TP("clickstream", 0)}
    reader.close()
    reader.advance({CLICKS: Fetch(NOON + HOUR, 0)}, frozenset())
    assert reader.slowest() == NOON - 5_000


def test_slowest_progress_of_partitions_is_unknown_if_one_is_unknown() -> None:
    marks: list[Any] = [StoredProgress(7), StoredProgress(5), StoredProgress(9)]
    assert slowest(marks) == 5
    assert slowest([*marks, None]) is None
    assert slowest([*marks, StoredProgress()]) is None
    assert slowest([None, None]) == slowest([]) == NONE_TO_WAIT_FOR


async def test_repartitioned_record_keeps_key_value_and_headers_and_gains_one() -> None:
    harness = ShellHarness(NOON, 2, not_co_partitioned={CLICKS: 3})
    event = click("c-1", NOON - HOUR)
    harness.append_record(("clickstream", 2), b"s-9", json.dumps(event).encode(), [("ce_id", b"7")], NOON - MINUTE)
    await harness.run()
    [record] = [r for n in (0, 1) for r in harness.logs["lifecycle-activity", n] if r.headers[0][0] == "ce_id"]
    assert (record.key, json.loads(record.value), record.headers[0]) == (b"s-9", event, ("ce_id", b"7"))
    assert json.loads(record.headers[1][1]) == [CLICKS, 2, 0, -1, NOON - MINUTE]
