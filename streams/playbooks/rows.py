"""The tables of a track as rows that people can be shown: from, to, and why. Made from what the engine runs."""

from __future__ import annotations

from typing import NamedTuple

from streams import values
from streams.core.lifecycle.tracks import TimeoutTransition, Track, Transition


class Row(NamedTuple):
    """One transition, or one deadline (`late`)."""

    sources: tuple[str, ...]
    target: str
    text: str
    late: bool
    starts_cycle: bool = False

    @property
    def label(self) -> str:
        """All that there is to say of it."""
        return f"{self.text}, a new cycle" if self.starts_cycle else self.text


def rows_of(track: Track) -> list[Row]:
    """All rows of a track in its order: what is tried from the top after an event, then the deadlines."""
    return [*map(_transition, track.transitions), *map(_lapse, track.timeout_transitions)]


def unreachable(track: Track) -> list[str]:
    """Stages that no customer can come to."""
    reached, rows = {track.initial}, rows_of(track)
    while more := {row.target for row in rows if not reached.isdisjoint(row.sources)} - reached:
        reached |= more
    named = dict.fromkeys([*track.stages, *(source for row in rows for source in row.sources)])
    return [stage for stage in named if stage not in reached]


def _transition(row: Transition) -> Row:
    return Row(row.sources, row.target, row.rule.text, False, row.starts_cycle)


def _lapse(row: TimeoutTransition) -> Row:
    return Row(row.sources, row.target, f"{values.show_duration(row.after)} after {row.since.text}", True)
