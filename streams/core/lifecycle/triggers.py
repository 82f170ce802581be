"""Triggers as tables: what begins one, what it asks before each step, and what it says. Run by `triggering`."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Final

from streams.core.rules.compiler import CompiledRule, Value

EARLIEST: Final = -62_000_000_000_000
LATEST: Final = 253_000_000_000_000
"""Times beyond these (ms; the years 5 and 9987) are no days to wait for."""
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MS: Final = datetime.timedelta(milliseconds=1)


class Datum:
    """Something to be sent along: a constant, or what a rule says when the step is made."""

    def __init__(self, name: str, value: Value | CompiledRule) -> None:
        self.name = name
        self.rule = value if isinstance(value, CompiledRule) else None
        self.constant = None if isinstance(value, CompiledRule) else value


class Step:
    """One step of a trigger, `after` ms since it began. What it says comes on top of what the trigger says."""

    def __init__(self, after: int = 0, data: tuple[Datum, ...] = ()) -> None:
        self.after = after
        self.data = data


class OnStage:
    """A customer enters one of these stages, or leaves one, of a track. None: whichever."""

    def __init__(self, track: str, enters: Iterable[str] | None = None, leaves: Iterable[str] | None = None) -> None:
        self.track = track
        self.enters = None if enters is None else frozenset(enters)
        self.leaves = None if leaves is None else frozenset(leaves)


class OnAbandonment:
    """Something becomes of an abandonment: of one of these types and kinds, and of that step. None: whichever."""

    def __init__(
        self, types: Iterable[str] = ("abandoned",), kinds: Iterable[str] | None = None, step: int | None = 1
    ) -> None:
        self.types = frozenset(types)
        self.kinds = None if kinds is None else frozenset(kinds)
        self.step = step


class OnTime:
    """A time comes: what a rule tells, or that day and hour of each year; `before` ms ahead of it."""

    def __init__(self, rule: CompiledRule, *, yearly: bool = False, before: int = 0) -> None:
        self.rule = rule
        self.yearly = yearly
        self.before = before


class Trigger:
    """Begins by one of these event types, or as `on` says, if `when` holds, at most `cap` times in all (None: without
    limit) and not within `cool_down` ms after it last began. Ends before a step if `unless` holds then.

    `holdout`: in so many of a hundred customers it is only said what would have been done.
    """

    def __init__(
        self,
        name: str,
        *,
        events: Iterable[str] = (),
        on: OnStage | OnAbandonment | OnTime | None = None,
        when: CompiledRule | None = None,
        unless: CompiledRule | None = None,
        steps: tuple[Step, ...] = (Step(),),
        cool_down: int = 0,
        cap: int | None = None,
        holdout: int = 0,
        data: tuple[Datum, ...] = (),
    ) -> None:
        self.name = name
        self.events = frozenset(events)
        self.on_stage = on if isinstance(on, OnStage) else None
        self.on_abandonment = on if isinstance(on, OnAbandonment) else None
        self.on_time = on if isinstance(on, OnTime) else None
        self.when = when
        self.unless = unless
        self.steps = steps
        self.cool_down = cool_down
        self.cap = cap
        self.holdout = holdout
        self.data = data

    @property
    def rules(self) -> list[CompiledRule]:
        """All of them."""
        data = [datum for step in self.steps for datum in step.data] + list(self.data)
        found = [self.when, self.unless, *[datum.rule for datum in data]]
        if self.on_time is not None:
            found.append(self.on_time.rule)
        return [rule for rule in found if rule is not None]


def next_yearly(base: int, after: int) -> int:
    """The first time after `after` (ms) at which it is the day of the year and the time of day of `base`, in UTC.

    What began on 29 February comes on the 28th where there is no 29th.
    """
    start = _EPOCH + _MS * base
    year = (_EPOCH + _MS * after).year - 1
    while True:
        try:
            at = start.replace(year=year)
        except ValueError:
            at = start.replace(year=year, day=28)
        found = (at - _EPOCH) // _MS
        if found > after:
            return found
        year += 1
