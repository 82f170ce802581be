"""The records of the internal topic `<app>-activity`, on which a task hands on what belongs to another one.

Each has one header that says what it is: a record of a source that was forwarded as it is, a run of parts of records,
an item of a stream (`streams.core.engine.merge`), or a report, of what a task says of itself. The first three name what
was sent to the same partition before them, so that a gap is seen. docs/operations.md describes the topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from streams.contracts.native import Decoder
from streams.contracts.partitioning import Partitioner
from streams.contracts.rejected import Rejected
from streams.core.event_time.inputs import FIRST_MESSAGES, MESSAGE_STREAMS
from streams.core.identity.aliases import PART_BYTES, event_of_message, home_key, parts_of
from streams.core.model.event import CLAIM, EVENT, LINK, MOVED, SHOWN, Event, Source
from streams.core.model.internal_messages import EventPayload, InternalMessage
from streams.core.model.sources import ProgressReport, RepartitionedRecord
from streams.core.profile.codec import NewerVersion, unpack

ORIGIN: Final = "lifecycle-upstream"
PARTS: Final = "lifecycle-parts"
ITEM: Final = "lifecycle-message"
PROGRESS: Final = "lifecycle-progress"

News = RepartitionedRecord | ProgressReport
Refused = list[tuple[Any, Rejected]]
"""Records that cannot be taken, with why."""


class _Origin(msgspec.Struct, frozen=True, array_like=True):
    """The value of the header of a record that was sent in turn: where it comes from, and what was sent before it."""

    rank: int
    partition: int
    offset: int
    previous: int
    timestamp: int = 0
    """Of the record, where that was forwarded as it is."""


class _Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A part as it is in a run; see `streams.core.model.event.Event`."""

    offset: int
    at: int
    role: int
    customer: str
    other: str
    event_id: str
    event_type: str


class _Item(msgspec.Struct, frozen=True, array_like=True):
    """An item without what its header says; see `InternalMessage`."""

    role: int
    at: int
    customer: str
    other: str
    event_id: str | None
    event_type: str | None
    event: EventPayload | None
    moved: bytes | None


_ORIGINS: Final = msgspec.json.Decoder(_Origin)
_REPORTS: Final = msgspec.json.Decoder(list[ProgressReport])
_RUNS: Final = msgspec.json.Decoder(list[_Part])
_ITEMS: Final = msgspec.msgpack.Decoder(_Item)
_SOURCES: Final = frozenset(int(source) for source in Source)
_STREAMS: Final = frozenset(range(FIRST_MESSAGES, FIRST_MESSAGES + MESSAGE_STREAMS))
_ROLES: Final = frozenset({LINK, SHOWN, CLAIM})
_ITEM_ROLES: Final = frozenset({EVENT, LINK, MOVED})


def forwarding_header(source: Source, partition: int, offset: int, previous: int, timestamp: int) -> tuple[str, bytes]:
    """What is added to the headers of a record. `previous`: see `RepartitionedRecord`. `timestamp`: the record's
    own."""
    return ORIGIN, msgspec.json.encode(_Origin(source, partition, offset, previous, timestamp))


def encode_parts(
    source: Source, partition: int, previous: int, parts: Sequence[Event]
) -> tuple[tuple[str, bytes], bytes]:
    """The header and the value of a run of parts, in the order of their offsets. Its offset is that of the last."""
    header = _Origin(source, partition, parts[-1].offset, previous)
    run = [(part.offset, part.at, part.role, part.customer, part.other, part.event_id, part.type) for part in parts]
    return (PARTS, msgspec.json.encode(header)), msgspec.json.encode(run)


def encode_item(item: InternalMessage, partition: int, previous: int) -> tuple[tuple[str, bytes], bytes]:
    """The header and the value of an item that the task of a partition passes on."""
    header = _Origin(FIRST_MESSAGES + item.stream, partition, item.number, previous)
    value = _Item(item.role, item.at, item.customer, item.other, item.event_id, item.event_type, item.event, item.moved)
    return (ITEM, msgspec.json.encode(header)), msgspec.msgpack.encode(value)


def encode_reports(reports: list[ProgressReport]) -> bytes:
    """The value of a report record, whose header is `PROGRESS`."""
    return msgspec.json.encode(reports)


class RepartitionDecoder:
    """Reads the records of one partition of the topic. The shell holds one per task."""

    def __init__(
        self, decoders: Mapping[Source, Decoder], partition: int, partitioner: Partitioner, *, identity_resolution: bool
    ) -> None:
        """`decoders` are those of the sources whose records are forwarded. `linking`: parts are taken too."""
        self._decoders = decoders
        self._partition = partition
        self._partitioner = partitioner
        self._identity_resolution = identity_resolution

    def read(self, raw: Iterable[Any]) -> tuple[list[tuple[int, News]], Refused]:
        """What is in the records, each with its offset in the topic, and the records that cannot be taken, with why.

        What was sent in turn and cannot be read here, though its task could (it may be of another version), is in both:
        without activities in the former. Raises `NewerVersion` if a newer version packed a profile that moves.
        """
        news: list[tuple[int, News]] = []
        refused: Refused = []
        for record in raw:
            try:
                for one in self._read(record, refused):
                    news.append((record.offset, one))
            except Rejected as rejected:
                refused.append((record, rejected))
        return news, refused

    def _read(self, record: Any, refused: Refused) -> Iterable[News]:
        for name, value in record.headers:
            if name == PROGRESS:
                try:
                    return _REPORTS.decode(record.value or b"")
                except msgspec.MsgspecError:
                    raise Rejected("invalid_field", f"the value of a record with header {PROGRESS}") from None
            if name in (ORIGIN, PARTS, ITEM):
                return [self._in_turn(record, name, value, refused)]
        raise Rejected("invalid_field", f"header {ORIGIN}: missing")

    def _in_turn(self, record: Any, name: str, value: bytes, refused: Refused) -> RepartitionedRecord:
        try:
            origin = _ORIGINS.decode(value)
            known = origin.rank in (_STREAMS if name == ITEM else _SOURCES)
        except msgspec.MsgspecError:
            known = False
        if not known:
            raise Rejected("invalid_field", f"header {name}: not readable")
        if name != ORIGIN and not self._identity_resolution:
            raise Rejected("wrong_partition", "an identity message, but LIFECYCLE_IDENTITY_RESOLUTION is off here")
        if name == ORIGIN and Source(origin.rank) not in self._decoders:
            raise Rejected("wrong_partition", "forwarded, but its topic is declared co-partitioned here")
        activities: list[Event] = []
        try:
            read = {ORIGIN: self._forwarded, PARTS: _parts, ITEM: _item}[name]
            activities = list(read(record, origin))
        except Rejected as rejected:
            refused.append((record, rejected))
        except NewerVersion:  # not to be given up: an upgrade reads it
            raise
        except (msgspec.MsgspecError, ValueError):
            refused.append((record, Rejected("invalid_field", f"the value of a record with header {name}")))
        return RepartitionedRecord(origin.rank, origin.partition, origin.offset, origin.previous, activities)

    def _forwarded(self, record: Any, origin: _Origin) -> Iterator[Event]:
        activity = self._decoders[Source(origin.rank)].decode(
            record.value, partition=origin.partition, offset=origin.offset, timestamp=origin.timestamp
        )
        yield activity
        if self._identity_resolution:
            for part in parts_of(activity):
                if self._partitioner.partition(home_key(part)) == self._partition:
                    yield part


def _parts(record: Any, origin: _Origin) -> Iterator[Event]:
    source = Source(origin.rank)
    for part in _RUNS.decode(record.value or b""):
        if part.role not in _ROLES:
            raise ValueError(part.role)
        yield Event(
            source, part.offset, part.at, PART_BYTES, part.at, part.customer, False, part.event_id, part.event_type,
            role=part.role, other=part.other,
        )  # fmt: skip


def _item(record: Any, origin: _Origin) -> Iterator[Event]:
    item = _ITEMS.decode(record.value or b"")
    event, moved = item.event, item.moved
    held = event is not None, moved is not None
    if item.role not in _ITEM_ROLES or held != (item.role == EVENT, item.role == MOVED):
        raise ValueError(item.role)
    if event is not None and event.source not in _SOURCES:
        raise ValueError(event.source)
    if moved is not None:
        unpack(moved)  # raises what it says of what is no profile
    passed = InternalMessage(
        stream=origin.rank - FIRST_MESSAGES,
        number=origin.offset,
        cause=0,  # what it was caused by is its sender's to know
        offset=0,
        role=item.role,
        at=item.at,
        customer=item.customer,
        other=item.other,
        event_id=item.event_id,
        event_type=item.event_type,
        event=item.event,
        moved=item.moved,
    )
    yield event_of_message(passed, len(record.value))
