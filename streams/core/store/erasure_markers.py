"""Erasure markers: records of erased ids that do not name them, so that older events bring no erased customer back.

A marker is a record of the state. Its key is a keyed hash of the profile's record key, and its value is the time up to
which events of that id are skipped. Every partition has every marker, since an erased id may turn up on any of them as
the owner of a device. From an id and the salt one can compute the marker; without the salt no id can be found from it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Final

from streams.core.store.backend import MemoryBackend
from streams.core.store.timers import Timers

MARKER_PREFIX: Final = b"e"
"""First byte of the key of a marker."""
NEVER: Final = -1
_DIGEST_BYTES: Final = 16
_VALUE: Final = struct.Struct("<Bq")
_NO_PROFILE: Final = 255
"""First byte of a marker's value. A program that does not know markers reads it as a profile of a newer format."""


def is_marker(key: bytes) -> bool:
    """Return True if a record of the state is an erasure marker."""
    return key.startswith(MARKER_PREFIX)


class ErasureMarkers:
    """The erasure markers of a partition, which are among the packed records of its `TaskState`."""

    def __init__(self, packed: MemoryBackend, salt: bytes, number: int) -> None:
        """`number`: markers in `packed`. The salt has at most 64 bytes."""
        self.number = number
        """Markers of this partition."""
        self.unwritten: dict[bytes, bytes] = {}
        """Values of the markers that the changelog does not have yet, by key."""
        self._packed = packed
        self._salt = salt

    def key_of(self, key: bytes) -> bytes:
        """Return the key of the marker for a record's key."""
        return MARKER_PREFIX + blake2b(key, digest_size=_DIGEST_BYTES, key=self._salt).digest()

    def erased_at(self, key: bytes) -> int:
        """Return the time, ms, up to which events for a record of this key are skipped; -1 if it was never erased."""
        return self._at(self.key_of(key)) if self.number else NEVER

    def set(self, key: bytes, at: int) -> None:
        """Set the marker for a record's key: its events up to `at`, ms, are erased."""
        marker = self.key_of(key)
        if at > (before := self._at(marker)):
            self.unwritten[marker] = _VALUE.pack(_NO_PROFILE, at)
            if before == NEVER:
                self.number += 1

    def restore(self, marker: bytes, value: bytes | None) -> None:
        """Restore a record of the changelog. The latest time stays, whatever the order.

        A marker that an earlier time or a tombstone followed is written to the changelog again.
        """
        before = self._packed.get(marker)
        if value is not None and (before is None or _time(value) >= _time(before)):
            self._packed.put(marker, value)
            self.unwritten.pop(marker, None)
            if before is None:
                self.number += 1
        elif before is not None:
            self.unwritten[marker] = before

    def changes(self) -> list[tuple[bytes, bytes | None]]:
        """Return the markers that the changelog does not have yet, and take them to be written.

        A flush writes them after the profiles. If it is cut off in between, there must be no marker whose profile still
        exists: a request that has its marker is taken to be done.
        """
        owed, self.unwritten = self.unwritten, {}
        written: list[tuple[bytes, bytes | None]] = []
        for marker, value in owed.items():
            self._packed.put(marker, value)
            written.append((marker, value))
        return written

    def _at(self, marker: bytes) -> int:
        value = self.unwritten.get(marker)
        if value is None:
            value = self._packed.get(marker)
        return NEVER if value is None else _time(value)


class ErasureResidue:
    """Removes what may be left of erased profiles whose records are deleted.

    That is entries of timers without a profile, and on disk the old content of files until they are rewritten. The
    steps: `search` until `found`; `note_taken` and `note_written` around a write to disk, after which `written` is
    True; `note_removed` once the files are rewritten. Without a disk, `note_removed` follows `found`.
    """

    def __init__(self, timers: Timers, markers: ErasureMarkers, has_deadline: Callable[[bytes], bool]) -> None:
        """`has_deadline`: True for a key whose profile has a deadline. An erased customer may have come back."""
        self.markers: dict[bytes, None] = {}
        """Keys of the erasure markers of customers of whom something may be left."""
        self.found = False
        """True if their entries are removed from the timers, but not yet from disk."""
        self.written = False
        """True if they are removed from disk too. The rest is the old content of files."""
        self._timers = timers
        self._partition_markers = markers
        self._has_deadline = has_deadline
        self._searched: dict[bytes, None] = {}
        """The part of `markers` that the present search is for."""
        self._walk: Iterator[None] | None = None
        self._taken = False

    @property
    def searching(self) -> bool:
        """True if `search` has something to do."""
        return bool(self.markers) and not (self.found or self._taken or self.written)

    def left_by(self, key: bytes) -> None:
        """Note that the record of this key was deleted."""
        if self._partition_markers.number and self._partition_markers.erased_at(key) != NEVER:
            self.markers[self._partition_markers.key_of(key)] = None

    def search(self, most: int) -> None:
        """Search `most` timer entries. Call it until `found`."""
        if self._walk is None:
            self._searched = dict(self.markers)
            self._walk = self._timers.purge(self._is_residue)
        try:
            for _ in range(most):
                next(self._walk)
        except StopIteration:
            self._walk, self.found = None, True

    def note_taken(self) -> None:
        """Note that the next write to disk removes the entries that were found."""
        self._taken, self.found = self._taken or self.found, False

    def note_written(self) -> None:
        """Note that this write is done."""
        self.written, self._taken = self.written or self._taken, False

    def note_removed(self) -> None:
        """Note that nothing is left of the customers of this search."""
        self.found = self.written = False
        for marker in self._searched:
            self.markers.pop(marker, None)
        self._searched = {}

    def _is_residue(self, key: bytes) -> bool:
        return self._partition_markers.key_of(key) in self._searched and not self._has_deadline(key)


def _time(value: bytes) -> int:
    at: int = _VALUE.unpack(value)[1]
    return at
