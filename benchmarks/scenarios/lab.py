"""Shared by the scenarios: a broker, an application with the settings of production, a load, a row of results.

Times are the broker's: the append times of a record on its input topic and of its output on the output topic. So no
poll of a client is included, and there is one clock.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import measure
from benchmarks.job import PARTITIONS
from tests.support.process_cluster import ProcessCluster, WorkerProcess

if TYPE_CHECKING:
    from benchmarks.kafka import Broker  # its packages are the benchmarks' own

RESULTS: Final = Path(__file__).parents[1] / "results" / "scenarios.jsonl"
RUNS: Final = 3

OPERATED: Final = {
    "partitions": str(PARTITIONS),
    "backfill_idle": "10m",
    "commit_interval": "1s",
    "session_timeout": "30s",
    "heartbeat_interval": "3s",
    "rebalance_timeout": "10s",
}
"""Settings that differ from those of the tests."""


@asynccontextmanager
async def application(broker: Broker, **settings: str) -> AsyncIterator[ProcessCluster]:
    """Provide a new application on the broker; its workers end with the block."""
    with tempfile.TemporaryDirectory(prefix="lifecycle-bench-") as directory:
        cluster = ProcessCluster(broker.address, Path(directory), **{**OPERATED, **settings})
        await cluster.create_topics()
        try:
            yield cluster
        finally:
            cluster.stop()


def load(cluster: ProcessCluster, *arguments: str) -> subprocess.Popen[bytes]:
    """Start `benchmarks.scenarios.load`, a process of its own, on the application's input topics."""
    settings = cluster.settings
    topics = ["--clickstream", settings.clickstream_topic, "--orders", settings.orders_topic]
    command = [sys.executable, "-m", "benchmarks.scenarios.load", "--broker", settings.broker, *topics, *arguments]
    return subprocess.Popen(command)


def cpu_s(worker: WorkerProcess) -> float:
    """Return the seconds of CPU, user and system, that the worker has used so far."""
    return measure.cpu_s(worker.process.pid)


def memory_mb(worker: WorkerProcess, what: str = "VmRSS") -> float:
    """Return the resident size of the worker's process in MB (10^6 bytes); with `VmHWM` its maximum so far."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{what}:")) * 1024 / 1e6


def percentile(values: list[float], percent: float) -> float:
    """Return the value that `percent` percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def arguments(**defaults: float | str) -> argparse.Namespace:
    """Return the command line of a scenario: `--runs`, and an option for each default."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=RUNS)
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    return parser.parse_args()


def report(scenario: str, metric: str, runs: list[float], unit: str, goal: str = "", **more: Any) -> None:
    """Append a row to the results: the median of the runs, and the runs."""
    row = {
        "scenario": scenario,
        "metric": metric,
        "value": round(statistics.median(runs), 3),
        "unit": unit,
        "goal": goal,
        "runs": [round(run, 3) for run in runs],
        **more,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    aim = f" (goal {goal})" if goal else ""
    print(f"{scenario}: {metric}: {row['value']} {unit}{aim}, runs {row['runs']}", flush=True)
