"""Trust in the worker's clock, which fires deadlines."""

from __future__ import annotations

from collections.abc import Callable

MAX_JUMP_MS = 5_000
MAX_SKEW_MS = 30_000


class ClockTrust:
    """Trust in the worker's clock, which each commit compares with the broker's.

    Without trust, the silence of a topic proves nothing.
    """

    def __init__(self) -> None:
        self.given = False
        """True while the clock is known to agree with the broker's."""
        self.losses = 0
        """Number of times that trust was lost."""

    def distrust(self) -> None:
        """Withdraw trust: the clock has jumped."""
        self.given = False
        self.losses += 1

    def judge(self, skew: int | None, as_of: int) -> None:
        """Take in the difference from the broker's clock that a commit has shown, in ms; None if it has shown none.

        `as_of` is the value of `losses` when the commit began. A difference that was measured while the clock jumped
        is ignored, because it may be from before or after the jump.
        """
        if as_of == self.losses:
            self.given = abs(skew or 0) <= MAX_SKEW_MS


class ClockWatch:
    """Detects jumps of the wall clock, by comparison with a monotonic clock. Called at every tick."""

    def __init__(self, wall: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._drift = self._difference()

    def jumped(self) -> bool:
        """Return True if the wall clock was set by more than `MAX_JUMP_MS` since the last call.

        If the process was stopped meanwhile, both clocks have advanced: the time is right, and that is no jump.
        """
        drift, before = self._difference(), self._drift
        self._drift = drift
        return abs(drift - before) > MAX_JUMP_MS

    def _difference(self) -> float:
        return self._wall() - self._monotonic() * 1000
