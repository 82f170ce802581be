"""The syntax tree of a rule: the parser builds it from the text, the checker reads it. Names are not resolved yet."""

from __future__ import annotations


class Tree:
    """A part of the text, from offset `start` to `end`. `depth` is its number of levels, itself included."""

    def __init__(self, start: int, end: int, depth: int) -> None:
        self.start = start
        self.end = end
        self.depth = depth


class NumberLiteral(Tree):
    """A number as written: whole, or with decimals."""

    def __init__(self, text: str, start: int, end: int) -> None:
        super().__init__(start, end, 1)
        self.text = text


class DurationLiteral(Tree):
    """A duration, in ms."""

    def __init__(self, ms: int, start: int, end: int) -> None:
        super().__init__(start, end, 1)
        self.ms = ms


class TextLiteral(Tree):
    """A text in quotes."""

    def __init__(self, value: str, start: int, end: int) -> None:
        super().__init__(start, end, 1)
        self.value = value


class BoolLiteral(Tree):
    """`true` or `false`."""

    def __init__(self, value: bool, start: int, end: int) -> None:
        super().__init__(start, end, 1)
        self.value = value


class Name(Tree):
    """A name with its dots: `orders`, `event.properties.score`."""

    def __init__(self, name: str, start: int, end: int) -> None:
        super().__init__(start, end, 1)
        self.name = name


class Call(Tree):
    """A function call. `named` holds the arguments that are given by name."""

    def __init__(self, name: str, arguments: list[Tree], named: dict[str, Tree], start: int, end: int) -> None:
        below = [*arguments, *named.values()]
        super().__init__(start, end, 1 + max([part.depth for part in below], default=0))
        self.name = name
        self.arguments = arguments
        self.named = named


class Sequence(Tree):
    """A list of values in parentheses or brackets, as it follows `in`."""

    def __init__(self, items: list[Tree], start: int, end: int) -> None:
        super().__init__(start, end, 1 + max([part.depth for part in items], default=0))
        self.items = items


class Unary(Tree):
    """`not` or `-` before an operand."""

    def __init__(self, operator: str, operand: Tree, start: int) -> None:
        super().__init__(start, operand.end, 1 + operand.depth)
        self.operator = operator
        self.operand = operand


class Binary(Tree):
    """Arithmetic, a comparison, `in` or `not in`."""

    def __init__(self, operator: str, left: Tree, right: Tree) -> None:
        super().__init__(left.start, right.end, 1 + max(left.depth, right.depth))
        self.operator = operator
        self.left = left
        self.right = right


class Logic(Tree):
    """Two or more conditions joined by `and`, or by `or`."""

    def __init__(self, operator: str, parts: list[Tree]) -> None:
        super().__init__(parts[0].start, parts[-1].end, 1 + max([part.depth for part in parts]))
        self.operator = operator
        self.parts = parts
