"""Files as people have them: compressed, encoded and laid out in many ways, and read as the same records; or refused in
one sentence that says what was found and what to do."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import os
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import UserError
from streams.replay import file_layout
from streams.replay.input_files import Lines

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

EVENTS: list[dict[str, Any]] = [
    {"event_id": "e-1", "type": "page_viewed", "occurred_at": "2026-03-01T10:00:00Z", "customer_id": "Müller, Jörg"},
    {"event_id": "e-2", "type": "product_added", "occurred_at": 1772359260, "customer_id": "7", "price": "19.90"},
    {"event_id": "e-3", "type": "cart_viewed", "occurred_at": "2026-03-01T10:02:00Z", "anonymous_id": 'a "b" {[,]}',
     "items": [{"product_id": "lamp", "quantity": 2}]},
]  # fmt: skip
LINES = "\n".join(json.dumps(event, ensure_ascii=False) for event in EVENTS) + "\n"
DATA = LINES.encode()


def read(*paths: Path) -> list[Any]:
    """Return the records of files, parsed."""
    records = []
    with Lines(paths) as lines:
        while (chunk := lines.chunk()) is not None:
            records += [json.loads(value) for _, value in chunk]
    return records


def notes(path: Path) -> list[str]:
    with Lines([path]) as lines:
        while lines.chunk() is not None:
            pass
        return lines.notes


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def zipped(*files: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("events.jsonl")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def table(separator: str = ",", *, decimal: str = ".") -> str:
    """Return the events as CSV, with a column for each field."""
    buffer = io.StringIO()
    columns = list(dict.fromkeys(name for event in EVENTS for name in event))
    writer = csv.DictWriter(buffer, columns, delimiter=separator)
    writer.writeheader()
    for event in EVENTS:
        row = {name: json.dumps(value) if name == "items" else str(value) for name, value in event.items()}
        if "price" in row:
            row["price"] = row["price"].replace(".", decimal)
        writer.writerow(row)
    return buffer.getvalue()


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": lambda data: zipped(("__MACOSX/._x", b"junk"), ("day/events.jsonl", data), ("day/.DS_Store", b"junk")),
}
LAYOUTS = {
    "JSON Lines": LINES,
    "no last line end": LINES.rstrip("\n"),
    "Windows line ends": LINES.replace("\n", "\r\n"),
    "blank lines": "\n\n" + LINES.replace("\n", "\n  \n"),
    "commas": LINES.replace("\n", ",\n"),
    "commas but the last": LINES.replace("\n", " ,\r\n").rstrip(" ,\r\n"),
    "array": json.dumps(EVENTS),
    "array over lines": json.dumps(EVENTS, indent=2, ensure_ascii=False),
    "array of lines": "[\n" + ",\n".join(LINES.splitlines()) + "\n]\n",
    "two arrays": json.dumps(EVENTS[:1]) + "\n" + json.dumps(EVENTS[1:]),
    "objects over lines": "\n".join(json.dumps(event, indent=4) for event in EVENTS),
    "CSV": table(),
    "CSV with tabs": table("\t"),
    "CSV with bars": table("|"),
    "CSV with semicolons and decimal commas": table(";", decimal=","),
    "CSV of Excel": "sep=;\n" + table(";", decimal=","),
    "CSV with blank rows": table().replace("\r\n", "\r\n\r\n"),
    "CSV with names for people": table()
    .replace("occurred_at", " Occurred At ", 1)
    .replace("customer_id", "Customer-ID", 1),
}
ENCODED: dict[str, Callable[[str], bytes]] = {
    "UTF-8": str.encode,
    "UTF-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16 LE with a mark": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "UTF-16 BE with a mark": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-16 LE": lambda text: text.encode("utf-16-le"),
    "UTF-16 BE": lambda text: text.encode("utf-16-be"),
    "Windows-1252": lambda text: text.encode("cp1252"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("encoding", ENCODED)
@pytest.mark.parametrize("chunk", [1, 1 << 16])
def test_layouts_and_encodings_give_the_same_records(
    tmp_path: Path, layout: str, encoding: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_layout, "CHUNK", chunk)
    path = write(tmp_path / "events", ENCODED[encoding](LAYOUTS[layout]))
    assert read(path) == EVENTS


@pytest.mark.parametrize("compression", COMPRESSED)
@pytest.mark.parametrize("layout", ["JSON Lines", "array", "CSV"])
def test_compressed_files_give_the_same_records_whatever_they_are_called(
    tmp_path: Path, compression: str, layout: str
) -> None:
    data = COMPRESSED[compression](codecs.BOM_UTF16_LE + LAYOUTS[layout].encode("utf-16-le"))
    assert read(write(tmp_path / "events.txt", data)) == EVENTS


@pytest.mark.parametrize(
    ("data", "noted"),
    [
        (DATA, []),
        (gzip.compress(DATA), []),
        (zstd.compress(LINES.encode("cp1252")), ["events: zstd, Windows-1252"]),
        (codecs.BOM_UTF16_LE + json.dumps(EVENTS).encode("utf-16-le"), ["events: UTF-16, a JSON array"]),
        (table().encode(), ["events: CSV"]),
    ],
)
def test_formats_other_than_json_lines_are_noted(tmp_path: Path, data: bytes, noted: list[str]) -> None:
    assert notes(write(tmp_path / "events", data)) == noted


def test_offsets_count_over_all_files_and_blank_lines_of_json_lines(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", '{"n":0}\n\n{"n":2}\n')
    second = write(tmp_path / "b.json", '[{"n":3},{"n":4}]')
    with Lines([first, second]) as lines:
        found = [record for _ in range(2) for record in lines.chunk() or []]
        assert [(n, json.loads(value)["n"]) for n, value in found] == [(n, n) for n in (0, 2, 3, 4)]
        assert lines.position == 5
        assert lines.chunk() is None


def test_stray_byte_is_left_to_the_decoder(tmp_path: Path) -> None:
    line = b'{"customer_id":"c-\xff"}'
    with Lines([write(tmp_path / "events", line + b"\n" + DATA)]) as lines:
        records = lines.chunk()
    assert records is not None
    assert records[0] == (0, line)
    assert [json.loads(value) for _, value in records[1:]] == EVENTS


def test_csv_cells_keep_ids_as_text_and_numbers_of_times_as_numbers(tmp_path: Path) -> None:
    text = "type,occurred_at,customer_id,quantity,properties.plan,properties.seats,note\nx,1772359260.5,007,3,pro,5,\n"
    assert read(write(tmp_path / "events.csv", text)) == [
        {"type": "x", "occurred_at": 1772359260.5, "customer_id": "007", "quantity": 3,
         "properties": {"plan": "pro", "seats": "5"}}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "properties"),
    [
        (('{"plan": "pro"}', "5"), {"plan": "pro", "seats": "5"}),
        (('{"seats": 7}', "5"), {"seats": 7}),
        (("no object", "5"), "no object"),
        (("[" * 5_000, "5"), "[" * 5_000),
    ],
)
def test_csv_column_of_one_property_adds_to_the_column_of_all(
    tmp_path: Path, cells: tuple[str, str], properties: object
) -> None:
    path = tmp_path / "events.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([
            ("type", "occurred_at", "properties.seats", "properties"), ("x", 1772359260, cells[1], cells[0])
        ])  # fmt: skip
    assert read(path)[0]["properties"] == properties


def test_numbers_of_many_digits_are_left_to_the_decoder(tmp_path: Path) -> None:
    digits = "9" * 5_000
    table_of_one = write(tmp_path / "events.csv", f"type,occurred_at,quantity\nx,1772359260,{digits}\n")
    assert read(table_of_one)[0]["quantity"] == digits
    with Lines([write(tmp_path / "events.json", f'[{{"total": {digits}}}]')]) as lines:
        assert lines.chunk() == [(0, f'{{"total": {digits}}}'.encode())]


def test_half_a_surrogate_pair_is_left_to_the_decoder(tmp_path: Path) -> None:
    text = '[{"n": "\ud800"},{"n": 1}]'
    path = write(tmp_path / "events", codecs.BOM_UTF16_LE + text.encode("utf-16-le", "surrogatepass"))
    with Lines([path]) as lines:
        assert lines.chunk() == [(0, b'{"n": "\xed\xa0\x80"}'), (1, b'{"n": 1}')]


def test_csv_row_with_too_many_cells_is_left_to_the_decoder(tmp_path: Path) -> None:
    text = "type,occurred_at\nx,1772359260\nx,1772359260,a,b\n"
    assert read(write(tmp_path / "events.csv", text))[1] == ["x", "1772359260", "a", "b"]


def test_empty_files_hold_no_records(tmp_path: Path) -> None:
    for n, data in enumerate([b"", b"\n\n", b"[]", b"[\n]\n", gzip.compress(b""), codecs.BOM_UTF8]):
        assert read(write(tmp_path / f"{n}", data)) == []


def test_array_on_one_line_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_layout, "CHUNK", 100)
    monkeypatch.setattr(file_layout, "LARGEST_VALUE", 1_000)
    path = write(tmp_path / "events.json", json.dumps([EVENTS[0]] * 500))
    with Lines([path]) as lines:
        sizes = []
        while (chunk := lines.chunk()) is not None:
            sizes.append(len(chunk))
    assert sum(sizes) == 500
    assert max(sizes) < 10


REFUSED: dict[str, tuple[bytes | str, str]] = {
    "excel": (zipped(("xl/workbook.xml", b"x"), ("[Content_Types].xml", b"x")), "is an Excel workbook: save it as CSV"),
    "old-excel": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "is an Excel workbook: save it as CSV"),
    "two.zip": (zipped(("a.jsonl", DATA), ("b.jsonl", DATA)), r"holds 2 files \(a.jsonl, b.jsonl\).*unpack it"),
    "none.zip": (zipped(("__MACOSX/x", DATA)), "holds 0 files, and"),
    "half.zip": (zipped(("a.jsonl", DATA))[:-30], "is damaged or cut off: fetch it again"),
    "half.zst": (zstd.compress(DATA)[:-5], "is damaged or cut off: fetch it again"),
    "half.xz": (lzma.compress(DATA)[:-5], "is damaged or cut off: fetch it again"),
    "half.gz": (gzip.compress(DATA)[:-5], "is damaged or cut off: fetch it again"),
    "misnamed.zst": (DATA, "is not zstd although it is called so"),
    "table.parquet": (b"PAR1" + bytes(20), "is a Parquet file: convert it"),
    "table.avro": (b"Obj\x01" + bytes(20), "is an Avro file: convert it"),
    "events.tar": (tarred(DATA), "is a tar archive: unpack it"),
    "events.tgz": (gzip.compress(tarred(DATA)), "is a tar archive: unpack it"),
    "page.html": (b"<!doctype html><title>404</title>", "is HTML or XML, not JSON or CSV"),
    "wrapped.json": (json.dumps({"orders": EVENTS, "next": None}), r"holds one JSON object with the list 'orders'"),
    "numbers.json": ("[1, 2]", "holds a JSON array whose elements are no objects"),
    "broken.json": (json.dumps(EVENTS)[:-20], "the JSON that follows record 2 is no object, or does not end"),
    "text.txt": ("Dear all,\nhere are the events\n", "begins with 'Dear all,': neither JSON nor a CSV header"),
    "foreign.csv": ("user,action\n7,view\n", "begins with 'user,action': neither JSON nor a CSV header"),
    "untimed.csv": ("type,customer_id,occured at\n", "no column occurred_at.* Rename occured_at"),
    "twice.csv": ("type,occurred_at,type\n", "the column type is there twice"),
    "quote.csv": ('type,occurred_at\nx,"1\n' + "x,1\n" * 40_000, "line 2: this row of CSV cannot be read"),
    "odd.txt": (codecs.BOM_UTF16_LE + LINES.encode("utf-16-le")[:-1], r"is damaged or cut off \(UTF-16\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_unreadable_files_are_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    data, sentence = REFUSED[name]
    path = write(tmp_path / name, data)
    with pytest.raises(UserError, match=sentence) as refused:
        read(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_zip_in_a_pipe_is_refused(tmp_path: Path) -> None:
    read_from, write_to = os.pipe()
    os.write(write_to, zipped(("a.jsonl", DATA)))
    os.close(write_to)
    try:
        with pytest.raises(UserError, match="is a zip archive in a pipe: unpack it first"):
            read(Path(f"/dev/fd/{read_from}"))
    finally:
        os.close(read_from)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(
    events=st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=4), max_size=8),
    indent=st.sampled_from([None, 0, 2]),
    ascii_=st.booleans(),
    chunk=st.sampled_from([1, 7, 1 << 16]),
)
def test_any_json_array_is_read_as_its_elements(
    tmp_path_factory: pytest.TempPathFactory, events: list[Any], indent: int | None, ascii_: bool, chunk: int
) -> None:
    text = json.dumps(events, indent=indent, ensure_ascii=ascii_)
    path = write(tmp_path_factory.mktemp("array") / "events", text.encode(errors="surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_layout, "CHUNK", chunk)
        try:
            assert read(path) == events
        except UnicodeDecodeError:
            assert not text.isprintable()  # half of a surrogate pair, which the decoder rejects


@given(data=st.binary(max_size=300), name=st.sampled_from(["events", "events.gz", "events.zip"]))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str) -> None:
    path = write(tmp_path_factory.mktemp("bytes") / name, data)
    refused = ""
    try:
        with Lines([path]) as lines:
            while lines.chunk() is not None:
                pass
    except UserError as error:
        refused = str(error)
    assert not refused or (str(path) in refused and "\n" not in refused)
