"""Merged identities stay merged: two workers give the outputs and profiles of a replay."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from streams.contracts.partitioning import Partitioner
from tests.integration.outcomes import (
    BADLY_KEYED,
    all_outputs,
    assert_outputs_come,
    assert_profiles_come,
    stream_under_kills,
)
from tests.support.process_cluster import ProcessCluster, key_of
from tests.support.replay_comparison import replay_outputs
from tests.support.shop_events import MINUTE, half_known, in_order, now, shop

NewCluster = Callable[..., Awaitable[ProcessCluster]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broker", "guarantee", "keyed"),
    [
        ("embedded_broker", "at_least_once", False),
        ("apache_kafka", "at_least_once", True),
        ("apache_kafka", "at_least_once", False),
        ("apache_kafka", "exactly_once", True),
        ("apache_kafka", "exactly_once", False),
    ],
    indirect=["broker"],
)
async def test_kills_while_profiles_are_merged_lose_nothing_and_repeat_only_equal_outputs(
    make_cluster: NewCluster, tmp_path: Path, keyed: bool, guarantee: str
) -> None:
    rng = random.Random(keyed)
    end = now() - 90 * MINUTE
    events = half_known(7, in_order(*shop(seed=7, customers=60, events=4000, end=end)))
    clicks, orders = ([event for event in events if ("order_id" in event) is of] for of in (False, True))
    expected = replay_outputs(tmp_path / "replay", clicks, orders, identity_resolution="on")
    kinds = {(output["type"], output.get("reason")) for output in expected}
    assert {("linked", None), ("switched", None), ("retracted", "merge")} <= kinds
    cluster = await make_cluster(
        **({} if keyed else BADLY_KEYED),
        identity_resolution="on",
        profiles="on",
        processing_guarantee=guarantee,
        backfill_idle="10s",
        session_timeout="2s",
        heartbeat_interval="300ms",
        commit_interval="100ms",
    )
    committed = "read_committed" if guarantee == "exactly_once" else "read_uncommitted"
    home = Partitioner(2)
    survivor = await stream_under_kills(
        cluster,
        events,
        lambda event: home.partition(key_of(event).encode()) if keyed else rng.randrange(2),
        rng,
    )
    last = events[-1]["occurred_at"] - 10_000
    await assert_outputs_come(
        lambda: all_outputs(cluster, committed), expected, last, guarantee == "exactly_once", survivor
    )
    await assert_profiles_come(cluster, tmp_path / "replay", committed)
    assert await cluster.documents(cluster.settings.dead_letters_topic) == []
    assert survivor.metric("lifecycle_identity_resolution_total", outcome="merged") > 0
    assert survivor.metric("lifecycle_aliases") > 0
