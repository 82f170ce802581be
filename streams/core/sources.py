"""What is known of a source from outside: how its owner says it behaves, what fetches showed, what was stored."""

from __future__ import annotations

from typing import Protocol

import msgspec

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
