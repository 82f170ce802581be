"""One trial of one peer on the JVM: the job several times in one process, then the recovery of its state."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from benchmarks.catalogue import JvmPeer, slug
from benchmarks.job import differences
from benchmarks.kafka import Cluster
from benchmarks.peers.arguments import Arguments
from benchmarks.process import Process
from benchmarks.trial import SLOWEST_S, START_S, Figures
from benchmarks.work import Work

COLD = "cold"
WARM = "warm"


def run(
    cluster: Cluster, work: Work, peer: JvmPeer, mode: str, directory: Path, number: int, rounds: int, recovery: bool
) -> dict[str, Figures]:
    """The first round is cold; of those after it, warm, the median of each figure is given.

    These peers say themselves when they are done: all events processed and that durable. Recovery is that of the first
    round's state by a new JVM, from when it is up to when the state is back.
    """
    name = f"{slug(peer.name)}-{mode}-{number}"
    given = Arguments(
        bootstrap=cluster.address,
        input=f"{name}-in",
        output=f"{name}-out",
        group=name,
        events=work.number,
        mode=mode,
        state_dir=directory / name,
    )
    given.state_dir.mkdir(parents=True)
    cluster.create(given.input)
    cluster.create(*(f"{given.output}-{n}" for n in range(1, rounds + 1)), appended_times=True)
    cluster.produce(given.input, work.records)
    log = directory / f"{name}.log"
    process = Process(peer.command(given, "--rounds", str(rounds)), log)
    try:
        done = [_round(process, cluster, work, f"{given.output}-{n}") for n in range(1, rounds + 1)]
        process.wait()
    finally:
        process.stop()
    cold, *warm = done
    cold["start_cpu_s"] = cold.pop("used_before_s")
    if recovery:
        process = Process(peer.command(given, "--recover"), log)
        try:
            process.line(START_S)
            told = json.loads(process.line(START_S).line)
            cold |= {key: told[key] for key in ("recovery_s", "recovery_cpu_s")}
            process.wait()
        finally:
            process.stop()
    return {COLD: cold, WARM: _median(warm)} if warm else {COLD: cold}


def _round(process: Process, cluster: Cluster, work: Work, output: str) -> Figures:
    ready = process.line(START_S)
    said = process.line(work.number * SLOWEST_S + START_S)
    told = json.loads(said.line)
    outputs = cluster.outputs(output, json.loads)
    done_s = said.at - ready.at
    return {
        "used_before_s": ready.cpu_s,
        "job_cpu_s": said.cpu_s - ready.cpu_s,
        "outputs_s": done_s if outputs.last_at is None else min(outputs.last_at - ready.at, done_s),
        "committed_s": done_s,
        "peak_rss_mb": told["peak_rss_mb"],
        "differs": differences(work.expected, outputs.by_customer),
    }


def _median(rounds: list[Figures]) -> Figures:
    names = ("job_cpu_s", "outputs_s", "committed_s", "peak_rss_mb")
    wrong = [figures["differs"] for figures in rounds if figures["differs"]]
    medians = {name: statistics.median(figures[name] for figures in rounds) for name in names}
    return {**medians, "differs": wrong[0] if wrong else None}
