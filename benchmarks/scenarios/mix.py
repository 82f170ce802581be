"""The full default playbook on days of a shop, against the common job: CPU per event, by the same worker and broker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from benchmarks import job
from benchmarks.kafka import Broker
from benchmarks.scenarios import bulk, shop
from benchmarks.scenarios.lab import application, arguments, report
from benchmarks.scenarios.shop import Event

EVENTS = 200_000
OUTPUTS = ("stage_changes", "abandonments", "recoveries")
"""Outputs that the mix must cause, by their metrics."""

COMMON = """
import sys
from benchmarks.peers.ours import PLAYBOOK
from streams.settings import load
from streams.shell.worker.command import run
sys.exit(run(load(), playbook=PLAYBOOK))
"""


def common(events: int) -> Iterable[Event]:
    """Return the events of the common job, all of them on the clickstream."""
    return (Event(0, key.decode(), False, value) for key, value in job.events(events))


async def run(broker: Broker, runs: int, events: int = EVENTS) -> None:
    """Measure and report, interleaved."""
    full: list[float] = []
    plain: list[float] = []
    outputs: dict[str, int] = {}
    for _ in range(runs):
        async with application(broker) as cluster:
            worker = cluster.start_worker()
            await worker.ready()
            full.append(await bulk.cpu_us(cluster, [worker], 0, shop.mix(events, job.CUSTOMERS)))
            outputs = {what: round(worker.metric(f"lifecycle_{what}_total")) for what in OUTPUTS}
            assert all(outputs.values()), f"not much of a mix: {outputs}"
        async with application(broker, lateness="0s") as cluster:
            worker = cluster.start_worker(program=COMMON)
            await worker.ready()
            plain.append(await bulk.cpu_us(cluster, [worker], 0, common(events)))
            changes = round(worker.metric("lifecycle_stage_changes_total"))
    report("mix", f"CPU per event, default playbook, {events} events", full, "us", outputs=outputs)
    report("mix", f"CPU per event, common job, {events} events", plain, "us", outputs={"stage_changes": changes})
    ratios = [f / p for f, p in zip(full, plain, strict=True)]
    report("mix", "default playbook against the common job", ratios, "times", "<= 2")


if __name__ == "__main__":
    given = arguments(events=EVENTS)
    with Broker() as broker:
        asyncio.run(run(broker, given.runs, given.events))
