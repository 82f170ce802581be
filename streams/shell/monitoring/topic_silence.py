"""Whether a whole topic has fallen silent for longer than its owner believes (`idle_timeout`)."""

from __future__ import annotations

from collections.abc import Mapping

from streams.core.model.event import Source

INTERVAL_MS = 5_000


class TopicSilence:
    """A policy object that is told the ends of topics and the time.

    Silence counts from the last record that anybody in the group is known to have had, or else from the first look. So
    who has just begun knows as much as others do: it is told before anything is processed.
    """

    def __init__(self, hold_after: Mapping[Source, int | None]) -> None:
        self._hold_after = {source: limit for source, limit in hold_after.items() if limit is not None}
        self._ends: dict[Source, int] = {}
        self._changed_at: dict[Source, int] = {}
        self._looked_at: dict[Source, int] = {}

    def due(self, now: int) -> list[Source]:
        """The sources whose topic is to be looked at."""
        return [s for s in self._hold_after if s not in self._looked_at or now - self._looked_at[s] >= INTERVAL_MS]

    def knows(self, source: Source) -> bool:
        """Whether it was looked at before."""
        return source in self._looked_at

    def observe(self, source: Source, end: int, now: int, since: int | None = None) -> None:
        """The sum of the end offsets of the whole topic. `since`: with the first look, when the last record came."""
        self._looked_at[source] = now
        if self._ends.get(source) != end:
            self._changed_at[source] = now if source in self._ends or since is None else min(now, since)
            self._ends[source] = end

    def silent(self, now: int) -> frozenset[Source]:
        """The sources held for silence."""
        return frozenset(
            source
            for source, limit in self._hold_after.items()
            if source in self._changed_at and now - self._changed_at[source] > limit
        )
