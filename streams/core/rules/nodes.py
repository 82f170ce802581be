"""The node classes of compiled rules, and the nodes of constants.

A compiled rule is a tree of nodes: one small object for each part of the rule, evaluated directly by the node above it.
Compiled with mypyc, an evaluation is a C call. The `*_nodes` modules hold all other nodes. There are four kinds, by the
type of the value. Each has its own form of an absent value, such as the time of an order that never came:

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
"""Stands for a time that never comes."""
NAN: Final = float("nan")


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
