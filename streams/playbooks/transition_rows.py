"""The transitions of a track as rows for people: from, to and why. Built from the tables that the engine runs."""

from __future__ import annotations

from typing import NamedTuple

from streams import values
from streams.core.lifecycle.tracks import TimeoutTransition, Track, Transition


class TransitionRow(NamedTuple):
    """One transition, or one timeout transition (`is_timeout`)."""

    sources: tuple[str, ...]
    target: str
    text: str
    is_timeout: bool
    starts_cycle: bool = False

    @property
    def label(self) -> str:
        """The rule, with a remark if the transition starts a cycle."""
        return f"{self.text}, a new cycle" if self.starts_cycle else self.text


def rows_of(track: Track) -> list[TransitionRow]:
    """Return all rows of a track in its order: the transitions, then the timeout transitions."""
    return [*map(_transition_row, track.transitions), *map(_timeout_row, track.timeout_transitions)]


def unreachable(track: Track) -> list[str]:
    """Return the stages that no customer can reach."""
    reached, rows = {track.initial}, rows_of(track)
    while more := {row.target for row in rows if not reached.isdisjoint(row.sources)} - reached:
        reached |= more
    named = dict.fromkeys([*track.stages, *(source for row in rows for source in row.sources)])
    return [stage for stage in named if stage not in reached]


def _transition_row(row: Transition) -> TransitionRow:
    return TransitionRow(row.sources, row.target, row.rule.text, False, row.starts_cycle)


def _timeout_row(row: TimeoutTransition) -> TransitionRow:
    return TransitionRow(row.sources, row.target, f"{values.show_duration(row.after)} after {row.since.text}", True)
