"""How the recovery of the tables gets on: for the log, at a bounded rate, and in figures for metrics and `/readyz`."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from streams.errors import Fault

log = logging.getLogger(__name__)

WINDOW_S = 10.0
"""What the rate is taken over."""
LOG_S = 5.0
STALLED_S = 30.0
"""After so long without a record, and then as often, there is a warning, and a new start if the broker answers."""
RESTARTS = 3
"""So often, without a record in between."""


class RecoveryStuck(Fault):
    """Recovery reads nothing, although the broker answers."""

    reason = "recovery_stuck"
    passes = True

    def __init__(self, left: int, partitions: list[int]) -> None:
        super().__init__(
            f"Recovery has stood still at {left} changelog records of partitions {partitions} although the broker "
            f"answers, and {RESTARTS} new starts of reading have not helped. This worker ends, so that a new one may "
            "try. If it repeats, hold the ends of these partitions of the changelog against what can be read of them "
            "(kafka-get-offsets, kafka-console-consumer)."
        )


class Figures(NamedTuple):
    """Changelog records, counted by offsets: those that compaction removed are among those that are left."""

    records_left: int
    records_per_second: float
    seconds_left: float | None
    """None: not known, as nothing was read lately."""


class RecoveryProgress:
    """Told by the app, about once a second, what is left to be read."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.figures: Figures | None = None
        """None: there is no recovery."""
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()
        self._began = 0.0
        self._to_read = 0
        self._logged_at = 0.0
        self._moved_at = 0.0
        self._warned_at = 0.0
        self._answered_since: float | None = None
        """Since when nothing was read although the broker answers."""
        self._restarts = 0
        self._partitions: list[int] = []

    def stuck(self) -> bool:
        """Whether reading has to start again. Raises `RecoveryStuck` when that has been done often enough."""
        since = self._answered_since
        if self.figures is None or since is None or self._clock() - since < STALLED_S:
            return False
        if self._restarts == RESTARTS:
            raise RecoveryStuck(self.figures.records_left, self._partitions)
        self._restarts += 1
        self._answered_since = None
        log.warning("Reading of the changelog starts again (%d of %d times)", self._restarts, RESTARTS)
        return True

    def observe(self, remaining: Mapping[int, int], answers: bool = True) -> None:
        """Records left, by partition; nothing once they are recovered. `answers`: the broker does."""
        before = self.figures
        self._partitions = sorted(remaining)
        self._look(remaining)
        if self.figures is None or before is None or self.figures.records_left != before.records_left:
            self._restarts, self._answered_since = 0, None
        elif not answers:
            self._answered_since = None
        elif self._answered_since is None:
            self._answered_since = self._clock()

    def _look(self, remaining: Mapping[int, int]) -> None:
        now, left = self._clock(), sum(remaining.values())
        if not left:
            if self.figures is not None:
                log.info("Recovered: %d changelog records in %.1f s", self._to_read, now - self._began)
            self.figures = None
            self._samples.clear()
            return
        if self.figures is None or left > self.figures.records_left:  # it begins, or begins again
            self._began = self._logged_at = self._moved_at = now
            self._to_read = left
            self._samples.clear()
            log.info("Recovery: %d changelog records to read, of partitions %s", left, sorted(remaining))
        elif left < self.figures.records_left:
            self._moved_at = now
        self._samples.append((now, left))
        while now - self._samples[0][0] > WINDOW_S:
            self._samples.popleft()
        since, before = self._samples[0]
        rate = (before - left) / (now - since) if now > since else 0.0
        self.figures = Figures(left, rate, left / rate if rate else None)
        self._tell(now, sorted(remaining))

    def _tell(self, now: float, partitions: list[int]) -> None:
        assert self.figures is not None
        left, rate, seconds = self.figures
        if now - max(self._moved_at, self._warned_at) >= STALLED_S:
            self._warned_at = now
            log.warning(
                "Recovery has not read anything for %.0f s; %d changelog records of partitions %s are left. Are the "
                "leaders of these partitions there?",
                now - self._moved_at, left, partitions,
            )  # fmt: skip
        elif seconds is not None and now - self._logged_at >= LOG_S:
            self._logged_at = now
            log.info("Recovery: %d changelog records left, %.0f a second, about %.0f s", left, rate, seconds)
