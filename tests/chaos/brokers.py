"""Faults of the brokers: nodes lost one by one and all at once, and a broker that does not answer in time."""

from __future__ import annotations

import asyncio
import os
import re
import signal

from streams.shell.worker.lifetime import EXIT_FORCED
from tests.chaos.history import parts
from tests.chaos.programs import program
from tests.chaos.run import Run
from tests.chaos.verdict import Verdict
from tests.support.kafka_cluster import ApacheKafka, KafkaCluster
from tests.support.process_cluster import wait_until


def cluster_of(run: Run) -> KafkaCluster:
    """Return the nodes of a program that asked for three."""
    assert isinstance(run.broker, KafkaCluster)
    return run.broker


@program("a broker of three killed and restarted, the controller too", short={"kills": 2}, long={"kills": 12}, nodes=3)
async def broker_loss(run: Run, *, kills: int) -> Verdict:
    """Nodes are killed one by one; every other one is the controller. The next one is killed when this one is back."""
    cluster = cluster_of(run)
    await run.application()
    events = run.sessions(sessions=800 * kills)
    await run.open(events)
    crew = run.crew(2)
    controllers = 0
    async with crew.kept():
        await asyncio.sleep(1)
        await crew.ready()
        for n, part in enumerate(parts(events, kills)):
            pouring = asyncio.create_task(run.pour(part, 6.0))
            await asyncio.sleep(run.rng.uniform(0.3, 1.0))
            controller: ApacheKafka = await wait_until(cluster.controller, "a controller")
            others = [node for node in cluster.nodes if node is not controller]
            victim = run.rng.choice(others) if n % 2 else controller
            controllers += victim is controller
            victim.kill()
            await asyncio.sleep(run.rng.uniform(1.0, 4.0))
            await asyncio.to_thread(cluster.start, [victim])
            await pouring
            await asyncio.sleep(3.0)
        return await run.judge(
            {"kills": kills, "of the controller": controllers}, ends={1: 2 * kills, EXIT_FORCED: 2 * kills}
        )


@program("the whole cluster killed and restarted", short={"restarts": 1}, long={"restarts": 6}, nodes=3)
async def cluster_restart(run: Run, *, restarts: int) -> Verdict:
    """All three nodes are killed at the same moment."""
    cluster = cluster_of(run)
    await run.application()
    events = run.sessions(sessions=800 * restarts)
    await run.open(events)
    crew = run.crew(2)
    async with crew.kept():
        await asyncio.sleep(1)
        await crew.ready()
        for part in parts(events, restarts):
            pouring = asyncio.create_task(run.pour(part, 5.0))
            await asyncio.sleep(run.rng.uniform(0.5, 2.0))
            cluster.kill()
            await asyncio.sleep(run.rng.uniform(1.0, 5.0))
            await asyncio.to_thread(cluster.start)
            await pouring
        return await run.judge({"restarts": restarts}, ends={1: 2 * restarts, EXIT_FORCED: 2 * restarts})


@program("producer timeouts: a broker that stands still", short={"stops": 1}, long={"stops": 10})
async def producer_timeouts(run: Run, *, stops: int) -> Verdict:
    """The producers of workers give up after 2 s instead of two minutes; the broker is stopped for longer than that."""
    await run.application()
    events = run.sessions(sessions=800 * stops)
    await run.open(events)
    crew = run.crew(2, program="from tests.chaos import impatient; impatient.main()")
    pid = run.broker.pid if isinstance(run.broker, ApacheKafka) else None
    assert pid is not None
    met = 0
    async with crew.kept():
        await asyncio.sleep(1)
        await crew.ready()
        for part in parts(events, stops):
            pouring = asyncio.create_task(run.pour(part, 6.0))
            await asyncio.sleep(run.rng.uniform(1.0, 2.0))
            before = timeouts(run)
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(6.0)
            os.kill(pid, signal.SIGCONT)
            await pouring
            met += timeouts(run) > before
        minima = {"stops in which a worker met a timeout": (met, (stops + 1) // 2)}
        return await run.judge({"stops": stops}, minima=minima, ends={1: 4 * stops, EXIT_FORCED: 4 * stops})


def timeouts(run: Run) -> int:
    """Return how many timeouts the workers have logged."""
    return sum(len(re.findall("TimedOut|Timeout", worker.log.read_text())) for worker in run.cluster.workers)
