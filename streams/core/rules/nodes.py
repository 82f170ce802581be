"""The nodes of compiled rules: one small object for each part of a rule, evaluated directly by the node above it.

Compiled with mypyc, an evaluation is a C call. There are four kinds of nodes, by the type of their value. Each has its
own form of an absent value, such as the time of an order that never came:

- `Bool`: true or false, never absent. Comparisons of an absent value are false, `!=` too.
- `Whole`: a number, an amount (minor units), a duration or a time (ms) as an integer; absent is ABSENT.
- `Real`: a number with a fraction, in double precision; absent is NaN.
- `Text`: a text; absent is None.

`next_change_at(context)` returns the earliest time (ms) after `context.at` at which time alone can change the value;
NEVER if there is none. It is exact, unless several parts of one rule change and cancel each other out. A `Whole` whose
`slope` is not 0 changes by that amount with every ms (`now`, `since(...)`): its `next_change_at` covers only the
changes beyond that.
"""

from __future__ import annotations

from typing import Final

from streams.core.rules.eval_context import EvalContext

ABSENT: Final = -(1 << 61) + 40_961
"""Absent value of a `Whole`. No amount, count or time comes near it."""
NEVER: Final = 1 << 61
NAN: Final = float("nan")
_LARGEST: Final = 1e300
"""Stands for every integer that is too large for a double."""
_ROUNDED: Final = float(1 << 60)
"""Bound of the values that are rounded to integers."""


class Node:
    """A part of a compiled rule."""

    def next_change_at(self, context: EvalContext) -> int:
        """Return the earliest time (ms) at which time alone can change the value. See the module's docstring."""
        return NEVER


class Bool(Node):
    timed: bool
    """True if `next_change_at` can return anything but NEVER."""

    def __init__(self, timed: bool = False) -> None:
        self.timed = timed

    def test(self, context: EvalContext) -> bool:
        raise NotImplementedError


class Whole(Node):
    def __init__(self, timed: bool = False, slope: int = 0) -> None:
        self.timed = timed
        self.slope = slope

    def get(self, context: EvalContext) -> int:
        raise NotImplementedError


class Real(Node):
    def __init__(self, timed: bool = False) -> None:
        self.timed = timed

    def get(self, context: EvalContext) -> float:
        raise NotImplementedError


class Text(Node):
    def get(self, context: EvalContext) -> str | None:
        raise NotImplementedError


# -- constants


class ConstantBool(Bool):
    def __init__(self, value: bool) -> None:
        super().__init__(False)
        self.value = value

    def test(self, context: EvalContext) -> bool:
        return self.value


class ConstantWhole(Whole):
    def __init__(self, value: int) -> None:
        super().__init__()
        self.value = value

    def get(self, context: EvalContext) -> int:
        return self.value


class ConstantReal(Real):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def get(self, context: EvalContext) -> float:
        return self.value


class ConstantText(Text):
    def __init__(self, value: str) -> None:
        self.value = value

    def get(self, context: EvalContext) -> str | None:
        return self.value


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
        for part in self.parts:  # noqa: SIM110 -- mypyc makes a plain loop of this one
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


# -- arithmetic

ADD: Final = 0
SUBTRACT: Final = 1
MULTIPLY: Final = 2
DIVIDE: Final = 3
LEAST: Final = 4
GREATEST: Final = 5
DEFAULT: Final = 6


class WithWhole(Whole):
    """An operation on two integers. LEAST, GREATEST and DEFAULT take the other operand if one is absent."""

    def __init__(self, operator: int, left: Whole, right: Whole) -> None:
        slope = 0
        if operator == ADD:
            slope = left.slope + right.slope
        elif operator == SUBTRACT:
            slope = left.slope - right.slope
        super().__init__(left.timed or right.timed, slope)
        self.operator = operator
        self.left = left
        self.right = right

    def get(self, context: EvalContext) -> int:
        left = self.left.get(context)
        operator = self.operator
        if operator == DEFAULT and left != ABSENT:
            return left
        right = self.right.get(context)
        if operator >= LEAST:
            if left == ABSENT:
                return right
            if right == ABSENT:
                return left
            return min(left, right) if operator == LEAST else max(left, right)
        if left == ABSENT or right == ABSENT:
            return ABSENT
        if operator == ADD:
            return left + right
        if operator == SUBTRACT:
            return left - right
        return left * right

    def next_change_at(self, context: EvalContext) -> int:
        return min(self.left.next_change_at(context), self.right.next_change_at(context)) if self.timed else NEVER


class WithReal(Real):
    """An operation on two doubles. A division by 0 is absent."""

    def __init__(self, operator: int, left: Real, right: Real) -> None:
        super().__init__(left.timed or right.timed)
        self.operator = operator
        self.left = left
        self.right = right

    def get(self, context: EvalContext) -> float:
        left = self.left.get(context)
        operator = self.operator
        if operator == DEFAULT and left == left:
            return left
        right = self.right.get(context)
        if operator >= LEAST:
            if left != left:
                return right
            if right != right:
                return left
            return min(left, right) if operator == LEAST else max(left, right)
        if operator == ADD:
            return left + right
        if operator == SUBTRACT:
            return left - right
        if operator == MULTIPLY:
            return left * right
        return NAN if right == 0.0 else left / right

    def next_change_at(self, context: EvalContext) -> int:
        return min(self.left.next_change_at(context), self.right.next_change_at(context))


class DefaultText(Text):
    def __init__(self, left: Text, right: Text) -> None:
        self.left = left
        self.right = right

    def get(self, context: EvalContext) -> str | None:
        left = self.left.get(context)
        return self.right.get(context) if left is None else left


class AsReal(Real):
    def __init__(self, operand: Whole) -> None:
        super().__init__(operand.timed)
        self.operand = operand

    def get(self, context: EvalContext) -> float:
        value = self.operand.get(context)
        if value == ABSENT:
            return NAN
        if -NEVER < value < NEVER:
            return float(value)
        return real(value)

    def next_change_at(self, context: EvalContext) -> int:
        return self.operand.next_change_at(context)


class Rounded(Whole):
    """A double rounded half up, because amounts and durations are whole numbers."""

    def __init__(self, operand: Real) -> None:
        super().__init__(operand.timed)
        self.operand = operand

    def get(self, context: EvalContext) -> int:
        return rounded(self.operand.get(context))

    def next_change_at(self, context: EvalContext) -> int:
        return self.operand.next_change_at(context)


def real(value: int) -> float:
    """Return the double nearest to an integer of any size."""
    try:
        return float(value)
    except OverflowError:
        return _LARGEST if value > 0 else -_LARGEST


def rounded(value: float) -> int:
    """Return the nearest integer, half up; ABSENT for NaN and for values beyond 2**60."""
    if not -_ROUNDED < value < _ROUNDED:  # true for NaN too
        return ABSENT
    below = value // 1.0
    return int(below) + (1 if value - below >= 0.5 else 0)
