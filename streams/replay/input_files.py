"""The input of a replay: JSON Lines files, plain or gzip, read in chunks."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final, Self

from streams.errors import UserError

CHUNK: Final = 1 << 16
"""Bytes of text in a chunk, to the next end of a line."""
_GZIP: Final = b"\x1f\x8b"


class Lines:
    """The lines of one source: its files one after the other, like the records of one partition.

    The constructor opens every file once, so that a wrong name is reported before hours of work. A context manager
    that closes its files.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._stack = ExitStack()
        self._waiting = list(paths)
        self._done = 0
        self._raw: IO[bytes] | None = None
        self._text: IO[bytes] | None = None
        self._path = Path()
        self.position = 0
        """The index of the next line, over all files."""
        self.size = sum(_size(path) for path in self._waiting)
        """Bytes of all files on disk."""

    def chunk(self) -> list[tuple[int, bytes]] | None:
        """Return the next lines that are not blank, with index and without line end. Return None after the last one."""
        while True:
            if self._text is None and not self._open_next():
                return None
            assert self._text is not None
            try:
                lines = self._text.readlines(CHUNK)
            except (OSError, EOFError, zlib.error) as error:
                raise _unreadable(self._path, error) from None
            if lines:
                first = self.position
                self.position += len(lines)
                return [(first + n, line.rstrip(b"\r\n")) for n, line in enumerate(lines) if not line.isspace()]
            self._close()

    @property
    def read(self) -> int:
        """Bytes read so far, of `size`."""
        return self._done + (self._raw.tell() if self._raw is not None and self._raw.seekable() else 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open_next(self) -> bool:
        if not self._waiting:
            return False
        self._path = self._waiting.pop(0)
        try:
            raw = self._stack.enter_context(self._path.open("rb"))
            zipped = raw.peek(len(_GZIP)).startswith(_GZIP) or self._path.suffix == ".gz"
        except OSError as error:
            raise _unreadable(self._path, error) from None
        self._raw = raw
        self._text = self._stack.enter_context(io.BufferedReader(gzip.GzipFile(fileobj=raw), CHUNK)) if zipped else raw
        return True

    def _close(self) -> None:
        self._done = self.read
        self._stack.close()
        self._raw = self._text = None


def _size(path: Path) -> int:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            return 0  # a pipe: it can be opened only once
        with path.open("rb"):
            return path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    if isinstance(error, gzip.BadGzipFile):
        return UserError(f"{path} is not gzip although it is called so: unpack it, or rename it.")
    if isinstance(error, EOFError | zlib.error):
        return UserError(f"{path} is damaged or cut off (gzip): fetch it again.")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UserError(f"{path} cannot be read: {reason}.")
