"""Feed a cluster while workers are killed, and compare its outputs and profiles with a replay."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from tests.support.process_cluster import ProcessCluster, WorkerProcess, wait_until
from tests.support.replay_comparison import differing_outputs, ids_until
from tests.support.shop_events import click, now

BADLY_KEYED = {"clickstream_co_partitioned": "off", "orders_co_partitioned": "off"}
LASTING = ("first_seen_at", "last_seen_at", "sessions", "product_views", "orders", "revenue", "cart", "checkouts")
"""The fields of a profile that time alone does not change within 90 minutes."""


async def all_outputs(cluster: ProcessCluster, isolation: str = "read_uncommitted") -> list[dict[str, Any]]:
    """Return all stage changes, abandonments and (with identity resolution) identity changes, with repeats."""
    settings = cluster.settings
    topics = [settings.stage_changes_topic, settings.abandonments_topic]
    topics += [settings.identities_topic] if settings.identity_resolution else []
    return [json.loads(record.value) for topic in topics for record in await cluster.read(topic, isolation)]


async def profiles(cluster: ProcessCluster, isolation: str) -> dict[str, dict[str, Any]]:
    """Return the `LASTING` fields of the latest profile of each id. No device and customer may have the same id."""
    found = {}
    for record in await cluster.read(cluster.settings.profiles_topic, isolation):
        found[record.key.decode()] = record.value
    return {key: lasting(json.loads(value)) for key, value in found.items() if value is not None}


def lasting(profile: dict[str, Any]) -> dict[str, Any]:
    return {name: profile[name] for name in LASTING}


async def assert_profiles_come(cluster: ProcessCluster, replay: Path, isolation: str) -> None:
    """Wait until the profiles topic has the profiles of the replay. A document may arrive after the last output."""
    expected = replayed_profiles(replay)

    async def right() -> bool:
        return await profiles(cluster, isolation) == expected

    with contextlib.suppress(AssertionError):  # the next assertion shows the difference
        await wait_until(right, "the profiles of the replay")
    assert await profiles(cluster, isolation) == expected


def replayed_profiles(directory: Path) -> dict[str, dict[str, Any]]:
    lines = (directory / "out" / "profiles.jsonl").read_text().splitlines()
    return {profile["customer_id"]: lasting(profile) for profile in map(json.loads, lines)}


async def stream_under_kills(
    cluster: ProcessCluster,
    events: list[dict[str, Any]],
    partition_of: Callable[[dict[str, Any]], int],
    rng: random.Random,
) -> WorkerProcess:
    """Produce the events while one worker after another is killed. Return the worker that survives."""

    async def stream() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=cluster.settings.broker)
        await producer.start()
        try:
            for n in range(0, len(events), 40):
                for event in events[n : n + 40]:
                    topic = cluster.settings.orders_topic if "order_id" in event else cluster.settings.clickstream_topic
                    await producer.send(topic, json.dumps(event).encode(), partition=partition_of(event))
                await producer.flush()
                await asyncio.sleep(0.15)
        finally:
            await producer.stop()

    streaming = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(stream())))
    survivor = cluster.start_worker()
    for _ in range(3):
        victim = cluster.start_worker()
        await victim.ready()
        await asyncio.sleep(rng.uniform(0.5, 1.5))
        victim.kill()
    await streaming
    return survivor


async def assert_outputs_come(
    outputs: Callable[[], Awaitable[list[dict[str, Any]]]],
    expected: list[dict[str, Any]],
    last: int,
    exactly_once: bool,
    *survivors: WorkerProcess,
) -> None:
    """Wait for all outputs that occurred up to `last`, and assert that there are no others.

    Repeats must be equal; with `exactly_once` there must be none.
    """

    async def all_there() -> bool:
        for survivor in survivors:
            assert survivor.process.poll() is None, survivor.tail()
        return ids_until(last, expected) <= ids_until(last, await outputs())

    await wait_until(all_there, "every output of the replay")
    found = await outputs()
    assert differing_outputs(found, expected, last) == []
    contents: dict[str, set[str]] = {}
    for output in found:
        contents.setdefault(output["id"], set()).add(json.dumps(output, sort_keys=True))
    assert [id for id, different in contents.items() if len(different) > 1] == []
    if exactly_once:
        assert len(found) == len(contents)


async def process_and_stop(cluster: ProcessCluster, events: int) -> None:
    """Let a worker process so many events, commit and end."""
    worker = cluster.start_worker()
    await worker.ready()
    await cluster.clicks(*(click(f"c-{n}", now(), event_id=f"a-{n}") for n in range(events)))
    await wait_until(lambda: worker.metric("lifecycle_events_total", outcome="applied") == events, f"{events} events")
    worker.terminate()
    assert worker.exit_code() == 0, worker.tail()


async def last_words(worker: WorkerProcess) -> str:
    """Wait until a worker ends by itself, and return the last line of its log.

    It must be CRITICAL, and there must be no traceback.
    """
    try:
        await wait_until(lambda: worker.process.poll() is not None, "the worker to end")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{worker.tail()}") from None
    assert worker.process.returncode == 1, worker.tail()
    said = worker.log.read_text()
    assert "Traceback" not in said
    last = said.splitlines()[-1]
    assert " CRITICAL streams." in last
    return last


async def committed(cluster: ProcessCluster) -> dict[str, int]:
    """Return the committed offsets of the group in partition 0, by topic."""
    async with cluster.admin() as admin:
        found = await admin.list_consumer_group_offsets(cluster.settings.app_id)
    return {tp.topic: offset.offset for tp, offset in found.items() if tp.partition == 0}
