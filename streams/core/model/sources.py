"""What is known of a source from outside: how its owner says it behaves, what fetches showed, what was stored."""

from __future__ import annotations

from typing import Final, NewType, Protocol

import msgspec

from streams.core.model.event import Event
from streams.core.model.policy import MINUTE, SECOND

UpstreamId = NewType("UpstreamId", int)
"""Identity of an upstream partition. Made by `streams.core.event_time.inputs.upstream_number`; stored as an integer."""
NO_UPSTREAM: Final = UpstreamId(-1)
"""In the place of the id for an input that is no upstream partition."""


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


class StoredProgress(msgspec.Struct, frozen=True, array_like=True):
    """What is stored of a source with its committed offset, and restored from it."""

    progress: int | None = None
    backfilling: bool = False
    last_record_at: int = 0


class RepartitionedRecord(msgspec.Struct, frozen=True):
    """What a task has forwarded here, or passed on: a record of a source, parts of several, or an item of a stream."""

    rank: int
    """Of the source that it was read in, or of the stream (`streams.core.event_time.inputs`)."""
    partition: int
    """Of the source where it was read; of a stream, the task."""
    offset: int
    """And there, at which offset: that of the last one. Of an item its number."""
    previous: int
    """The offset of what that task sent here before it; -1: all of that is known to be here."""
    events: list[Event]
    """What it holds for this partition, with their offsets, in that order; none if it cannot be read."""


class ProgressReport(msgspec.Struct, frozen=True):
    """What the task of an origin (a partition of a source, or a stream) says of it."""

    rank: int = msgspec.field(name="source")
    """As of `RepartitionedRecord`."""
    partition: int
    covers: int
    """The offset of the last that it had sent here; -1: all of them are known to be here."""
    progress: int | None
    """The time up to which the origin has spoken, ms; None: it never did."""
    caught_up_at: int | None
    """As of when it held nothing more, ms by the clock of that task; None: it may hold more."""
    slowest: int | None
    """The least progress of that task's sources, forwarded ones or not."""


class Erasure(msgspec.Struct, frozen=True):
    """A request to erase all that is known of an id."""

    customer: str
    """A customer id if `identified`, else an anonymous id."""
    identified: bool
    at: int
    """When it was asked for, ms: later events of that id begin anew."""
    request_id: str
    home: bool
    """Whether profiles of that id live on this partition. Each request is told to every partition."""


class StoredUpstream(msgspec.Struct, frozen=True, array_like=True):
    """What is stored of an origin with the state, and restored from it."""

    number: UpstreamId
    taken: int
    """The last of its offsets up to which all that it forwarded here is applied."""
    progress: int | None
    lost: bool = False
    """What comes next need not follow on that: records of the activity topic could not be read."""


NOT_READ: Final = -1
"""In the place of a position: the activity topic is not read at present."""


class StoredRepartition(msgspec.Struct, frozen=True):
    """How far the activity topic is applied, and what was put on it, to be stored with a commit."""

    position: int
    """The offset up to which everything in it is applied: what may be committed. Or `NOT_READ`."""
    upstreams: list[StoredUpstream]
    numbers: list[int] = []
    """By stream, the last number that an item of this task was given."""
