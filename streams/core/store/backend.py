"""The cold tier: every profile of a partition as the changelog has it, packed; in memory or on disk.

It holds what the last commit wrote (`TaskState.changes`), so a hot profile that has not changed since can be dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

PROFILE: Final = b"p"
TIMER: Final = b"t"
AFTER_TIMERS: Final = b"u"
CHECKPOINT: Final = b"\x00checkpoint"
"""What is on disk, by first byte: profiles by key, timers by (deadline, key), and one checkpoint."""


class Disk(Protocol):
    """An ordered map of bytes that outlives the process. Implemented by `streams.transport.rocks`."""

    def get(self, key: bytes) -> bytes | None:
        """The value, None if there is none."""

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values from `start` to before `end`, in order."""

    def write(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        """All of it or nothing; None deletes. What was written may be lost with the process, the last first."""


class MemoryBackend:
    """In memory."""

    def __init__(self) -> None:
        self._records: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """The packed profile, None if there is none."""
        return self._records.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Add or replace one."""
        self._records[key] = value

    def delete(self, key: bytes) -> None:
        """Remove one that may be there."""
        self._records.pop(key, None)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All of them. Nothing may be changed meanwhile."""
        for key, value in self._records.items():
            if value is not None:
                yield key, value

    def walk(self) -> Iterator[bytes]:
        """The keys of all that there are when it is first asked. Anything may be changed meanwhile, and some keys may
        come twice, or be of records that are gone."""
        yield from list(self._records)


class DiskBackend(MemoryBackend):
    """On disk, and in memory what was put since the last `flush`."""

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self._disk = disk

    def get(self, key: bytes) -> bytes | None:
        """Reads from disk, unless it was put since the last `flush`."""
        if key in self._records:
            return self._records[key]
        return self._disk.get(PROFILE + key)

    def delete(self, key: bytes) -> None:
        """Remove one that may be there."""
        self._records[key] = None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All of them. Nothing may be changed meanwhile."""
        yield from super().items()
        for stored, value in self._disk.scan(PROFILE, TIMER):
            if (key := stored[1:]) not in self._records:
                yield key, value

    def walk(self) -> Iterator[bytes]:
        """As in memory."""
        yield from list(self._records)
        for stored, _ in self._disk.scan(PROFILE, TIMER):
            yield stored[1:]

    def flush(self, timers: dict[bytes, bool], checkpoint: bytes) -> None:
        """Write what was put, with the entries of timers that were added (True) or taken away (False), all at once."""
        changes: list[tuple[bytes, bytes | None]] = [(PROFILE + key, value) for key, value in self._records.items()]
        changes += [(TIMER + entry, b"" if added else None) for entry, added in timers.items()]
        changes.append((CHECKPOINT, checkpoint))
        self._disk.write(changes)
        self._records.clear()


def timers_from(disk: Disk, start: bytes) -> Iterator[bytes]:
    """The entries of timers (`streams.core.store.timers`) on disk from `start` on, earliest first."""
    for stored, _ in disk.scan(TIMER + start, AFTER_TIMERS):
        yield stored[1:]
