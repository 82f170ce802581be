"""The event ids a customer had lately: one `bytearray` of entries (fingerprint, time), the newest last.

A dict would be faster to search at hundreds of entries, and takes ten times the memory, packed and unpacked.
"""

from __future__ import annotations

from typing import Final

from streams.core.ids import FINGERPRINT_BYTES

ENTRY_BYTES: Final = FINGERPRINT_BYTES + 8


def _find(ids: bytearray, fingerprint: bytes) -> int:
    position = ids.rfind(fingerprint)
    while position > 0 and position % ENTRY_BYTES:  # a match across entries, or in a time
        position = ids.rfind(fingerprint, 0, position + FINGERPRINT_BYTES - 1)
    return position


def seen_at(ids: bytearray, fingerprint: bytes) -> int | None:
    """The time (ms) of the event that was applied with this id, None if there was none."""
    position = _find(ids, fingerprint)
    if position < 0:
        return None
    return int.from_bytes(ids[position + FINGERPRINT_BYTES : position + ENTRY_BYTES], "little", signed=True)


def note(ids: bytearray, fingerprint: bytes, at: int, limit: int) -> None:
    """Remember that an event with this id was applied; only the newest `limit` are kept, in order of application."""
    position = _find(ids, fingerprint)
    if position >= 0:
        del ids[position : position + ENTRY_BYTES]
    ids += fingerprint + at.to_bytes(8, "little", signed=True)
    if len(ids) > limit * ENTRY_BYTES:
        del ids[: len(ids) - limit * ENTRY_BYTES]
