"""The kinds of values in a playbook: each reads a value, and gives its JSON Schema.

The `read` of a kind returns the value or raises `InvalidValue`. Sections, lists and tables record a mistake and go
on, so that one run reports all mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from streams.core.model.currencies import EXPONENTS
from streams.core.model.durations import PATTERN, parse_duration
from streams.core.rules.errors import suggestion
from streams.core.rules.lexer import LONGEST
from streams.playbooks.problems import PlaybookProblem, quoted
from streams.playbooks.yaml_tree import YamlNode

Schema = dict[str, Any]
Problems = list[PlaybookProblem]


class InvalidValue(Exception):
    """A value that is not allowed. The message describes the allowed values."""

    def __init__(self, node: YamlNode, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.problem = PlaybookProblem(*node.at(offset), message)


class KeyKind(Protocol):
    """The kind of a value: how it is read, and its JSON Schema."""

    @property
    def expected(self) -> str:
        """Description of the allowed values, for messages and the reference page."""

    def read(self, node: YamlNode, problems: Problems) -> Any:
        """Return the value. Raise `InvalidValue`, or add the mistakes within the value to `problems`."""

    def schema(self) -> Schema:
        """Return the JSON Schema of the kind."""


# -- single values


@dataclass(frozen=True)
class Scalar:
    """A text that `parse` turns into a value, or into None if it is not valid."""

    expected: str
    parse: Callable[[str], Any]
    form: Schema

    def read(self, node: YamlNode, problems: Problems) -> Any:
        value = None if node.text is None else self.parse(node.text)
        if value is None:
            raise InvalidValue(node, f"{node.shown} is not {self.expected}")
        return value

    def schema(self) -> Schema:
        return self.form


_NAME: Final = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"


def _matching(pattern: str) -> Callable[[str], str | None]:
    return lambda text: text if re.fullmatch(pattern, text) else None


def _duration(text: str) -> int | None:
    return ms if (ms := parse_duration(text)) is not None and 0 < ms <= LONGEST else None


def number(least: int, most: int) -> Scalar:
    """Return the kind of whole numbers from `least` to `most`."""

    def parse(text: str) -> int | None:
        return int(text) if re.fullmatch(r"[0-9]{1,9}", text) and least <= int(text) <= most else None

    return Scalar(
        f"a whole number from {least} to {most:,}", parse, {"type": "integer", "minimum": least, "maximum": most}
    )


def one_of(*words: str) -> Scalar:
    """Return the kind of values that are one of the words."""
    return Scalar(" or ".join(words), lambda text: text if text in words else None, {"enum": list(words)})


NAME: Final = Scalar(
    "a name of at most 64 letters, digits, _ and - that begins with a letter",
    _matching(_NAME),
    {"type": "string", "pattern": _NAME},
)
CHANNEL: Final = Scalar(
    "a channel as orders name it, of at most 64 characters",
    lambda text: text if text == text.strip() and 0 < len(text) <= 64 else None,
    {"type": "string", "minLength": 1, "maxLength": 64},
)
DURATION: Final = Scalar(
    f"a duration, such as 30m, 1h30m or 90d, at most {LONGEST // 86_400_000:,}d",
    _duration,
    {"type": "string", "pattern": f"^{PATTERN}$"},
)
CURRENCY: Final = Scalar(
    "an ISO 4217 currency in capital letters, such as EUR",
    lambda text: text if text in EXPONENTS else None,
    {"type": "string", "pattern": "^[A-Z]{3}$"},
)
SWITCH: Final = Scalar("true or false", lambda text: {"true": True, "false": False}.get(text), {"type": "boolean"})


@dataclass(frozen=True)
class RuleKind:
    """A rule. It stays a node, and is compiled when all names that it may use are known."""

    expected: str = "a rule, such as orders >= 1"

    def read(self, node: YamlNode, problems: Problems) -> YamlNode:
        if not node.text:
            raise InvalidValue(node, f"{node.shown} is not {self.expected}")
        return node

    def schema(self) -> Schema:
        return {"type": ["string", "boolean", "number"], "minLength": 1}


@dataclass(frozen=True)
class OrOff:
    """A value, or `off`, which is read as None."""

    kind: KeyKind

    @property
    def expected(self) -> str:
        return f"{self.kind.expected}, or off"

    def read(self, node: YamlNode, problems: Problems) -> Any:
        if node.text == "off":
            return None
        if node.text is not None and isinstance(self.kind, Section):
            raise InvalidValue(
                node, f"{node.shown} is neither off nor a table with the keys {', '.join(self.kind.names)}"
            )
        return self.kind.read(node, problems)

    def schema(self) -> Schema:
        return {"anyOf": [{"enum": ["off", False]}, self.kind.schema()]}


# -- several


@dataclass(frozen=True)
class ListOf:
    """A list of `least` to `most` values."""

    kind: KeyKind
    most: int = 1_000
    least: int = 0

    @property
    def expected(self) -> str:
        return f"a list; each is {self.kind.expected}"

    def read(self, node: YamlNode, problems: Problems) -> list[Any]:
        if node.items is None:
            raise InvalidValue(node, f"{node.shown} is not a list: write [one, another]")
        if not self.least <= len(node.items) <= self.most:
            message = f"this list has {len(node.items)} values: from {self.least} to {self.most} are allowed"
            raise InvalidValue(node, message)
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
    """A table whose names the user chooses. `names` is the kind of the names, `kind` that of the values."""

    names: Scalar
    kind: KeyKind
    most: int = 200
    least: int = 0

    @property
    def expected(self) -> str:
        return f"a table; each key is {self.names.expected}"

    def read(self, node: YamlNode, problems: Problems) -> dict[Any, Any]:
        if node.table is None:
            raise InvalidValue(node, f"{node.shown} is not a table: write `name: value`, one to a line")
        if not self.least <= len(node.table) <= self.most:
            message = f"this table has {len(node.table)} names: from {self.least} to {self.most} are allowed"
            raise InvalidValue(node, message)
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
    """A key of a section. `default` is the text of its default; `help` is for the reference page and for editors."""

    name: str
    kind: KeyKind
    help: str
    required: bool = False
    default: str = ""


class Section:
    """A table of known keys. It is read as a dict of the keys that are present, and `here`, the node of the table."""

    def __init__(self, expected: str, *keys: Key) -> None:
        self.expected = expected
        self.keys = {key.name: key for key in keys}

    @property
    def names(self) -> list[str]:
        """All keys of the section."""
        return list(self.keys)

    def read(self, node: YamlNode, problems: Problems) -> dict[str, Any]:
        if node.table is None:
            raise InvalidValue(
                node, f"{node.shown} is not {self.expected}: write a table with the keys {', '.join(self.names)}"
            )
        values: dict[str, Any] = {"here": node}
        for text, (name, below) in node.table.items():
            key = self.keys.get(text)
            if key is None:
                hint = suggestion(text, self.names)
                problems.append(InvalidValue(name, f"{quoted(text)} is not a key of {self.expected}{hint}").problem)
                continue
            try:
                values[text] = key.kind.read(below, problems)
            except InvalidValue as wrong:
                problems.append(wrong.problem)
        missing = [key.name for key in self.keys.values() if key.required and key.name not in node.table]
        if missing:
            problems.append(node.problem(f"{self.expected} needs the key {' and the key '.join(missing)}"))
        return values

    def schema(self) -> Schema:
        properties = {key.name: {**key.kind.schema(), "description": key.help} for key in self.keys.values()}
        required = [key.name for key in self.keys.values() if key.required]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


@dataclass(frozen=True)
class OneOrMore:
    """A value or a list of values, read as a list."""

    kind: KeyKind

    @property
    def expected(self) -> str:
        return f"{self.kind.expected}, or a list of them"

    def read(self, node: YamlNode, problems: Problems) -> list[Any]:
        if node.items is not None:
            return ListOf(self.kind, least=1).read(node, problems)
        return [self.kind.read(node, problems)]

    def schema(self) -> Schema:
        return {"anyOf": [self.kind.schema(), ListOf(self.kind, least=1).schema()]}
