"""The state of a partition on disk beside its records, written together with them.

It saves a start from reading all records.

Plain data. `streams.core.store.task_state` makes and reads it.
"""

from __future__ import annotations

import msgspec

VERSION = 1
"""Raised when the layout on disk changes. Another version is not read."""


class DiskCheckpoint(msgspec.Struct, array_like=True):
    """The state of a partition as of one write to disk, without profiles and timers."""

    version: int
    note: bytes
    """The owner's note, opaque here."""
    records: int
    """Profiles and aliases."""
    scheduled: int
    """Profiles with a deadline."""
    population: dict[str, int]
    largest: int
    commit: int
    applied: list[int]
    recent: list[bytes]
    """Keys of the records of commits later than `recent_since`."""
    recent_since: int
    changed: list[bytes]
    """Keys whose record has to be written to the changelog again."""
    pending_tombstones: list[bytes]
    """Keys of forgotten profiles whose tombstone has to be written to the changelog."""
    places: dict[str, dict[str, int]]
    """Customers in each stage of each track other than the lifecycle."""
    aliases: int
    markers: int
    """Number of erasure markers (`streams.core.store.erasure_markers`)."""
    owed_markers: dict[bytes, bytes]
    """Erasure markers that have to be written to the changelog again."""
    repeated_tombstones: list[bytes]
    """Keys whose tombstone has to be written again, since an older record of a stale owner followed it."""
    residue: list[bytes]
    """Keys of the erasure markers of customers who may have left traces in the files or among the timers."""


class UnknownVersion(ValueError):
    """The checkpoint was written by another version of this program."""


def empty() -> DiskCheckpoint:
    """Return the checkpoint of a state without records."""
    return DiskCheckpoint(VERSION, b"", 0, 0, {}, 0, 0, [], [], 0, [], [], {}, 0, 0, {}, [], [])


_DECODER = msgspec.msgpack.Decoder(DiskCheckpoint)


def encode(checkpoint: DiskCheckpoint) -> bytes:
    """Return the checkpoint as it is stored."""
    return msgspec.msgpack.encode(checkpoint)


def decode(data: bytes) -> DiskCheckpoint:
    """Return the checkpoint that `encode` made. Raises `ValueError` for anything else."""
    checkpoint = _DECODER.decode(data)
    if checkpoint.version != VERSION:
        raise UnknownVersion(f"its format is {checkpoint.version}, not {VERSION}")
    return checkpoint
