"""YAML as people write it by hand: plain values with the line of every mapping, and nothing that surprises.

`yes`, `on`, `10:30` and dates are texts, not booleans, numbers and times of day; a key that stands twice is a mistake;
there are no aliases and no tags, so that a small file stays a small document.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from streams.errors import UserError

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 32


class Mapping(dict[str, Any]):
    """A mapping of the file, which knows where it stands."""

    line: int = 0
    """From 1."""


class Mistake(Exception):
    """What is wrong in a file, and in which line of it."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(line, text)
        self.line = line
        self.text = text


def read(path: Path) -> Any:
    """The document of a file. Raises `UserError` with file and line."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        return parse(content)
    except Mistake as mistake:
        raise UserError(f"{path}:{mistake.line}: {mistake.text}.") from None


def parse(content: bytes) -> Any:
    """The document in a text. Raises `Mistake`."""
    if len(content) > MAX_BYTES:
        raise Mistake(1, f"the file has more than {MAX_BYTES} bytes")
    try:
        loader = _Loader(content)
    except yaml.YAMLError as error:
        raise Mistake(1, f"this is no YAML text: {_reason(error)}") from None
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Mistake(mark.line + 1 if mark else 1, f"this is not YAML: {_reason(error)}") from None
    except yaml.YAMLError as error:
        raise Mistake(1, f"this is not YAML: {_reason(error)}") from None
    finally:
        loader.dispose()
    return None if node is None else _value(node)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 # as PyYAML declares it
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not read here", mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, "this is nested too deep", mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


_NUMBER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(\.[0-9]+)?(e[-+]?[0-9]+)?", re.IGNORECASE)
_TAGS: Final = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str")}
"""Of what has none written."""
_WORDS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None, "~": None, "": None}


def _value(node: yaml.Node) -> Any:
    line = node.start_mark.line + 1
    if node.tag not in _TAGS:
        raise Mistake(line, f"the tag {node.tag} is not read here")
    if isinstance(node, yaml.MappingNode):
        mapping = Mapping()
        mapping.line = line
        for key_node, value_node in node.value:
            at = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise Mistake(at, "a key is a text")
            if key_node.value in mapping:
                raise Mistake(at, f"{key_node.value} stands twice")
            mapping[key_node.value] = _value(value_node)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_value(part) for part in node.value]
    assert isinstance(node, yaml.ScalarNode)
    return node.value if node.style else _scalar(node.value)


def _scalar(text: str) -> Any:
    """A value without quotes: a number, true, false, null, or itself."""
    if text in _WORDS:
        return _WORDS[text]
    if (found := _NUMBER.fullmatch(text)) and len(text) <= 300:
        return float(text) if found[1] or found[2] else int(text)
    return text


def _reason(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return str(problem).splitlines()[0]
