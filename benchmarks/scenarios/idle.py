"""Costs of a worker at low load: CPU as a share of one core, at 1,000 and 100 events/s and without events."""

from __future__ import annotations

import asyncio

from benchmarks.kafka import Broker
from benchmarks.scenarios.lab import arguments, report
from benchmarks.scenarios.rates import at_rate

GOALS = {1_000: "<= 8", 100: "<= 4", 0: "< 2"}
SECONDS = 30.0


async def run(broker: Broker, runs: int, seconds: float = SECONDS) -> None:
    """Measure and report."""
    for rate, goal in GOALS.items():
        cores = [(await at_rate(broker, rate, seconds)).cores for _ in range(runs)]
        report("idle", f"CPU at {rate} events/s", [100 * c for c in cores], "% of a core", goal)


if __name__ == "__main__":
    given = arguments(seconds=SECONDS)
    with Broker() as broker:
        asyncio.run(run(broker, given.runs, given.seconds))
