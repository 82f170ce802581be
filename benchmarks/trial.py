"""One trial of one peer: the whole job, then the recovery of its state. Returns figures, judges nothing."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from aiokafka.partitioner import murmur2

from benchmarks.catalogue import Peer, slug
from benchmarks.job import CUSTOMERS, PARTITIONS, START_MS, STEP_MS, differences, events, oracle
from benchmarks.kafka import Cluster
from benchmarks.peers.arguments import Arguments
from benchmarks.process import Failed, Process

POLL_S: Final = 0.05
IDLE_S: Final = 2.0
OUTPUTS_S: Final = 10.0
"""How long outputs may take after the offsets were committed."""
START_S: Final = 120.0
SLOWEST_S: Final = 0.002
"""An event takes no longer, or the trial has failed."""

Figures = dict[str, Any]


class Job:
    """The events, and what must come out."""

    def __init__(self, number: int, customers: int = CUSTOMERS) -> None:
        self.number = number
        self.customers = customers
        self.records = list(events(number, customers))
        self.expected = oracle(iter(self.records))

    @cached_property
    def further(self) -> list[tuple[bytes, bytes]]:
        """One more event per partition, of a customer who is known and changes stage by it: a first order. Its output
        tells by `from` and `sequence` whether the state was there."""
        after = START_MS + self.number * STEP_MS
        found: dict[int, tuple[bytes, bytes]] = {}
        for customer, outputs in self.expected.items():
            key = customer.encode()
            partition = (murmur2(key) & 0x7FFFFFFF) % PARTITIONS
            if partition not in found and outputs[-1]["to"] in ("engaged", "cart", "checkout"):
                found[partition] = key, _order(customer, after + partition)
        return list(found.values())

    @cached_property
    def further_expected(self) -> dict[str, list[dict[str, Any]]]:
        """What must have come out after these, too."""
        return oracle(itertools.chain(self.records, self.further))


def _order(customer: str, at: int) -> bytes:
    event = {
        "event_id": f"{customer}-{at}",
        "type": "order_completed",
        "occurred_at": at,
        "customer_id": customer,
        "session_id": "s0",
        "product_id": "p0",
        "category": "category-0",
        "price": 1.0,
        "currency": "EUR",
        "quantity": 1,
    }
    return json.dumps(event, separators=(",", ":")).encode()


class Trial:
    """Everything of it has names of its own on the broker and in the work directory."""

    def __init__(self, cluster: Cluster, job: Job, peer: Peer, mode: str, directory: Path, number: int) -> None:
        self._cluster = cluster
        self._job = job
        self._peer = peer
        self._name = f"{slug(peer.name)}-{mode}-{number}"
        self._directory = directory
        self._given = self._arguments(self._name, mode)

    def run(self, recovery: bool) -> Figures:
        """The job, and with `recovery` a restart, if there is state to recover."""
        self._prepare(self._given, self._job.records)
        figures = self._work()
        if recovery and self._peer.store != "none":
            figures |= self._recover()
        return figures

    # -- the job

    def _work(self) -> Figures:
        given, cluster = self._given, self._cluster
        with self._process(given) as process:
            ready = process.line(START_S)
            self._wait(process, lambda: self._committed() >= self._job.number, self._job.number * SLOWEST_S + START_S)
            done_at, done_cpu_s = time.time(), process.cpu_s
            if cluster.count(given.output) < self._expected_outputs:
                self._wait_for_outputs(process)
                done_at, done_cpu_s = time.time(), process.cpu_s
            peak_rss_mb = process.peak_rss_mb
            time.sleep(IDLE_S)
            idle_share = (process.cpu_s - done_cpu_s) / (time.time() - done_at)
        outputs = cluster.outputs(given.output, self._peer.parse)
        last_output_at = done_at if outputs.last_at is None else min(outputs.last_at, done_at)
        return {
            "start_cpu_s": ready.cpu_s,
            "start_s": ready.at - process.started_at,
            "job_cpu_s": done_cpu_s - ready.cpu_s,
            "outputs_s": last_output_at - ready.at,
            "committed_s": done_at - ready.at,
            "idle_share": idle_share,
            "peak_rss_mb": peak_rss_mb,
            "differs": differences(self._job.expected, outputs.by_customer),
        }

    @cached_property
    def _expected_outputs(self) -> int:
        return sum(map(len, self._job.expected.values()))

    def _committed(self) -> int:
        if self._peer.committed is not None:
            return self._peer.committed(self._given)
        return sum(self._cluster.committed(self._given.group, self._given.input))

    def _wait_for_outputs(self, process: Process) -> None:
        """They may be too few for good: then the comparison says so."""
        try:
            self._wait(process, lambda: self._cluster.count(self._given.output) >= self._expected_outputs, OUTPUTS_S)
        except TimeoutError:
            return

    # -- recovery

    def _recover(self) -> Figures:
        """How much longer than with nothing to recover it takes from the start of the process to the outputs of one
        further event per partition, and what it uses until then."""
        given, job = self._given, self._job
        bare = self._arguments(f"{self._name}-bare", given.mode)
        self._prepare(bare, job.further)
        bare_s, bare_cpu_s = self._until_further_outputs(bare, before=0)

        if self._peer.store == "changelog":  # a new machine, with nothing on its disk
            shutil.rmtree(given.state_dir)
            given.state_dir.mkdir()
        self._wait_until_left()
        before = self._cluster.count(given.output)
        self._cluster.produce(given.input, job.further)
        restart_s, restart_cpu_s = self._until_further_outputs(given, before)
        outputs = self._cluster.outputs(given.output, self._peer.parse).by_customer
        return {
            "bare_s": bare_s,
            "bare_cpu_s": bare_cpu_s,
            "restart_s": restart_s,
            "restart_cpu_s": restart_cpu_s,
            "recovered_differs": differences(job.further_expected, outputs),
        }

    def _until_further_outputs(self, given: Arguments, before: int) -> tuple[float, float]:
        """Seconds from the start of the process until they are on their topic, and processor seconds."""
        expected = before + len(self._job.further) * (2 if before == 0 else 1)  # of an unknown one: visitor, customer
        with self._process(given) as process:
            process.line(START_S)
            self._wait(process, lambda: self._cluster.count(given.output) >= expected, START_S)
            used = process.cpu_s
        last_at = self._cluster.outputs(given.output, self._peer.parse).last_at
        assert last_at is not None
        return last_at - process.started_at, used

    def _wait_until_left(self) -> None:
        """That a group waits for the session of a member that is gone is no recovery of state."""
        give_up = time.monotonic() + START_S
        while self._peer.committed is None and self._cluster.members(self._given.group):
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
            events=self._job.number,
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

    @contextmanager
    def _process(self, given: Arguments) -> Iterator[Process]:
        process = Process(self._peer.command(given), self._directory / f"{given.group}.log")
        try:
            yield process
        finally:
            process.stop()

    @staticmethod
    def _wait(process: Process, done: Callable[[], bool], timeout: float) -> None:
        give_up = time.monotonic() + timeout
        while not done():
            process.check()
            if time.monotonic() > give_up:
                raise TimeoutError(f"not done within {timeout:.0f} s")
            time.sleep(POLL_S)
