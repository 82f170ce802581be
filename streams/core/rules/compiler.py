"""The whole way from a text to something that can be asked."""

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
    """A compiled expression. Immutable; holds nothing of any customer."""

    def __init__(self, text: str, type_: Type, node: nodes.Node, reads: frozenset[str], needs: Requirements) -> None:
        self.text = text
        self.type = type_
        self.reads = reads
        """The facts it depends on, as `touching` names them."""
        self.needs = needs
        """What profiles have to keep for it."""
        self._bool = node if isinstance(node, nodes.Bool) else nodes.ConstantBool(False)
        self._whole = node if isinstance(node, nodes.Whole) else nodes.ConstantWhole(nodes.ABSENT)
        self._node = node
        self.timed = self._bool.timed or self._whole.timed or (isinstance(node, nodes.Real) and node.timed)
        """Whether `next_change_at` is ever anything but None."""
        self.restless = isinstance(node, nodes.Whole) and node.slope != 0
        """Whether the value is another one at each moment, as `now` is."""

    def test(self, context: EvalContext) -> bool:
        """Of a condition: whether it holds. The fast way, for what every event asks."""
        return self._bool.test(context)

    def time(self, context: EvalContext) -> int | None:
        """Of a time, duration or amount: the ms or minor units; None where there is none."""
        value = self._whole.get(context)
        return None if value == nodes.ABSENT else value

    def value(self, profile: Profile, event: Event | None, at: int, active: bool = False) -> Value:
        """The value of any rule; None where there is none. Arguments as of `Moment`."""
        return self.find(EvalContext(profile, event, at, active))

    def find(self, context: EvalContext) -> Value:
        """As `value`."""
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
        """The earliest instant (ms) after `context.at` at which time alone can change the value; None: never."""
        if not self.timed:
            return None
        if self.restless:
            return context.at + 1
        at = self._node.next_change_at(context)
        return None if at == nodes.NEVER else at

    def next_change_at(self, profile: Profile, at: int) -> int | None:
        """As `moves`, without an event at hand."""
        return self.next_change_by_time(EvalContext(profile, None, at))


def compile_rule(text: str, vocabulary: Vocabulary, expected: Type | None = Type.BOOL) -> CompiledRule:
    """The rule in a text. `expected`: what it has to be; None: anything. Raises RuleError, nothing else."""
    part = parse(text)
    checker = Checker(vocabulary, FUNCTIONS)
    typed = checker.check(part)
    if expected is not None and typed.type is not expected:
        raise RuleError(f"this is {typed.type.value}, where {expected.value} belongs", part.start, part.end)
    return CompiledRule(text, typed.type, typed.node, frozenset(checker.reads), checker.needs)
