"""Records of the repartition topic `<app>-activity`, through which tasks send records and messages to each other.

The header of a record names its sort: a record of a source, forwarded as it is; a run of parts of records; an internal
message (`streams.core.engine.merge`); or a report of a task's progress. The header of the first three also names the
offset of what was sent to the same partition before, so that a gap is detected. docs/operations.md describes the topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from streams.contracts.native import Decoder
from streams.contracts.partitioning import Partitioner
from streams.contracts.rejected import Rejected
from streams.core.event_time.inputs import FIRST_MESSAGES, MESSAGE_STREAMS, message_rank
from streams.core.identity.aliases import PART_BYTES, event_of_message, home_key, parts_of
from streams.core.model.event import CLAIM, EVENT, LINK, MOVED, SHOWN, Event, Source
from streams.core.model.internal_messages import EventPayload, InternalMessage
from streams.core.model.sources import InputId, ProgressReport, Rank, RepartitionedRecord, rank_of
from streams.core.profile.codec import NewerVersion, unpack

UPSTREAM: Final = "lifecycle-upstream"
PARTS: Final = "lifecycle-parts"
MESSAGE: Final = "lifecycle-message"
PROGRESS: Final = "lifecycle-progress"

News = RepartitionedRecord | ProgressReport
Rejections = list[tuple[Any, Rejected]]
"""Records that are rejected, with their reasons."""


class _Upstream(msgspec.Struct, frozen=True, array_like=True):
    """The value of the header of a record that was sent in sequence: its upstream partition and its predecessor."""

    rank: Rank
    partition: int
    offset: int
    previous: int
    timestamp: int = 0
    """Timestamp of the record, ms, if it was forwarded as it is."""


class _Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A part of a record in a run of parts: see `streams.core.model.event.Event`."""

    offset: int
    at: int
    role: int
    customer: str
    other: str
    event_id: str
    event_type: str


class _Message(msgspec.Struct, frozen=True, array_like=True):
    """An internal message without the content of its header: see `InternalMessage`."""

    role: int
    at: int
    customer: str
    other: str
    event_id: str | None
    event_type: str | None
    event: EventPayload | None
    moved: bytes | None


_UPSTREAM_DECODER: Final = msgspec.json.Decoder(_Upstream)
_REPORTS_DECODER: Final = msgspec.json.Decoder(list[ProgressReport])
_PARTS_DECODER: Final = msgspec.json.Decoder(list[_Part])
_MESSAGE_DECODER: Final = msgspec.msgpack.Decoder(_Message)
_RANKS: Final = tuple([rank_of(source) for source in Source])
_SOURCES: Final = frozenset(_RANKS)
_STREAMS: Final = frozenset(range(FIRST_MESSAGES, FIRST_MESSAGES + MESSAGE_STREAMS))
_PART_ROLES: Final = frozenset({LINK, SHOWN, CLAIM})
_MESSAGE_ROLES: Final = frozenset({EVENT, LINK, MOVED})


def forwarding_header(source: Source, partition: int, offset: int, previous: int, timestamp: int) -> tuple[str, bytes]:
    """Return the header that is added to a forwarded record. `previous`: see `RepartitionedRecord`. `timestamp`: the
    record's, ms."""
    return UPSTREAM, msgspec.json.encode(_Upstream(_RANKS[source], partition, offset, previous, timestamp))


def encode_parts(
    source: Source, partition: int, previous: int, parts: Sequence[Event]
) -> tuple[tuple[str, bytes], bytes]:
    """Return the header and the value of a run of parts, in the order of their offsets.

    The offset of the run is that of its last part.
    """
    header = _Upstream(_RANKS[source], partition, parts[-1].offset, previous)
    run = [(part.offset, part.at, part.role, part.customer, part.other, part.event_id, part.type) for part in parts]
    return (PARTS, msgspec.json.encode(header)), msgspec.json.encode(run)


def encode_message(message: InternalMessage, partition: int, previous: int) -> tuple[tuple[str, bytes], bytes]:
    """Return the header and the value of an internal message. `partition`: of the task that sends it."""
    header = _Upstream(message_rank(message.stream), partition, message.number, previous)
    value = _Message(
        message.role, message.at, message.customer, message.other, message.event_id, message.event_type, message.event,
        message.moved,
    )  # fmt: skip
    return (MESSAGE, msgspec.json.encode(header)), msgspec.msgpack.encode(value)


def encode_reports(reports: list[ProgressReport]) -> bytes:
    """Return the value of a record of progress reports, whose header is `PROGRESS`."""
    return msgspec.json.encode(reports)


class RepartitionDecoder:
    """Decodes the records of one partition of the repartition topic. The shell has one per task."""

    def __init__(
        self, decoders: Mapping[Source, Decoder], partition: int, partitioner: Partitioner, *, identity_resolution: bool
    ) -> None:
        """`decoders`: of the sources whose records are forwarded. Parts and messages are read only with
        `identity_resolution`."""
        self._decoders = decoders
        self._partition = partition
        self._partitioner = partitioner
        self._identity_resolution = identity_resolution

    def read(self, raw: Iterable[Any]) -> tuple[list[tuple[int, News]], Rejections]:
        """Return the content of the records, each with its offset in the topic, and the rejected records.

        A record that was sent in sequence and cannot be read here, although its sender could (which may be of another
        version), is in both: without events in the former. Raises `NewerVersion` if a newer version packed a profile
        that is to be merged.
        """
        news: list[tuple[int, News]] = []
        rejections: Rejections = []
        for record in raw:
            try:
                for content in self._read(record, rejections):
                    news.append((record.offset, content))
            except Rejected as rejected:
                rejections.append((record, rejected))
        return news, rejections

    def _read(self, record: Any, rejections: Rejections) -> Iterable[News]:
        for name, value in record.headers:
            if name == PROGRESS:
                try:
                    return _REPORTS_DECODER.decode(record.value or b"")
                except msgspec.MsgspecError:
                    raise Rejected("invalid_field", f"the value of a record with header {PROGRESS}") from None
            if name in (UPSTREAM, PARTS, MESSAGE):
                return [self._read_in_sequence(record, name, value, rejections)]
        raise Rejected("invalid_field", f"header {UPSTREAM}: missing")

    def _read_in_sequence(self, record: Any, name: str, value: bytes, rejections: Rejections) -> RepartitionedRecord:
        try:
            upstream = _UPSTREAM_DECODER.decode(value)
            known = upstream.rank in (_STREAMS if name == MESSAGE else _SOURCES)
        except msgspec.MsgspecError:
            known = False
        if not known:
            raise Rejected("invalid_field", f"header {name}: not readable")
        if name != UPSTREAM and not self._identity_resolution:
            raise Rejected("wrong_partition", "an identity message, but LIFECYCLE_IDENTITY_RESOLUTION is off here")
        if name == UPSTREAM and Source(upstream.rank) not in self._decoders:
            raise Rejected("wrong_partition", "forwarded, but its topic is declared co-partitioned here")
        events: list[Event] = []
        try:
            read = {UPSTREAM: self._forwarded, PARTS: _parts, MESSAGE: _message}[name]
            events = list(read(record, upstream))
        except Rejected as rejected:
            rejections.append((record, rejected))
        except NewerVersion:  # must not become a dead letter: an upgraded worker reads it
            raise
        except (msgspec.MsgspecError, ValueError):
            rejections.append((record, Rejected("invalid_field", f"the value of a record with header {name}")))
        return RepartitionedRecord(upstream.rank, upstream.partition, upstream.offset, upstream.previous, events)

    def _forwarded(self, record: Any, upstream: _Upstream) -> Iterator[Event]:
        event = self._decoders[Source(upstream.rank)].decode(
            record.value, partition=upstream.partition, offset=upstream.offset, timestamp=upstream.timestamp
        )
        yield event
        if self._identity_resolution:
            for part in parts_of(event):
                if self._partitioner.partition(home_key(part)) == self._partition:
                    yield part


def _parts(record: Any, upstream: _Upstream) -> Iterator[Event]:
    source = Source(upstream.rank)
    for part in _PARTS_DECODER.decode(record.value or b""):
        if part.role not in _PART_ROLES:
            raise ValueError(part.role)
        yield Event(
            source, part.offset, part.at, PART_BYTES, part.at, part.customer, False, part.event_id, part.event_type,
            role=part.role, other=part.other,
        )  # fmt: skip


def _message(record: Any, upstream: _Upstream) -> Iterator[Event]:
    content = _MESSAGE_DECODER.decode(record.value or b"")
    event, moved = content.event, content.moved
    has = event is not None, moved is not None
    if content.role not in _MESSAGE_ROLES or has != (content.role == EVENT, content.role == MOVED):
        raise ValueError(content.role)
    if event is not None and event.source not in _SOURCES:
        raise ValueError(event.source)
    if moved is not None:
        unpack(moved)  # raises its errors if this is not a profile
    message = InternalMessage(
        stream=upstream.rank - FIRST_MESSAGES,
        number=upstream.offset,
        cause=InputId(0),  # only the sender knows the cause
        offset=0,
        role=content.role,
        at=content.at,
        customer=content.customer,
        other=content.other,
        event_id=content.event_id,
        event_type=content.event_type,
        event=content.event,
        moved=content.moved,
    )
    yield event_of_message(message, len(record.value))
