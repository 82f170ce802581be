"""Counting sessions: runs of activity without a gap of `session_gap` or more."""

from __future__ import annotations

from streams.core.parts import Sessions


def note(sessions: Sessions, at: int, gap: int) -> None:
    """Activity at `at` (ms), at most `lateness` older than the customer's newest event.

    As long as `lateness` is not larger than `gap`, the count ends as in time order.
    """
    if sessions.count == 0:
        sessions.count, sessions.start, sessions.end = 1, at, at
    elif at >= sessions.end + gap:
        sessions.count += 1
        sessions.previous_end, sessions.start, sessions.end = sessions.end, at, at
    elif at > sessions.end:
        sessions.end = at
    elif at < sessions.start:
        _extend_back(sessions, at, gap)


def _extend_back(sessions: Sessions, at: int, gap: int) -> None:
    if sessions.previous_end is not None and at < sessions.previous_end + gap:
        sessions.count -= 1  # it closes the gap: the last two are one
        sessions.start, sessions.previous_end = sessions.previous_end, None
    else:
        sessions.start = at
