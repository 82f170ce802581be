"""What a partition's state on disk consists of beside its records: written with them, so that a start reads no record.

Plain data; `streams.core.store.task_state` fills it and takes it in.
"""

from __future__ import annotations

import msgspec

VERSION = 1
"""Raised when the layout on disk changes: what has another version is not read."""


class DiskCheckpoint(msgspec.Struct, array_like=True):
    """The state of a partition as of one write to disk, without profiles and timers."""

    version: int
    note: bytes
    """The owner's, opaque here."""
    records: int
    scheduled: int
    """Profiles with a deadline to come."""
    population: dict[str, int]
    largest: int
    commit: int
    applied: list[int]
    recent: list[bytes]
    """The keys of the records of commits later than `recent_since`."""
    recent_since: int
    dirty: list[bytes]
    """Keys whose record has to be written to the changelog again."""
    graves: list[bytes]
    """Keys whose tombstone is owed to the changelog."""
    places: dict[str, dict[str, int]] = {}
    """Customers in each stage of each track beside the lifecycle."""
    aliases: int = 0
    marks: int = 0
    """Of who was erased (`streams.core.store.erasure_markers`)."""
    owed_marks: dict[bytes, bytes] = {}
    """Those that have to be written to the changelog again."""
    tombstones: list[bytes] = []
    """Keys of records that a staler one of a zombie followed: they have to be deleted again."""
    traces: list[bytes] = []
    """Marks of those of whom something may be left in the files, or among the timers."""


class UnknownVersion(ValueError):
    """It was written by another version of this program."""


_DECODER = msgspec.msgpack.Decoder(DiskCheckpoint)


def encode(checkpoint: DiskCheckpoint) -> bytes:
    """As it is stored."""
    return msgspec.msgpack.encode(checkpoint)


def decode(data: bytes) -> DiskCheckpoint:
    """What `encode` made. Raises `ValueError` for anything else."""
    checkpoint = _DECODER.decode(data)
    if checkpoint.version != VERSION:
        raise UnknownVersion(f"its format is {checkpoint.version}, not {VERSION}")
    return checkpoint
