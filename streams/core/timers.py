"""Deadlines of many customers, earliest first.

Lazy: a deadline that moves later costs nothing until the old one comes up, which is the common case (each activity
pushes its customer's deadline back). So what comes up is a hint, and the engine looks at the profile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import Final

from streams.core.cold import Disk, timers_from

NEAREST: Final = 10_000
NEVER: Final = 1 << 62
_BEGINNING: Final = (-(1 << 62), b"")
_DEADLINE_BYTES: Final = 8
_MIDDLE: Final = 1 << 61
"""Added to a deadline, so that those before 1970 sort as well. The sum is a number that needs no object."""


def _sortable(deadline: int) -> bytes:
    return (deadline + _MIDDLE).to_bytes(_DEADLINE_BYTES, "big")


class Timers:
    """A heap of deadlines and keys, at most one live entry a key.

    An entry is one object, the deadline in bytes that sort as it does, then the key: a million of them are no small
    part of what a million profiles take.
    """

    def __init__(self) -> None:
        self._heap: list[bytes] = []
        self._armed: dict[bytes, bytes] = {}
        """The live entry of each key."""

    def __len__(self) -> int:
        return len(self._armed)

    # -- used by the engine

    def arm(self, key: bytes, deadline: int) -> None:
        """Make sure that `key` comes up at `deadline` or before."""
        entry = _sortable(deadline) + key
        armed = self._armed.get(key)
        if armed is None or entry < armed:
            self._armed[key] = entry
            heappush(self._heap, entry)

    def due(self, until: int) -> bytes | None:
        """Take out the key whose entry is the earliest at or before `until` (ties: by key), if any.

        The caller fires what is due of it and arms it again with what is then its next deadline.
        """
        heap, armed, later = self._heap, self._armed, _sortable(until + 1)
        while heap and heap[0] < later:
            entry = heappop(heap)
            key = entry[_DEADLINE_BYTES:]
            if armed.get(key) == entry:  # else an earlier deadline took its place
                del armed[key]
                return key
        return None

    # -- used by the state

    def disarm(self, key: bytes) -> None:
        """The profile has no deadline any more."""
        self._armed.pop(key, None)

    def thawed(self, key: bytes, deadline: int | None) -> None:
        """The profile became hot; its deadline when it was last written."""

    def cooled(self, key: bytes) -> None:
        """The profile is hot no more."""

    def restored(self, key: bytes, before: int | None, deadline: int | None) -> None:
        """Recovery found a record with this deadline, in the place of one with the deadline `before`."""
        if deadline is not None:
            self.arm(key, deadline)
        else:
            self.disarm(key)

    def purge(self, is_trace: Callable[[bytes], bool]) -> Iterator[None]:
        """Take away the entries that lead nowhere of keys that `is_trace` names, others perhaps too. Goes on with each
        item that it is asked for, while anything else may happen in between."""
        del is_trace
        self._heap = list(self._armed.values())
        heapify(self._heap)
        return iter(())


class TimersOnDisk(Timers):
    """All entries are on disk, and the nearest in memory too.

    For each profile that has a deadline, there is an entry at or before it. Where that is cannot be told without a
    search, but for a hot profile a bound is known: the entry is there at `_bounds[key]` or before. A new entry is
    written only where the deadline comes to lie before that. Further entries of a key are hints that lead nowhere.
    """

    def __init__(self, disk: Disk, scheduled: int, nearest: int = NEAREST) -> None:
        """`scheduled`: how many profiles have a deadline. Up to 2 * `nearest` entries are in memory."""
        super().__init__()
        self._near: list[tuple[int, bytes]] = []
        """A heap of those in memory."""
        self._disk = disk
        self._scheduled = scheduled
        self._nearest = nearest
        self._end: tuple[int, bytes] | None = _BEGINNING
        """Entries before it are in memory, None if all are."""
        self._bounds: dict[bytes, int] = {}
        """Of the hot profiles with a deadline. NEVER: no entry is known."""
        self._up: bytes | None = None
        """The cold key that came up last: its entry is gone."""
        self._unwritten: dict[tuple[int, bytes], bool] = {}
        """Entries added (True) or taken away (False) that disk does not have so."""
        self.being_written: dict[tuple[int, bytes], bool] = {}
        """Those of them that were taken to be written."""

    def __len__(self) -> int:
        return self._scheduled

    def arm(self, key: bytes, deadline: int) -> None:
        """Make sure that `key` comes up at `deadline` or before."""
        bound = self._bounds.get(key)
        if bound is None:
            if key != self._up:  # else it is cold, and came up too early
                self._scheduled += 1
                self._bounds[key] = deadline
        elif deadline < bound:
            self._bounds[key] = deadline
            if bound != NEVER:
                self._unwritten[bound, key] = False
        else:
            return
        self._add((deadline, key))

    def due(self, until: int) -> bytes | None:
        """As in memory; what comes up may have come up too early."""
        heap = self._near
        self._up = None
        while True:
            if heap:
                if heap[0][0] > until:
                    return None
                entry = heappop(heap)
                while heap and heap[0] == entry:
                    heappop(heap)
                self._unwritten[entry] = False
                key = entry[1]
                if key in self._bounds:
                    self._bounds[key] = NEVER
                else:
                    self._up = key
                return key
            if self._end is None or self._end[0] > until:
                return None
            self._load(self._end)

    def disarm(self, key: bytes) -> None:
        """The profile has no deadline any more."""
        bound = self._bounds.pop(key, None)
        if bound is not None:
            self._scheduled -= 1
            if bound != NEVER:
                self._unwritten[bound, key] = False

    def thawed(self, key: bytes, deadline: int | None) -> None:
        """An entry is where the deadline was when the profile was last written, or before, unless it just came up."""
        if deadline is not None:
            self._bounds[key] = NEVER if key == self._up else deadline

    def cooled(self, key: bytes) -> None:
        """The profile is hot no more."""
        self._bounds.pop(key, None)

    def restored(self, key: bytes, before: int | None, deadline: int | None) -> None:
        """As in memory. Nothing is hot."""
        self._scheduled += (deadline is not None) - (before is not None)
        if before is not None and (deadline is None or deadline < before):
            self._unwritten[before, key] = False
        if deadline is not None and (before is None or deadline < before):
            self._add((deadline, key))

    def purge(self, is_trace: Callable[[bytes], bool]) -> Iterator[None]:
        """As in memory. Those on disk are gone with the next write."""
        for changes in (self.being_written, self._unwritten):
            for entry in [entry for entry, added in changes.items() if added and is_trace(entry[1])]:
                self._unwritten[entry] = False
        self._near = [entry for entry in self._near if not is_trace(entry[1])]
        heapify(self._near)
        for entry in timers_from(self._disk, _BEGINNING):
            if is_trace(entry[1]):
                self._unwritten[entry] = False
            yield

    def take(self) -> None:
        """`being_written` becomes what disk does not have; `written` says that it does."""
        self.being_written.update(self._unwritten)
        self._unwritten = {}

    def written(self) -> None:
        """Disk has what was taken."""
        self.being_written = {}

    def _add(self, entry: tuple[int, bytes]) -> None:
        self._unwritten[entry] = True
        if self._end is None or entry < self._end:
            heappush(self._near, entry)
            if len(self._near) > 2 * self._nearest:
                self._near.sort()
                self._end = self._near[self._nearest]
                del self._near[self._nearest :]

    def _load(self, start: tuple[int, bytes]) -> None:
        """Fill the empty heap with the entries that are next."""
        entries: set[tuple[int, bytes]] = set()
        end: tuple[int, bytes] | None = None
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
