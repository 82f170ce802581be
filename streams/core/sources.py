"""What is known of a source from outside: how its owner says it behaves, what fetches showed, what was stored."""

from __future__ import annotations

from typing import Protocol

import msgspec

from streams.core.activity import Activity, Source
from streams.core.policy import MINUTE, SECOND


class RawRecord(Protocol):
    """A record as the consumer's parser yields it, without a wrapper of its own."""

    offset: int
    timestamp: int
    """ms"""
    key: bytes | None
    value: bytes | None


class SourceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How a source behaves, as its owner declares it (ms)."""

    delay: int = 5 * SECOND
    """What its pipeline takes from an event to its record."""
    backfill_idle: int = 10 * MINUTE
    """While it is being backfilled, being drained counts only after so long without a record."""


class Fetch(msgspec.Struct, frozen=True):
    """What the last successful fetch of a source's partition showed."""

    sent_at: int
    """When the request was sent, ms of the worker's clock."""
    end: int
    """The last stable offset the response showed."""


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """What is stored of a source with its committed offset, and restored from it."""

    progress: int | None = None
    backfilling: bool = False
    last_record_at: int = 0


class Forwarded(msgspec.Struct, frozen=True):
    """A record that another partition's task has forwarded here."""

    source: Source
    partition: int
    """Where it was read, of its source."""
    offset: int
    """And there, at which offset."""
    previous: int
    """The offset of what that task forwarded here before it; -1: all of that is known to be here."""
    activity: Activity | None
    """What it holds, with that offset; None if it cannot be read."""


class Report(msgspec.Struct, frozen=True):
    """What the task of an origin (a partition of a source) says of it."""

    source: Source
    partition: int
    covers: int
    """The offset of the last record that it had forwarded here; -1: all of them are known to be here."""
    progress: int | None
    """The time up to which the origin has spoken, ms; None: it never did."""
    drained_at: int | None
    """As of when it held nothing more, ms by the clock of that task; None: it may hold more."""
    slowest: int | None
    """The least progress of that task's sources, forwarded ones or not."""


class OriginMark(msgspec.Struct, frozen=True, array_like=True):
    """What is stored of an origin with the state, and restored from it."""

    number: int
    """See `streams.core.inputs.number_of`."""
    taken: int
    """The last of its offsets up to which all that it forwarded here is applied."""
    progress: int | None


class Arrivals(msgspec.Struct, frozen=True):
    """How far the activity topic is applied, to be stored with a commit."""

    position: int
    """The offset up to which everything in it is applied: what may be committed."""
    origins: list[OriginMark]
