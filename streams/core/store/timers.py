"""Deadlines of many customers, earliest first.

Lazy: a deadline that moves later costs nothing until the old one comes up, which is the common case (each activity
pushes its customer's deadline back). So what comes up is a hint, and the engine looks at the profile.

An entry is the deadline in bytes that sort as it does, then the key. For each profile that has a deadline there is one
at or before it. Where that is cannot be told without a search, but for a hot profile a bound is known: a new entry is
made only where the deadline comes to lie before that. Further entries of a key are hints that lead nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import Final

from streams.core.store.backend import Disk, timers_from

NEAREST: Final = 10_000
NEVER: Final = 1 << 62
_DEADLINE_BYTES: Final = 8
_MIDDLE: Final = 1 << 63
"""Added to a deadline, so that those before 1970 sort as well."""
_LENGTH_BYTES: Final = 2
_STRETCH_BITS: Final = 20
"""Of the ms of a deadline: entries of the same 17 minutes lie together until these have come."""


def _sortable(deadline: int) -> bytes:
    return (deadline + _MIDDLE).to_bytes(_DEADLINE_BYTES, "big")


def _key(entry: bytes) -> bytes:
    return entry[_DEADLINE_BYTES:]


class Timers:
    """The entries are in memory: those of the present in a heap, the others packed, in no order, by stretches of time.

    A million objects, or entries in dicts, would be no small part of what a million profiles take.
    """

    def __init__(self) -> None:
        self._near: list[bytes] = []
        """A heap."""
        self._scheduled = 0
        self.came_up = -NEVER
        """The deadline, ms, of the entry that came up last."""
        self._bounds: dict[bytes, int] = {}
        """Of the hot profiles with a deadline. NEVER: no entry is known."""
        self._up: bytes | None = None
        """The cold key that came up last: its entry is gone."""
        self._far: dict[int, bytearray] = {}
        """Entries that are not near, by the number of their stretch, each behind its length."""
        self._stretches: list[int] = []
        """A heap of these numbers."""
        self._reached = -NEVER
        """The stretch before which all entries are near."""

    def __len__(self) -> int:
        return self._scheduled

    # -- used by the engine

    def schedule(self, key: bytes, deadline: int) -> None:
        """Make sure that `key` comes up at `deadline` or before."""
        bound = self._bounds.get(key)
        if bound is None:
            if key != self._up:  # else it is cold, and came up too early
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
        """Take out the key whose entry is the earliest at or before `until` (ties: by key), if any. It may have come up
        too early.

        The caller fires what is due of it and arms it again with what is then its next deadline.
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
        """The profile has no deadline any more."""
        bound = self._bounds.pop(key, None)
        if bound is not None:
            self._scheduled -= 1
            if bound != NEVER:
                self._drop(key, bound)

    def loaded(self, key: bytes, deadline: int | None) -> None:
        """The profile became hot; its deadline when it was last written.

        An entry is there or before, unless it just came up.
        """
        if deadline is not None:
            self._bounds[key] = NEVER if key == self._up else deadline

    def evicted(self, key: bytes) -> None:
        """The profile is hot no more."""
        self._bounds.pop(key, None)

    def restored(self, key: bytes, before: int | None, deadline: int | None) -> None:
        """Recovery found a record with this deadline, in the place of one with the deadline `before`."""
        self._scheduled += (deadline is not None) - (before is not None)
        if before is not None and (deadline is None or deadline < before):
            self._drop(key, before)
        if deadline is not None and (before is None or deadline < before):
            self._add(key, deadline)

    def purge(self, is_trace: Callable[[bytes], bool]) -> Iterator[None]:
        """Take away the entries that lead nowhere of keys that `is_trace` names. Goes on with each item that it is
        asked for, while anything else may happen in between."""
        traces: dict[bytes, None] = {}
        for number in list(self._far):
            for entry in _entries(self._far.get(number, bytearray())):
                if is_trace(_key(entry)):
                    traces[entry] = None
                yield
        for entry in self._near.copy():  # last: what was far may have come near meanwhile
            if is_trace(_key(entry)):
                traces[entry] = None
            yield
        traces = {entry: None for entry in traces if is_trace(_key(entry))}  # some may have begun anew meanwhile
        for number in {_stretch(entry) for entry in traces} & self._far.keys():
            kept = [entry for entry in _entries(self._far[number]) if entry not in traces]
            self._far[number] = bytearray(b"".join([_packed(entry) for entry in kept]))
        self._near = [entry for entry in self._near if entry not in traces]
        heapify(self._near)

    # -- where entries are

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
        """What may be there is not needed: here, it leads nowhere when it comes up."""

    def _popped(self, entry: bytes) -> None:
        """It was taken out."""

    def _load(self, until: int) -> bool:
        """Have some entries near, if all that are there have come up; whether there are any up to `until`."""
        if not self._stretches or self._stretches[0] > until >> _STRETCH_BITS:
            return False
        number = heappop(self._stretches)
        self._reached = number + 1
        self._near = _entries(self._far.pop(number))
        heapify(self._near)
        return True


class TimersOnDisk(Timers):
    """All entries are on disk, and the nearest in memory too."""

    def __init__(self, disk: Disk, scheduled: int, nearest: int = NEAREST) -> None:
        """`scheduled`: how many profiles have a deadline. Up to 2 * `nearest` entries are in memory."""
        super().__init__()
        self._disk = disk
        self._scheduled = scheduled
        self._nearest = nearest
        self._end: bytes | None = b""
        """Entries before it are in memory, None if all are."""
        self._unwritten: dict[bytes, bool] = {}
        """Entries added (True) or taken away (False) that disk does not have so."""
        self.being_written: dict[bytes, bool] = {}
        """Those of them that were taken to be written."""

    def purge(self, is_trace: Callable[[bytes], bool]) -> Iterator[None]:
        """As in memory. Those on disk are gone with the next write."""
        for changes in (self.being_written, self._unwritten):
            for entry in [entry for entry, added in changes.items() if added and is_trace(_key(entry))]:
                self._unwritten[entry] = False
        self._near = [entry for entry in self._near if not is_trace(_key(entry))]
        heapify(self._near)
        for entry in timers_from(self._disk, b""):
            if is_trace(_key(entry)):
                self._unwritten[entry] = False
            yield

    def take(self) -> None:
        """`being_written` becomes what disk does not have; `written` says that it does."""
        self.being_written.update(self._unwritten)
        self._unwritten = {}

    def written(self) -> None:
        """Disk has what was taken."""
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
