"""Deadlines of many profiles, earliest first.

They are lazy. A deadline that moves later costs nothing until the old one comes up, which is the common case: each
activity moves its customer's deadline. So an entry that comes up is only a hint, and the engine reads the profile.

An entry is the deadline, in bytes that sort as it does, followed by the key. Each profile with a deadline has an entry
at that time or before. Its time is known only by a search, but for a live profile a bound is kept: a new entry is made
only if the deadline moves to before the bound. Surplus entries of a key are hints without effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import Final

from streams.core.store.backend import Disk, timers_from

NEAREST: Final = 10_000
"""Timers in memory at least, if all are on disk."""
NEVER: Final = 1 << 62
_DEADLINE_BYTES: Final = 8
_MIDDLE: Final = 1 << 63
"""Added to a deadline, so that deadlines before 1970 sort as well."""
_LENGTH_BYTES: Final = 2
_STRETCH_BITS: Final = 20
"""Low bits of a deadline in ms. Entries of the same 17 minutes are kept together until that time comes."""


def _sortable(deadline: int) -> bytes:
    return (deadline + _MIDDLE).to_bytes(_DEADLINE_BYTES, "big")


def _key(entry: bytes) -> bytes:
    return entry[_DEADLINE_BYTES:]


class Timers:
    """Timers in memory: the nearest entries in a heap, the others packed by stretches of time, unsorted.

    A million objects, or entries of dicts, would take a considerable part of the memory of a million profiles.
    """

    def __init__(self) -> None:
        self._near: list[bytes] = []
        """A heap."""
        self._scheduled = 0
        self.came_up = -NEVER
        """Deadline, ms, of the entry that came up last."""
        self._bounds: dict[bytes, int] = {}
        """Bounds of the live profiles with a deadline, ms. NEVER: no entry is known."""
        self._up: bytes | None = None
        """The key that came up last, if its profile is not live. Its entry is removed."""
        self._far: dict[int, bytearray] = {}
        """Entries that are not near, by the number of their stretch, each preceded by its length."""
        self._stretches: list[int] = []
        """A heap of these numbers."""
        self._reached = -NEVER
        """Number of the stretch before which all entries are near."""

    def __len__(self) -> int:
        return self._scheduled

    # -- used by the engine

    def schedule(self, key: bytes, deadline: int) -> None:
        """Ensure that `key` comes up at `deadline`, ms, or before."""
        bound = self._bounds.get(key)
        if bound is None:
            if key != self._up:  # else its profile is not live, and it came up too early
                self._scheduled += 1
                self._bounds[key] = deadline
        elif deadline < bound:
            self._bounds[key] = deadline
            if bound != NEVER:
                self._drop(key, bound)
        else:
            return
        self._add(key, deadline)

    def due(self, until: int) -> bytes | None:
        """Remove the earliest entry at or before `until`, ms, and return its key; None if there is none. Ties: by key.

        It may have come up too early. The caller fires the deadlines of the profile that are due, and schedules its
        next one.
        """
        later = _sortable(until + 1)
        self._up = None
        while True:
            heap = self._near
            if not heap:
                if not self._load(until):
                    return None
                continue
            if heap[0] >= later:
                return None
            entry = heappop(heap)
            while heap and heap[0] == entry:
                heappop(heap)
            self._popped(entry)
            key, self.came_up = _key(entry), _deadline(entry)
            if key in self._bounds:
                self._bounds[key] = NEVER
            else:
                self._up = key
            return key

    # -- used by the state

    def cancel(self, key: bytes) -> None:
        """Note that the profile has no deadline any more."""
        bound = self._bounds.pop(key, None)
        if bound is not None:
            self._scheduled -= 1
            if bound != NEVER:
                self._drop(key, bound)

    def loaded(self, key: bytes, deadline: int | None) -> None:
        """Note that the profile became live. `deadline`, ms, is as it was last written.

        There is an entry at that time or before, unless it just came up.
        """
        if deadline is not None:
            self._bounds[key] = NEVER if key == self._up else deadline

    def evicted(self, key: bytes) -> None:
        """Note that the profile is no longer live."""
        self._bounds.pop(key, None)

    def restored(self, key: bytes, before: int | None, deadline: int | None) -> None:
        """Note that recovery restored a record with this deadline in place of one with the deadline `before`, ms."""
        self._scheduled += (deadline is not None) - (before is not None)
        if before is not None and (deadline is None or deadline < before):
            self._drop(key, before)
        if deadline is not None and (before is None or deadline < before):
            self._add(key, deadline)

    def purge(self, is_residue: Callable[[bytes], bool]) -> Iterator[None]:
        """Remove the entries of the keys for which `is_residue` is true. Each step of the iterator does a part of it.

        Anything may happen between the steps.
        """
        residue: dict[bytes, None] = {}
        for number in list(self._far):
            for entry in _entries(self._far.get(number, bytearray())):
                if is_residue(_key(entry)):
                    residue[entry] = None
                yield
        for entry in self._near.copy():  # last: what was far may have come near meanwhile
            if is_residue(_key(entry)):
                residue[entry] = None
            yield
        residue = {entry: None for entry in residue if is_residue(_key(entry))}  # some may have come back meanwhile
        for number in {_stretch(entry) for entry in residue} & self._far.keys():
            kept = [entry for entry in _entries(self._far[number]) if entry not in residue]
            self._far[number] = bytearray(b"".join([_packed(entry) for entry in kept]))
        self._near = [entry for entry in self._near if entry not in residue]
        heapify(self._near)

    # -- inside

    def _add(self, key: bytes, deadline: int) -> None:
        entry, number = _sortable(deadline) + key, deadline >> _STRETCH_BITS
        if number < self._reached:
            heappush(self._near, entry)
            return
        far = self._far.get(number)
        if far is None:
            far = self._far[number] = bytearray()
            heappush(self._stretches, number)
        far += _packed(entry)

    def _drop(self, key: bytes, deadline: int) -> None:
        """Remove an entry that is no longer needed. In memory it stays: it has no effect when it comes up."""

    def _popped(self, entry: bytes) -> None:
        """Note that an entry was removed from the heap."""

    def _load(self, until: int) -> bool:
        """Load the next entries when all near ones have come up. Return False if there are none up to `until`."""
        if not self._stretches or self._stretches[0] > until >> _STRETCH_BITS:
            return False
        number = heappop(self._stretches)
        self._reached = number + 1
        self._near = _entries(self._far.pop(number))
        heapify(self._near)
        return True


class TimersOnDisk(Timers):
    """Timers with all entries on disk, and the nearest in memory too."""

    def __init__(self, disk: Disk, scheduled: int, nearest: int = NEAREST) -> None:
        """`scheduled`: profiles with a deadline. At most 2 * `nearest` entries are in memory."""
        super().__init__()
        self._disk = disk
        self._scheduled = scheduled
        self._nearest = nearest
        self._end: bytes | None = b""
        """Entries before this one are in memory, all of them if it is None."""
        self._unwritten: dict[bytes, bool] = {}
        """Entries added (True) or removed (False) since the last `take`."""
        self.being_written: dict[bytes, bool] = {}
        """Entries added (True) or removed (False) that were taken, and are not on disk."""

    def purge(self, is_residue: Callable[[bytes], bool]) -> Iterator[None]:
        """Implement `Timers.purge`. The next write removes the entries from disk."""
        for changes in (self.being_written, self._unwritten):
            for entry in [entry for entry, added in changes.items() if added and is_residue(_key(entry))]:
                self._unwritten[entry] = False
        self._near = [entry for entry in self._near if not is_residue(_key(entry))]
        heapify(self._near)
        for entry in timers_from(self._disk, b""):
            if is_residue(_key(entry)):
                self._unwritten[entry] = False
            yield

    def take(self) -> None:
        """Move all changes since the last call to `being_written`, for the next write."""
        self.being_written.update(self._unwritten)
        self._unwritten = {}

    def written(self) -> None:
        """Note that the entries in `being_written` are on disk."""
        self.being_written = {}

    def _add(self, key: bytes, deadline: int) -> None:
        entry = _sortable(deadline) + key
        self._unwritten[entry] = True
        if self._end is None or entry < self._end:
            heappush(self._near, entry)
            if len(self._near) > 2 * self._nearest:
                self._near.sort()
                self._end = self._near[self._nearest]
                del self._near[self._nearest :]

    def _drop(self, key: bytes, deadline: int) -> None:
        self._unwritten[_sortable(deadline) + key] = False

    def _popped(self, entry: bytes) -> None:
        self._unwritten[entry] = False

    def _load(self, until: int) -> bool:
        start = self._end
        if start is None or start >= _sortable(until + 1):
            return False
        entries: set[bytes] = set()
        end: bytes | None = None
        for entry in timers_from(self._disk, start):
            if len(entries) == self._nearest:
                end = entry
                break
            entries.add(entry)
        for changes in (self.being_written, self._unwritten):
            for entry, added in changes.items():
                if added and entry >= start and (end is None or entry < end):
                    entries.add(entry)
                elif not added:
                    entries.discard(entry)
        self._near.extend(entries)
        heapify(self._near)
        self._end = end
        return True


def _deadline(entry: bytes) -> int:
    return int.from_bytes(entry[:_DEADLINE_BYTES], "big") - _MIDDLE


def _stretch(entry: bytes) -> int:
    return _deadline(entry) >> _STRETCH_BITS


def _packed(entry: bytes) -> bytes:
    return len(entry).to_bytes(_LENGTH_BYTES, "big") + entry


def _entries(far: bytearray) -> list[bytes]:
    packed, at, found = bytes(far), 0, []
    while at < len(packed):
        start = at + _LENGTH_BYTES
        at = start + (packed[at] << 8 | packed[at + 1])
        found.append(packed[start:at])
    return found
