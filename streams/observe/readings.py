"""Readings of tasks that the shell reports to the metrics, as frozen structs. Times are event times in ms, sizes in
bytes."""

from __future__ import annotations

import msgspec


class SourceReadings(msgspec.Struct, frozen=True):
    """Readings of one source of a task."""

    source: str
    progress: int | None
    """Source progress, None before the first event or fetch."""
    caught_up: bool
    backfilling: bool
    buffered_bytes: int


class RepartitionTaskReadings(msgspec.Struct, frozen=True):
    """Readings of a repartition task."""

    partition: int
    """Partition of the topic that it reads."""
    source: SourceReadings
    """Its buffered bytes are those that the task has forwarded ahead of the slowest source."""


class TaskReadings(msgspec.Struct, frozen=True):
    """Readings of a partition task. Deeply immutable, since the scrape reads them in another thread."""

    partition: int
    watermark: int | None
    blocked_by: str | None
    """The source, or the stream of internal messages, that blocks the watermark."""
    blocked_by_partition: int
    """The partition that blocks the watermark: this one, or an upstream partition."""
    repartition_buffered_bytes: int
    """Bytes of waiting repartitioned records and internal messages."""
    sources: tuple[SourceReadings, ...]
    timers: int
    aliases: int
    """Number of aliases: records of devices, carts and checkouts."""
    largest_profile_bytes: int
    population: tuple[tuple[str, int], ...]
    """Customers in each stage of the lifecycle track."""
    places: tuple[tuple[str, str, int], ...] = ()
    """Track, stage, and customers in it, of the other tracks."""
    erasures_waiting: int = 0
    """Erasure requests that the task has not carried out yet."""
    erasure_residue: int = 0
    """Erased customers of whom timers or files may still hold traces."""
