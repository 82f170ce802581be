"""What stays of who was erased: a mark that names nobody, so that what is read again or comes late brings nobody back.

A mark is a record of the state, whose key is a keyed hash of the key of the profile's record, and whose value is the
time up to which events of that id are passed over. Every partition has every mark: an id that was erased may turn up
anywhere, as the owner of a device. Whoever knows an id can tell whether it was erased; nobody can tell ids from marks
who does not know the salt.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Final

from streams.core.store.backend import MemoryBackend
from streams.core.store.timers import Timers

MARKER_PREFIX: Final = b"e"
"""The first byte of the key of a mark."""
NEVER: Final = -1
_DIGEST_BYTES: Final = 16
_VALUE: Final = struct.Struct("<Bq")
_NO_PROFILE: Final = 255
"""The first byte of a mark's value: to a version of this program that knows no marks, a profile of a newer one."""


def is_marker(key: bytes) -> bool:
    """Whether a record of the state is a mark."""
    return key.startswith(MARKER_PREFIX)


class ErasureMarkers:
    """The marks of a partition. Used by its `TaskState`, among whose cold records they are, and by the engine."""

    def __init__(self, cold: MemoryBackend, salt: bytes, number: int) -> None:
        """`number`: how many there are in `cold`. The salt has at most 64 bytes."""
        self.number = number
        self.owed: dict[bytes, bytes] = {}
        """Those that the changelog does not have yet."""
        self._cold = cold
        self._salt = salt

    def key_of(self, key: bytes) -> bytes:
        """The key of the mark for a record's key."""
        return MARKER_PREFIX + blake2b(key, digest_size=_DIGEST_BYTES, key=self._salt).digest()

    def erased_at(self, key: bytes) -> int:
        """Up to when events for a record of this key are passed over, ms; -1: it was never erased."""
        return self._at(self.key_of(key)) if self.number else NEVER

    def set(self, key: bytes, at: int) -> None:
        """What is in the record of this key is erased, as are all its events up to `at`."""
        mark = self.key_of(key)
        if at > (before := self._at(mark)):
            self.owed[mark] = _VALUE.pack(_NO_PROFILE, at)
            if before == NEVER:
                self.number += 1

    def restore(self, mark: bytes, value: bytes | None) -> None:
        """Take in a record of the changelog. The latest time stays, whatever the order; nobody deletes one."""
        before = self._cold.get(mark)
        if value is not None and (before is None or _time(value) >= _time(before)):
            self._cold.put(mark, value)
            self.owed.pop(mark, None)
            if before is None:
                self.number += 1
        elif before is not None:
            self.owed[mark] = before

    def changes(self) -> list[tuple[bytes, bytes | None]]:
        """Those that are owed. In a flush they go behind the profiles: one that is cut off in between must not leave a
        mark whose profile lives, since a request that is marked is taken to be done."""
        owed, self.owed = self.owed, {}
        written: list[tuple[bytes, bytes | None]] = []
        for mark, value in owed.items():
            self._cold.put(mark, value)
            written.append((mark, value))
        return written

    def _at(self, mark: bytes) -> int:
        value = self.owed.get(mark)
        if value is None:
            value = self._cold.get(mark)
        return NEVER if value is None else _time(value)


class ErasureResidue:
    """What may be left of erased profiles whose records are gone: timers that lead nowhere, and where cold records are
    on disk, what its files hold until they are rewritten. Used by `TaskState`."""

    def __init__(self, timers: Timers, marks: ErasureMarkers, has_deadline: Callable[[bytes], bool]) -> None:
        """`has_deadline` tells of a key whether a profile has one: who was erased may have begun anew."""
        self.marks: dict[bytes, None] = {}
        """Of those of whom there may be some."""
        self.found = False
        """Whether their timers are taken away, but disk does not have it so."""
        self.written = False
        """Whether it has: what is left is in what its files hold beside their records."""
        self._timers = timers
        self._of = marks
        self._has_deadline = has_deadline
        self._looked_for: dict[bytes, None] = {}
        self._walk: Iterator[None] | None = None
        self._taken = False

    @property
    def looking(self) -> bool:
        """Whether `look` has something to do."""
        return bool(self.marks) and not (self.found or self._taken or self.written)

    def left_by(self, key: bytes) -> None:
        """The record of this key was deleted."""
        if self._of.number and self._of.erased_at(key) != NEVER:
            self.marks[self._of.key_of(key)] = None

    def look(self, most: int) -> None:
        """Look at so many timers at most. To be called again and again until `found`."""
        if self._walk is None:
            self._looked_for = dict(self.marks)
            self._walk = self._timers.purge(self._is_trace)
        try:
            for _ in range(most):
                next(self._walk)
        except StopIteration:
            self._walk, self.found = None, True

    def take(self) -> None:
        """What is found is about to be written to disk."""
        self._taken, self.found = self._taken or self.found, False

    def kept(self) -> None:
        """What was taken is written."""
        self.written, self._taken = self.written or self._taken, False

    def removed(self) -> None:
        """Nothing is left of those who were looked for."""
        self.found = self.written = False
        for mark in self._looked_for:
            self.marks.pop(mark, None)
        self._looked_for = {}

    def _is_trace(self, key: bytes) -> bool:
        return self._of.key_of(key) in self._looked_for and not self._has_deadline(key)


def _time(value: bytes) -> int:
    at: int = _VALUE.unpack(value)[1]
    return at
