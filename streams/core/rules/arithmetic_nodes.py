"""Nodes that compute a value of others: arithmetic, `min`, `max`, `default`, and conversions of numbers."""

from __future__ import annotations

from typing import Final

from streams.core.rules.eval_context import EvalContext
from streams.core.rules.nodes import ABSENT, NAN, NEVER, Real, Text, Whole

ADD: Final = 0
SUBTRACT: Final = 1
MULTIPLY: Final = 2
DIVIDE: Final = 3
LEAST: Final = 4
GREATEST: Final = 5
DEFAULT: Final = 6
_LARGEST: Final = 1e300
"""Stands for every integer that is too large for a double."""
_ROUNDED: Final = float(1 << 60)
"""Bound of the values that are rounded to integers."""


class WholeOperation(Whole):
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


class RealOperation(Real):
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
        return nearest_double(value)

    def next_change_at(self, context: EvalContext) -> int:
        return self.operand.next_change_at(context)


class Rounded(Whole):
    """A double rounded half up, because amounts and durations are whole numbers."""

    def __init__(self, operand: Real) -> None:
        super().__init__(operand.timed)
        self.operand = operand

    def get(self, context: EvalContext) -> int:
        return round_half_up(self.operand.get(context))

    def next_change_at(self, context: EvalContext) -> int:
        return self.operand.next_change_at(context)


def nearest_double(value: int) -> float:
    """Return the double nearest to an integer of any size."""
    try:
        return float(value)
    except OverflowError:
        return _LARGEST if value > 0 else -_LARGEST


def round_half_up(value: float) -> int:
    """Return the nearest integer, half up; ABSENT for NaN and for values beyond 2**60."""
    if not -_ROUNDED < value < _ROUNDED:  # true for NaN too
        return ABSENT
    below = value // 1.0
    return int(below) + (1 if value - below >= 0.5 else 0)
