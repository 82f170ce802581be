"""The workers of a run, as an orchestrator has them: each in a place with a directory of its own, started again when it
ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.process_cluster import ProcessCluster, WorkerProcess, wait_until


class Crew:
    """So many places. Nobody is in them before `start` is called or `kept` runs."""

    def __init__(self, cluster: ProcessCluster, places: int, *, program: str = "", **settings: str) -> None:
        self.workers: list[WorkerProcess | None] = [None] * places
        self.ends: Counter[int] = Counter()
        """Exit codes of those that ended without being told to."""
        self.failed_stops: list[int] = []
        """Exit codes, not 0, of those that were told to stop."""
        self.started = 0
        self.killed = 0
        self.programs = [program] * places
        """What runs in place of `lifecycle worker`, where it is not empty."""
        self.closed: set[int] = set()
        """Places in which nobody is put."""
        self._cluster = cluster
        self._settings = settings
        self._told: set[int] = set()

    def directory(self, place: int) -> Path:
        """The data directory of a place."""
        return self._cluster.directory / f"place-{place}"

    def start(self, place: int, **settings: str) -> WorkerProcess:
        """Put a worker in a place that is free."""
        self._note_ends()
        own = {"data_dir": str(self.directory(place))} | self._settings | settings
        worker = self._cluster.start_worker(program=self.programs[place], **own)
        self.workers[place] = worker
        self.started += 1
        return worker

    def running(self) -> list[int]:
        """The places with a worker that runs."""
        return [n for n, worker in enumerate(self.workers) if worker is not None and worker.process.poll() is None]

    def partitions(self, place: int) -> int:
        """How many the worker in a place works on; 0 if nobody is there."""
        worker = self.workers[place]
        return 0 if worker is None else int(worker.metric("lifecycle_partitions_assigned"))

    def kill(self, place: int) -> None:
        """SIGKILL."""
        worker = self._of(place)
        if worker.process.poll() is None:
            self._told.add(worker.process.pid)
            self.killed += 1
            worker.kill()

    async def terminate(self, place: int, timeout: float = 30.0) -> None:
        """SIGTERM. The place is free then, and stays so."""
        worker = self._of(place)
        self._told.add(worker.process.pid)
        served = worker.get("/healthz")[0] != 0
        worker.terminate()
        try:
            await wait_until(lambda: worker.process.poll() is not None, "the end of a worker", timeout)
        except AssertionError:
            worker.kill()
        self.workers[place] = None
        code = worker.process.returncode
        if code != 0 and (served or code != -signal.SIGTERM):  # Python itself ends who has not begun yet
            self.failed_stops.append(code)

    async def ready(self) -> None:
        """Wait until all that are there have partitions and process."""
        for place in self.running():
            await self._of(place).ready()

    @contextlib.asynccontextmanager
    async def kept(self, pause: float = 0.3) -> AsyncIterator[None]:
        """For the length of the block, who ends is replaced after a while."""

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
        """Put workers in the places that are empty, or whose worker has ended."""
        for place, worker in enumerate(self.workers):
            if place not in self.closed and (worker is None or worker.process.poll() is not None):
                self.start(place)

    async def dismiss(self) -> None:
        """SIGTERM to all, for good."""
        self.closed.update(range(len(self.workers)))
        self._note_ends()
        await asyncio.gather(*(self.terminate(place) for place in self.running()))

    def _note_ends(self) -> None:
        for worker in self.workers:
            if worker is not None and worker.process.poll() is not None and worker.process.pid not in self._told:
                self.ends[worker.process.returncode] += 1
                self._told.add(worker.process.pid)

    def _of(self, place: int) -> WorkerProcess:
        worker = self.workers[place]
        assert worker is not None, f"there is nobody in place {place}"
        return worker
