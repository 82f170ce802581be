"""Open a file of events as lines of UTF-8, whatever it was compressed with and whatever its text encoding is.

The beginning of the file decides: its first bytes name the compression, a byte order mark or the zeros between ASCII
characters name UTF-16. A file without either is UTF-8 or Windows-1252: the first line decides that is valid UTF-8
beyond ASCII, or that has accented letters in Windows-1252. Nothing else is guessed: lines that do not fit are passed on
as they are, and the decoder rejects them.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

from streams.errors import UserError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HEAD: Final = 1 << 16
"""Bytes at the beginning of a file that decide on its format."""
_UNREADABLE: Final = (OSError, EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError, zipfile.BadZipFile)
"""Errors of reading and unpacking."""
_COMPRESSIONS: Final = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2",
                        b"\xfd7zXZ\x00": "xz"}  # fmt: skip
_UNPACK: Final[dict[str, Callable[[IO[bytes]], object]]] = {
    "gzip": lambda raw: gzip.GzipFile(fileobj=raw), "zstd": zstd.ZstdFile, "bzip2": bz2.BZ2File, "xz": lzma.LZMAFile,
}  # fmt: skip
_SUFFIXES: Final = {".gz": "gzip", ".zip": "zip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz"}
_OTHER_FORMATS: Final = {
    b"PAR1": "a Parquet file: convert it to JSON Lines or CSV",
    b"Obj\x01": "an Avro file: convert it to JSON Lines",
    b"ORC": "an ORC file: convert it to JSON Lines or CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save it as CSV",
    b"SQLite format 3": "an SQLite database: export the table as CSV",
    b"%PDF": "a PDF document",
    b"<": "HTML or XML, not JSON or CSV. If you downloaded it, look whether it is an error page",
}
"""Formats that cannot be read, by their first bytes, with what to do."""
_TAR_AT: Final = 257
_UTF16_MARKS: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_IMPLAUSIBLE: Final = {*range(0x20), 0x7F} - {ord(character) for character in "\t\r\n"}
"""Control characters that no text has."""
_ACCENTED: Final = re.compile("[A-Za-z][À-ÖØ-öø-ÿŠšŽžŒœ]|[À-ÖØ-öø-ÿŠšŽžŒœ][A-Za-z]")


class TextFile:
    """The lines of a file, as UTF-8. `close` it after use."""

    def __init__(self, path: Path) -> None:
        """Raises `UserError`, which says what was found and what to do, if the file cannot be read as text."""
        self._path = path
        self._stack = ExitStack()
        self.notes: list[str] = []
        """The compression and the encoding, where they are not the usual ones."""
        try:
            self._raw: io.BufferedReader = self._stack.enter_context(
                io.BufferedReader(cast("Any", path.open("rb", buffering=0)), HEAD)
            )
            self._bytes = self._unpacked(self._raw)
            head = self._bytes.peek(HEAD)[:HEAD]
            encoding = self._encoding(head)
        except _UNREADABLE as error:
            self.close()
            raise unreadable(path, error) from None
        except UserError:
            self.close()
            raise
        self._text: io.TextIOWrapper | None = None
        self._undecided = True
        """True until a line with other than ASCII characters has shown the encoding."""
        self._is_1252 = False
        if encoding is not None:
            self._text = io.TextIOWrapper(self._bytes, encoding, errors="surrogatepass", newline="\n")
            head = head[: len(head) // 2 * 2].decode(encoding, errors="ignore").encode(errors="ignore")
        if head.startswith(codecs.BOM_UTF8):
            self._skip_mark()
        self.head = head.removeprefix(codecs.BOM_UTF8)
        """The first bytes, as UTF-8. They are read again by the methods below."""

    def read_lines(self, size: int) -> list[bytes]:
        """Return the next lines of about `size` bytes in all, with their line ends. Return none at the end."""
        with self._errors_reported():
            if self._text is not None:
                return [line.encode(errors="surrogatepass") for line in self._text.readlines(size)]
            lines = self._bytes.readlines(size)
        if self._undecided or self._is_1252:
            lines = [line if line.isascii() else self._as_utf8(line) for line in lines]
        return lines

    def read(self, size: int) -> str:
        """Return the next `size` bytes as text, for a file that may be one long line. Bytes that are not UTF-8 are
        surrogates. Return an empty string at the end."""
        with self._errors_reported():
            if self._text is not None:  # half of a surrogate pair is no character of UTF-8 either
                return self._text.read(size).encode(errors="surrogatepass").decode(errors="surrogateescape")
            piece = self._bytes.read(size)
            while (following := self._bytes.peek(1)[:1]) and 0x80 <= following[0] < 0xC0 and len(piece) < size + 4:
                piece += self._bytes.read(1)  # the rest of a character
        return self._as_utf8(piece).decode(errors="surrogateescape")

    @property
    def position(self) -> int:
        """Bytes of the file that were read, on disk."""
        return self._raw.tell() if self._raw.seekable() and not self._raw.closed else 0

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def _unpacked(self, raw: io.BufferedReader) -> io.BufferedReader:
        head = raw.peek(HEAD)
        named = _SUFFIXES.get(self._path.suffix.lower())
        found = next((name for magic, name in _COMPRESSIONS.items() if head.startswith(magic)), None)
        if found is None:
            if named is not None and head:
                raise UserError(f"{self._path} is not {named} although it is called so: unpack it, or rename it.")
            return raw
        if found != "gzip":
            self.notes.append(found)
        if found == "zip":
            return self._member(raw)
        return self._buffered(_UNPACK[found](raw))

    def _member(self, raw: io.BufferedReader) -> io.BufferedReader:
        if not raw.seekable():
            raise UserError(f"{self._path} is a zip archive in a pipe: unpack it first (`unzip -p`).")
        archive = self._stack.enter_context(zipfile.ZipFile(raw))
        names = [
            info.filename
            for info in archive.infolist()
            if not info.is_dir() and not info.filename.startswith("__MACOSX/") and Path(info.filename).name[0] != "."
        ]
        if any(name.startswith("xl/") for name in names):
            raise UserError(f"{self._path} is an Excel workbook: save it as CSV.")
        if len(names) != 1:
            listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            raise UserError(
                f"{self._path} holds {len(names)} files{f' ({listed})' if names else ''}, and an archive must hold "
                "one: unpack it, and name the files of this source."
            )
        try:
            member = archive.open(names[0])
        except (RuntimeError, NotImplementedError) as error:  # encrypted, or compressed in a rare way
            raise UserError(f"{self._path} cannot be unpacked here ({error}): unpack it first.") from None
        return self._buffered(member)

    def _buffered(self, unpacked: object) -> io.BufferedReader:
        return self._stack.enter_context(io.BufferedReader(cast("Any", unpacked), HEAD))

    def _encoding(self, head: bytes) -> str | None:
        """Return the encoding of UTF-16; None: one in which ASCII characters are single bytes."""
        for magic, advice in _OTHER_FORMATS.items():
            if head.startswith(magic):
                raise UserError(f"{self._path} is {advice}.")
        if head[_TAR_AT:].startswith(b"ustar"):
            raise UserError(f"{self._path} is a tar archive: unpack it, and name the files of this source.")
        encoding = next((name for mark, name in _UTF16_MARKS.items() if head.startswith(mark)), None)
        if encoding is None and b"\0" in head:
            even, odd = head[0:1024:2], head[1:1024:2]
            if odd.count(0) > 0.6 * len(odd) and not even.count(0):
                encoding = "utf-16-le"
            elif even.count(0) > 0.6 * len(even) and not odd.count(0):
                encoding = "utf-16-be"
        if encoding is not None:
            self.notes.append("UTF-16")
        return encoding

    def _skip_mark(self) -> None:
        if self._text is not None:
            self._text.read(1)
        else:
            self._bytes.read(len(codecs.BOM_UTF8))
            self._undecided = False

    @contextmanager
    def _errors_reported(self) -> Iterator[None]:
        try:
            yield
        except _UNREADABLE as error:
            raise unreadable(self._path, error) from None
        except UnicodeDecodeError:
            raise UserError(f"{self._path} is damaged or cut off (UTF-16): fetch it again.") from None

    def _as_utf8(self, line: bytes) -> bytes:
        """Return a line as UTF-8. The first one that shows the encoding decides on that of the file."""
        if line.isascii():
            return line
        if self._undecided:
            if _is_utf8(line):
                self._undecided = False
            elif _is_plausible_1252(line):
                self._undecided, self._is_1252 = False, True
                self.notes.append("Windows-1252")
        if not self._is_1252:
            return line
        try:
            return line.decode("cp1252").encode()
        except UnicodeDecodeError:
            return line


def read_text(path: Path) -> str:
    """Return all text of a file. Raises `UserError`, also if it is neither UTF-8 nor UTF-16 nor Windows-1252."""
    with closing(TextFile(path)) as file:
        text = "".join(iter(lambda: file.read(HEAD), ""))
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{path} is not UTF-8 text.") from None
    return text


def unreadable(path: Path, error: Exception) -> UserError:
    """Return the error of a file that cannot be opened, read or unpacked."""
    if isinstance(
        error, EOFError | zlib.error | lzma.LZMAError | zstd.ZstdError | zipfile.BadZipFile | gzip.BadGzipFile
    ):
        return UserError(f"{path} is damaged or cut off: fetch it again.")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UserError(f"{path} cannot be read: {reason}.")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_plausible_1252(line: bytes) -> bool:
    """Return True for text in which a letter like an umlaut stands beside another letter. A stray byte does not."""
    try:
        text = line.decode("cp1252")
    except UnicodeDecodeError:
        return False
    return _ACCENTED.search(text) is not None and not any(ord(character) in _IMPLAUSIBLE for character in text)
