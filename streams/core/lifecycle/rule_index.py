"""An index of the rules of a track: by stage, and by the type of event that can affect them.

`Stages` makes one `StateMachine` for each track of the playbook. A rule that reads nothing that an event touches keeps
its value, and a rule that time changes is tested when time changes it. So most events test few rules, however many
there are. Likewise, the time at which a rule next changes is computed again only after an event that can affect it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from streams.core.lifecycle.tracks import TimeoutTransition, Track, Transition
from streams.core.model.event import CLICKSTREAM_TYPES, ORDER_TYPES, Event, Source
from streams.core.rules.dependencies import touched
from streams.core.rules.eval_context import EvalContext

_ORDERS: Final = Source.ORDERS
_COUNT: Final = "count:"


class _Affected:
    """The rows of a stage that an event of some type can affect."""

    def __init__(self, rows: list[Transition], facts: frozenset[str]) -> None:
        self.rows = [row for row in rows if not facts.isdisjoint(row.rule.reads)]
        self.timed = [row for row in self.rows if row.rule.timed]
        """Rows for which it can change the time at which time alone changes them."""


class _Stage:
    """The rows that lead out of one stage."""

    def __init__(self, track: Track, stage: str, types: Collection[str], cart_types: Collection[str]) -> None:
        self.rows = [row for row in track.transitions if stage in row.sources]
        self.timeouts = [row for row in track.timeout_transitions if stage in row.sources]
        self.timed = [row for row in self.rows if row.rule.timed]
        self._by_click = {type_: _Affected(self.rows, touched(type_, False, cart_types)) for type_ in types}
        self._by_order = {type_: _Affected(self.rows, touched(type_, True, cart_types)) for type_ in types}
        self._by_other_click = _Affected(self.rows, touched("", False, cart_types))
        self._by_other_order = _Affected(self.rows, touched("", True, cart_types))

    def affected_by(self, event: Event) -> _Affected:
        """Return the rows that this event can affect."""
        if event.source is _ORDERS:
            affected = self._by_order.get(event.type)
            return self._by_other_order if affected is None else affected
        affected = self._by_click.get(event.type)
        return self._by_other_click if affected is None else affected


class StateMachine:
    """A track with its index of rules. Immutable. A stage that the track does not have leads nowhere."""

    def __init__(self, track: Track, cart_types: Collection[str]) -> None:
        self.track = track
        self.name = track.name
        self.initial = track.initial
        reads = [fact for row in track.transitions for fact in row.rule.reads]
        types = {fact.removeprefix(_COUNT) for fact in reads if fact.startswith(_COUNT)}
        types |= CLICKSTREAM_TYPES | ORDER_TYPES | set(cart_types)
        self._stages = {stage: _Stage(track, stage, types, cart_types) for stage in track.stages}
        self.timed = any(entry.timed for entry in self._stages.values())
        """True if time alone changes any of its rules."""
        self.has_timeouts = any(entry.timeouts for entry in self._stages.values())
        """True if any of its stages has a timeout transition."""
        self.reads_cart = any("cart" in row.rule.reads for row in track.transitions)

    def knows(self, stage: str) -> bool:
        """Return True if it is a stage of the track."""
        return stage in self._stages

    def next_after_event(self, context: EvalContext, stage: str | None, event: Event) -> Transition | None:
        """Return the first row that applies after an event, of those that the event can affect."""
        entry = None if stage is None else self._stages.get(stage)
        if entry is None:
            return None
        for row in entry.affected_by(event).rows:
            if row.matches(context):
                return row
        return None

    def affects_next_change(self, stage: str | None, event: Event) -> bool:
        """Return True if the event, which led to no transition, can have changed the result of `next_change_at`."""
        if not self.timed or stage is None:
            return False
        entry = self._stages.get(stage)
        return entry is not None and bool(entry.affected_by(event).timed)

    def next(self, context: EvalContext, stage: str | None, entered: tuple[str, ...]) -> Transition | None:
        """Return the first row that applies, without those that lead to a stage in `entered`.

        `entered`: the stages that this event or deadline has led to already.
        """
        entry = None if stage is None else self._stages.get(stage)
        if entry is None:
            return None
        for row in entry.rows:
            if row.target not in entered and row.matches(context):
                return row
        return None

    def timeout_transition(self, context: EvalContext, stage: str | None, due: int) -> TimeoutTransition | None:
        """Return the timeout transition of the stage that is due at `due`; None if none is."""
        entry = None if stage is None else self._stages.get(stage)
        if entry is None:
            return None
        for row in entry.timeouts:
            if row.due(context) == due:
                return row
        return None

    def timeout_due(self, context: EvalContext, stage: str | None) -> int | None:
        """Return the time (ms) of the earliest timeout transition of the stage; None if it has none."""
        entry = None if stage is None else self._stages.get(stage)
        if entry is None:
            return None
        earliest: int | None = None
        for row in entry.timeouts:
            due = row.due(context)
            if due is not None and (earliest is None or due < earliest):
                earliest = due
        return earliest

    def next_change_at(self, context: EvalContext, stage: str | None, event: Event | None = None) -> int | None:
        """Return the time (ms) after `context.at` at which time alone next changes a rule that leads out of the stage.

        None: never. With an event: only of the rules that it can affect.
        """
        entry = None if stage is None else self._stages.get(stage)
        if entry is None:
            return None
        earliest: int | None = None
        for row in entry.timed if event is None else entry.affected_by(event).timed:
            at = row.rule.next_change_by_time(context)
            if at is not None and (earliest is None or at < earliest):
                earliest = at
        return earliest
