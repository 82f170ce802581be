"""Topics that are not co-partitioned: two workers apply each record on the partition of its customer."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewPartitions

from tests.integration.outcomes import BADLY_KEYED, all_outputs, assert_outputs_come
from tests.support.broker_fixtures import IN_BOTH_GUARANTEES, ON_APACHE_KAFKA
from tests.support.process_cluster import ProcessCluster, WorkerProcess, wait_until
from tests.support.replay_comparison import differing_outputs, ids_until, replay_outputs
from tests.support.shop_events import MINUTE, click, now, shop

NewCluster = Callable[..., Awaitable[ProcessCluster]]


async def scattered(cluster: ProcessCluster, events: list[dict[str, Any]], seed: int, pause: float = 0.0) -> None:
    """Produce the events in order, each on any partition of its topic."""
    rng = random.Random(seed)
    producer = AIOKafkaProducer(bootstrap_servers=cluster.settings.broker)
    await producer.start()
    counts: dict[str, int] = {}
    try:
        for n in range(0, len(events), 40):
            for event in events[n : n + 40]:
                topic = cluster.settings.orders_topic if "order_id" in event else cluster.settings.clickstream_topic
                if topic not in counts:
                    counts[topic] = len(await producer.partitions_for(topic))
                await producer.send(topic, json.dumps(event).encode(), partition=rng.randrange(counts[topic]))
            await producer.flush()
            await asyncio.sleep(pause)
    finally:
        await producer.stop()


@pytest.mark.parametrize(
    ("clickstream", "orders"),
    [(5, 2), *(pytest.param(*counts, marks=pytest.mark.slow) for counts in ((2, 1), (3, 5), (3, 3)))],
    ids=lambda count: f"{count}",
)
async def test_topics_with_other_numbers_of_partitions_give_the_outputs_of_co_partitioned_ones(
    make_cluster: NewCluster, tmp_path: Path, clickstream: int, orders: int
) -> None:
    """There are two tasks and two workers. Of a topic with one partition, one worker has no repartition task."""
    clicks, purchases = shop(seed=5, customers=40, events=1000, end=now() - 90 * MINUTE)
    events = sorted((*clicks, *purchases), key=lambda event: event["occurred_at"])
    expected = replay_outputs(tmp_path / "replay", clicks, purchases)
    counts = {"clickstream": clickstream, "orders": orders}
    cluster = await make_cluster(counts, **BADLY_KEYED, backfill_idle="3s", standby_replicas="1")
    await scattered(cluster, events, 1)
    workers = [cluster.start_worker() for _ in range(2)]
    for worker in workers:
        await worker.ready()
    last = events[-1]["occurred_at"] - 10_000

    async def all_there() -> bool:
        return ids_until(last, expected) <= ids_until(last, await all_outputs(cluster))

    await wait_until(all_there, "every output of the replay")
    assert differing_outputs(await all_outputs(cluster), expected, last) == []
    assert await cluster.documents(cluster.settings.dead_letters_topic) == []
    await wait_until(
        lambda: sum(worker.metric("lifecycle_partitions_assigned") for worker in workers) == 2, "two tasks"
    )
    apart = sum(count for count in (clickstream, orders) if count != 2)
    await wait_until(
        lambda: sum(worker.metric("lifecycle_repartition_tasks_assigned") for worker in workers) == apart, "the readers"
    )
    forwarded = sum(worker.metric("lifecycle_repartition_sent_records_total") for worker in workers)
    assert forwarded >= (clickstream != 2) * len(clicks) + (orders != 2) * len(purchases)
    for topic, count in ((cluster.settings.clickstream_topic, clickstream), (cluster.settings.orders_topic, orders)):
        await wait_until(lambda t=topic, n=count: len(lags(workers, t)) == n, "the lag of each partition")  # type: ignore[misc]
        await wait_until(
            lambda t=topic: not any(worker.metric("lifecycle_consumer_lag_records", topic=t) for worker in workers),  # type: ignore[misc]
            "a topic that is read to its end",
        )


QUICK = {"session_timeout": "3s", "heartbeat_interval": "500ms", "commit_interval": "100ms"}
PAST = {"backfill_idle": "5m"}
"""A pause in the history must not count as silence: only the events at its end show that it has ended."""


def lags(workers: list[WorkerProcess], topic: str) -> list[str]:
    """Return the lines of /metrics with the lag of the partitions of a topic."""
    shown = [line for worker in workers for line in worker.get("/metrics")[1].splitlines() if f'"{topic}"' in line]
    return [line for line in shown if line.startswith("lifecycle_consumer_lag_records{")]


class Shop:
    """Days of a shop, with the outputs expected of a cluster whatever happens to its workers."""

    def __init__(self, directory: Path, cluster: ProcessCluster, seed: int, events: int) -> None:
        clicks, orders = shop(seed=seed, customers=60, events=events, end=now() - 90 * MINUTE)
        self.events = sorted((*clicks, *orders), key=lambda event: event["occurred_at"])
        self.expected = replay_outputs(directory / "replay", clicks, orders)
        self.last = self.events[-1]["occurred_at"] - 10_000
        self._cluster = cluster
        self._exact = cluster.settings.processing_guarantee == "exactly_once"

    async def outputs(self) -> list[dict[str, Any]]:
        return await all_outputs(self._cluster, "read_committed" if self._exact else "read_uncommitted")

    async def end(self) -> None:
        """Produce a present event to each partition of each topic, each of its own customer."""
        producer = AIOKafkaProducer(bootstrap_servers=self._cluster.settings.broker)
        await producer.start()
        try:
            for topic in (self._cluster.settings.clickstream_topic, self._cluster.settings.orders_topic):
                for partition in await producer.partitions_for(topic):
                    event = click(f"later-{topic}-{partition}", now() - MINUTE)
                    await producer.send(topic, json.dumps(event).encode(), partition=partition)
            await producer.flush()
        finally:
            await producer.stop()

    async def assert_outputs_come(self, *survivors: WorkerProcess) -> None:
        """Assert that no output is lost or unexpected, that repeats are equal, and that exactly once has no repeats."""
        await assert_outputs_come(self.outputs, self.expected, self.last, self._exact, *survivors)
        assert await self._cluster.documents(self._cluster.settings.dead_letters_topic) == []


@IN_BOTH_GUARANTEES
@pytest.mark.slow
async def test_kills_while_topics_are_not_co_partitioned_lose_nothing_and_repeat_only_equal_outputs(
    make_cluster: NewCluster, tmp_path: Path, guarantee: str
) -> None:
    """There are two tasks and eight repartition tasks: one of three workers has readers only."""
    rng = random.Random(guarantee)
    cluster = await make_cluster(
        {"clickstream": 5, "orders": 3},
        **BADLY_KEYED,
        **QUICK,
        processing_guarantee=guarantee,
        backfill_idle="10s",
        standby_replicas="1",
    )
    days = Shop(tmp_path, cluster, 7, 4000)
    streaming = asyncio.create_task(
        asyncio.to_thread(lambda: asyncio.run(scattered(cluster, days.events, 3, pause=0.15)))
    )
    survivors = [cluster.start_worker() for _ in range(2)]
    for _ in range(3):
        victim = cluster.start_worker()
        await victim.ready()
        await asyncio.sleep(rng.uniform(0.5, 1.5))
        victim.kill()
    await streaming
    await days.assert_outputs_come(*survivors)


@pytest.mark.slow
@IN_BOTH_GUARANTEES
@pytest.mark.parametrize("before", [2, 3], ids=["by the tasks", "independently"])
async def test_outputs_stay_right_when_a_topic_is_grown(
    make_cluster: NewCluster, tmp_path: Path, guarantee: str, before: int
) -> None:
    """Tasks have read the topic, or repartition tasks have. The new partitions count from the next start."""
    cluster = await make_cluster(
        {"clickstream": before}, **BADLY_KEYED, **QUICK, **PAST, processing_guarantee=guarantee
    )
    days = Shop(tmp_path, cluster, 8, 1500)
    half = len(days.events) // 2
    await scattered(cluster, days.events[:half], 1)
    first = cluster.start_worker()
    await wait_until(lambda: first.metric("lifecycle_events_total", outcome="applied") > 100, "work of the tasks")
    first.kill()
    async with cluster.admin() as admin:
        await admin.create_partitions({cluster.settings.clickstream_topic: NewPartitions(5)})
    await scattered(cluster, days.events[half:], 2)
    workers = [cluster.start_worker() for _ in range(2)]
    for worker in workers:
        await worker.ready()
    await days.end()
    await days.assert_outputs_come(*workers)
    assert sum(worker.metric("lifecycle_repartition_tasks_assigned") for worker in workers) == 5


@pytest.mark.slow
@ON_APACHE_KAFKA
async def test_workers_notice_within_seconds_that_a_topic_is_grown(make_cluster: NewCluster) -> None:
    cluster = await make_cluster({"clickstream": 3}, **BADLY_KEYED, **QUICK)
    workers = [cluster.start_worker() for _ in range(2)]
    for worker in workers:
        await worker.ready()
    clickstream, orders = cluster.settings.clickstream_topic, cluster.settings.orders_topic
    async with cluster.admin() as admin:
        await admin.create_partitions({clickstream: NewPartitions(5)})

    def readers() -> float:
        return sum(worker.metric("lifecycle_repartition_tasks_assigned") for worker in workers)

    await wait_until(lambda: readers() == 5, "readers of the new partitions")
    producer = AIOKafkaProducer(bootstrap_servers=cluster.settings.broker)
    await producer.start()
    for partition in range(5):
        await producer.send(clickstream, json.dumps(click(f"c-{partition}", now())).encode(), partition=partition)
    await producer.stop()

    async def all_there() -> bool:
        return {change["customer_id"] for change in await cluster.stage_changes()} == {f"c-{n}" for n in range(5)}

    await wait_until(all_there, "what came on old and new partitions")
    async with cluster.admin() as admin:
        await admin.create_partitions({orders: NewPartitions(3)})
    for worker in workers:
        assert await wait_until(worker.process.poll, "the end of a worker that read it itself") == 1
        assert "repartition tasks have to read it" in worker.log.read_text()
    after = cluster.start_worker()
    await after.ready()
    assert after.metric("lifecycle_repartition_tasks_assigned") == 8


@pytest.mark.slow
@ON_APACHE_KAFKA
async def test_topic_that_was_not_co_partitioned_must_not_be_grown_to_the_number_of_tasks(
    make_cluster: NewCluster, tmp_path: Path
) -> None:
    cluster = await make_cluster({"orders": 1}, **BADLY_KEYED, **QUICK, **PAST)
    days = Shop(tmp_path, cluster, 10, 600)
    half = len(days.events) // 2
    await scattered(cluster, days.events[:half], 1)
    worker = cluster.start_worker()
    await wait_until(
        lambda: worker.metric("lifecycle_repartition_received_records_total", outcome="taken") > 30, "forwarded records"
    )
    worker.terminate()
    assert await wait_until(lambda: worker.process.poll() is not None, "its end")
    async with cluster.admin() as admin:
        await admin.create_partitions({cluster.settings.orders_topic: NewPartitions(2)})
    refusing = cluster.start_worker()
    assert await wait_until(refusing.process.poll, "the end of a worker that cannot take over") == 1
    assert "has 2 partitions now, as many as LIFECYCLE_PARTITIONS" in refusing.log.read_text()
    async with cluster.admin() as admin:
        await admin.create_partitions({cluster.settings.orders_topic: NewPartitions(3)})
    await scattered(cluster, days.events[half:], 2)
    await days.end()
    await days.assert_outputs_come(cluster.start_worker())


@pytest.mark.slow
@ON_APACHE_KAFKA
async def test_worker_with_only_repartition_tasks_waits_for_the_progress_that_others_committed(
    make_cluster: NewCluster,
) -> None:
    """The delay of orders is a hundred days, so that every click is ahead of them and waits."""
    bound = 32 << 10
    cluster = await make_cluster(
        {"clickstream": 4},
        partitions="1",
        clickstream_co_partitioned="off",
        orders_delay="100d",
        max_buffer_bytes="32KiB",
        **QUICK,
    )
    start = now() - 60 * MINUTE
    workers = [cluster.start_worker() for _ in range(2)]
    for worker in workers:
        await worker.ready()
    await scattered(cluster, [click(f"c-{n % 50}", start + n * 100) for n in range(8_000)], 1, pause=0.02)
    await wait_until(lambda: sum(worker.metric("lifecycle_partitions_assigned") for worker in workers) == 1, "the task")
    [apart] = [worker for worker in workers if worker.metric("lifecycle_partitions_assigned") == 0]

    def held() -> bool:
        return apart.metric("lifecycle_buffered_bytes") > bound

    await wait_until(held, "a reader that is ahead")
    before = apart.metric("lifecycle_repartition_sent_records_total")
    await asyncio.sleep(3)
    after = apart.metric("lifecycle_repartition_sent_records_total")
    lag = apart.metric("lifecycle_consumer_lag_records")
    assert after < 4_000
    assert after - before < 1_000
    assert lag > 1_000
