"""Whether the worker's clock can be trusted: deadlines are fired by it."""

from __future__ import annotations

from collections.abc import Callable

MAX_JUMP_MS = 5_000
MAX_SKEW_MS = 30_000


class ClockWatch:
    """Sees the wall clock jump, by holding it against one that cannot. Asked at every tick."""

    def __init__(self, wall: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._drift = self._difference()

    def jumped(self) -> bool:
        """Whether the wall clock was set by more than `MAX_JUMP_MS` since the last call.

        A process that was stopped sees both clocks move, and is right about the time.
        """
        drift, before = self._difference(), self._drift
        self._drift = drift
        return abs(drift - before) > MAX_JUMP_MS

    def _difference(self) -> float:
        return self._wall() - self._monotonic() * 1000
