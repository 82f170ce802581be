"""Whether the worker's clock can be trusted: deadlines are fired by it."""

from __future__ import annotations

from collections.abc import Callable

MAX_JUMP_MS = 5_000
MAX_SKEW_MS = 30_000


class ClockTrust:
    """Whether the worker's clock was found to agree with the broker's, by who commits. Until it is, silence proves
    nothing."""

    def __init__(self) -> None:
        self.given = False
        self.losses = 0
        """How often it was lost."""

    def distrust(self) -> None:
        """The clock has jumped."""
        self.given = False
        self.losses += 1

    def judge(self, skew: int | None, as_of: int) -> None:
        """A commit that began when trust was lost `as_of` times has shown how far the clock is from the broker's, ms;
        None where it shows nothing. What was measured while the clock jumped may be of either side of the jump.
        """
        if as_of == self.losses:
            self.given = abs(skew or 0) <= MAX_SKEW_MS


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
