"""Counting sessions: runs of activity without a gap of `session_gap` or more."""

from __future__ import annotations

import msgspec


class Sessions(msgspec.Struct, array_like=True, gc=False):
    """How many sessions a customer had, and as much of the last two as activity out of order needs."""

    count: int = 0
    start: int = 0
    """Of the last session, ms."""
    end: int = 0
    """Of the last session so far, ms."""
    previous_end: int | None = None

    def note(self, at: int, gap: int) -> None:
        """Activity at `at` (ms), at most `lateness` older than the customer's newest event.

        As long as `lateness` is not larger than `gap`, the count ends as in time order.
        """
        if self.count == 0:
            self.count, self.start, self.end = 1, at, at
        elif at >= self.end + gap:
            self.count += 1
            self.start, self.end, self.previous_end = at, at, self.end
        elif at > self.end:
            self.end = at
        elif at < self.start:
            self._extend_back(at, gap)

    def _extend_back(self, at: int, gap: int) -> None:
        if self.previous_end is not None and at < self.previous_end + gap:
            self.count -= 1  # it closes the gap: the last two are one
            self.start, self.previous_end = self.previous_end, None
        else:
            self.start = at
