"""One trial of one Python peer: the whole job, then the recovery of its state. Returns figures, judges nothing."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.catalogue import Peer, slug
from benchmarks.job import differences
from benchmarks.kafka import Cluster
from benchmarks.peers.arguments import Arguments
from benchmarks.process import Failed, Process
from benchmarks.work import Work

POLL_S: Final = 0.05
IDLE_S: Final = 2.0
OUTPUTS_S: Final = 10.0
"""Seconds that outputs may take after the offsets were committed."""
START_S: Final = 120.0
"""Limit, in seconds, of everything that does not depend on the number of events. Beyond it the trial has failed."""

Figures = dict[str, Any]
"""Figures by name: times in seconds, memory in MB, `differs` None or a sentence."""


class Trial:
    """A trial with its own names on the broker and in the work directory.

    The idle usage of a peer between its last output and its next commit is not charged to the job: the share of a
    processor that it takes when idle is measured afterwards, and subtracted for that time.
    """

    def __init__(self, cluster: Cluster, work: Work, peer: Peer, mode: str, directory: Path, number: int) -> None:
        self._cluster = cluster
        self._work = work
        self._peer = peer
        self._name = f"{slug(peer.name)}-{mode}-{number}"
        self._directory = directory
        self._given = self._arguments(self._name, mode)

    # -- the job

    def run(self) -> Figures:
        """Run the whole job and return its figures."""
        given, cluster = self._given, self._cluster
        self._prepare(given, self._work.records)
        with self._process(given) as process:
            ready = process.line(START_S)
            self._wait(process, lambda: self._committed(given) >= self._work.number, self._work.patience_s)
            done_at, done_cpu_s = time.time(), process.cpu_s
            if cluster.count(given.output) < self._work.outputs:
                self._wait_for_outputs(process)
                done_at, done_cpu_s = time.time(), process.cpu_s
            peak_rss_mb = process.peak_rss_mb
            time.sleep(IDLE_S)
            idle_share = (process.cpu_s - done_cpu_s) / (time.time() - done_at)
        outputs = cluster.outputs(given.output, self._peer.parse)
        last_output_at = done_at if outputs.last_at is None else min(outputs.last_at, done_at)
        return {
            "start_s": ready.at - process.started_at,
            "start_cpu_s": ready.cpu_s,
            "job_cpu_s": done_cpu_s - ready.cpu_s - idle_share * (done_at - last_output_at),
            "gross_cpu_s": done_cpu_s - ready.cpu_s,
            "idle_share": idle_share,
            "outputs_s": last_output_at - ready.at,
            "committed_s": done_at - ready.at,
            "peak_rss_mb": peak_rss_mb,
            "differs": differences(self._work.expected, outputs.by_customer),
        }

    def _committed(self, given: Arguments) -> int:
        if self._peer.committed is not None:
            return self._peer.committed(given)
        return sum(self._cluster.committed(given.group, given.input))

    def _wait_for_outputs(self, process: Process) -> None:
        """Wait for the outputs. If they stay too few, the comparison reports it."""
        try:
            self._wait(process, lambda: self._cluster.count(self._given.output) >= self._work.outputs, OUTPUTS_S)
        except TimeoutError:
            return

    # -- recovery

    def recover(self) -> Figures:
        """Measure the recovery of state. Called after `run`, if the peer keeps its state.

        Compare two restarts, one with the state of the job and one with that of a few customers: the additional time
        from the start of the process to the outputs of one further event per partition, and the additional usage.
        """
        given, work = self._given, self._work
        bare = self._arguments(f"{self._name}-bare", given.mode)
        self._prepare(bare, work.first_orders)
        with self._process(bare) as process:
            process.line(START_S)
            self._wait(process, lambda: self._committed(bare) >= len(work.first_orders), START_S)
        bare_s, bare_cpu_s = self._restart(bare, work.second_orders)
        restart_s, restart_cpu_s = self._restart(given, work.first_orders)
        outputs = self._cluster.outputs(given.output, self._peer.parse).by_customer
        return {
            "recovery_s": restart_s - bare_s,
            "recovery_cpu_s": restart_cpu_s - bare_cpu_s,
            "restart_s": restart_s,
            "restart_cpu_s": restart_cpu_s,
            "recovered_differs": differences(work.expected_with_orders, outputs),
        }

    def _restart(self, given: Arguments, records: list[tuple[bytes, bytes]]) -> tuple[float, float]:
        """Restart the peer with `records`, each of which causes one output. Return the seconds until the last output is
        on its topic, and the processor seconds."""
        if self._peer.store == "changelog":  # a new machine, with nothing on its disk
            shutil.rmtree(given.state_dir)
            given.state_dir.mkdir()
        self._wait_until_left(given.group)
        expected = self._cluster.count(given.output) + len(records)
        self._cluster.produce(given.input, records)
        with self._process(given) as process:
            process.line(START_S)
            self._wait(process, lambda: self._cluster.count(given.output) >= expected, self._work.patience_s)
            used = process.cpu_s
        last_at = self._cluster.outputs(given.output, self._peer.parse).last_at
        assert last_at is not None
        return last_at - process.started_at, used

    def _wait_until_left(self, group: str) -> None:
        """Wait until the group has no members: waiting for the session of a dead member is no recovery of state."""
        give_up = time.monotonic() + START_S
        while self._peer.committed is None and self._cluster.members(group):
            if time.monotonic() > give_up:
                raise Failed("its group never became empty")
            time.sleep(POLL_S)

    # -- the process

    def _arguments(self, name: str, mode: str) -> Arguments:
        return Arguments(
            bootstrap=self._cluster.address,
            input=f"{name}-in",
            output=f"{name}-out",
            group=name,
            events=self._work.number,
            mode=mode,
            state_dir=self._directory / name,
        )

    def _prepare(self, given: Arguments, records: list[tuple[bytes, bytes]]) -> None:
        given.state_dir.mkdir(parents=True)
        self._cluster.create(given.input)
        self._cluster.create(given.output, appended_times=True)
        if self._peer.prepare is not None:
            self._peer.prepare(given)
        self._cluster.produce(given.input, records)

    def _process(self, given: Arguments) -> Process:
        return Process(self._peer.command(given), self._directory / f"{given.group}.log")

    @staticmethod
    def _wait(process: Process, done: Callable[[], bool], timeout: float) -> None:
        give_up = time.monotonic() + timeout
        while not done():
            process.check()
            if time.monotonic() > give_up:
                raise TimeoutError(f"not done within {timeout:.0f} s")
            time.sleep(POLL_S)
