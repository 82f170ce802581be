"""Definitions of triggers: the events that begin one, its conditions, its steps and their data.

`streams.core.lifecycle.trigger_runner` runs them.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Final

from streams.core.rules.compiler import CompiledRule, Value

EARLIEST: Final = -62_000_000_000_000
LATEST: Final = 253_000_000_000_000
"""Triggers do not wait for times beyond these (ms; the years 5 and 9987)."""
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MS: Final = datetime.timedelta(milliseconds=1)


class DatumDefinition:
    """A value to send along: a constant, or the value of a rule at the time of the step."""

    def __init__(self, name: str, value: Value | CompiledRule) -> None:
        self.name = name
        self.rule = value if isinstance(value, CompiledRule) else None
        self.constant = None if isinstance(value, CompiledRule) else value


class TriggerStep:
    """One step of a trigger, `after` ms after it began. Its data is added to that of the trigger."""

    def __init__(self, after: int = 0, data: tuple[DatumDefinition, ...] = ()) -> None:
        self.after = after
        self.data = data


class OnStage:
    """The customer enters or leaves one of these stages of a track. None stands for any stage."""

    def __init__(self, track: str, enters: Iterable[str] | None = None, leaves: Iterable[str] | None = None) -> None:
        self.track = track
        self.enters = None if enters is None else frozenset(enters)
        self.leaves = None if leaves is None else frozenset(leaves)


class OnAbandonment:
    """An abandonment output of one of these types and kinds, and of this step, is made. None stands for any."""

    def __init__(
        self, types: Iterable[str] = ("abandoned",), kinds: Iterable[str] | None = None, step: int | None = 1
    ) -> None:
        self.types = frozenset(types)
        self.kinds = None if kinds is None else frozenset(kinds)
        self.step = step


class OnTime:
    """A time is reached: that of a rule, or with `yearly` its day and time of day in each year; `before` ms earlier."""

    def __init__(self, rule: CompiledRule, *, yearly: bool = False, before: int = 0) -> None:
        self.rule = rule
        self.yearly = yearly
        self.before = before


class Trigger:
    """The definition of a trigger.

    It begins with an event of one of the types `events`, or with `on`, if `when` holds, at most `cap` times in all
    (None: without limit) and not within `cool_down` ms after it last began. It ends before a step if `unless` holds
    then. For `holdout` percent of the customers, its outputs are marked as held out.
    """

    def __init__(
        self,
        name: str,
        *,
        events: Iterable[str] = (),
        on: OnStage | OnAbandonment | OnTime | None = None,
        when: CompiledRule | None = None,
        unless: CompiledRule | None = None,
        steps: tuple[TriggerStep, ...] = (TriggerStep(),),
        cool_down: int = 0,
        cap: int | None = None,
        holdout: int = 0,
        data: tuple[DatumDefinition, ...] = (),
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
        """All rules of the trigger."""
        data = [datum for step in self.steps for datum in step.data] + list(self.data)
        found = [self.when, self.unless, *[datum.rule for datum in data]]
        if self.on_time is not None:
            found.append(self.on_time.rule)
        return [rule for rule in found if rule is not None]


def next_yearly(base: int, after: int) -> int:
    """Return the first time after `after` (ms) that has the day of the year and the time of day of `base`, in UTC.

    The day of a `base` on 29 February is the 28th in years without a 29th.
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
