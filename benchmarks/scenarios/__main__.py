"""All scenarios, one after another on one broker: `python -m benchmarks.scenarios`. About an hour."""

from __future__ import annotations

import asyncio
from dataclasses import fields

from benchmarks.kafka import Broker
from benchmarks.scenarios import (
    exactly_once,
    forwarding,
    identity_resolution,
    idle,
    latency,
    memory,
    mix,
    recovery,
    scale,
)
from benchmarks.scenarios.lab import arguments
from streams.settings import Settings


async def run(broker: Broker, runs: int) -> None:
    """Run each scenario with its own sizes."""
    await latency.run(broker, runs)
    await idle.run(broker, runs)
    await mix.run(broker, runs)
    await forwarding.run(broker, runs)
    await identity_resolution.run(broker, runs)
    await scale.run(broker, runs)
    await exactly_once.run(broker, runs)
    await recovery.run(broker, runs)
    await memory.run(broker, runs)
    if any(field.name == "state_store" for field in fields(Settings)):
        await memory.run(broker, 1, "rocksdb")


if __name__ == "__main__":
    given = arguments()
    with Broker() as broker:
        asyncio.run(run(broker, given.runs))
