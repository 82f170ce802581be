"""The workers of a run, as an orchestrator has them: each in a slot with a directory of its own, restarted when it
ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.process_cluster import ProcessCluster, WorkerProcess, wait_until


class Crew:
    """A number of slots for workers. They are empty until `start` is called or `kept` runs."""

    def __init__(
        self, cluster: ProcessCluster, slots: int, *, program: str = "", fault: str = "", **settings: str
    ) -> None:
        """`fault`: a worker whose log contains this sentence has met the fault of the run. It may end with 1, also
        while it is being stopped, and is counted among `ends`."""
        self.workers: list[WorkerProcess | None] = [None] * slots
        self.ends: Counter[int] = Counter()
        """Exit codes of workers that ended by themselves, or of the fault."""
        self.failed_stops: list[int] = []
        """Exit codes other than 0 of workers that were stopped."""
        self.started = 0
        self.killed = 0
        self.programs = [program] * slots
        """The program that runs instead of `lifecycle worker`, by slot; empty for none."""
        self.closed: set[int] = set()
        """Slots that stay empty."""
        self._cluster = cluster
        self._fault = fault
        self._settings = settings
        self._told: set[int] = set()

    def directory(self, slot: int) -> Path:
        """Return the data directory of a slot."""
        return self._cluster.directory / f"slot-{slot}"

    def start(self, slot: int, **settings: str) -> WorkerProcess:
        """Start a worker in a free slot."""
        self._note_ends()
        own = {"data_dir": str(self.directory(slot))} | self._settings | settings
        worker = self._cluster.start_worker(program=self.programs[slot], **own)
        self.workers[slot] = worker
        self.started += 1
        return worker

    def running(self) -> list[int]:
        """Return the slots with a running worker."""
        return [n for n, worker in enumerate(self.workers) if worker is not None and worker.process.poll() is None]

    def partitions(self, slot: int) -> int:
        """Return how many partitions the worker of a slot has; 0 if there is none."""
        worker = self.workers[slot]
        return 0 if worker is None else int(worker.metric("lifecycle_partitions_assigned"))

    def kill(self, slot: int) -> None:
        """Kill a worker (SIGKILL)."""
        worker = self._of(slot)
        if worker.process.poll() is None:
            self._told.add(worker.process.pid)
            self.killed += 1
            worker.kill()

    async def terminate(self, slot: int, timeout: float = 30.0) -> None:
        """Stop a worker (SIGTERM). Its slot stays free."""
        worker = self._of(slot)
        self._told.add(worker.process.pid)
        served = worker.get("/healthz")[0] != 0
        worker.terminate()
        try:
            await wait_until(lambda: worker.process.poll() is not None, "the end of a worker", timeout)
        except AssertionError:
            worker.kill()
        self.workers[slot] = None
        code = worker.process.returncode
        if code == 1 and self._fault and self._fault in worker.log.read_text():
            self.ends[code] += 1
        elif code != 0 and (
            served or code != -signal.SIGTERM
        ):  # SIGTERM ends a process in which Python is still starting
            self.failed_stops.append(code)

    async def ready(self) -> None:
        """Wait until all workers have partitions and process them."""
        for slot in self.running():
            await self._of(slot).ready()

    @contextlib.asynccontextmanager
    async def kept(self, pause: float = 0.3) -> AsyncIterator[None]:
        """Replace workers that end, after a pause, for the length of the block."""

        async def keep() -> None:
            while True:
                self.replace()
                await asyncio.sleep(pause)

        keeping = asyncio.create_task(keep())
        try:
            yield
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping

    def replace(self) -> None:
        """Start workers in slots that are empty or whose worker has ended."""
        for slot, worker in enumerate(self.workers):
            if slot not in self.closed and (worker is None or worker.process.poll() is not None):
                self.start(slot)

    async def dismiss(self) -> None:
        """Stop all workers (SIGTERM) for good."""
        self.closed.update(range(len(self.workers)))
        self._note_ends()
        await asyncio.gather(*(self.terminate(slot) for slot in self.running()))

    def _note_ends(self) -> None:
        for worker in self.workers:
            if worker is not None and worker.process.poll() is not None and worker.process.pid not in self._told:
                self.ends[worker.process.returncode] += 1
                self._told.add(worker.process.pid)

    def _of(self, slot: int) -> WorkerProcess:
        worker = self.workers[slot]
        assert worker is not None, f"there is no worker in slot {slot}"
        return worker
