"""The worker with many events at once: shared by the scenarios of memory, recovery, scale and mix."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient

from benchmarks import kafka
from benchmarks.scenarios.lab import cpu_s
from benchmarks.scenarios.shop import Event, newcomers
from tests.support.process_cluster import ProcessCluster, WorkerProcess, wait_until

PATIENCE_S = 1_800.0
"""Seconds that a million events and more may take. Beyond them the run has failed."""


def produce(cluster: ProcessCluster, events: Iterable[Event]) -> int:
    """Send events to their topics and return their number."""
    settings, number = cluster.settings, 0
    client = kafka.Cluster(settings.broker)
    orders: list[tuple[bytes, bytes]] = []

    def clicks() -> Iterable[tuple[bytes, bytes]]:
        nonlocal number
        for event in events:
            number += 1
            record = event.customer.encode(), event.value
            if event.order:
                orders.append(record)
            else:
                yield record

    client.produce(settings.clickstream_topic, clicks())
    client.produce(settings.orders_topic, orders)
    return number


async def done(cluster: ProcessCluster, number: int, group: str = "") -> None:
    """Wait until `number` events, counted from the first, are committed, by our workers' group if none is named."""
    async with cluster.admin() as admin:
        await wait_until(
            lambda: _committed(admin, cluster, group or cluster.settings.app_id, number), f"{number} events", PATIENCE_S
        )


async def _committed(admin: AIOKafkaAdminClient, cluster: ProcessCluster, group: str, number: int) -> bool:
    inputs = set(cluster.settings.source_topics.values())
    offsets: dict[Any, Any] = await admin.list_consumer_group_offsets(group)
    committed: int = sum(max(0, offset.offset) for tp, offset in offsets.items() if tp.topic in inputs)
    return committed >= number


async def cpu_us(
    cluster: ProcessCluster, workers: Sequence[WorkerProcess], before: int, events: Iterable[Event]
) -> float:
    """Return the CPU of all workers per event, microseconds, of ready workers that had a number of events before.

    The workers are stopped while the events are sent: a backlog is measured, not the speed of its arrival.
    """
    used = sum(map(cpu_s, workers))
    for worker in workers:
        worker.process.send_signal(signal.SIGSTOP)
    try:
        number = produce(cluster, events)
    finally:
        for worker in workers:
            worker.process.send_signal(signal.SIGCONT)
    await done(cluster, before + number)
    return 1e6 * (sum(map(cpu_s, workers)) - used) / number


async def filled(cluster: ProcessCluster, customers: int, until: int, group: str = "") -> None:
    """Let the workers of a group process new customers, on topics still empty. Return when all are committed."""
    produce(cluster, newcomers(customers, until))
    await done(cluster, customers, group)
