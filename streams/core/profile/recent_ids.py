"""The event ids that a customer had lately: one `bytearray` of entries (fingerprint, i48 time, u16 type), newest last.

A dict would take ten times the memory, packed and unpacked. Beside the entries, a live profile holds their tags: the
first byte of each. A processor searches for one byte fastest, and the search rarely finds an id other than the one
wanted.

The type is the number of an event type (`type_number`), 0 where it does not matter. If two customers who had the same
event are merged, the count of that type can be taken back.
"""

from __future__ import annotations

import zlib
from typing import Final

from streams.core.model.ids import FINGERPRINT_BYTES

ENTRY_BYTES: Final = FINGERPRINT_BYTES + 8
_TIME_BYTES: Final = 6
_TYPES: Final = (1 << 13) - 1  # so that a stamp is a small integer to mypyc


def type_number(type_: str) -> int:
    """Return the number of an event type, to be added to a time. It never changes, and rarely equals another type's."""
    return (1 + zlib.crc32(type_.encode()) % _TYPES) << 8 * _TIME_BYTES


def tags_of(ids: bytearray) -> bytearray:
    """Return the tags of these entries."""
    return ids[::ENTRY_BYTES]


def find(tags: bytearray, ids: bytearray, fingerprint: bytes) -> int:
    """Return the place of an id, -1 if it is not known."""
    tag = fingerprint[0]
    if tag not in tags:  # most often; cheaper than `find`
        return -1
    place = tags.find(tag)
    while place >= 0:
        start = place * ENTRY_BYTES
        if ids[start : start + FINGERPRINT_BYTES] == fingerprint:
            return place
        place = tags.find(tag, place + 1)
    return -1


def seen_at(ids: bytearray, place: int) -> int:
    """Return the time, ms, of the event that was applied with the id at this place."""
    start = place * ENTRY_BYTES + FINGERPRINT_BYTES
    return int.from_bytes(ids[start : start + _TIME_BYTES], "little", signed=True)


def forget(tags: bytearray, ids: bytearray, place: int) -> None:
    """Remove the id at this place."""
    del tags[place], ids[place * ENTRY_BYTES : (place + 1) * ENTRY_BYTES]


def note(tags: bytearray, ids: bytearray, fingerprint: bytes, stamp: int, limit: int) -> None:
    """Add an id that is not known. Keep only the newest `limit` ids.

    `stamp`: time of the event, ms, plus the number of its type if that matters.
    """
    tags.append(fingerprint[0])
    ids += fingerprint + stamp.to_bytes(8, "little", signed=True)
    if len(tags) > limit:
        drop(tags, ids, len(tags) - limit)


def unite(ids: bytearray, others: bytearray, window: int, limit: int) -> tuple[bytearray, list[tuple[int, int]]]:
    """Return the ids of two customers in the order of their times, and the times and type numbers of the copies.

    If both had an id within `window` ms, the first is kept and the other is a copy.
    """
    entries = sorted([*_entries(ids), *_entries(others)])
    known: dict[bytes, int] = {}
    copies: list[tuple[int, int]] = []
    united: dict[bytes, bytes] = {}
    for at, fingerprint, entry in entries:
        first = known.get(fingerprint)
        if first is not None and at <= first + window:
            copies.append((at, int.from_bytes(entry[FINGERPRINT_BYTES:], "little", signed=True) - at))
            continue
        known[fingerprint] = at
        united.pop(fingerprint, None)
        united[fingerprint] = entry
    kept = list(united.values())
    return bytearray(b"".join(kept[max(0, len(kept) - limit) :])), copies


def _entries(ids: bytearray) -> list[tuple[int, bytes, bytes]]:
    found: list[tuple[int, bytes, bytes]] = []
    for place in range(len(ids) // ENTRY_BYTES):
        entry = bytes(ids[place * ENTRY_BYTES : (place + 1) * ENTRY_BYTES])
        found.append((seen_at(ids, place), entry[:FINGERPRINT_BYTES], entry))
    return found


def drop(tags: bytearray, ids: bytearray, number: int) -> None:
    """Remove the oldest `number` ids."""
    del tags[:number], ids[: number * ENTRY_BYTES]
