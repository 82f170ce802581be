"""Commits: outputs, then changelog, then outputs of deadlines, then offsets. One at a time.

A commit that fails ends the worker without offsets: what memory holds and what the log holds would no longer agree.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from aiokafka.errors import CommitFailedError
from faust.types import TP

from streams.shell.task import PartitionTask


class Committer:
    """Used by the app: at an interval, and when partitions are let go."""

    def __init__(self, app: Any, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._offsets: dict[TP, tuple[int, str]] = {}
        self._confirmed_at = 0.0

    def begin(self, offsets: Mapping[TP, tuple[int, str]], first: Mapping[TP, tuple[int, str]]) -> None:
        """A new assignment, with what is committed for it, and where the partitions begin for which nothing is.

        These first offsets are committed before any state, so that state without offsets shows that they were lost.
        """
        self._offsets = {**offsets, **first}
        self._confirmed_at = -math.inf if first else self._monotonic()

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
            except CommitFailedError:
                self._app.metrics.commit_failed()
                self._app.fail(
                    "This worker was out of touch with its group for longer than LIFECYCLE_SESSION_TIMEOUT, and its "
                    "partitions went to others. It ends, so that a new one may take its place: what it did since its "
                    "last commit is done again, with the same ids."
                )
            except Exception as exc:
                self._app.metrics.commit_failed()
                self._app.fail(
                    f"A commit failed ({type(exc).__name__}: {exc}). Nothing is lost: this worker ends, the next goes "
                    "on from the last commit.",
                    exc,
                )

    async def _commit(self, tasks: Mapping[int, PartitionTask], leaving: bool) -> bool:
        snapshots = {}
        for n, task in tasks.items():
            snapshot = task.snapshot(force=not task.trusted)
            if snapshot is not None:
                snapshots[n] = snapshot
                await asyncio.sleep(0)  # packing takes its time, and events should not wait for all of it
        if not snapshots:
            return False
        unheard = self._monotonic() - self._confirmed_at
        if self._offsets and (leaving or unheard > self._app.settings.session_timeout / 2000):
            # The group may have dealt our partitions to somebody else. Ask before the changelog is written: the broker
            # refuses the offsets of a member it gave up.
            await self._app.consumer.commit_offsets(self._offsets)
            self._confirmed_at = self._monotonic()
        await asyncio.gather(*(tasks[n].write(snapshot) for n, snapshot in snapshots.items()))
        offsets = {TP(*at): o for n, snapshot in snapshots.items() for at, o in tasks[n].offsets(snapshot).items()}
        await self._app.consumer.commit_offsets(offsets)
        self._offsets |= offsets
        self._confirmed_at = self._monotonic()
        return True
