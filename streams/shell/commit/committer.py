"""Commits, one at a time: a snapshot of each task and reader, written as the processing guarantee has it.

A commit that fails ends the worker: what memory holds and what the log holds would no longer agree.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, Protocol

from streams.errors import UserError
from streams.observe.prometheus import Metrics
from streams.shell.clock import ClockTrust
from streams.shell.commit.guarantee import Guarantee, Offsets, Write
from streams.shell.faults import CommitFailed

LOOK_S: Final = 0.05
"""How often it is looked whether a commit is awaited."""
REST: Final = 2.0
"""So many times as long as a commit took, the next one is not made for being awaited: of the time of a catch-up, in
which tasks wait for one another, commits take a third at most."""


SHORT_S: Final = 0.001
"""A snapshot that takes less does not hold up events."""
LONGEST_PAUSE_S: Final = 0.005
"""Events have as long as the snapshot took, but a commit of hundreds of partitions has to end."""


class Committable(Protocol):
    """A task or a reader."""

    closed: bool
    """Whether it was let go."""
    trust: ClockTrust
    """In the worker's clock. A commit finds out."""

    @property
    def forwards(self) -> bool:
        """Whether others may ever wait for what only a commit sends."""

    @property
    def awaited(self) -> bool:
        """Whether they do."""

    def snapshot(self, *, force: bool = False) -> Any:
        """What a commit has to write; None if there is nothing, unless `force`. `write` must follow."""

    async def write(self, snapshot: Any) -> Offsets:
        """Carry the commit through, as far as the `OutputChannel` does; its offsets."""


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
        """Seconds, the last commit."""

    async def due(self, working: Callable[[], Iterable[Committable]], interval: float) -> None:
        """Return when it is time for the next commit: after the interval (s), or before, if somebody waits for it."""
        waited = min(interval, max(LOOK_S, REST * self._took))
        await asyncio.sleep(waited)
        while waited < interval and not any(one.awaited for one in working()):
            others = [one.forwards for one in working()]  # none yet: there may be some soon
            step = min(LOOK_S, interval - waited) if any(others) or not others else interval - waited
            await asyncio.sleep(step)
            waited += step

    async def commit(self, working: Iterable[Committable], *, leaving: bool = False) -> None:
        """Commit what has happened since the last time. `leaving`: these were let go, and will not be used again.

        Ends the worker when it cannot be carried through.
        """
        async with self._lock:
            working = [one for one in working if leaving or not one.closed]
            if not working or self._worker.failure is not None:
                return
            began = time.perf_counter()
            try:
                written = await self._commit(working, leaving)
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

    async def _commit(self, working: Iterable[Committable], leaving: bool) -> bool:
        writes: list[Write] = []
        for one in working:
            began = time.perf_counter()
            snapshot = one.snapshot(force=not one.trust.given)
            if snapshot is not None:
                writes.append(partial(one.write, snapshot))
                await asyncio.sleep(_pause(time.perf_counter() - began))
        if writes:
            await self._guarantee.write(writes, leaving=leaving)
        return bool(writes)


def _pause(took: float) -> float:
    """How long events have the loop to themselves after a snapshot that took so long, s.

    What a poll brings goes through the loop in half a dozen steps before its outputs are sent: if it only had turns
    between one snapshot and the next, it would wait for all of them.
    """
    return 0.0 if took < SHORT_S else min(took, LONGEST_PAUSE_S)
