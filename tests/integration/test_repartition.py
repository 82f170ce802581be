"""Topics with arbitrary keys: two workers apply each record on the partition of its customer."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.outcomes import BADLY_KEYED, all_outputs, assert_outputs_come, stream_under_kills
from tests.support.broker_fixtures import IN_BOTH_GUARANTEES
from tests.support.process_cluster import ProcessCluster, wait_until
from tests.support.replay_comparison import differing_outputs, ids_until, replay_outputs
from tests.support.shop_events import MINUTE, now, shop

NewCluster = Callable[..., Awaitable[ProcessCluster]]


async def anywhere(cluster: ProcessCluster, topic: str, events: list[dict[str, Any]], seed: int) -> None:
    """Produce the events in order, each on a partition independent of its customer."""
    rng = random.Random(seed)
    await cluster.produce(topic, [(f"k-{rng.randrange(50)}", event) for event in events])


async def test_topics_with_arbitrary_keys_give_the_outputs_of_co_partitioned_ones(
    make_cluster: NewCluster, tmp_path: Path
) -> None:
    end = now() - 90 * MINUTE
    clicks, orders = shop(seed=5, customers=40, events=1500, end=end)
    expected = replay_outputs(tmp_path / "replay", clicks, orders)
    cluster = await make_cluster(**BADLY_KEYED, backfill_idle="3s")
    await anywhere(cluster, cluster.settings.clickstream_topic, clicks, 1)
    await anywhere(cluster, cluster.settings.orders_topic, orders, 2)
    workers = [cluster.start_worker() for _ in range(2)]
    for worker in workers:
        await worker.ready()
    last = max(event["occurred_at"] for event in (*clicks, *orders)) - 10_000

    async def all_there() -> bool:
        return ids_until(last, expected) <= ids_until(last, await all_outputs(cluster))

    await wait_until(all_there, "every output of the replay")
    outputs = await all_outputs(cluster)
    assert differing_outputs(outputs, expected, last) == []
    assert await cluster.documents(cluster.settings.dead_letters_topic) == []
    forwarded = sum(worker.metric("lifecycle_repartition_sent_records_total") for worker in workers)
    taken = sum(worker.metric("lifecycle_repartition_received_records_total", outcome="taken") for worker in workers)
    assert len(clicks) / 3 < forwarded < len(clicks) + len(orders)
    assert taken > 0


@IN_BOTH_GUARANTEES
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.slow
async def test_kills_while_records_are_repartitioned_lose_nothing_and_repeat_only_equal_outputs(
    make_cluster: NewCluster, tmp_path: Path, seed: int, guarantee: str
) -> None:
    rng = random.Random(seed)
    end = now() - 90 * MINUTE
    clicks, orders = shop(seed=seed, customers=60, events=4000, end=end)
    events = sorted((*clicks, *orders), key=lambda event: event["occurred_at"])
    expected = replay_outputs(tmp_path / "replay", clicks, orders)
    cluster = await make_cluster(
        **BADLY_KEYED,
        processing_guarantee=guarantee,
        backfill_idle="10s",
        session_timeout="2s",
        heartbeat_interval="300ms",
        commit_interval="100ms",
    )
    committed = "read_committed" if guarantee == "exactly_once" else "read_uncommitted"
    survivor = await stream_under_kills(cluster, events, lambda event: rng.randrange(2), rng)
    last = events[-1]["occurred_at"] - 10_000
    await assert_outputs_come(
        lambda: all_outputs(cluster, committed), expected, last, guarantee == "exactly_once", survivor
    )
