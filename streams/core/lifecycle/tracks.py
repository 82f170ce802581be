"""Tracks: state machines as tables of transitions, as a playbook defines them."""

from __future__ import annotations

from streams.core.rules.compiler import CompiledRule
from streams.core.rules.eval_context import EvalContext


class Transition:
    """One of `sources` becomes `target` when the rule is true.

    The transitions of a track are tried from the top, after each event and when time alone changes a rule
    (`rule_index` decides which).
    """

    def __init__(
        self, sources: tuple[str, ...], target: str, rule: CompiledRule, *, starts_cycle: bool = False
    ) -> None:
        self.sources = sources
        self.target = target
        self.rule = rule
        self.starts_cycle = starts_cycle

    def matches(self, context: EvalContext) -> bool:
        """Return True if the rule is true."""
        return self.rule.test(context)


class TimeoutTransition:
    """One of `sources` becomes `target` at a deadline: `after` ms after the time that the rule `since` gives."""

    def __init__(self, sources: tuple[str, ...], target: str, since: CompiledRule, after: int) -> None:
        self.sources = sources
        self.target = target
        self.since = since
        self.after = after

    def due(self, context: EvalContext) -> int | None:
        """Return the time of the deadline, ms; None while `since` gives none."""
        since = self.since.time(context)
        return None if since is None else since + self.after


class Track:
    """A state machine as tables: the stage that a new profile enters, the transitions and the timeout transitions."""

    def __init__(
        self,
        name: str,
        initial: str,
        transitions: tuple[Transition, ...],
        timeout_transitions: tuple[TimeoutTransition, ...] = (),
    ) -> None:
        self.name = name
        self.initial = initial
        self.transitions = transitions
        self.timeout_transitions = timeout_transitions
        targets = [initial, *(row.target for row in transitions), *(row.target for row in timeout_transitions)]
        self.stages = tuple(dict.fromkeys(targets))
