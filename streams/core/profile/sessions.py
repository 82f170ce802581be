"""Counting sessions: runs of activity without a gap of `session_gap` or more.

A number alone is not enough to count sessions if activity comes late, or if two customers are merged. So the newest
`KEPT` sessions are kept as intervals: within them the count is exact, whatever the order of arrival. The last one is in
plain fields. Those before it are packed in `Sessions.earlier`, newest first, each as

    u40 gap to the session after it, ms | u32 length, ms

little-endian. Sessions before a gap of more than 34 years are not kept, and a session longer than 49 days is cut to
that.
"""

from __future__ import annotations

import struct
from typing import Final

from streams.core.model.sessions import Sessions

KEPT: Final = 16
_ENTRY: Final = struct.Struct("<IBI")  # the gap in two parts
_ENTRY_BYTES: Final = _ENTRY.size
_MOST_BYTES: Final = (KEPT - 1) * _ENTRY_BYTES
_WIDEST: Final = (1 << 40) - 1
_LONGEST: Final = (1 << 32) - 1

Span = tuple[int, int]
"""Start and end of a session, ms."""


def note(sessions: Sessions, at: int, gap: int) -> None:
    """Count activity at `at`, ms, in any order. Activity older than the sessions that are kept changes nothing."""
    if sessions.count == 0:
        sessions.count, sessions.start, sessions.end = 1, at, at
    elif at >= sessions.end + gap:
        sessions.earlier = _before(sessions.start, sessions.end, at, sessions.earlier)
        sessions.count += 1
        sessions.start = sessions.end = at
    elif at > sessions.end:
        sessions.end = at
    elif at < sessions.start:
        kept = spans(sessions)
        if at > kept[-1][0] - gap or len(kept) == sessions.count:
            _keep(sessions, sessions.count - len(kept), [*kept, (at, at)], gap)


def unite(sessions: Sessions, others: Sessions, gap: int) -> None:
    """Add another customer's sessions. Sessions that overlap, or are within `gap` ms of each other, become one.

    The count is exact if neither has had more than `KEPT` sessions. Else sessions that are no longer kept count as
    separate ones.
    """
    kept, more = spans(sessions), spans(others)
    if more:
        _keep(sessions, sessions.count + others.count - len(kept) - len(more), kept + more, gap)


def spans(sessions: Sessions) -> list[Span]:
    """Return the sessions that are kept, newest first."""
    if sessions.count == 0:
        return []
    start, packed = sessions.start, sessions.earlier
    found = [(start, sessions.end)]
    for low, high, length in _ENTRY.iter_unpack(packed):
        end = start - (high << 32 | low)
        start = end - length
        found.append((start, end))
    return found


def _keep(sessions: Sessions, lost: int, found: list[Span], gap: int) -> None:
    """Set the sessions to those in `found`, joined where they are one, and `lost` older ones that are not kept."""
    joined: list[Span] = []
    for start, end in sorted(found):
        if joined and start < joined[-1][1] + gap:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    sessions.count = lost + len(joined)
    sessions.start, sessions.end = joined[-1]
    packed = b""
    for n in range(max(1, len(joined) - KEPT + 1), len(joined)):
        packed = _before(joined[n - 1][0], joined[n - 1][1], joined[n][0], packed)
    sessions.earlier = packed


def _before(start: int, end: int, next_start: int, earlier: bytes) -> bytes:
    """Return, packed, a session before one that began at `next_start`, and as many before it as are kept."""
    gap = next_start - end
    if gap > _WIDEST:
        return b""
    packed = _ENTRY.pack(gap & 0xFFFFFFFF, gap >> 32, min(end - start, _LONGEST))
    return packed + earlier[: _MOST_BYTES - _ENTRY_BYTES]
