"""What values of a playbook can be: how each is read, and how its JSON Schema says it. One place for both.

A kind's `read` returns the value or raises `InvalidValue`. Sections, lists and tables go on after a mistake and note it, so
that one run tells them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from streams.contracts.money import EXPONENTS
from streams.core.rules.lexer import LONGEST, duration
from streams.playbooks.problems import PlaybookProblem, quoted, suggestion
from streams.playbooks.yaml_tree import Node

Schema = dict[str, Any]
Problems = list[PlaybookProblem]


class InvalidValue(Exception):
    """A value cannot be taken. The message says what is allowed."""

    def __init__(self, node: Node, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.problem = PlaybookProblem(*node.at(offset), message)


class KeyKind(Protocol):
    """One sort of value."""

    @property
    def what(self) -> str:
        """For messages and the reference: what belongs here."""

    def read(self, node: Node, problems: Problems) -> Any:
        """The value. Raises `InvalidValue`, or notes in `problems` what is wrong within."""

    def schema(self) -> Schema:
        """Its JSON Schema."""


# -- single values


@dataclass(frozen=True)
class Scalar:
    """A text that `parse` turns into a value; None says that it is not one."""

    what: str
    parse: Callable[[str], Any]
    form: Schema

    def read(self, node: Node, problems: Problems) -> Any:
        value = None if node.text is None else self.parse(node.text)
        if value is None:
            raise InvalidValue(node, f"{node.what} is not {self.what}")
        return value

    def schema(self) -> Schema:
        return self.form


_NAME: Final = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"
_DURATION: Final = r"^([0-9]+(ms|[wdhms]))+$"


def _matching(pattern: str) -> Callable[[str], str | None]:
    return lambda text: text if re.fullmatch(pattern, text) else None


def _duration(text: str) -> int | None:
    return None if (ms := duration(text)) is None or ms == 0 else ms


def number(least: int, most: int) -> Scalar:
    """A whole number within bounds."""

    def parse(text: str) -> int | None:
        return int(text) if re.fullmatch(r"[0-9]{1,9}", text) and least <= int(text) <= most else None

    return Scalar(
        f"a whole number from {least} to {most:,}", parse, {"type": "integer", "minimum": least, "maximum": most}
    )


def one_of(*words: str) -> Scalar:
    """One of some words."""
    return Scalar(" or ".join(words), lambda text: text if text in words else None, {"enum": list(words)})


NAME: Final = Scalar(
    "a name: letters, digits, _ and -, at most 64, a letter first",
    _matching(_NAME),
    {"type": "string", "pattern": _NAME},
)
DURATION: Final = Scalar(
    f"a duration, such as 30m, 1h30m or 90d, at most {LONGEST // 86_400_000:,}d",
    _duration,
    {"type": "string", "pattern": _DURATION},
)
CURRENCY: Final = Scalar(
    "an ISO 4217 currency in capital letters, such as EUR",
    lambda text: text if text in EXPONENTS else None,
    {"type": "string", "pattern": "^[A-Z]{3}$"},
)
SWITCH: Final = Scalar("true or false", lambda text: {"true": True, "false": False}.get(text), {"type": "boolean"})


@dataclass(frozen=True)
class RuleKind:
    """An expression; compiled once everything that it may name is known."""

    what: str = "a rule, such as orders >= 1"

    def read(self, node: Node, problems: Problems) -> Node:
        if not node.text:
            raise InvalidValue(node, f"{node.what} is not {self.what}")
        return node

    def schema(self) -> Schema:
        return {"type": ["string", "boolean", "number"], "minLength": 1}


@dataclass(frozen=True)
class OrOff:
    """A value, or `off`, which is None."""

    kind: KeyKind

    @property
    def what(self) -> str:
        return f"{self.kind.what}, or off"

    def read(self, node: Node, problems: Problems) -> Any:
        if node.text == "off":
            return None
        if node.text is not None and isinstance(self.kind, Section):
            raise InvalidValue(node, f"{node.what} is neither off nor a table of {', '.join(self.kind.names)}")
        return self.kind.read(node, problems)

    def schema(self) -> Schema:
        return {"anyOf": [{"enum": ["off", False]}, self.kind.schema()]}


# -- several


@dataclass(frozen=True)
class ListOf:
    """A list of at most so many."""

    kind: KeyKind
    most: int = 1_000
    least: int = 0

    @property
    def what(self) -> str:
        return f"a list; each is {self.kind.what}"

    def read(self, node: Node, problems: Problems) -> list[Any]:
        if node.items is None:
            raise InvalidValue(node, f"{node.what} is not a list: write [one, another]")
        if not self.least <= len(node.items) <= self.most:
            raise InvalidValue(node, f"there are {len(node.items)} here, from {self.least} to {self.most} are allowed")
        values = []
        for item in node.items:
            try:
                values.append(self.kind.read(item, problems))
            except InvalidValue as wrong:
                problems.append(wrong.problem)
        return values

    def schema(self) -> Schema:
        return {"type": "array", "items": self.kind.schema(), "minItems": self.least, "maxItems": self.most}


@dataclass(frozen=True)
class TableOf:
    """A table of names of the user's own; `names` is what a name can be."""

    names: Scalar
    kind: KeyKind
    most: int = 200
    least: int = 0

    @property
    def what(self) -> str:
        return f"a table; each name is {self.names.what}"

    def read(self, node: Node, problems: Problems) -> dict[Any, Any]:
        if node.table is None:
            raise InvalidValue(node, f"{node.what} is not a table: write `name: value`, one in a line")
        if not self.least <= len(node.table) <= self.most:
            raise InvalidValue(node, f"there are {len(node.table)} here, from {self.least} to {self.most} are allowed")
        values = {}
        for name, below in node.table.values():
            try:
                key = self.names.read(name, problems)
                values[key] = self.kind.read(below, problems)
            except InvalidValue as wrong:
                problems.append(wrong.problem)
        return values

    def schema(self) -> Schema:
        form = self.names.schema()
        names = {"pattern": "^[0-9]+$"} if form["type"] == "integer" else {"pattern": form["pattern"]}
        return {
            "type": "object",
            "propertyNames": names,
            "additionalProperties": self.kind.schema(),
            "minProperties": self.least,
            "maxProperties": self.most,
        }


@dataclass(frozen=True)
class Key:
    """One key of a section. `default` is as it would be written; `help` is for the reference and for editors."""

    name: str
    kind: KeyKind
    help: str
    required: bool = False
    default: str = ""


class Section:
    """A table of known keys. Reads to a dict of those that are there, and `here`, the node itself."""

    def __init__(self, what: str, *keys: Key) -> None:
        self.what = what
        self.keys = {key.name: key for key in keys}

    @property
    def names(self) -> list[str]:
        """All its keys."""
        return list(self.keys)

    def read(self, node: Node, problems: Problems) -> dict[str, Any]:
        if node.table is None:
            raise InvalidValue(node, f"{node.what} is not {self.what}: write a table of {', '.join(self.names)}")
        values: dict[str, Any] = {"here": node}
        for text, (name, below) in node.table.items():
            key = self.keys.get(text)
            if key is None:
                problems.append(
                    PlaybookProblem(
                        *name.at(0), f"{quoted(text)} is no key of {self.what}{suggestion(text, self.names)}"
                    )
                )
                continue
            try:
                values[text] = key.kind.read(below, problems)
            except InvalidValue as wrong:
                problems.append(wrong.problem)
        missing = [key.name for key in self.keys.values() if key.required and key.name not in node.table]
        if missing:
            problems.append(PlaybookProblem(node.line, node.column, f"{self.what} lacks {' and '.join(missing)}"))
        return values

    def schema(self) -> Schema:
        properties = {key.name: {**key.kind.schema(), "description": key.help} for key in self.keys.values()}
        required = [key.name for key in self.keys.values() if key.required]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


@dataclass(frozen=True)
class OneOrMore:
    """A value, or a list of them; read as a list."""

    kind: KeyKind

    @property
    def what(self) -> str:
        return f"{self.kind.what}, or a list of them"

    def read(self, node: Node, problems: Problems) -> list[Any]:
        if node.items is not None:
            return ListOf(self.kind, least=1).read(node, problems)
        return [self.kind.read(node, problems)]

    def schema(self) -> Schema:
        return {"anyOf": [self.kind.schema(), ListOf(self.kind, least=1).schema()]}
