"""Parse YAML into a tree of texts, lists and tables, each with its place in the file. The work is bounded for any text.

The tree is built from PyYAML's events and not by its constructor: tags and anchors are rejected, and every scalar
stays the text that was written, so `on`, `off` and `1:30` are not converted to other values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import yaml

from streams.playbooks.problems import PlaybookProblem, quoted

MOST_CHARACTERS: Final = 256 * 1024
MOST_NODES: Final = 20_000
DEEPEST: Final = 20


class YamlNode:
    """A value with its place: a `text`, a list (`items`), or a `table` of names with the nodes of name and value."""

    def __init__(self, line: int, column: int) -> None:
        self.line = line
        self.column = column
        self.text: str | None = None
        self.quoted = False
        self.within = -1
        """Columns from the node to the first character of its text; -1 if the file writes the text in another form."""
        self.items: list[YamlNode] | None = None
        self.table: dict[str, tuple[YamlNode, YamlNode]] | None = None

    @property
    def shown(self) -> str:
        """The value in a few words, for messages."""
        if self.table is not None:
            return "a table"
        return "a list" if self.items is not None else quoted(self.text or "")

    def problem(self, message: str) -> PlaybookProblem:
        """Return a mistake at the place of the node."""
        return PlaybookProblem(self.line, self.column, message)

    def at(self, offset: int) -> tuple[int, int]:
        """Return line and column of a character of the text; those of the node if they are unknown."""
        return self.line, self.column + (0 if self.within < 0 else self.within + offset)


class MalformedYaml(Exception):
    """The text is not YAML, or uses a feature of YAML that is not allowed here."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.problem = PlaybookProblem(line, column, message)


def compose(text: str, what: str) -> YamlNode | None:
    """Return the tree, or None if there are only comments. Raise `MalformedYaml`, which calls the file `what`."""
    if len(text) > MOST_CHARACTERS:
        raise MalformedYaml(1, 1, f"{what} has at most {MOST_CHARACTERS:,} characters; this one has {len(text):,}")
    try:
        return _build(yaml.parse(text, Loader=yaml.SafeLoader), what)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        raise MalformedYaml(line, column, "this character is not allowed in a text file: remove it") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
        raise MalformedYaml(*place, f"this is not YAML: {error.problem or error.context}") from None


def _build(events: Iterator[yaml.Event], what: str) -> YamlNode | None:
    root: YamlNode | None = None
    open_: list[YamlNode] = []
    names: list[YamlNode | None] = []
    """For each open node, the name whose value comes next; None if a name comes next."""
    count = 0
    for event in events:
        assert event.start_mark is not None
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise MalformedYaml(line, column, "anchors and aliases (& and *) are not allowed: write the value out")
        if getattr(event, "tag", None) not in (None, "!"):
            raise MalformedYaml(line, column, "tags (!) are not allowed: write the value without a tag")
        if isinstance(event, yaml.DocumentStartEvent) and root is not None:
            raise MalformedYaml(line, column, f"{what} is one document, but a second one begins here: remove it")
        if isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            open_.pop()
            names.pop()
            continue
        if not isinstance(event, yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent):
            continue
        count += 1
        if count > MOST_NODES:
            raise MalformedYaml(line, column, f"{what} has at most {MOST_NODES:,} values")
        node = _node(event, line, column)
        if not open_:
            root = node
        elif (items := open_[-1].items) is not None:
            items.append(node)
        else:
            table, name = open_[-1].table, names[-1]
            assert table is not None
            if name is None:
                if node.text is None:
                    raise MalformedYaml(line, column, "write a name here, not a list or a table")
                if node.text in table:
                    first = table[node.text][0]
                    raise MalformedYaml(
                        line,
                        column,
                        f"{quoted(node.text)} is already defined in line {first.line}: remove one",
                    )
                names[-1] = node
            else:
                assert name.text is not None
                table[name.text] = (name, node)
                names[-1] = None
        if node.text is None:
            if len(open_) >= DEEPEST:
                raise MalformedYaml(line, column, f"this is nested more than {DEEPEST} deep")
            open_.append(node)
            names.append(None)
    return root


def _node(event: yaml.Event, line: int, column: int) -> YamlNode:
    node = YamlNode(line, column)
    if isinstance(event, yaml.ScalarEvent):
        node.text, node.quoted = event.value, event.style is not None
        assert event.start_mark is not None
        assert event.end_mark is not None
        quotes = 1 if event.style in ("'", '"') else 0
        length = event.end_mark.index - event.start_mark.index
        if event.style not in ("|", ">") and length == len(event.value) + 2 * quotes:
            node.within = quotes
    elif isinstance(event, yaml.SequenceStartEvent):
        node.items = []
    else:
        node.table = {}
    return node
