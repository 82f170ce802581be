"""Commits, one at a time: a snapshot of each task, written as the processing guarantee has it.

A commit that fails ends the worker: what memory holds and what the log holds would no longer agree.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from streams.shell.guarantee import Guarantee
from streams.shell.task import PartitionTask


class Committer:
    """Used by the app: at an interval, and when partitions are let go."""

    def __init__(self, app: Any, guarantee: Guarantee) -> None:
        self._app = app
        self._guarantee = guarantee
        self._lock = asyncio.Lock()

    async def commit(self, tasks: Mapping[int, PartitionTask], *, leaving: bool = False) -> None:
        """Commit what has happened since the last time. `leaving`: the tasks will not be used again.

        Ends the worker (`App.fail`) when it cannot be carried through.
        """
        async with self._lock:
            if not leaving:
                tasks = {n: task for n, task in tasks.items() if self._app.tasks.get(n) is task}
            if not tasks or self._app.failure is not None:
                return
            began = time.perf_counter()
            try:
                if await self._commit(tasks, leaving):
                    self._app.metrics.committed(time.perf_counter() - began)
            except asyncio.CancelledError:
                raise
            except Exception as exc:
                self._app.metrics.commit_failed()
                if (sentence := self._guarantee.explain(exc)) is not None:
                    self._app.fail(sentence)
                else:
                    self._app.fail(
                        f"A commit failed ({type(exc).__name__}: {exc}). Nothing is lost: this worker ends, the next "
                        "goes on from the last commit.",
                        exc,
                    )

    async def _commit(self, tasks: Mapping[int, PartitionTask], leaving: bool) -> bool:
        snapshots = {}
        for n, task in tasks.items():
            snapshot = task.snapshot(force=not task.trusted)
            if snapshot is not None:
                snapshots[n] = snapshot
                await asyncio.sleep(0)  # packing takes its time, and events should not wait for all of it
        if snapshots:
            await self._guarantee.write(tasks, snapshots, leaving=leaving)
        return bool(snapshots)
