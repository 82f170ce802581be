"""YAML text to a tree of texts, lists and tables, each with its place. Bounded: nothing that is written hangs it.

Built from PyYAML's events and not by its constructor: no tags, no anchors, and a scalar stays the text that it is, so
that `on`, `off` and `1:30` mean what they say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import yaml

from streams.playbooks.problems import PlaybookProblem, quoted

MOST_CHARACTERS: Final = 256 * 1024
MOST_NODES: Final = 20_000
DEEPEST: Final = 20


class Node:
    """`text` of a scalar, else None; `items` of a list, `table` of a table by name with the node of each name."""

    def __init__(self, line: int, column: int) -> None:
        self.line = line
        self.column = column
        self.text: str | None = None
        self.quoted = False
        self.within = -1
        """Columns from that of the node to the first character of its text; -1 where text and file do not run alike."""
        self.items: list[Node] | None = None
        self.table: dict[str, tuple[Node, Node]] | None = None

    @property
    def what(self) -> str:
        """For messages."""
        if self.table is not None:
            return "a table"
        return "a list" if self.items is not None else quoted(self.text or "")

    def at(self, offset: int) -> tuple[int, int]:
        """Line and column of a character of its text; of the node where that cannot be told."""
        return self.line, self.column + (0 if self.within < 0 else self.within + offset)


class Malformed(Exception):
    """It is not YAML, or not such that is taken here."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.problem = PlaybookProblem(line, column, message)


def compose(text: str, what: str) -> Node | None:
    """The tree; None if there is nothing but comments. `what` the file is, for messages. Raises `Malformed`, nothing
    else."""
    if len(text) > MOST_CHARACTERS:
        raise Malformed(1, 1, f"{what} has at most {MOST_CHARACTERS:,} characters, this file has {len(text):,}")
    try:
        return _build(yaml.parse(text, Loader=yaml.SafeLoader), what)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        raise Malformed(line, column, "this character does not belong into a text file") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
        raise Malformed(*place, f"this is not YAML: {error.problem or error.context}") from None


def _build(events: Iterator[yaml.Event], what: str) -> Node | None:
    root: Node | None = None
    open_: list[Node] = []
    names: list[Node | None] = []
    """For each open node, the name that awaits its value."""
    count = 0
    for event in events:
        assert event.start_mark is not None
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise Malformed(line, column, "anchors and aliases (& and *) are not taken: write it out")
        if getattr(event, "tag", None) not in (None, "!"):
            raise Malformed(line, column, "tags (!) are not taken: write the value alone")
        if isinstance(event, yaml.DocumentStartEvent) and root is not None:
            raise Malformed(line, column, f"{what} is one document: a second one begins here")
        if isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            open_.pop()
            names.pop()
            continue
        if not isinstance(event, yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent):
            continue
        count += 1
        if count > MOST_NODES:
            raise Malformed(line, column, f"{what} has at most {MOST_NODES:,} values")
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
                    raise Malformed(line, column, "a name belongs here, not a list or a table")
                if node.text in table:
                    first = table[node.text][0]
                    raise Malformed(line, column, f"{quoted(node.text)} stands already in line {first.line}")
                names[-1] = node
            else:
                assert name.text is not None
                table[name.text] = (name, node)
                names[-1] = None
        if node.text is None:
            if len(open_) >= DEEPEST:
                raise Malformed(line, column, f"this is nested more than {DEEPEST} deep")
            open_.append(node)
            names.append(None)
    return root


def _node(event: yaml.Event, line: int, column: int) -> Node:
    node = Node(line, column)
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
