"""Take a text file apart into records: JSON Lines, a JSON array, or CSV with a header.

The beginning of the file decides. JSON Lines may have a comma at the end of each line. The objects of a JSON array, or
those that span lines, may have any white space and commas between them. CSV names the fields of the native format in
its first line; separators are commas, semicolons, tabs or bars.

A record is handed on as the bytes of one JSON object. A record that cannot be made into one is handed on as it is, and
the decoder rejects it.
"""

from __future__ import annotations

import csv
import difflib
import json
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from streams.contracts.records import Click, Order, WithProperties
from streams.errors import UserError
from streams.replay.file_encoding import TextFile

CHUNK: Final = 1 << 16
"""Bytes of text in a chunk, to the next end of a line."""
LARGEST_VALUE: Final = 16 << 20
"""Characters of the largest JSON object in an array."""
_REQUIRED: Final = ("type", "occurred_at")
"""Columns without which no row of a CSV file is a valid event."""
_FIELDS: Final = frozenset({*Click.__struct_fields__, *Order.__struct_fields__, *WithProperties.__struct_fields__})
"""Fields of the native format, to recognise a header by."""
_SEPARATORS: Final = ",;\t|"
_DECIMAL_COMMA: Final = re.compile(r"-?\d+,\d+")
_NUMBER: Final = re.compile(r"\d{1,18}(\.\d{1,18})?")
_BETWEEN: Final = re.compile(r"[\s,\[\]]*")
_SEP_LINE: Final = re.compile(r"sep=(.)\s*$", re.IGNORECASE)

Chunk = list[tuple[int, bytes]]
"""Records, each with its index in the file. In JSON Lines that is the number of the line, from 0."""


class Layout(Protocol):
    """The records of an open file, in chunks."""

    count: int
    """Records, or lines, that were read so far."""

    def chunk(self) -> Chunk | None:
        """Return the next records; None after the last one. Raises `UserError`."""


def layout_of(path: Path, file: TextFile) -> Layout:
    """Recognise the layout of a file. Raises `UserError` that says what was found and what to do."""
    head = file.head.lstrip()
    lines = head.split(b"\n")
    if head.startswith(b"["):
        _check_array(path, head)
        file.notes.append("a JSON array")
        return _JsonValues(path, file)
    if _spans_lines(path, head):
        file.notes.append("JSON objects over several lines")
        return _JsonValues(path, file)
    if not head or any(line.lstrip().startswith(b"{") for line in lines):
        return _JsonLines(file, has_commas=lines[0].rstrip().endswith(b","))
    separator, skipped = _header(path, lines)
    file.notes.append("CSV")
    return _Csv(path, file, separator, skipped)


class _JsonLines:
    def __init__(self, file: TextFile, *, has_commas: bool) -> None:
        self.count = 0
        self._file = file
        self._ends = b",\r\n\t " if has_commas else b"\r\n"
        if has_commas:
            file.notes.append("JSON Lines with commas")

    def chunk(self) -> Chunk | None:
        lines = self._file.read_lines(CHUNK)
        if not lines:
            return None
        first, ends = self.count, self._ends
        self.count += len(lines)
        return [(first + n, line.rstrip(ends)) for n, line in enumerate(lines) if not line.isspace()]


class _JsonValues:
    """Objects with anything of white space, commas and brackets of arrays between them."""

    def __init__(self, path: Path, file: TextFile) -> None:
        self.count = 0
        self._path = path
        self._file = file
        self._text = ""
        self._at = 0
        self._decode = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode  # only the end of a value matters

    def chunk(self) -> Chunk | None:
        size = CHUNK
        while True:
            if values := self._values():
                return values
            more = self._file.read(size)
            if not more:
                if self._at < len(self._text):
                    raise self._cannot_be_read()
                return None
            self._text, self._at = self._text[self._at :] + more, 0
            if len(self._text) > LARGEST_VALUE:
                raise self._cannot_be_read()
            size *= 2  # the value is longer than what was read: parse it again only a few times

    def _values(self) -> Chunk:
        """Return the objects that the text holds to their ends."""
        values: Chunk = []
        while True:
            between = _BETWEEN.match(self._text, self._at)
            assert between is not None  # it matches an empty string
            self._at = between.end()
            if self._at == len(self._text):
                return values
            if self._text[self._at] != "{":
                raise self._cannot_be_read()
            try:
                _, end = self._decode(self._text, self._at)
            except (ValueError, RecursionError):
                return values
            values.append((self.count, self._text[self._at : end].encode(errors="surrogateescape")))
            self.count += 1
            self._at = end

    def _cannot_be_read(self) -> UserError:
        return UserError(
            f"{self._path}: the JSON that follows record {self.count:,} is no object, or does not end. Mend it there, "
            "or write one object per line: then only the lines that cannot be read are rejected."
        )


class _Csv:
    """Rows, as objects with the columns as fields. Empty cells are absent."""

    def __init__(self, path: Path, file: TextFile, separator: str, skipped: int) -> None:
        self.count = 0
        self._path = path
        self._rows = csv.reader(islice(_texts(file), skipped, None), delimiter=separator)
        columns = [_field(cell) for cell in next(self._rows)]
        repeated = sorted({column for column in columns if column and columns.count(column) > 1})
        if repeated:
            raise UserError(f"{path}: the column {repeated[0]} is there twice. Remove or rename one.")
        self._cells = [(column, _reader(column, separator)) for column in columns]

    def chunk(self) -> Chunk | None:
        records: Chunk = []
        size, line = 0, self._rows.line_num
        try:
            for row in self._rows:
                line = self._rows.line_num
                if not any(row):
                    continue
                value = self._record(row)
                records.append((self.count, value))
                self.count += 1
                size += len(value)
                if size >= CHUNK:
                    break
        except csv.Error as error:
            raise UserError(
                f"{self._path}, line {line + 1:,}: this row of CSV cannot be read ({error}). Look for a quotation mark "
                "that is not closed."
            ) from None
        return records or None

    def _record(self, row: list[str]) -> bytes:
        if len(row) > len(self._cells):
            return orjson.dumps(row)  # which is no event: the decoder rejects it
        record: dict[str, Any] = {}
        groups: dict[str, dict[str, Any]] = {}
        for cell, (column, read) in zip(row, self._cells, strict=False):
            if cell and column:
                group, dot, name = column.partition(".")
                if dot:
                    groups.setdefault(group, {})[name] = read(cell)
                else:
                    record[column] = read(cell)
        for group, fields in groups.items():
            whole = record.get(group, {})
            record[group] = fields | whole if isinstance(whole, dict) else whole
        return json.dumps(record, ensure_ascii=False).encode(errors="surrogateescape")


def _texts(file: TextFile) -> Iterator[str]:
    while lines := file.read_lines(CHUNK):
        for line in lines:
            yield line.decode(errors="surrogateescape")


def _field(cell: str) -> str:
    """Return the field that a column is named after: `Occurred At` is `occurred_at`."""
    return re.sub(r"[\s-]+", "_", cell.strip().lower())


def _reader(column: str, separator: str) -> Callable[[str], Any]:
    """Return the function that reads the cells of a column."""
    if column in ("items", "properties"):
        return _json
    if column in ("occurred_at", "quantity"):
        return _number
    if column in ("price", "total") and separator == ";":
        return _decimal
    return str


def _json(cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def _number(cell: str) -> Any:
    return json.loads(cell) if _NUMBER.fullmatch(cell) and not (cell[0] == "0" and cell[1:2].isdigit()) else cell


def _decimal(cell: str) -> str:
    """Return an amount with a decimal point. Where cells end with semicolons, the comma is the decimal one."""
    return cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell.strip()) else cell


def _header(path: Path, lines: list[bytes]) -> tuple[str, int]:
    """Return the separator of a CSV file, and the number of lines before its header."""
    skipped, texts = 0, [line.decode(errors="replace").rstrip("\r") for line in lines[:2]]
    named = _SEP_LINE.match(texts[0])  # Excel writes that
    if named is not None:
        skipped = 1
    first = texts[skipped].strip() if skipped < len(texts) else ""
    separator = named[1] if named is not None else max(_SEPARATORS, key=first.count)
    try:
        columns = [_field(column) for column in next(csv.reader([first], delimiter=separator), [])]
    except csv.Error:  # it has line ends of another kind, or a quotation mark that is not closed
        columns = []
    known = [column for column in columns if column.partition(".")[0] in _FIELDS]
    if not known:
        found = repr(first[:60]) + ("…" if len(first) > 60 else "")
        raise UserError(
            f"{path} begins with {found}: neither JSON nor a CSV header that names fields of an event. Write one JSON "
            f"object per line, or CSV whose first line names the columns {', '.join(_REQUIRED)}, customer_id and so on."
        )
    missing = [column for column in _REQUIRED if column not in columns]
    if missing:
        close = difflib.get_close_matches(missing[0], [c for c in columns if c not in known], n=1, cutoff=0.4)
        meant = f" Rename {close[0]}, if that is it." if close else ""
        raise UserError(
            f"{path}: its CSV header has no column {' and no '.join(missing)}, which every event needs.{meant}"
        )
    return separator, skipped


def _check_array(path: Path, head: bytes) -> None:
    inside = head[1:].lstrip()
    if inside and inside[:1] not in b"{]":
        raise UserError(f"{path} holds a JSON array whose elements are no objects. Each element must be one event.")


def _spans_lines(path: Path, head: bytes) -> bool:
    """Return True if the first JSON object does not end on its line."""
    if not head.startswith(b"{"):
        return False
    first = head.partition(b"\n")[0]
    text = head.decode(errors="surrogateescape")
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return False
    lists = [name for name, field in value.items() if isinstance(field, list) and field and isinstance(field[0], dict)]
    if "type" not in value and "occurred_at" not in value and lists and not text[end:].strip():
        raise UserError(
            f"{path} holds one JSON object with the list {lists[0]!r}: write the elements of that list alone, one per "
            f"line (jq -c '.{lists[0]}[]')."
        )
    return bool(end > len(first.decode(errors="surrogateescape")))
