"""Detects topics that have been silent for longer than their source idle timeout."""

from __future__ import annotations

from collections.abc import Mapping

from streams.core.model.event import Source

INTERVAL_MS = 5_000


class TopicSilence:
    """Policy object that takes in the ends of topics and the time.

    Silence counts from the last record that a worker of the group is known to have read, or else from the first check.
    So a worker that has just started knows as much as the others: it observes each topic before it processes records.
    """

    def __init__(self, idle_timeouts: Mapping[Source, int | None]) -> None:
        self._idle_timeouts = {source: limit for source, limit in idle_timeouts.items() if limit is not None}
        self._ends: dict[Source, int] = {}
        self._changed_at: dict[Source, int] = {}
        self._checked_at: dict[Source, int] = {}

    def due(self, now: int) -> list[Source]:
        """Return the sources whose topics are due to be checked."""
        return [s for s in self._idle_timeouts if s not in self._checked_at or now - self._checked_at[s] >= INTERVAL_MS]

    def knows(self, source: Source) -> bool:
        """Return True if the source was checked before."""
        return source in self._checked_at

    def observe(self, source: Source, end: int, now: int, since: int | None = None) -> None:
        """Take in the sum of the end offsets of a topic. `since`: with the first check, the time of the last record."""
        self._checked_at[source] = now
        if self._ends.get(source) != end:
            self._changed_at[source] = now if source in self._ends or since is None else min(now, since)
            self._ends[source] = end

    def silent(self, now: int) -> frozenset[Source]:
        """Return the sources that are silent beyond their idle timeout."""
        return frozenset(
            source
            for source, limit in self._idle_timeouts.items()
            if source in self._changed_at and now - self._changed_at[source] > limit
        )
