"""One trial of one peer on the JVM: the job several times in one process, then the recovery of its state."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import NamedTuple

from benchmarks.catalogue import JvmPeer, slug
from benchmarks.job import differences
from benchmarks.kafka import Cluster
from benchmarks.peers.arguments import Arguments
from benchmarks.process import Process
from benchmarks.trial import START_S, Figures
from benchmarks.work import Records, Work

COLD = "cold"
WARM = "warm"


class Warming(NamedTuple):
    """Definition of a warm JVM, and of the measurement on it."""

    events: int
    """Events after which the JVM is warm."""
    rounds: int
    """Warm rounds, whose median is taken."""


class JvmTrial:
    """A trial with its own names on the broker and in the work directory.

    These peers report themselves when they are done: all events are processed and durable.
    """

    def __init__(self, cluster: Cluster, work: Work, peer: JvmPeer, mode: str, directory: Path, number: int) -> None:
        self._cluster = cluster
        self._work = work
        self._peer = peer
        self._mode = mode
        self._directory = directory
        self._given = self._arguments(f"{slug(peer.name)}-{mode}-{number}", len(work.records))

    # -- the job

    def run(self, warming: Warming) -> dict[str, Figures]:
        """Return the figures of the cold first round, and the medians of the warm rounds."""
        given = self._given
        rounds = max(1, math.ceil(warming.events / self._work.number)) + warming.rounds
        self._prepare(given, self._work.records, rounds)
        with self._process(given, "--paced", "--rounds", str(rounds)) as process:
            done = [self._round(process, f"{given.output}-{n}") for n in range(1, rounds + 1)]
            process.wait()
        cold, warm = done[0], done[-warming.rounds :]
        cold["start_cpu_s"] = cold.pop("used_before_s")
        return {COLD: cold, WARM: _median(warm)}

    def _round(self, process: Process, output: str) -> Figures:
        process.go()
        ready = process.line(START_S)
        said = process.line(self._work.patience_s)
        peak_rss_mb = process.peak_rss_mb
        outputs = self._cluster.outputs(output, json.loads)
        done_s = said.at - ready.at
        return {
            "used_before_s": ready.cpu_s,
            "job_cpu_s": said.cpu_s - ready.cpu_s,
            "outputs_s": done_s if outputs.last_at is None else min(outputs.last_at - ready.at, done_s),
            "committed_s": done_s,
            "peak_rss_mb": peak_rss_mb,
            "differs": differences(self._work.expected, outputs.by_customer),
        }

    # -- recovery

    def recover(self) -> Figures:
        """After `run`: a new JVM gets the state of the first round back.

        Of two restarts, with that state and with that of a handful of customers: how much longer the first takes from
        when the JVM is up to when the state is back, and what more it uses.
        """
        bare = self._arguments(f"{self._given.group}-bare", len(self._work.first_orders))
        self._prepare(bare, self._work.first_orders, rounds=1)
        with self._process(bare) as process:
            process.line(START_S)
            process.line(START_S)
            process.wait()
        bare_s, bare_cpu_s = self._restart(bare)
        restart_s, restart_cpu_s = self._restart(self._given)
        return {
            "recovery_s": restart_s - bare_s,
            "recovery_cpu_s": restart_cpu_s - bare_cpu_s,
            "restart_s": restart_s,
            "restart_cpu_s": restart_cpu_s,
        }

    def _restart(self, given: Arguments) -> tuple[float, float]:
        with self._process(given, "--recover") as process:
            process.line(START_S)
            figures = json.loads(process.line(self._work.patience_s).line)
            process.wait()
        return figures["recovery_s"], figures["recovery_cpu_s"]

    # -- the process

    def _arguments(self, name: str, events: int) -> Arguments:
        return Arguments(
            bootstrap=self._cluster.address,
            input=f"{name}-in",
            output=f"{name}-out",
            group=name,
            events=events,
            mode=self._mode,
            state_dir=self._directory / name,
        )

    def _prepare(self, given: Arguments, records: Records, rounds: int) -> None:
        given.state_dir.mkdir(parents=True)
        self._cluster.create(given.input)
        self._cluster.create(*(f"{given.output}-{n}" for n in range(1, rounds + 1)), appended_times=True)
        self._cluster.produce(given.input, records)

    def _process(self, given: Arguments, *options: str) -> Process:
        return Process(self._peer.command(given, *options), self._directory / f"{given.group}.log")


def _median(rounds: list[Figures]) -> Figures:
    names = ("job_cpu_s", "outputs_s", "committed_s", "peak_rss_mb")
    wrong = [figures["differs"] for figures in rounds if figures["differs"]]
    medians = {name: statistics.median(figures[name] for figures in rounds) for name in names}
    return {**medians, "differs": wrong[0] if wrong else None}
