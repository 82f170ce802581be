"""Compile the text of a rule to an object that can be evaluated."""

from __future__ import annotations

from streams.core.model.event import Event
from streams.core.profile.profile import Profile
from streams.core.rules import nodes
from streams.core.rules.checker import Checker
from streams.core.rules.errors import RuleError
from streams.core.rules.eval_context import EvalContext
from streams.core.rules.functions import FUNCTIONS
from streams.core.rules.parser import parse
from streams.core.rules.requirements import Requirements
from streams.core.rules.types import Type
from streams.core.rules.vocabulary import Vocabulary

Value = bool | int | float | str | None


class CompiledRule:
    """A compiled expression. Immutable; it holds no state of any customer."""

    def __init__(self, text: str, type_: Type, node: nodes.Node, reads: frozenset[str], needs: Requirements) -> None:
        self.text = text
        self.type = type_
        self.reads = reads
        """Facts that the value depends on. `dependencies` lists them."""
        self.needs = needs
        """Data that profiles have to keep for the rule."""
        self._bool = node if isinstance(node, nodes.Bool) else nodes.ConstantBool(False)
        self._whole = node if isinstance(node, nodes.Whole) else nodes.ConstantWhole(nodes.ABSENT)
        self._node = node
        self.timed = self._bool.timed or self._whole.timed or (isinstance(node, nodes.Real) and node.timed)
        """True if time alone can change the value. Otherwise `next_change_at` always returns None."""
        self.changes_every_ms = isinstance(node, nodes.Whole) and node.slope != 0
        """True if the value changes with every ms, as `now` does."""

    def test(self, context: EvalContext) -> bool:
        """Return True if the condition holds. This is the fast path, which runs for every event."""
        return self._bool.test(context)

    def time(self, context: EvalContext) -> int | None:
        """Return a time or duration in ms, or an amount in minor units; None if it is absent."""
        value = self._whole.get(context)
        return None if value == nodes.ABSENT else value

    def value(self, profile: Profile, event: Event | None, at: int, active: bool = False) -> Value:
        """Return the value of a rule of any type; None if it is absent. The arguments are those of `EvalContext`."""
        return self.value_in(EvalContext(profile, event, at, active))

    def value_in(self, context: EvalContext) -> Value:
        """Return the value, as `value` does, in a given context."""
        node = self._node
        if isinstance(node, nodes.Bool):
            return node.test(context)
        if isinstance(node, nodes.Whole):
            return self.time(context)
        if isinstance(node, nodes.Real):
            number = node.get(context)
            return None if number != number else number
        assert isinstance(node, nodes.Text)
        return node.get(context)

    def next_change_by_time(self, context: EvalContext) -> int | None:
        """Return the earliest time (ms) after `context.at` at which time alone can change the value; None if never."""
        if not self.timed:
            return None
        if self.changes_every_ms:
            return context.at + 1
        at = self._node.next_change_at(context)
        return None if at == nodes.NEVER else at

    def next_change_at(self, profile: Profile, at: int) -> int | None:
        """Return the result of `next_change_by_time` at `at`, without a current event."""
        return self.next_change_by_time(EvalContext(profile, None, at))


def compile_rule(text: str, vocabulary: Vocabulary, expected: Type | None = Type.BOOL) -> CompiledRule:
    """Compile the text of a rule. `expected` is the type that it must have; None allows any. Raise only RuleError."""
    part = parse(text)
    checker = Checker(vocabulary, FUNCTIONS)
    typed = checker.check(part)
    if expected is not None and typed.type is not expected:
        raise RuleError(f"this is {typed.type.value}, but {expected.value} is expected here", part.start, part.end)
    return CompiledRule(text, typed.type, typed.node, frozenset(checker.reads), checker.needs)
