"""The records of the internal topic `<app>-activity`, on which a task forwards what belongs to another one.

A forwarded record keeps its key, value and headers, and has one header more that says where it was read, and when it
came there. A report is a record of its own, of what a task says of its sources. docs/operations.md describes the topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from streams.contracts.native import Decoder
from streams.contracts.rejected import Rejected
from streams.core.activity import Activity, Source
from streams.core.sources import Forwarded, Report

ORIGIN: Final = "lifecycle-origin"
PROGRESS: Final = "lifecycle-progress"


class _Origin(msgspec.Struct, frozen=True, array_like=True):
    """The value of the header of a forwarded record: where and when it was read, and what was forwarded before it."""

    source: int
    partition: int
    offset: int
    previous: int
    timestamp: int


_ORIGIN_DECODER: Final = msgspec.json.Decoder(_Origin)
_REPORT_DECODER: Final = msgspec.json.Decoder(list[Report])


def forwarding_header(source: Source, partition: int, offset: int, previous: int, timestamp: int) -> tuple[str, bytes]:
    """What is added to the headers of a record. `previous`: see `Forwarded`. `timestamp`: the record's own."""
    return ORIGIN, msgspec.json.encode(_Origin(source, partition, offset, previous, timestamp))


def encode_reports(reports: list[Report]) -> bytes:
    """The value of a report record, whose header is `PROGRESS`."""
    return msgspec.json.encode(reports)


class Reader:
    """Reads the records of one partition of the topic. The shell holds one per task."""

    def __init__(self, decoders: Mapping[Source, Decoder]) -> None:
        """`decoders` are those of the sources that are forwarded."""
        self._decoders = decoders

    def read(self, raw: Iterable[Any]) -> tuple[list[tuple[int, Forwarded | Report]], list[tuple[Any, Rejected]]]:
        """What is in the records, each with its offset in the topic, and the records that cannot be taken, with why.

        A forwarded record that cannot be read here, though its task could (it may be of another version), is in both:
        without activities in the former.
        """
        news: list[tuple[int, Forwarded | Report]] = []
        refused: list[tuple[Any, Rejected]] = []
        for record in raw:
            try:
                for one in self._read(record, refused):
                    news.append((record.offset, one))
            except Rejected as rejected:
                refused.append((record, rejected))
        return news, refused

    def _read(self, record: Any, refused: list[tuple[Any, Rejected]]) -> Iterable[Forwarded | Report]:
        for name, value in record.headers:
            if name == PROGRESS:
                try:
                    return _REPORT_DECODER.decode(record.value or b"")
                except msgspec.MsgspecError:
                    raise Rejected("invalid_field", f"the value of a record with header {PROGRESS}") from None
            if name == ORIGIN:
                try:
                    origin = _ORIGIN_DECODER.decode(value)
                    source = Source(origin.source)
                except (msgspec.MsgspecError, ValueError):
                    raise Rejected("invalid_field", f"header {ORIGIN}: not readable") from None
                if source not in self._decoders:
                    raise Rejected("wrong_partition", "forwarded, but its topic is declared well keyed here")
                activities: list[Activity] = []
                try:
                    activities.append(
                        self._decoders[source].decode(
                            record.value, partition=origin.partition, offset=origin.offset, timestamp=origin.timestamp
                        )
                    )
                except Rejected as rejected:
                    refused.append((record, rejected))
                return [Forwarded(source, origin.partition, origin.offset, origin.previous, activities)]
        raise Rejected("invalid_field", f"header {ORIGIN}: missing")
