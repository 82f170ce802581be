"""What the shell tells of a partition task, as plain frozen facts. Times are event times in ms, sizes in bytes."""

from __future__ import annotations

import msgspec


class SourceReadings(msgspec.Struct, frozen=True):
    """One source of a task."""

    source: str
    progress: int | None
    """The time up to which it has spoken, None if it never did."""
    drained: bool
    backfilling: bool
    buffered_bytes: int


class RepartitionTaskReadings(msgspec.Struct, frozen=True):
    """The reader of a partition of a topic that is read independently, as it stands."""

    partition: int
    """Of the topic."""
    source: SourceReadings
    """Its buffered bytes are those that it has forwarded ahead of the slowest source."""


class TaskReadings(msgspec.Struct, frozen=True):
    """A task as it stands. Immutable through and through, since the scrape reads it in another thread."""

    partition: int
    watermark: int | None
    blocked_by: str | None
    """The source, or the stream of items, that holds the watermark."""
    blocked_by_partition: int
    """Whose task holds the watermark: this one, or one that sends to it."""
    repartition_buffered_bytes: int
    """What others forwarded here that waits."""
    sources: tuple[SourceReadings, ...]
    timers: int
    aliases: int
    """Devices, carts and checkouts of which it is known whose they are."""
    largest_profile_bytes: int
    population: tuple[tuple[str, int], ...]
    """Customers in each stage of the lifecycle track."""
    places: tuple[tuple[str, str, int], ...] = ()
    """Track, stage, and customers in it, of further tracks."""
    erasures_waiting: int = 0
    """Requests to erase somebody that were not read."""
    erasure_residue: int = 0
    """Erased customers of whom timers or files may hold something yet."""
