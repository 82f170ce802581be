"""Requests to erase somebody: the records of `lifecycle-erasures`. `schemas/json/` describes each field.

Each request is told to every partition of the topic, since what is to be erased may lie on any of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from streams.contracts import identity, times
from streams.contracts.partitioning import Partitioner
from streams.contracts.rejected import Rejected
from streams.core.model.sources import Erasure, RawRecord

MAX_BYTES: Final = 4096
"""Of a request."""
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""It is logged, so it is not to hold what names a person: an address, say."""


class _Request(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    requested_at: str | int | float | None = None
    request_id: str | None = None
    customer_id: str | int | None = None
    anonymous_id: str | int | None = None


_DECODER: Final = msgspec.json.Decoder(_Request)


def encode(person: str, identified: bool, request_id: str, requested_at: int | None = None) -> bytes:
    """The value of a request; `person` is a customer id if `identified`, else an anonymous id. It counts from when the
    broker has it, or from `requested_at` (ms) if that is earlier."""
    request = _Request(None if requested_at is None else times.text(requested_at), request_id)
    if identified:
        request.customer_id = person
    else:
        request.anonymous_id = person
    return msgspec.json.encode(request)


def decode_all(
    raw: Iterable[RawRecord], partition: int, partitioner: Partitioner
) -> tuple[list[Erasure], list[tuple[RawRecord, Rejected]]]:
    """The requests in a partition's records, and the records that are none, with why."""
    requests: list[Erasure] = []
    refused: list[tuple[RawRecord, Rejected]] = []
    for record in raw:
        try:
            requests.append(_decode(record, partition, partitioner))
        except Rejected as rejected:
            refused.append((record, rejected))
    return requests, refused


def _decode(record: RawRecord, partition: int, partitioner: Partitioner) -> Erasure:
    value = record.value
    if value is None:
        raise Rejected("null_value", "the record has no value")
    if len(value) > MAX_BYTES:
        raise Rejected("too_large", f"{len(value)} bytes, more than {MAX_BYTES}")
    try:
        request = _DECODER.decode(value.decode())
    except UnicodeDecodeError as error:
        raise Rejected("not_utf8", f"invalid UTF-8 at byte {error.start}") from None
    except msgspec.ValidationError as error:
        of_a_field = "`$" in str(error) or "unknown field" in str(error)
        raise Rejected("invalid_field" if of_a_field else "not_object", str(error)) from None
    except msgspec.DecodeError as error:
        raise Rejected("not_json", str(error)) from None
    person, identified = _customer_id(request)
    at = record.timestamp
    if request.requested_at is not None:
        try:
            asked_at = times.parse(request.requested_at)
        except ValueError as error:
            raise Rejected("invalid_time", f"requested_at: {error}") from None
        at = asked_at if at < 0 else min(asked_at, at)  # a clock that is ahead asks no later than it is heard
    if at < 0:
        raise Rejected("missing_time", "requested_at: missing or before 1970, and the record has no timestamp")
    if request.request_id is None or not _REQUEST_ID.fullmatch(request.request_id):
        raise Rejected("invalid_field", "request_id: not 1 to 64 letters, digits, '.', '_' and '-'")
    return Erasure(person, identified, at, request.request_id, partitioner.partition(person.encode()) == partition)


def _customer_id(request: _Request) -> tuple[str, bool]:
    customer_id, anonymous_id = request.customer_id, request.anonymous_id
    if customer_id is None and anonymous_id is None:
        raise Rejected("no_identity", "customer_id, anonymous_id: both missing")
    if customer_id is not None and anonymous_id is not None:
        raise Rejected("invalid_field", "customer_id, anonymous_id: one of them, not both")
    person = str(anonymous_id if customer_id is None else customer_id)
    if not identity.names_somebody(person):
        raise Rejected("invalid_identity", "customer_id, anonymous_id: none that names somebody")
    return person, customer_id is not None
