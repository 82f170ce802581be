"""Topics with another number of partitions than there are tasks: two workers, each record applied where it belongs."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests.integration.cluster import Cluster, until
from tests.integration.shop import MINUTE, now, replayed, shop, unlike, up_to
from tests.integration.test_forwarding import BADLY_KEYED, all_outputs

NewCluster = Callable[..., Awaitable[Cluster]]


async def scattered(cluster: Cluster, events: list[dict[str, Any]], seed: int, pause: float = 0.0) -> None:
    """Events in order, each on any partition of its topic."""
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
    [(5, 2), (2, 1), (3, 5), (3, 3)],
    ids=lambda count: f"{count}",
)
async def test_other_numbers_of_partitions_yield_what_well_keyed_topics_do(
    make_cluster: NewCluster, tmp_path: Path, clickstream: int, orders: int
) -> None:
    """Of two tasks. Two workers: of a topic with one partition, one of them has no reader."""
    clicks, purchases = shop(seed=5, customers=40, events=1000, end=now() - 90 * MINUTE)
    events = sorted((*clicks, *purchases), key=lambda event: event["occurred_at"])
    expected = replayed(tmp_path / "replay", clicks, purchases)
    cluster = await make_cluster({"clickstream": clickstream, "orders": orders}, **BADLY_KEYED, backfill_idle="3s")
    await scattered(cluster, events, 1)
    workers = [cluster.start_worker() for _ in range(2)]
    for worker in workers:
        await worker.ready()
    last = events[-1]["occurred_at"] - 10_000

    async def all_there() -> bool:
        return up_to(last, expected) <= up_to(last, await all_outputs(cluster))

    await until(all_there, "every output of the replay")
    assert unlike(await all_outputs(cluster), expected, last) == []
    assert await cluster.documents(cluster.settings.dead_letters_topic) == []
    assert sum(worker.metric("lifecycle_partitions_assigned") for worker in workers) == 2
    apart = sum(count for count in (clickstream, orders) if count != 2)
    assert sum(worker.metric("lifecycle_readers_assigned") for worker in workers) == apart
    forwarded = sum(worker.metric("lifecycle_forwarded_records_total") for worker in workers)
    assert forwarded >= (clickstream != 2) * len(clicks) + (orders != 2) * len(purchases)
    for topic, count in ((cluster.settings.clickstream_topic, clickstream), (cluster.settings.orders_topic, orders)):
        shown = [line for worker in workers for line in worker.get("/metrics")[1].splitlines() if f'"{topic}"' in line]
        lag = [line for line in shown if line.startswith("lifecycle_consumer_lag_records{")]
        assert len(lag) == count
        await until(
            lambda t=topic: not any(worker.metric("lifecycle_consumer_lag_records", topic=t) for worker in workers),  # type: ignore[misc]
            "a topic that is read to its end",
        )
