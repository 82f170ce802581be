"""Read YAML to plain values, and keep the line of every mapping. Numbers are numbers here.

`yes`, `on`, `10:30`, dates and numbers with leading zeros are texts.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from streams.errors import UserError
from streams.playbooks.yaml_tree import MalformedYaml, YamlNode, compose
from streams.replay.file_encoding import read_text


class Mapping(dict[str, Any]):
    """A mapping with its line in the file."""

    line: int = 0
    """From 1."""


class Mistake(Exception):
    """A mistake in a file, with its line."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(line, text)
        self.line = line
        self.text = text


def read(path: Path) -> Any:
    """Return the document of a file. Raise `UserError` with file and line."""
    try:
        tree = compose(read_text(path), "a file of scenarios")
    except MalformedYaml as error:
        raise UserError(f"{path}:{error.problem.line}: {error.problem.message}.") from None
    return None if tree is None else _value(tree)


_NUMBER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(\.[0-9]+)?(e[-+]?[0-9]+)?", re.IGNORECASE)
_WORDS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None, "~": None, "": None}


def _value(node: YamlNode) -> Any:
    if node.table is not None:
        mapping = Mapping({name: _value(value) for name, (_, value) in node.table.items()})
        mapping.line = node.line
        return mapping
    if node.items is not None:
        return [_value(item) for item in node.items]
    text = node.text or ""
    return text if node.quoted else _scalar(text)


def _scalar(text: str) -> Any:
    """Return the value of an unquoted text: a number, true, false, null, or the text."""
    if text in _WORDS:
        return _WORDS[text]
    if (found := _NUMBER.fullmatch(text)) and len(text) <= 300:
        return float(text) if found[1] or found[2] else int(text)
    return text
