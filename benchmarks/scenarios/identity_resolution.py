"""Time that identity resolution costs: latency of stage changes at a rate of singly produced events, and throughput on
a backlog. The scenario `forwarding` measures its CPU.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterable

from benchmarks import job
from benchmarks.kafka import Broker
from benchmarks.scenarios import bulk, shop
from benchmarks.scenarios.forwarding import AT_ITS_END, IDENTITY_RESOLUTION, on_devices
from benchmarks.scenarios.lab import application, arguments, percentile, report
from benchmarks.scenarios.rates import at_rate
from benchmarks.scenarios.shop import Event
from tests.support.process_cluster import wait_until

RATE = 1_000
SECONDS = 30.0
EVENTS = 200_000
ALONE = {"every event names customer and device": 0.0, "half of the events name only a device": 0.5}
NEARLY_ALL = 0.98
"""Share of a backlog that is measured: the rest waits until the sources are caught up, which depends on settings."""


async def run(broker: Broker, runs: int, events: int = EVENTS, seconds: float = SECONDS) -> None:
    """Measure and report."""
    await latency(broker, runs, seconds)
    await catching_up(broker, runs, events)


async def latency(broker: Broker, runs: int, seconds: float) -> None:
    """Measure the latency of events that name their customer, and of events of known devices that do not."""
    for what, alone in ALONE.items():
        results = [await at_rate(broker, RATE, seconds, alone=alone, identity_resolution="on") for _ in range(runs)]
        for percent, goal in ((50, ""), (99, "<= 100")):
            values = [percentile(result.latencies_ms, percent) for result in results]
            report("identity_resolution", f"p{percent} at {RATE} events/s, {what}", values, "ms", goal)
        if alone:
            for percent in (50, 99):
                values = [percentile(result.of_devices_ms, percent) for result in results]
                report(
                    "identity_resolution",
                    f"p{percent} at {RATE} events/s, of events that name only a known device",
                    values,
                    "ms",
                )


async def catching_up(broker: Broker, runs: int, events: int) -> None:
    """Measure the events per second of a worker that starts with a backlog."""
    mix = shop.mix(events, job.CUSTOMERS)
    cases = {
        "without identity resolution": (mix, {}),
        "identity resolution, every event names customer and device": (list(on_devices(mix, 0)), IDENTITY_RESOLUTION),
        "identity resolution, every other event names only the device": (list(on_devices(mix, 2)), IDENTITY_RESOLUTION),
    }
    rates: dict[str, list[float]] = {case: [] for case in cases}
    for _ in range(runs):
        for case, (records, settings) in cases.items():
            rates[case].append(await _rate(broker, records, settings))
    for case, of_runs in rates.items():
        report("identity_resolution", f"a backlog of {events} events, {case}", of_runs, "events/s")


async def _rate(broker: Broker, events: Iterable[Event], settings: dict[str, str]) -> float:
    async with application(broker, **AT_ITS_END, **settings) as cluster:
        worker = cluster.start_worker()
        await worker.ready()
        worker.process.send_signal(signal.SIGSTOP)
        try:
            number = bulk.produce(cluster, events)
        finally:
            worker.process.send_signal(signal.SIGCONT)
        began, most = time.monotonic(), NEARLY_ALL * number
        await wait_until(
            lambda: worker.metric("lifecycle_events_total", outcome="applied") >= most,
            f"{number} events",
            bulk.PATIENCE_S,
        )
        return most / (time.monotonic() - began)


if __name__ == "__main__":
    given = arguments(events=EVENTS, seconds=SECONDS)
    with Broker() as broker:
        asyncio.run(run(broker, given.runs, given.events, given.seconds))
