"""Parse the tokens of a rule. Precedence from the lowest: `or`, `and`, `not`, comparisons and `in`, `+ -`, `* /`, sign.

Called by `compile_rule`. The length (see the lexer), the depth and the number of parts are bounded, so no text makes
the parser hang or exhausts the stack.
"""

from __future__ import annotations

from typing import Final

from streams.core.rules import tree
from streams.core.rules.errors import RuleError
from streams.core.rules.lexer import Token, tokens

MAX_DEPTH: Final = 40
MAX_PARTS: Final = 400
_COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})
_TOKEN_NAMES: Final = {"end": "the end of the rule", "number": "a number", "duration": "a duration", "text": "a text"}


def parse(text: str) -> tree.Tree:
    """Return the tree of a rule. Raise RuleError if the text is not one."""
    parser = _Parser(tokens(text))
    root = parser.condition()
    if parser.token.kind != "end":
        raise parser.unexpected("an operator (and, or, in, ==, <, +, …) or the end of the rule")
    return root


class _Parser:
    def __init__(self, all_tokens: list[Token]) -> None:
        self._tokens = all_tokens
        self._place = 0
        self._depth = 0
        self._parts = 0
        self.token = all_tokens[0]

    # -- the grammar, from the lowest precedence

    def condition(self) -> tree.Tree:
        """Parse a whole expression: conditions joined by `or`."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._too_deep(self.token)
        parts = [self._all()]
        while self._accept("or"):
            parts.append(self._all())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else self._checked(tree.Logic("or", parts))

    def _all(self) -> tree.Tree:
        parts = [self._negated()]
        while self._accept("and"):
            parts.append(self._negated())
        return parts[0] if len(parts) == 1 else self._checked(tree.Logic("and", parts))

    def _negated(self) -> tree.Tree:
        starts: list[int] = []
        while self.token.kind == "not":
            starts.append(self.token.start)
            self._advance()
        result = self._compared()
        for start in reversed(starts):
            result = self._checked(tree.Unary("not", result, start))
        return result

    def _compared(self) -> tree.Tree:
        left = self._sum()
        token = self.token
        if token.kind in _COMPARISONS:
            self._advance()
            left = self._checked(tree.Binary(token.kind, left, self._sum()))
        elif token.kind == "in" or (token.kind == "not" and self._tokens[self._place + 1].kind == "in"):
            operator = "in"
            if token.kind == "not":
                operator = "not in"
                self._advance()
            self._advance()
            left = self._checked(tree.Binary(operator, left, self._sum()))
        elif token.kind == "=":
            raise RuleError("to compare, write ==", token.start, token.end)
        else:
            return left
        if self.token.kind in _COMPARISONS or self.token.kind == "in":
            raise RuleError("comparisons cannot be chained: write a < b and b < c", self.token.start, self.token.end)
        return left

    def _sum(self) -> tree.Tree:
        left = self._product()
        while self.token.kind in ("+", "-"):
            operator = self.token.kind
            self._advance()
            left = self._checked(tree.Binary(operator, left, self._product()))
        return left

    def _product(self) -> tree.Tree:
        left = self._signed()
        while self.token.kind in ("*", "/"):
            operator = self.token.kind
            self._advance()
            left = self._checked(tree.Binary(operator, left, self._signed()))
        return left

    def _signed(self) -> tree.Tree:
        starts: list[int] = []
        while self.token.kind == "-":
            starts.append(self.token.start)
            self._advance()
        result = self._atom()
        for start in reversed(starts):
            result = self._checked(tree.Unary("-", result, start))
        return result

    def _atom(self) -> tree.Tree:
        token = self.token
        kind = token.kind
        if kind == "number":
            self._advance()
            return self._checked(tree.NumberLiteral(token.text, token.start, token.end))
        if kind == "duration":
            self._advance()
            return self._checked(tree.DurationLiteral(token.ms, token.start, token.end))
        if kind == "text":
            self._advance()
            return self._checked(tree.TextLiteral(token.text, token.start, token.end))
        if kind in ("true", "false"):
            self._advance()
            return self._checked(tree.BoolLiteral(kind == "true", token.start, token.end))
        if kind == "name":
            self._advance()
            if self.token.kind == "(":
                return self._call(token)
            return self._checked(tree.Name(token.text, token.start, token.end))
        if kind == "(":
            return self._group()
        if kind == "[":
            self._advance()
            return self._sequence([], token, "]")
        raise self.unexpected("a name, a number, a duration, a text or (")

    def _group(self) -> tree.Tree:
        opening = self.token
        self._advance()
        if self.token.kind == ")":
            return self._sequence([], opening, ")")
        first = self.condition()
        if self.token.kind == ",":
            self._advance()
            return self._sequence([first], opening, ")")
        self._close(")", opening)
        return first

    def _sequence(self, items: list[tree.Tree], opening: Token, closing: str) -> tree.Tree:
        while self.token.kind != closing:
            items.append(self.condition())
            if not self._accept(","):
                break
        end = self._close(closing, opening)
        return self._checked(tree.Sequence(items, opening.start, end))

    def _call(self, name: Token) -> tree.Tree:
        opening = self.token
        self._advance()
        arguments: list[tree.Tree] = []
        named: dict[str, tree.Tree] = {}
        while self.token.kind != ")":
            token = self.token
            if token.kind == "name" and self._tokens[self._place + 1].kind == "=":
                if token.text in named:
                    raise RuleError(f"the argument {token.text} is given twice", token.start, token.end)
                self._advance()
                self._advance()
                named[token.text] = self.condition()
            elif named:
                raise RuleError("arguments without a name must come before those with a name", token.start, token.end)
            else:
                arguments.append(self.condition())
            if not self._accept(","):
                break
        end = self._close(")", opening)
        return self._checked(tree.Call(name.text, arguments, named, name.start, end))

    # -- tokens

    def unexpected(self, wanted: str) -> RuleError:
        """Return the error that the current token is not `wanted`."""
        token = self.token
        found = _TOKEN_NAMES.get(token.kind, token.text)
        return RuleError(f"{wanted} is expected here, not {found}", token.start, token.end)

    def _advance(self) -> None:
        self._place += 1
        self.token = self._tokens[self._place]

    def _accept(self, kind: str) -> bool:
        if self.token.kind != kind:
            return False
        self._advance()
        return True

    def _close(self, kind: str, opening: Token) -> int:
        token = self.token
        if token.kind != kind:
            found = _TOKEN_NAMES.get(token.kind, token.text)
            raise RuleError(f"{kind} is expected here, not {found}", opening.start, max(token.end, opening.end))
        self._advance()
        return token.end

    # -- bounds

    def _checked(self, part: tree.Tree) -> tree.Tree:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise RuleError(f"a rule can have at most {MAX_PARTS} parts: split it", part.start, part.end)
        if part.depth > MAX_DEPTH:
            raise RuleError(f"a rule can be nested at most {MAX_DEPTH} levels deep", part.start, part.end)
        return part

    @staticmethod
    def _too_deep(token: Token) -> RuleError:
        return RuleError(f"a rule can be nested at most {MAX_DEPTH} levels deep", token.start, token.end)
