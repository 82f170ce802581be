"""The input of a replay: the records of files, read in chunks (`file_encoding`, `file_layout`)."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Self

from streams.replay.file_encoding import TextFile, unreadable
from streams.replay.file_layout import Chunk, Layout, layout_of


class Lines:
    """The records of one source: its files one after the other, like the records of one partition.

    The constructor opens every file once, so that a wrong name or format is reported before hours of work. A context
    manager that closes its files.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        """Raises `UserError`."""
        self._waiting = list(paths)
        self._done = 0
        self._file: TextFile | None = None
        self._layout: Layout | None = None
        self._before = 0
        self.position = 0
        """The offset of the next record: its index, over all files. Lines of JSON Lines count even if blank."""
        self._opened: list[tuple[str, list[str]]] = []
        self.size = sum(_size(path) for path in self._waiting)
        """Bytes of all files on disk."""

    def chunk(self) -> Chunk | None:
        """Return the next records with their offsets; None after the last one. Raises `UserError`."""
        while True:
            if self._layout is None and not self._open_next():
                return None
            assert self._layout is not None
            records = self._layout.chunk()
            self.position = self._before + self._layout.count
            if records is not None:
                return [(self._before + n, value) for n, value in records] if self._before else records
            self._close()

    @property
    def read(self) -> int:
        """Bytes read so far, of `size`."""
        return self._done + (0 if self._file is None else self._file.position)

    @property
    def notes(self) -> list[str]:
        """The formats of the files read so far, where they are not JSON Lines in UTF-8, plain or gzip."""
        return [f"{name}: {', '.join(notes)}" for name, notes in self._opened if notes]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _open_next(self) -> bool:
        if not self._waiting:
            return False
        path = self._waiting.pop(0)
        self._file = TextFile(path)
        self._before = self.position
        self._layout = layout_of(path, self._file)
        self._opened.append((path.name, self._file.notes))
        return True

    def _close(self) -> None:
        if self._file is not None:
            self._done = self.read
            self._file.close()
        self._file = self._layout = None


def _size(path: Path) -> int:
    """Return the bytes of a file, and check that it can be read."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            return 0  # a pipe: it can be opened only once
        size = path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from None
    with closing(TextFile(path)) as file:
        layout_of(path, file)
    return size
