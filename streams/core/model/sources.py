"""Data about sources that the engine gets from the shell: declared behaviour, fetches, reports of other tasks, and the
progress that is stored with commits."""

from __future__ import annotations

from typing import Final, NewType, Protocol

import msgspec

from streams.core.model.event import Event, Source
from streams.core.model.policy import MINUTE, SECOND

Rank = NewType("Rank", int)
"""The place of an input topic, or of a stream of internal messages, among the inputs of a task. Ties in time are broken
by it. Sources have the values of `Source`; the others are in `streams.core.event_time.inputs`."""

UpstreamId = NewType("UpstreamId", int)
"""Identity of an upstream partition. Made by `streams.core.event_time.inputs.upstream_id`; stored as an integer."""
NO_UPSTREAM: Final = UpstreamId(-1)
"""In the place of the id for an input that is no upstream partition."""

InputId = NewType("InputId", int)
"""Identity of an input of a task: an upstream partition, or a topic that the task reads itself. Made by
`streams.core.event_time.offset_gaps`; stored as an integer."""


def rank_of(source: Source) -> Rank:
    """Return the rank of a source."""
    return Rank(int(source))


class RawRecord(Protocol):
    """A record as the consumer's parser yields it. The protocol saves a wrapper object."""

    offset: int
    timestamp: int
    """ms"""
    key: bytes | None
    value: bytes | None


class SourceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Declared behaviour of a source. Times in ms."""

    delay: int = 5 * SECOND
    """Time that the source's pipeline takes from an event to its record."""
    backfill_idle: int = 10 * MINUTE
    """During a backfill the source counts as caught up only after this time without a record."""


class Fetch(msgspec.Struct, frozen=True):
    """The last successful fetch of a source's partition."""

    sent_at: int
    """Time at which the request was sent, ms of the worker's clock."""
    end: int
    """Last stable offset in the response."""


class StoredProgress(msgspec.Struct, frozen=True, array_like=True):
    """Progress of a source, stored with its committed offset and restored from it."""

    progress: int | None = None
    backfilling: bool = False
    last_record_at: int = 0


class RepartitionedRecord(msgspec.Struct, frozen=True):
    """A record of the repartition topic: an input record, parts of several, or an internal message."""

    rank: Rank
    """Rank of the source that it was read from, or of the stream of messages (`streams.core.event_time.inputs`)."""
    partition: int
    """Partition of the source where it was read. For a message, the task that sent it."""
    offset: int
    """Offset, in that partition, of the last record that it was made of. For a message, its number."""
    previous: int
    """Offset of what the sender sent here before this; -1: everything before this is known to be here."""
    events: list[Event]
    """The events and parts for this partition, with their offsets, in that order; empty if it cannot be decoded."""


class ProgressReport(msgspec.Struct, frozen=True):
    """Progress of an upstream partition (or of a stream of messages), reported by the task that reads it."""

    rank: Rank = msgspec.field(name="source")
    """See `RepartitionedRecord.rank`."""
    partition: int
    covers: int
    """Offset of the last record that was sent here before this report; -1: all of them are known to be here."""
    progress: int | None
    """Event time up to which the upstream partition is known, ms; None: nothing is known yet."""
    caught_up_at: int | None
    """Time as of which the upstream partition was caught up, ms by the clock of that task; None: it may hold more."""
    slowest: int | None
    """The least progress of that task's sources, including those that it does not forward."""


class Erasure(msgspec.Struct, frozen=True):
    """A request to erase everything that is stored about an id."""

    customer: str
    """A customer id if `identified`, else an anonymous id."""
    identified: bool
    at: int
    """Time of the request, ms. Later events of the id start a new profile."""
    request_id: str
    home: bool
    """True if profiles of the id live on this partition. Every partition gets every request."""


class StoredUpstream(msgspec.Struct, frozen=True, array_like=True):
    """Progress of an upstream partition, stored with the state and restored from it."""

    number: UpstreamId
    taken: int
    """Offset, in the upstream partition, up to which everything that it forwarded here is applied."""
    progress: int | None
    lost: bool = False
    """True if the next record need not follow on `taken`: records of the repartition topic could not be read."""


NOT_READ: Final = -1
"""Value of `StoredRepartition.position` while the repartition topic is not read."""


class StoredRepartition(msgspec.Struct, frozen=True):
    """Progress in the repartition topic, and of the messages sent to it, stored with a commit."""

    position: int
    """Offset up to which everything in the topic is applied, so that it may be committed. Or `NOT_READ`."""
    upstreams: list[StoredUpstream]
    numbers: list[int] = []
    """Number of the last message of this task, by stream."""
