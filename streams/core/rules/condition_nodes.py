"""Nodes of conditions: logic, comparisons, membership, and the test for an absent value."""

from __future__ import annotations

from typing import Final

from streams.core.rules.eval_context import EvalContext
from streams.core.rules.nodes import ABSENT, NEVER, Bool, Real, Text, Whole

# -- logic


class Not(Bool):
    def __init__(self, operand: Bool) -> None:
        super().__init__(operand.timed)
        self.operand = operand

    def test(self, context: EvalContext) -> bool:
        return not self.operand.test(context)

    def next_change_at(self, context: EvalContext) -> int:
        return self.operand.next_change_at(context)


class AllOf(Bool):
    """`and`. While a part that time cannot change is false, time cannot change the result either."""

    def __init__(self, parts: list[Bool]) -> None:
        super().__init__(_timed(parts))
        self.parts = parts

    def test(self, context: EvalContext) -> bool:
        for part in self.parts:  # noqa: SIM110 -- mypyc compiles this form to a plain loop
            if not part.test(context):
                return False
        return True

    def next_change_at(self, context: EvalContext) -> int:
        return _next_change(self.parts, context, False)


class AnyOf(Bool):
    """`or`. While a part that time cannot change is true, time cannot change the result either."""

    def __init__(self, parts: list[Bool]) -> None:
        super().__init__(_timed(parts))
        self.parts = parts

    def test(self, context: EvalContext) -> bool:
        for part in self.parts:  # noqa: SIM110
            if part.test(context):
                return True
        return False

    def next_change_at(self, context: EvalContext) -> int:
        return _next_change(self.parts, context, True)


def _timed(parts: list[Bool]) -> bool:
    return True in [part.timed for part in parts]


def _next_change(parts: list[Bool], context: EvalContext, decides: bool) -> int:
    """Return the earliest next change of any part; NEVER if a part that cannot change has the value `decides`.

    `decides`: the value of a part that decides the result whatever the values of the others are.
    """
    earliest = NEVER
    for part in parts:
        if not part.timed:
            if part.test(context) is decides:
                return NEVER
        else:
            change_at = part.next_change_at(context)
            if part.test(context) is decides and change_at == NEVER:
                return NEVER
            earliest = min(earliest, change_at)
    return earliest


class SameBool(Bool):
    """`==` and `!=` of conditions."""

    def __init__(self, left: Bool, right: Bool, same: bool) -> None:
        super().__init__(left.timed or right.timed)
        self.left = left
        self.right = right
        self.same = same

    def test(self, context: EvalContext) -> bool:
        return (self.left.test(context) is self.right.test(context)) is self.same

    def next_change_at(self, context: EvalContext) -> int:
        return min(self.left.next_change_at(context), self.right.next_change_at(context))


# -- comparisons

EQ: Final = 0
NE: Final = 1
LT: Final = 2
LE: Final = 3
GT: Final = 4
GE: Final = 5


class CompareWhole(Bool):
    def __init__(self, operator: int, left: Whole, right: Whole) -> None:
        self.slope = left.slope - right.slope
        super().__init__(left.timed or right.timed or self.slope != 0)
        self.operator = operator
        self.left = left
        self.right = right

    def test(self, context: EvalContext) -> bool:
        left = self.left.get(context)
        right = self.right.get(context)
        if left == ABSENT or right == ABSENT:
            return False
        operator = self.operator
        if operator == GE:
            return left >= right
        if operator == GT:
            return left > right
        if operator == EQ:
            return left == right
        if operator == LT:
            return left < right
        if operator == LE:
            return left <= right
        return left != right

    def next_change_at(self, context: EvalContext) -> int:
        if not self.timed:
            return NEVER
        earliest = min(self.left.next_change_at(context), self.right.next_change_at(context))
        slope = self.slope
        left = self.left.get(context)
        right = self.right.get(context)
        if slope == 0 or left == ABSENT or right == ABSENT:
            return earliest
        ahead = left - right
        operator = self.operator
        if operator in (GE, LT):
            crossed = _crossing(ahead, slope)
        elif operator in (GT, LE):
            crossed = _crossing(ahead - 1, slope)
        else:  # equal for one ms: it changes at that ms and at the next one
            crossed = min(_crossing(ahead, slope), _crossing(ahead - 1, slope))
        return earliest if crossed == NEVER else min(earliest, context.at + crossed)


def _crossing(ahead: int, slope: int) -> int:
    """Return the ms until `ahead`, which grows by `slope` each ms, reaches 0 from below or falls below 0; or NEVER."""
    if slope > 0:
        return -(ahead // slope) if ahead < 0 else NEVER
    return ahead // -slope + 1 if ahead >= 0 else NEVER


class CompareReal(Bool):
    """A comparison of doubles. NaN makes every operator except `!=` false by itself, so absent values need no test."""

    def __init__(self, operator: int, left: Real, right: Real) -> None:
        super().__init__(left.timed or right.timed)
        self.operator = operator
        self.left = left
        self.right = right

    def test(self, context: EvalContext) -> bool:
        left = self.left.get(context)
        right = self.right.get(context)
        operator = self.operator
        if operator == GE:
            return left >= right
        if operator == GT:
            return left > right
        if operator == EQ:
            return left == right
        if operator == LT:
            return left < right
        if operator == LE:
            return left <= right
        return left != right and left == left and right == right

    def next_change_at(self, context: EvalContext) -> int:
        return min(self.left.next_change_at(context), self.right.next_change_at(context))


class SameText(Bool):
    """`==` and `!=` of texts."""

    def __init__(self, left: Text, right: Text, same: bool) -> None:
        super().__init__(False)
        self.left = left
        self.right = right
        self.same = same

    def test(self, context: EvalContext) -> bool:
        left = self.left.get(context)
        right = self.right.get(context)
        if left is None or right is None:
            return False
        return (left == right) is self.same


class InTexts(Bool):
    """`in` and `not in`."""

    def __init__(self, item: Text, among: frozenset[str], inside: bool) -> None:
        super().__init__(False)
        self.item = item
        self.among = among
        self.inside = inside

    def test(self, context: EvalContext) -> bool:
        item = self.item.get(context)
        return item is not None and (item in self.among) is self.inside


class KnownWhole(Bool):
    """`known(…)`: true if the value is not absent."""

    def __init__(self, operand: Whole) -> None:
        super().__init__(operand.timed)
        self.operand = operand

    def test(self, context: EvalContext) -> bool:
        return self.operand.get(context) != ABSENT

    def next_change_at(self, context: EvalContext) -> int:
        return self.operand.next_change_at(context)


class KnownReal(Bool):
    def __init__(self, operand: Real) -> None:
        super().__init__(operand.timed)
        self.operand = operand

    def test(self, context: EvalContext) -> bool:
        value = self.operand.get(context)
        return value == value

    def next_change_at(self, context: EvalContext) -> int:
        return self.operand.next_change_at(context)


class KnownText(Bool):
    def __init__(self, operand: Text) -> None:
        super().__init__(False)
        self.operand = operand

    def test(self, context: EvalContext) -> bool:
        return self.operand.get(context) is not None
