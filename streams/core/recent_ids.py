"""The event ids a customer had lately: one `bytearray` of entries (fingerprint, time), the newest last.

A dict would take ten times the memory, packed and unpacked. Beside the entries, a profile that is worked on holds their
tags, the first byte of each: looking for one byte is what processors are best at, and it finds hardly anything that is
not looked for.
"""

from __future__ import annotations

from typing import Final

from streams.core.ids import FINGERPRINT_BYTES

ENTRY_BYTES: Final = FINGERPRINT_BYTES + 8


def tags_of(ids: bytearray) -> bytearray:
    """The tags of these entries."""
    return ids[::ENTRY_BYTES]


def find(tags: bytearray, ids: bytearray, fingerprint: bytes) -> int:
    """The place of an id, -1 if it is not known."""
    tag = fingerprint[0]
    if tag not in tags:  # most often; and this asks for less than `find`
        return -1
    place = tags.find(tag)
    while place >= 0:
        start = place * ENTRY_BYTES
        if ids[start : start + FINGERPRINT_BYTES] == fingerprint:
            return place
        place = tags.find(tag, place + 1)
    return -1


def seen_at(ids: bytearray, place: int) -> int:
    """The time (ms) of the event that was applied with the id at this place."""
    start = place * ENTRY_BYTES + FINGERPRINT_BYTES
    return int.from_bytes(ids[start : start + 8], "little", signed=True)


def forget(tags: bytearray, ids: bytearray, place: int) -> None:
    """No longer remember the id at this place."""
    del tags[place], ids[place * ENTRY_BYTES : (place + 1) * ENTRY_BYTES]


def note(tags: bytearray, ids: bytearray, fingerprint: bytes, at: int, limit: int) -> None:
    """Remember that an event with this id was applied, which is not known; only the newest `limit` are kept."""
    tags.append(fingerprint[0])
    ids += fingerprint + at.to_bytes(8, "little", signed=True)
    if len(tags) > limit:
        drop(tags, ids, len(tags) - limit)


def drop(tags: bytearray, ids: bytearray, number: int) -> None:
    """Forget the oldest ones."""
    del tags[:number], ids[: number * ENTRY_BYTES]
