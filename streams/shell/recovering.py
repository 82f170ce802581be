"""How the recovery of the tables gets on: for the log, at a bounded rate, and in figures for metrics and `/readyz`."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

log = logging.getLogger(__name__)

WINDOW_S = 10.0
"""What the rate is taken over."""
LOG_S = 5.0
STALLED_S = 30.0
"""After so long without a record, and then as often, there is a warning."""


class Figures(NamedTuple):
    """Changelog records, counted by offsets: those that compaction removed are among those that are left."""

    records_left: int
    records_per_second: float
    seconds_left: float | None
    """None: not known, as nothing was read lately."""


class RecoveryWatch:
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

    def saw(self, remaining: Mapping[int, int]) -> None:
        """Records left, by partition; nothing once they are recovered."""
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
