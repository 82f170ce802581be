"""Time from the record's arrival on the input topic to the stage change on the output topic, at 1,000 and 5,000
events/s; and at 100, where a poll waits for longer, so that it costs less (`streams.transport.pacing`).

Both times are append times of the one broker, in ms.
"""

from __future__ import annotations

import asyncio

from benchmarks.kafka import Broker
from benchmarks.scenarios.lab import arguments, percentile, report
from benchmarks.scenarios.rates import at_rate

GOALS = {1_000: "<= 50", 5_000: "<= 50", 100: ""}
"""Goals of the 99th percentile, ms, by rate."""
SECONDS = 30.0


async def run(broker: Broker, runs: int, seconds: float = SECONDS) -> None:
    """Measure and report."""
    measured = {rate: [await at_rate(broker, rate, seconds) for _ in range(runs)] for rate in GOALS}
    for rate, results in measured.items():
        for percent, goal in ((50, ""), (99, GOALS[rate])):
            values = [percentile(result.latencies_ms, percent) for result in results]
            report("latency", f"p{percent} at {rate} events/s", values, "ms", goal)


if __name__ == "__main__":
    given = arguments(seconds=SECONDS)
    with Broker() as broker:
        asyncio.run(run(broker, given.runs, given.seconds))
