"""Progress of the recovery of the tables: in the log at a bounded rate, and as figures for metrics and `/readyz`."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from streams.errors import Fault

log = logging.getLogger(__name__)

WINDOW_S = 10.0
"""Time over which the rate is measured."""
LOG_S = 5.0
STALLED_S = 30.0
"""Time without a record after which a warning is logged, again and again. Reading restarts if the broker answers."""
RESTARTS = 3
"""Most restarts without a record in between."""


class RecoveryStuck(Fault):
    """Recovery reads no records, although the broker answers."""

    reason = "recovery_stuck"
    passes = True

    def __init__(self, left: int, partitions: list[int]) -> None:
        super().__init__(
            f"Recovery has stood still with {left} changelog records of partitions {partitions} left, although the "
            f"broker answers, and {RESTARTS} restarts of reading have not helped. Nothing is lost. This worker ends, "
            "so that a new one can try. If it repeats, compare the end offsets of these partitions of the changelog "
            "with the records that can be read from them (kafka-get-offsets, kafka-console-consumer)."
        )


class RecoveryFigures(NamedTuple):
    """Changelog records that are left, counted by offsets: records that compaction has removed count too."""

    records_left: int
    records_per_second: float
    seconds_left: float | None
    """None if it is not known, because no record was read lately."""


class RecoveryProgress:
    """Progress of recovery. The worker reports about once a second how many records are left."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.figures: RecoveryFigures | None = None
        """None while nothing is to be recovered."""
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()
        self._began = 0.0
        self._to_read = 0
        self._logged_at = 0.0
        self._moved_at = 0.0
        self._warned_at = 0.0
        self._answered_since: float | None = None
        """Time since which no record was read although the broker answers."""
        self._restarts = 0
        self._partitions: list[int] = []

    def stuck(self) -> bool:
        """Return True if reading has to restart. Raises `RecoveryStuck` after `RESTARTS` restarts."""
        since = self._answered_since
        if self.figures is None or since is None or self._clock() - since < STALLED_S:
            return False
        if self._restarts == RESTARTS:
            raise RecoveryStuck(self.figures.records_left, self._partitions)
        self._restarts += 1
        self._answered_since = None
        log.warning("Reading of the changelog restarts (restart %d of at most %d)", self._restarts, RESTARTS)
        return True

    def observe(self, remaining: Mapping[int, int], answers: bool = True) -> None:
        """Take in the records left by partition, none once they are recovered. `answers`: the broker answers."""
        before = self.figures
        self._partitions = sorted(remaining)
        self._update(remaining)
        if self.figures is None or before is None or self.figures.records_left != before.records_left:
            self._restarts, self._answered_since = 0, None
        elif not answers:
            self._answered_since = None
        elif self._answered_since is None:
            self._answered_since = self._clock()

    def _update(self, remaining: Mapping[int, int]) -> None:
        now, left = self._clock(), sum(remaining.values())
        if not left:
            if self.figures is not None:
                log.info("Recovered: %d changelog records in %.1f s", self._to_read, now - self._began)
            self.figures = None
            self._samples.clear()
            return
        if self.figures is None or left > self.figures.records_left:  # recovery begins, or begins again
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
        self.figures = RecoveryFigures(left, rate, left / rate if rate else None)
        self._log(now, sorted(remaining))

    def _log(self, now: float, partitions: list[int]) -> None:
        assert self.figures is not None
        left, rate, seconds = self.figures
        if now - max(self._moved_at, self._warned_at) >= STALLED_S:
            self._warned_at = now
            log.warning(
                "Recovery has not read any record for %.0f s; %d changelog records of partitions %s are left. Check "
                "that these partitions have a leader.",
                now - self._moved_at, left, partitions,
            )  # fmt: skip
        elif seconds is not None and now - self._logged_at >= LOG_S:
            self._logged_at = now
            log.info("Recovery: %d changelog records left, %.0f a second, about %.0f s", left, rate, seconds)
