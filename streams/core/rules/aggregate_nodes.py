"""The nodes that read what `streams.core.lifecycle.aggregates` keeps: windows, sums, what was bought and viewed."""

from __future__ import annotations

from typing import Final

from streams.core.model.aggregates import Occurrences
from streams.core.profile.profile import Profile
from streams.core.rules.eval_context import EvalContext
from streams.core.rules.nodes import ABSENT, NEVER, Text, Whole
from streams.core.rules.requirements import Window

BOUGHT: Final = 0
"""Categories bought."""
PRODUCT: Final = 1
"""Products bought."""
VIEWED: Final = 2
"""Categories viewed."""
LEAST_PURCHASES: Final = 3
"""Before that, nothing is known of how often somebody buys something."""


class InWindow(Whole):
    """Events, or what they come to, of a rolling window."""

    def __init__(self, window: Window) -> None:
        super().__init__(True)
        self.window = window

    def get(self, m: EvalContext) -> int:
        facts = m.profile.facts
        if facts is None:
            return 0
        buckets: dict[int, int] | None = facts.windows.get(self.window.key)
        if buckets is None:
            return 0
        first = self.window.cutoff(m.at)
        total = 0
        for bucket, number in buckets.items():
            if bucket >= first:
                total += number
        return total

    def next_change_at(self, m: EvalContext) -> int:
        facts = m.profile.facts
        if facts is None:
            return NEVER
        window = self.window
        buckets: dict[int, int] = facts.windows.get(window.key, {})
        first = window.cutoff(m.at)
        earliest = NEVER
        for bucket in buckets:
            if first <= bucket < earliest:
                earliest = bucket
        return NEVER if earliest == NEVER else (earliest + 1) * window.width + window.length


class Summed(Whole):
    """What events of a type come to, in total."""

    def __init__(self, type_: str) -> None:
        super().__init__()
        self.type = type_

    def get(self, m: EvalContext) -> int:
        facts = m.profile.facts
        if facts is None:
            return 0
        total: int = facts.sums.get(self.type, 0)
        return total


class InStage(Whole):
    """Events of a type since a track's stage was entered."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def get(self, m: EvalContext) -> int:
        facts = m.profile.facts
        if facts is None:
            return 0
        number: int = facts.in_stage.get(self.key, 0)
        return number


def known(profile: Profile, which: int) -> dict[str, Occurrences]:
    """What was bought or viewed, by name."""
    facts = profile.facts
    if facts is None:
        return {}
    if which == BOUGHT:
        found: dict[str, Occurrences] = facts.categories_bought
    elif which == PRODUCT:
        found = facts.products_bought
    else:
        found = facts.categories_viewed
    return found


class Times(Whole):
    """How often something of these was bought or viewed."""

    def __init__(self, which: int, names: list[Text]) -> None:
        super().__init__()
        self.which = which
        self.names = names

    def get(self, m: EvalContext) -> int:
        total = 0
        for repeated in _named(m, self.which, self.names):
            total += repeated.times
        return total


class When(Whole):
    """When something of these was first or last bought or viewed."""

    def __init__(self, which: int, names: list[Text], last: bool) -> None:
        super().__init__()
        self.which = which
        self.names = names
        self.last = last

    def get(self, m: EvalContext) -> int:
        at = ABSENT
        for repeated in _named(m, self.which, self.names):
            other: int = repeated.last if self.last else repeated.first
            if at == ABSENT or (other > at if self.last else other < at):
                at = other
        return at


class DueAgain(Whole):
    """The next time after now at which something of these (of all, if none is named) is due to be bought again.

    That is as long after the last time as it took on average from one purchase to the next.
    """

    def __init__(self, which: int, names: list[Text]) -> None:
        super().__init__(True)
        self.which = which
        self.names = names

    def get(self, m: EvalContext) -> int:
        at = self.next_change_at(m)
        return ABSENT if at == NEVER else at

    def next_change_at(self, m: EvalContext) -> int:
        earliest = NEVER
        of = _named(m, self.which, self.names) if self.names else list(known(m.profile, self.which).values())
        for repeated in of:
            due = due_again(repeated)
            if m.at < due < earliest:
                earliest = due
        return earliest


class WhatIsDue(Text):
    """What is due to be bought again just now."""

    def __init__(self, which: int) -> None:
        self.which = which

    def get(self, m: EvalContext) -> str | None:
        for name, repeated in known(m.profile, self.which).items():
            if due_again(repeated) == m.at:
                return name
        return None


def due_again(repeated: Occurrences) -> int:
    """When it is due again; NEVER if too little is known."""
    times: int = repeated.times
    first: int = repeated.first
    last: int = repeated.last
    if times < LEAST_PURCHASES or last <= first:
        return NEVER
    return last + (last - first) // (times - 1)


def _named(m: EvalContext, which: int, names: list[Text]) -> list[Occurrences]:
    of = known(m.profile, which)
    if not of:
        return []
    asked = dict.fromkeys([node.get(m) for node in names])
    return [repeated for name in asked if name is not None and (repeated := of.get(name)) is not None]
