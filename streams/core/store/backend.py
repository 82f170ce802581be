"""The packed tier: every profile of a partition as the changelog has it, in memory or on disk.

It holds what the last commit wrote (`TaskState.changes`), so a live profile that has not changed since can be evicted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

PROFILE: Final = b"p"
"""First byte of the keys of packed records on disk."""
TIMER: Final = b"t"
"""First byte of the keys of timer entries: (deadline, key)."""
AFTER_TIMERS: Final = b"u"
"""End of the range of timer entries."""
CHECKPOINT: Final = b"\x00checkpoint"
"""Key of the disk checkpoint."""


class Disk(Protocol):
    """An ordered map of bytes that outlives the process. `streams.transport.rocks` implements it."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value, None if there is none."""

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values from `start` to before `end`, in order."""

    def write(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        """Write all changes or none; None deletes. A crash may lose writes, the last first."""


class MemoryBackend:
    """Packed records in memory."""

    def __init__(self) -> None:
        self._records: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """Return the packed record, None if there is none."""
        return self._records.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Add or replace a record."""
        self._records[key] = value

    def delete(self, key: bytes) -> None:
        """Delete a record if there is one."""
        self._records.pop(key, None)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all records. Nothing may change meanwhile."""
        for key, value in self._records.items():
            if value is not None:
                yield key, value

    def walk(self) -> Iterator[bytes]:
        """Yield the keys of all records that exist at the first call.

        Anything may change meanwhile. A key may come twice, or be of a record that was deleted since.
        """
        yield from list(self._records)


class DiskBackend(MemoryBackend):
    """Packed records on disk, and changes since the last `flush` in memory."""

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self._disk = disk

    def get(self, key: bytes) -> bytes | None:
        """Return the packed record. Reads the disk unless the record has changed since the last `flush`."""
        if key in self._records:
            return self._records[key]
        return self._disk.get(PROFILE + key)

    def delete(self, key: bytes) -> None:
        """Delete a record if there is one."""
        self._records[key] = None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all records. Nothing may change meanwhile."""
        yield from super().items()
        for stored, value in self._disk.scan(PROFILE, TIMER):
            if (key := stored[1:]) not in self._records:
                yield key, value

    def walk(self) -> Iterator[bytes]:
        """Implement `MemoryBackend.walk`."""
        yield from list(self._records)
        for stored, _ in self._disk.scan(PROFILE, TIMER):
            yield stored[1:]

    def flush(self, timers: dict[bytes, bool], checkpoint: bytes) -> None:
        """Write the changes since the last call at once, with a checkpoint.

        `timers`: entries that were added (True) or removed (False).
        """
        changes: list[tuple[bytes, bytes | None]] = [(PROFILE + key, value) for key, value in self._records.items()]
        changes += [(TIMER + entry, b"" if added else None) for entry, added in timers.items()]
        changes.append((CHECKPOINT, checkpoint))
        self._disk.write(changes)
        self._records.clear()


def timers_from(disk: Disk, start: bytes) -> Iterator[bytes]:
    """Yield the timer entries (`streams.core.store.timers`) on disk from `start` on, earliest first."""
    for stored, _ in disk.scan(TIMER + start, AFTER_TIMERS):
        yield stored[1:]
