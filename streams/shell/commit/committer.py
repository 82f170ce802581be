"""The commits of a worker: one checkpoint at a time, at an interval or when tasks wait for one.

A commit that fails ends the worker, because memory and changelog would no longer agree.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from streams.errors import UserError
from streams.observe.prometheus import Metrics
from streams.shell.commit.checkpoint import Checkpoint, Participant
from streams.shell.commit.guarantee import Guarantee
from streams.shell.faults import CommitFailed

POLL_S: Final = 0.05
"""Seconds between two checks whether a commit is awaited."""
REST: Final = 2.0
"""After a commit that took t seconds, no other is made for REST * t seconds because tasks wait for it. So commits take
a third of the time at most while tasks that catch up wait for one another."""


class Worker(Protocol):
    """The worker, as far as its end is concerned."""

    @property
    def failure(self) -> str | None:
        """Reason for which the worker ends by itself; None while it has not failed."""

    def fail(self, cause: BaseException) -> None:
        """End the worker without another commit."""


class Committer:
    """Used at an interval, when tasks wait for a commit, and when partitions are released."""

    def __init__(self, guarantee: Guarantee, metrics: Metrics, worker: Worker) -> None:
        self._guarantee = guarantee
        self._metrics = metrics
        self._worker = worker
        self._lock = asyncio.Lock()
        self._took = 0.0
        """Seconds that the last commit took."""

    async def due(self, tasks: Callable[[], Iterable[Participant]], interval: float) -> None:
        """Return when it is time for the next commit: after `interval` (s), or earlier if a task waits for it."""
        waited = min(interval, max(POLL_S, REST * self._took))
        await asyncio.sleep(waited)
        while waited < interval and not any(task.awaited for task in tasks()):
            forwarding = [task.forwards for task in tasks()]  # no tasks yet: there may be some soon
            step = min(POLL_S, interval - waited) if any(forwarding) or not forwarding else interval - waited
            await asyncio.sleep(step)
            waited += step

    async def commit(self, tasks: Iterable[Participant], *, leaving: bool = False) -> None:
        """Commit what has happened since the last commit. `leaving`: the tasks were released.

        Ends the worker if a step fails.
        """
        async with self._lock:
            tasks = [task for task in tasks if leaving or not task.closed]
            if not tasks or self._worker.failure is not None:
                return
            began = time.perf_counter()
            try:
                written = await self._commit(tasks, leaving)
            except asyncio.CancelledError:
                raise
            except UserError as exc:
                self._worker.fail(exc)
            except Exception as exc:
                self._worker.fail(self._guarantee.explain(exc) or CommitFailed(exc))
            else:
                if written:
                    self._took = time.perf_counter() - began
                self._metrics.committed(self._took if written else None)

    async def _commit(self, tasks: Iterable[Participant], leaving: bool) -> bool:
        checkpoint = Checkpoint(self._guarantee, leaving=leaving)
        written = await checkpoint.take(tasks)
        if written:
            await checkpoint.commit()
        return written
