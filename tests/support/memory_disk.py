"""A `Disk` in memory that can lose its last writes, as a disk does in a crash."""

from __future__ import annotations

from collections.abc import Iterator


class MemoryDisk:
    """A `streams.core.store.backend.Disk` that remembers every write, so that the last ones can be lost."""

    def __init__(self) -> None:
        self.writes: list[list[tuple[bytes, bytes | None]]] = []
        self._held: dict[bytes, bytes] = {}
        self.reads = 0

    def get(self, key: bytes) -> bytes | None:
        self.reads += 1
        return self._held.get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        yield from sorted((key, value) for key, value in self._held.items() if start <= key < end)

    def write(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        self.writes.append(changes)
        self._apply(changes)

    def lose(self, writes: int) -> None:
        """Lose the last writes, as if they had not reached the disk before a crash."""
        self.writes = self.writes[: max(0, len(self.writes) - writes)]
        self._held = {}
        for changes in self.writes:
            self._apply(changes)

    def _apply(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        for key, value in changes:
            if value is None:
                self._held.pop(key, None)
            else:
                self._held[key] = value
