"""Who turns out to be one is one: two workers, and what a replay makes of the same events."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from streams.contracts.partitioning import Partitioner
from tests.support.process_cluster import ProcessCluster, key_of, until
from tests.support.shop_events import (
    MINUTE,
    comes_out_right,
    half_known,
    in_order,
    now,
    replayed,
    shop,
    streamed_under_kills,
)

NewCluster = Callable[..., Awaitable[ProcessCluster]]

BADLY_KEYED = {"clickstream_well_keyed": "off", "orders_well_keyed": "off"}
LASTING = ("first_seen_at", "last_seen_at", "sessions", "product_views", "orders", "revenue", "cart", "checkouts")
"""What of a profile time alone does not change (in 90 minutes)."""


async def all_outputs(cluster: ProcessCluster, isolation: str = "read_uncommitted") -> list[dict[str, Any]]:
    settings = cluster.settings
    topics = (settings.stage_changes_topic, settings.abandonments_topic, settings.identities_topic)
    return [json.loads(record.value) for topic in topics for record in await cluster.read(topic, isolation)]


async def profiles(cluster: ProcessCluster, isolation: str) -> dict[str, dict[str, Any]]:
    """What lasts of the latest profile of each id. (No device is called as a customer is.)"""
    found = {}
    for record in await cluster.read(cluster.settings.profiles_topic, isolation):
        found[record.key.decode()] = record.value
    return {key: lasting(json.loads(value)) for key, value in found.items() if value is not None}


def lasting(profile: dict[str, Any]) -> dict[str, Any]:
    return {name: profile[name] for name in LASTING}


async def profiles_come_out_right(cluster: ProcessCluster, replay: Path, isolation: str) -> None:
    """As the replay has them. A document leaves with a commit, and so may be the last thing to come."""
    expected = replayed_profiles(replay)

    async def right() -> bool:
        return await profiles(cluster, isolation) == expected

    with contextlib.suppress(AssertionError):  # the next one says what differs
        await until(right, "the profiles of the replay")
    assert await profiles(cluster, isolation) == expected


def replayed_profiles(directory: Path) -> dict[str, dict[str, Any]]:
    lines = (directory / "out" / "profiles.jsonl").read_text().splitlines()
    return {profile["customer_id"]: lasting(profile) for profile in map(json.loads, lines)}


@pytest.mark.parametrize(
    ("broker", "guarantee"),
    [
        ("embedded_broker", "at_least_once"),
        pytest.param("apache_kafka", "at_least_once", marks=pytest.mark.slow),
        pytest.param("apache_kafka", "exactly_once", marks=pytest.mark.slow),
    ],
    indirect=["broker"],
)
@pytest.mark.parametrize("keyed", [pytest.param(True, marks=pytest.mark.slow), False])
async def test_kills_while_profiles_are_merged_lose_nothing_and_repeat_only_what_is_equal(
    make_cluster: NewCluster, tmp_path: Path, keyed: bool, guarantee: str
) -> None:
    rng = random.Random(keyed)
    end = now() - 90 * MINUTE
    events = half_known(7, in_order(*shop(seed=7, customers=60, events=4000, end=end)))
    clicks, orders = ([event for event in events if ("order_id" in event) is of] for of in (False, True))
    expected = replayed(tmp_path / "replay", clicks, orders, linking="on")
    kinds = {(output["type"], output.get("reason")) for output in expected}
    assert {("linked", None), ("switched", None), ("retracted", "merge")} <= kinds
    cluster = await make_cluster(
        **({} if keyed else BADLY_KEYED),
        linking="on",
        profiles="on",
        processing_guarantee=guarantee,
        backfill_idle="10s",
        session_timeout="2s",
        heartbeat_interval="300ms",
        commit_interval="100ms",
    )
    committed = "read_committed" if guarantee == "exactly_once" else "read_uncommitted"
    home = Partitioner(2)
    survivor = await streamed_under_kills(
        cluster,
        events,
        lambda event: home.partition(key_of(event).encode()) if keyed else rng.randrange(2),
        rng,
    )
    last = events[-1]["occurred_at"] - 10_000
    await comes_out_right(
        lambda: all_outputs(cluster, committed), expected, last, guarantee == "exactly_once", survivor
    )
    await profiles_come_out_right(cluster, tmp_path / "replay", committed)
    assert await cluster.documents(cluster.settings.dead_letters_topic) == []
    assert survivor.metric("lifecycle_linking_total", outcome="merged") > 0
    assert survivor.metric("lifecycle_aliases") > 0
