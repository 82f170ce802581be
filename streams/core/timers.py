"""Deadlines of many customers, earliest first.

Lazy: a deadline that moves later costs nothing until the old one comes up, which is the common case (each activity
pushes its customer's deadline back). So what comes up is a hint, and the engine looks at the profile.
"""

from __future__ import annotations

from heapq import heappop, heappush


class Timers:
    """A heap of (deadline in ms, key), at most one live entry a key."""

    __slots__ = ("_armed", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[int, bytes]] = []
        self._armed: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._armed)

    def arm(self, key: bytes, deadline: int) -> None:
        """Make sure that `key` comes up at `deadline` or before."""
        armed = self._armed.get(key)
        if armed is None or deadline < armed:
            self._armed[key] = deadline
            heappush(self._heap, (deadline, key))

    def due(self, until: int) -> bytes | None:
        """Take out the key whose entry is the earliest at or before `until` (ties: by key), if any.

        The caller fires what is due of it and arms it again with what is then its next deadline.
        """
        heap, armed = self._heap, self._armed
        while heap and heap[0][0] <= until:
            deadline, key = heappop(heap)
            if armed.get(key) == deadline:  # else an earlier deadline took its place
                del armed[key]
                return key
        return None
