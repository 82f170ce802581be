"""Turn the tree of a rule into nodes: resolve names, check types, and note the facts and data that the rule needs.

Called by `compile_rule`. Every mistake raises a RuleError with the allowed form.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from streams.core.rules import nodes, property_nodes, tree
from streams.core.rules.arithmetic_nodes import (
    ADD,
    DIVIDE,
    MULTIPLY,
    SUBTRACT,
    AsReal,
    RealOperation,
    Rounded,
    WholeOperation,
)
from streams.core.rules.condition_nodes import (
    EQ,
    GE,
    GT,
    LE,
    LT,
    NE,
    AllOf,
    AnyOf,
    CompareReal,
    CompareWhole,
    InTexts,
    Not,
    SameBool,
    SameText,
)
from streams.core.rules.errors import RuleError, suggestion
from streams.core.rules.requirements import Requirements, combine_requirements
from streams.core.rules.types import Type
from streams.core.rules.vocabulary import BEGUN_AT, OWN_STAGE, WORDS, Vocabulary

_BOOL: Final = Type.BOOL
_NUMBER: Final = Type.NUMBER
_MONEY: Final = Type.MONEY
_DURATION: Final = Type.DURATION
_TIME: Final = Type.TIME
_TEXT: Final = Type.TEXT

_COMPARISONS: Final = {"==": EQ, "!=": NE, "<": LT, "<=": LE, ">": GT, ">=": GE}
_ARITHMETIC: Final = {"+": ADD, "-": SUBTRACT, "*": MULTIPLY, "/": DIVIDE}


EVENT_PROPERTY: Final = "event.properties."
KEPT_PROPERTY: Final = "kept."


class Typed:
    """A checked part of a rule: its type, node and place. `stages` are the values that a stage can have, else empty."""

    def __init__(self, type_: Type, node: nodes.Node, part: tree.Tree, stages: tuple[str, ...] = ()) -> None:
        self.type = type_
        self.node = node
        self.tree = part
        self.stages = stages


class Function:
    """The signature of a function of the rule language. `functions` lists all of them."""

    def __init__(
        self,
        usage: str,
        arguments: tuple[int, int],
        named: tuple[str, ...],
        check: Callable[[Checker, tree.Call], Typed],
    ) -> None:
        self.usage = usage
        self.arguments = arguments
        """Least and most number of arguments without a name."""
        self.named = named
        """Arguments that may be given by name."""
        self.check = check


class Checker:
    """Checks one rule."""

    def __init__(self, vocabulary: Vocabulary, functions: dict[str, Function]) -> None:
        self.vocabulary = vocabulary
        self._functions = functions
        self.reads: set[str] = set()
        self._needs: list[Requirements] = []

    def need(self, needs: Requirements) -> None:
        """Note a requirement of the rule."""
        self._needs.append(needs)

    @property
    def needs(self) -> Requirements:
        """The requirements of the whole rule."""
        return combine_requirements(self._needs)

    def check(self, part: tree.Tree) -> Typed:
        """Check a part and all parts below it, and return it with its type and node. Raise RuleError."""
        if isinstance(part, tree.Logic):
            parts = [self.condition(below) for below in part.parts]
            return Typed(_BOOL, AllOf(parts) if part.operator == "and" else AnyOf(parts), part)
        if isinstance(part, tree.Unary):
            if part.operator == "not":
                return Typed(_BOOL, Not(self.condition(part.operand)), part)
            return self._negative(part)
        if isinstance(part, tree.Binary):
            if part.operator in ("in", "not in"):
                return self._membership(part)
            if part.operator in _COMPARISONS:
                return self._comparison(part)
            return self._arithmetic(part)
        if isinstance(part, tree.Name):
            return self._name(part)
        if isinstance(part, tree.Call):
            return self._call(part)
        if isinstance(part, tree.NumberLiteral):
            if "." in part.text:
                return Typed(_NUMBER, nodes.ConstantReal(float(part.text)), part)
            return Typed(_NUMBER, nodes.ConstantWhole(int(part.text)), part)
        if isinstance(part, tree.DurationLiteral):
            return Typed(_DURATION, nodes.ConstantWhole(part.ms), part)
        if isinstance(part, tree.TextLiteral):
            return Typed(_TEXT, nodes.ConstantText(part.value), part)
        if isinstance(part, tree.BoolLiteral):
            return Typed(_BOOL, nodes.ConstantBool(part.value), part)
        raise RuleError("a list of values is allowed only after `in`", part.start, part.end)

    # -- parts of an expected type

    def condition(self, part: tree.Tree) -> nodes.Bool:
        """Return the node of a part that must be true or false."""
        node = self._expect(part, _BOOL).node
        assert isinstance(node, nodes.Bool)
        return node

    def text(self, part: tree.Tree) -> nodes.Text:
        """Return the node of a part that must be a text."""
        node = self._expect(part, _TEXT).node
        assert isinstance(node, nodes.Text)
        return node

    def time(self, part: tree.Tree) -> nodes.Whole:
        """Return the node of a part that must be a time."""
        return whole(self._expect(part, _TIME))

    def _expect(self, part: tree.Tree, type_: Type) -> Typed:
        typed = self.check(part)
        if typed.type is not type_:
            raise RuleError(f"this is {typed.type.value}, but {type_.value} is expected here", part.start, part.end)
        return typed

    # -- names and functions

    def _name(self, part: tree.Name) -> Typed:
        word = WORDS.get(part.name)
        if word is None:
            return self._property(part)
        if part.name == BEGUN_AT and not self.vocabulary.of_trigger:
            raise RuleError("begun_at is available only in the rules of a trigger", part.start, part.end)
        own = OWN_STAGE + self.vocabulary.track
        self.reads.update([own if fact == OWN_STAGE else fact for fact in word.reads])
        if word.needs is not None:
            self.need(word.needs)
        stages = self.vocabulary.tracks.get(self.vocabulary.track, ()) if part.name == "stage" else ()
        return Typed(word.type, word.make(self.vocabulary), part, stages)

    def _property(self, part: tree.Name) -> Typed:
        """Check `event.properties.NAME` or `kept.NAME`, which the playbook declares."""
        vocabulary, name = self.vocabulary, part.name
        if name.startswith(EVENT_PROPERTY):
            property_ = name.removeprefix(EVENT_PROPERTY)
            type_ = vocabulary.properties.get(property_)
            if type_ is None:
                hint = suggestion(property_, vocabulary.properties)
                raise RuleError(
                    f"{property_[:64]} is not declared in properties of the playbook{hint}", part.start, part.end
                )
            self.reads.add("event")
            self.need(Requirements(properties={property_: type_}))
            return Typed(type_, property_nodes.of_event(property_, type_, vocabulary.currency), part)
        if name.startswith(KEPT_PROPERTY):
            kept = vocabulary.kept.get(name.removeprefix(KEPT_PROPERTY))
            if kept is None:
                hint = suggestion(name.removeprefix(KEPT_PROPERTY), vocabulary.kept)
                raise RuleError(
                    f"{name.removeprefix(KEPT_PROPERTY)[:64]} is not declared in keep of the playbook{hint}",
                    part.start,
                    part.end,
                )
            self.reads.update(
                ["seen"] if kept.event_types is None else [f"count:{type_}" for type_ in kept.event_types]
            )
            self.need(Requirements(properties={kept.property: kept.type}, kept={kept.name: kept}))
            return Typed(kept.type, property_nodes.of_profile(kept.name, kept.type), part)
        raise self._unknown(name, part)

    def _unknown(self, name: str, part: tree.Tree) -> RuleError:
        if name in self._functions:
            return RuleError(f"{name} is a function: write {self._functions[name].usage}", part.start, part.end)
        return RuleError(f"{name[:64]} is unknown{suggestion(name, WORDS)}", part.start, part.end)

    def _call(self, part: tree.Call) -> Typed:
        function = self._functions.get(part.name)
        if function is None:
            if part.name in WORDS:
                raise RuleError(f"{part.name} is not a function: write it without ()", part.start, part.end)
            hint = suggestion(part.name, self._functions)
            raise RuleError(f"there is no function {part.name[:64]}{hint}", part.start, part.end)
        least, most = function.arguments
        for name, value in part.named.items():
            if name not in function.named:
                allowed = f"; it takes {' and '.join(function.named)}" if function.named else ""
                raise RuleError(f"{part.name} takes no argument {name[:64]}={allowed}", value.start, value.end)
        if not least <= len(part.arguments) <= most:
            raise RuleError(
                f"this call has the wrong number of arguments: write {function.usage}", part.start, part.end
            )
        return function.check(self, part)

    # -- operators

    def _negative(self, part: tree.Unary) -> Typed:
        operand = self.check(part.operand)
        node = operand.node
        if operand.type is _NUMBER and isinstance(node, nodes.Real):
            if isinstance(node, nodes.ConstantReal):
                return Typed(_NUMBER, nodes.ConstantReal(-node.value), part)
            return Typed(_NUMBER, RealOperation(SUBTRACT, nodes.ConstantReal(0.0), node), part)
        if operand.type not in (_NUMBER, _MONEY, _DURATION):
            raise RuleError(f"- can only precede a number, an amount or a duration, not {operand.type.value}",
                            part.start, part.end)  # fmt: skip
        if isinstance(node, nodes.ConstantWhole):
            return Typed(operand.type, nodes.ConstantWhole(-node.value), part)
        zero = nodes.ConstantWhole(0)
        return Typed(operand.type, WholeOperation(SUBTRACT, zero, whole(operand)), part)

    def _membership(self, part: tree.Binary) -> Typed:
        item, right = self.check(part.left), part.right
        items = right.items if isinstance(right, tree.Sequence) else [right]
        if not isinstance(right, tree.Sequence) or not items:
            raise RuleError("after `in`, write several values in parentheses: in ('a', 'b')", right.start, right.end)
        inside = part.operator == "in"
        if item.type is _TEXT:
            assert isinstance(item.node, nodes.Text)
            values: list[str] = []
            for below in items:
                if not isinstance(below, tree.TextLiteral):
                    raise RuleError("write a text in quotes here", below.start, below.end)
                self._known_stage(item, below)
                values.append(below.value)
            return Typed(_BOOL, InTexts(item.node, frozenset(values), inside), part)
        operator = EQ if inside else NE
        parts = [self._compared(operator, item, self.check(below)) for below in items]
        return Typed(_BOOL, AnyOf(parts) if inside else AllOf(parts), part)

    def _comparison(self, part: tree.Binary) -> Typed:
        left, right = self.check(part.left), self.check(part.right)
        operator = _COMPARISONS[part.operator]
        if left.type is right.type and left.type in (_TEXT, _BOOL):
            if operator not in (EQ, NE):
                raise RuleError(f"{left.type.value} can only be compared with == or !=", part.start, part.end)
            same = operator == EQ
            if isinstance(left.node, nodes.Text) and isinstance(right.node, nodes.Text):
                self._known_stage(left, right.tree)
                self._known_stage(right, left.tree)
                return Typed(_BOOL, SameText(left.node, right.node, same), part)
            assert isinstance(left.node, nodes.Bool)
            assert isinstance(right.node, nodes.Bool)
            return Typed(_BOOL, SameBool(left.node, right.node, same), part)
        return Typed(_BOOL, self._compared(operator, left, right), part)

    @staticmethod
    def _known_stage(item: Typed, part: tree.Tree) -> None:
        if item.stages and isinstance(part, tree.TextLiteral) and part.value not in item.stages:
            hint = suggestion(part.value, item.stages)
            raise RuleError(f"there is no stage {part.value[:64]!r}{hint}", part.start, part.end)

    def _compared(self, operator: int, left: Typed, right: Typed) -> nodes.Bool:
        left, right = self.same(left, right, "compared with")
        if isinstance(left.node, nodes.Real) or isinstance(right.node, nodes.Real):
            return CompareReal(operator, real(left), real(right))
        return CompareWhole(operator, whole(left), whole(right))

    def same(self, left: Typed, right: Typed, verb: str) -> tuple[Typed, Typed]:
        """Return both operands with one type that has an order. Next to an amount, a written number becomes an amount.

        `verb` completes the error message.
        """
        if left.type is _MONEY and right.type is _NUMBER:
            right = self._as_money(right)
        elif left.type is _NUMBER and right.type is _MONEY:
            left = self._as_money(left)
        if left.type is not right.type or left.type in (_BOOL, _TEXT):
            raise RuleError(
                f"{left.type.value} cannot be {verb} {right.type.value}", left.tree.start, right.tree.end
            )  # fmt: skip
        return left, right

    def _as_money(self, typed: Typed) -> Typed:
        part, sign = typed.tree, 1
        if isinstance(part, tree.Unary):
            part, sign = part.operand, -1
        if not isinstance(part, tree.NumberLiteral):
            raise RuleError("next to an amount of money, write a number (500, 9.99) or another amount",
                            typed.tree.start, typed.tree.end)  # fmt: skip
        minor = Decimal(part.text) * self.vocabulary.minor_units
        if minor != int(minor):
            currency = self.vocabulary.currency
            raise RuleError(f"{part.text} {currency} has too many decimals", part.start, part.end)
        return Typed(_MONEY, nodes.ConstantWhole(sign * int(minor)), typed.tree)

    def _arithmetic(self, part: tree.Binary) -> Typed:
        left, right = self.check(part.left), self.check(part.right)
        operator = _ARITHMETIC[part.operator]
        if operator in (ADD, SUBTRACT):
            return self._summed(operator, left, right, part)
        if left.type is _NUMBER and right.type is _NUMBER:
            if operator == MULTIPLY and isinstance(left.node, nodes.Whole) and isinstance(right.node, nodes.Whole):
                return _whole_or_real(operator, left, right, _NUMBER, part)
            return Typed(_NUMBER, RealOperation(operator, real(left), real(right)), part)
        scaled = left if left.type in (_MONEY, _DURATION) else right
        other = right if scaled is left else left
        if scaled.type in (_MONEY, _DURATION) and other.type is _NUMBER and (operator == MULTIPLY or scaled is left):
            if operator == MULTIPLY and isinstance(other.node, nodes.Whole):
                forbid_changing_every_ms(scaled)
                return _whole_or_real(operator, left, right, scaled.type, part)
            return Typed(scaled.type, Rounded(RealOperation(operator, real(left), real(right))), part)
        if operator == DIVIDE and left.type is right.type and left.type in (_MONEY, _DURATION):
            return Typed(_NUMBER, RealOperation(operator, real(left), real(right)), part)
        verb = "multiplied by" if operator == MULTIPLY else "divided by"
        raise RuleError(f"{left.type.value} cannot be {verb} {right.type.value}", part.start, part.end)

    def _summed(self, operator: int, left: Typed, right: Typed, part: tree.Binary) -> Typed:
        added = operator == ADD
        if left.type is _TIME and right.type is _DURATION:
            return _whole_or_real(operator, left, right, _TIME, part)
        if left.type is _DURATION and right.type is _TIME and added:
            return _whole_or_real(operator, left, right, _TIME, part)
        if left.type is _TIME and right.type is _TIME and not added:
            return _whole_or_real(operator, left, right, _DURATION, part)
        if left.type is _TIME or right.type is _TIME:
            raise RuleError(
                "only a duration can be added to a time, and only a duration or a time subtracted from it: this is "
                f"{left.type.value} {part.operator} {right.type.value}", part.start, part.end,
            )  # fmt: skip
        left, right = self.same(left, right, "combined by + with" if added else "combined by - with")
        return _whole_or_real(operator, left, right, left.type, part)


def whole(typed: Typed) -> nodes.Whole:
    """Return the node of a part whose values are integers."""
    node = typed.node
    assert isinstance(node, nodes.Whole)
    return node


def forbid_changing_every_ms(typed: Typed) -> None:
    """Raise RuleError if the value changes with every ms: it can only be added, subtracted and compared."""
    if isinstance(typed.node, nodes.Whole) and typed.node.slope:
        raise RuleError("a value that changes every ms can only be added, subtracted and compared: since(x) > 2 * 7d",
                        typed.tree.start, typed.tree.end)  # fmt: skip


def real(typed: Typed) -> nodes.Real:
    """Return the node of a part as one whose values are doubles."""
    node = typed.node
    if isinstance(node, nodes.Real):
        return node
    forbid_changing_every_ms(typed)
    return AsReal(whole(typed))


def _whole_or_real(operator: int, left: Typed, right: Typed, type_: Type, part: tree.Tree) -> Typed:
    if isinstance(left.node, nodes.Real) or isinstance(right.node, nodes.Real):
        return Typed(type_, RealOperation(operator, real(left), real(right)), part)
    if operator == MULTIPLY:
        forbid_changing_every_ms(left)
        forbid_changing_every_ms(right)
    return Typed(type_, WholeOperation(operator, whole(left), whole(right)), part)
