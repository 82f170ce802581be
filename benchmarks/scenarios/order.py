"""Costs of `LIFECYCLE_ORDERING=event_time`: delay of outputs, CPU and memory, at 1,000 events/s."""

from __future__ import annotations

import asyncio

from benchmarks.kafka import Broker
from benchmarks.scenarios.lab import arguments, percentile, report
from benchmarks.scenarios.rates import at_rate

RATE = 1_000
SECONDS = 60.0
SETTLE_S = 25.0
"""Seconds; more than lateness, delay and some commits."""


async def run(broker: Broker, runs: int, seconds: float = SECONDS) -> None:
    """Measure and report."""
    for identity_resolution in ("off", "on"):
        for ordering in ("arrival", "event_time"):
            results = [
                await at_rate(
                    broker, RATE, seconds, SETTLE_S, ordering=ordering, identity_resolution=identity_resolution
                )
                for _ in range(runs)
            ]
            what = f"{ordering}, identity resolution {identity_resolution}"
            for percent in (50, 99):
                values = [percentile(result.latencies_ms, percent) for result in results]
                report("order", f"p{percent}, {what}", values, "ms")
            report("order", f"CPU, {what}", [result.cores for result in results], "cores")
            report("order", f"memory, {what}", [result.memory_mb for result in results], "MB")


if __name__ == "__main__":
    given = arguments(seconds=SECONDS)
    with Broker() as broker:
        asyncio.run(run(broker, given.runs, given.seconds))
