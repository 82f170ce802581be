"""Which rows of a track are asked: those of the stage, and of them those that an event can move.

`customer.Lifecycle` makes one `Machine` for each track of its playbook. A rule that reads nothing an event touches has
the value it had, and what time changes is asked when it changes: so most events ask few rules, however many there are.
Likewise, when time changes it is asked anew only after an event that can have moved that.
Conditions written by hand are asked after every event, since nobody knows what they read.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from streams.core.lifecycle.tracks import TimeoutTransition, Track, Transition
from streams.core.model.event import CLICKSTREAM_TYPES, ORDER_TYPES, Event, Source
from streams.core.model.policy import Policy
from streams.core.rules.dependencies import touched
from streams.core.rules.eval_context import EvalContext

_ORDERS: Final = Source.ORDERS
_COUNT: Final = "count:"


class _Asked:
    """What an event of some type asks of a stage."""

    def __init__(self, rows: list[Transition], facts: frozenset[str]) -> None:
        self.rows = [row for row in rows if row.rule is None or not facts.isdisjoint(row.rule.reads)]
        self.timed = [row for row in self.rows if row.rule is not None and row.rule.timed]
        """Those for which it can move the time at which time alone changes them."""


class _Stage:
    """The rows that lead out of one stage."""

    def __init__(self, track: Track, stage: str, types: Collection[str], cart_types: Collection[str]) -> None:
        self.rows = [row for row in track.transitions if stage in row.sources]
        self.lapses = [row for row in track.timeout_transitions if stage in row.sources]
        self.timed = [row for row in self.rows if row.rule is not None and row.rule.timed]
        self._by_click = {type_: _Asked(self.rows, touched(type_, False, cart_types)) for type_ in types}
        self._by_order = {type_: _Asked(self.rows, touched(type_, True, cart_types)) for type_ in types}
        self._by_other_click = _Asked(self.rows, touched("", False, cart_types))
        self._by_other_order = _Asked(self.rows, touched("", True, cart_types))

    def asked_by(self, event: Event) -> _Asked:
        """What this event asks."""
        if event.source is _ORDERS:
            asked = self._by_order.get(event.type)
            return self._by_other_order if asked is None else asked
        asked = self._by_click.get(event.type)
        return self._by_other_click if asked is None else asked


class StateMachine:
    """A track, ready to be asked. Immutable; a stage that the track does not have leads nowhere."""

    def __init__(self, track: Track, cart_types: Collection[str]) -> None:
        self.track = track
        self.name = track.name
        self.initial = track.initial
        reads = [fact for row in track.transitions if row.rule is not None for fact in row.rule.reads]
        types = {fact.removeprefix(_COUNT) for fact in reads if fact.startswith(_COUNT)}
        types |= CLICKSTREAM_TYPES | ORDER_TYPES | set(cart_types)
        self._stages = {stage: _Stage(track, stage, types, cart_types) for stage in track.stages}
        self.timed = any(of.timed for of in self._stages.values())
        """Whether time alone changes any of its rules."""
        self.lapses = any(of.lapses for of in self._stages.values())
        """Whether any of its stages has a deadline."""
        self.reads_cart = any(row.rule is not None and "cart" in row.rule.reads for row in track.transitions)

    def knows(self, stage: str) -> bool:
        """Whether it is a stage of the track."""
        return stage in self._stages

    def moved(self, m: EvalContext, stage: str | None, event: Event) -> Transition | None:
        """The first row that applies after an event, of those that the event can move."""
        of = None if stage is None else self._stages.get(stage)
        if of is None:
            return None
        for row in of.asked_by(event).rows:
            if row.holds(m):
                return row
        return None

    def next_change_by_time(self, stage: str | None, event: Event) -> bool:
        """Whether the event, which moved nobody, can have changed what `next_change_at` says."""
        if not self.timed or stage is None:
            return False
        of = self._stages.get(stage)
        return of is not None and bool(of.asked_by(event).timed)

    def next(self, m: EvalContext, stage: str | None, entered: tuple[str, ...]) -> Transition | None:
        """The first row of all that applies and does not lead where this event, or deadline, has led already."""
        of = None if stage is None else self._stages.get(stage)
        if of is None:
            return None
        for row in of.rows:
            if row.target not in entered and row.holds(m):
                return row
        return None

    def timeout_transition(
        self, m: EvalContext, stage: str | None, policy: Policy, due: int
    ) -> TimeoutTransition | None:
        """The deadline of the stage that is due then."""
        of = None if stage is None else self._stages.get(stage)
        if of is None:
            return None
        for row in of.lapses:
            if row.due(m, policy) == due:
                return row
        return None

    def timeout_due(self, m: EvalContext, stage: str | None, policy: Policy) -> int | None:
        """When the earliest deadline of the stage is due, ms; None if it has none."""
        of = None if stage is None else self._stages.get(stage)
        if of is None:
            return None
        earliest: int | None = None
        for row in of.lapses:
            due = row.due(m, policy)
            if due is not None and (earliest is None or due < earliest):
                earliest = due
        return earliest

    def next_change_at(self, m: EvalContext, stage: str | None, event: Event | None = None) -> int | None:
        """When time alone next changes a rule that leads out of the stage, ms after `m.at`; None: never.

        With an event: of the rules that it touches.
        """
        of = None if stage is None else self._stages.get(stage)
        if of is None:
            return None
        earliest: int | None = None
        for row in of.timed if event is None else of.asked_by(event).timed:
            assert row.rule is not None
            at = row.rule.next_change_by_time(m)
            if at is not None and (earliest is None or at < earliest):
                earliest = at
        return earliest
