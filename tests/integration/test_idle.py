"""A worker that has nothing to do has nothing to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.process_cluster import ProcessCluster, wait_until

AN_HOUR_LATER = """
import sys, time
from faust.transport import consumer
from streams.settings import load
from streams.shell.worker import command, factory

configured = factory.faust_configuration
# Faust checks its fetches with every 2.5 commits of its own.
factory.faust_configuration = lambda settings: configured(settings) | {"broker_commit_interval": 0.1}
checks = 0
verify = consumer.Consumer.verify_all_partitions_active

async def counted(self):
    global checks
    await verify(self)
    checks += 1
    if checks % 8 == 0:
        print("CHECKED", flush=True)

consumer.Consumer.verify_all_partitions_active = counted
consumer.monotonic = lambda: time.monotonic() + 3600
sys.exit(command.run(load()))
"""
"""A worker whose checks believe that it has been idle for an hour."""

ABOVE_INFO = ("WARNING", "ERROR", "CRITICAL")


async def test_worker_that_idles_for_an_hour_logs_nothing_above_info(make_cluster: Callable[..., Any]) -> None:
    cluster: ProcessCluster = await make_cluster()
    worker = cluster.start_worker(program=AN_HOUR_LATER)
    await worker.ready()
    start = len(worker.log.read_text())  # a broker that has just started may not know its groups yet
    await wait_until(lambda: worker.log.read_text()[start:].count("CHECKED") > 1, "the checks of an idle worker")
    log = worker.log.read_text()[start:]
    assert [line for line in log.splitlines() if any(f" {level} " in line for level in ABOVE_INFO)] == []
    assert "Traceback" not in log
