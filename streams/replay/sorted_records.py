"""Sort the records of a source by the time of their events, for a history that was not written in time order.

Records that fit into memory are sorted there; otherwise sorted runs are written to temporary files and merged.
"""

from __future__ import annotations

import heapq
import struct
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import IO, Any, Final, Self

import msgspec

from streams.contracts import times
from streams.errors import UserError
from streams.replay import file_layout
from streams.replay.file_layout import Chunk
from streams.replay.input_files import Lines

MEMORY: Final = 256 << 20
"""Bytes of records that are sorted in memory."""
_OVERHEAD: Final = 150
"""Bytes that a record takes in memory beside its value."""
_HEADER: Final = struct.Struct("<qqI")

_Keyed = tuple[int, int, bytes]
"""Time of the event (ms), index in the input, value."""


class _Timed(msgspec.Struct):
    occurred_at: str | int | float | None = None


class SortedRecords:
    """Has the interface of `Lines`, with the records in time order. Records of the same time keep their order.

    A record without a readable time stays behind the one before it; the decoder rejects it. A context manager.
    """

    def __init__(self, records: Lines, memory: int = MEMORY) -> None:
        self._records = records
        self._memory = memory
        self._stack = ExitStack()
        self._sorted: Iterator[_Keyed] | None = None
        self.position = 0
        """The offset of the next record: its index in the sorted history."""

    def chunk(self) -> Chunk | None:
        """Return the next records with their offsets; None after the last one. The first call reads all input.

        Raises `UserError`.
        """
        try:
            if self._sorted is None:
                self._sorted = self._sort()
            chunk: Chunk = []
            size = 0
            for _, _, value in self._sorted:
                chunk.append((self.position, value))
                self.position += 1
                size += len(value)
                if size >= file_layout.CHUNK:
                    break
        except OSError as error:
            raise UserError(
                f"sorting needs room for a copy of the history in {tempfile.gettempdir()} ({error.strerror or error}): "
                "make room, or set TMPDIR to a directory that has it."
            ) from None
        return chunk or None

    @property
    def read(self) -> int:
        """Bytes of input read so far."""
        return self._records.read

    @property
    def size(self) -> int:
        """Bytes of all input."""
        return self._records.size

    @property
    def notes(self) -> list[str]:
        """See `Lines.notes`."""
        return self._records.notes

    def __enter__(self) -> Self:
        self._stack.enter_context(self._records)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _sort(self) -> Iterator[_Keyed]:
        run: list[_Keyed] = []
        files: list[IO[bytes]] = []
        size = 0
        for record in self._keyed():
            run.append(record)
            size += len(record[2]) + _OVERHEAD
            if size >= self._memory:
                run.sort()
                files.append(self._stack.enter_context(_written(run)))
                run, size = [], 0
        run.sort()
        return heapq.merge(*(_read(file) for file in files), run)

    def _keyed(self) -> Iterator[_Keyed]:
        decode = msgspec.json.Decoder(_Timed).decode
        at, index = 0, 0
        while (chunk := self._records.chunk()) is not None:
            for _, value in chunk:
                at = _time(value, decode, at)
                yield at, index, value
                index += 1


def _time(value: bytes, decode: Any, before: int) -> int:
    """Return the time of a record, ms; that of the record before it if it has none."""
    try:
        occurred_at = decode(value).occurred_at
        return before if occurred_at is None else times.parse(occurred_at)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return before


def _written(run: Iterable[_Keyed]) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115
    for at, index, value in run:
        file.write(_HEADER.pack(at, index, len(value)))
        file.write(value)
    file.seek(0)
    return file


def _read(file: IO[bytes]) -> Iterator[_Keyed]:
    while header := file.read(_HEADER.size):
        at, index, size = _HEADER.unpack(header)
        yield at, index, file.read(size)
