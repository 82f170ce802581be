"""The alarm of a consumer whose fetches do not succeed. It replaces Faust's.

Faust reads from aiokafka when a partition was last fetched. `chunk_fetches` clears that time with each request, to tell
answers from errors, so Faust finds none whenever it looks while a request waits for records: an idle, healthy worker
raised an alarm for every partition with each commit interval.
"""

from __future__ import annotations

import logging
from typing import Final

from faust.types import TP

from streams.core.model.sources import Fetch

log = logging.getLogger(__name__)

OVERDUE_S: Final = 60.0
"""Seconds without a successful fetch after which the alarm is raised. An idle partition is fetched every second or so,
and a new leader is elected within less."""


class FetchWatch:
    """Compares the fetches of partitions that are to be fetched with those of the time before."""

    def __init__(self) -> None:
        self._seen: dict[TP, tuple[Fetch | None, float]] = {}
        """Last successful fetch that was seen, and the time at which it was seen first."""

    def observe(self, tp: TP, fetch: Fetch | None, now: float) -> None:
        """Log an error if no fetch of `tp` has succeeded for too long. `now`: a steady clock, s."""
        seen = self._seen.get(tp)
        if seen is None or seen[0] != fetch:
            self._seen[tp] = fetch, now
        elif now - seen[1] >= OVERDUE_S:
            log.error(
                "No fetch of partition %d of %s has succeeded for %.0f s: its leader does not answer, or this worker "
                "does not process what it has fetched.",
                tp.partition,
                tp.topic,
                now - seen[1],
            )

    def forget(self, tp: TP) -> None:
        """Begin anew: `tp` is not to be fetched for now."""
        self._seen.pop(tp, None)
