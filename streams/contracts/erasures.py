"""Requests to erase a customer or a device: the records of `lifecycle-erasures`. `schemas/json/` describes each field.

Each request is written to every partition of the topic, since the data to erase may be on any of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from streams.contracts import identity, times
from streams.contracts.identity import Identifiers
from streams.contracts.partitioning import Partitioner
from streams.contracts.rejected import Rejected
from streams.core.model.sources import Erasure, RawRecord

MAX_BYTES: Final = 4096
"""Most bytes of a request."""
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""The id is logged, so it must not contain personal data, such as an address."""


class _Request(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    requested_at: str | int | float | None = None
    request_id: str | None = None
    customer_id: str | int | None = None
    anonymous_id: str | int | None = None


_DECODER: Final = msgspec.json.Decoder(_Request)


def encode(person: str, identified: bool, request_id: str, requested_at: int | None = None) -> bytes:
    """Return the value of a request. `person`: a customer id if `identified`, else an anonymous id.

    The request erases events up to the record's timestamp, or up to `requested_at`, ms, if that is earlier.
    """
    request = _Request(None if requested_at is None else times.text(requested_at), request_id)
    if identified:
        request.customer_id = person
    else:
        request.anonymous_id = person
    return msgspec.json.encode(request)


def decode_all(
    raw: Iterable[RawRecord],
    partition: int,
    partitioner: Partitioner,
    identifiers: Identifiers = identity.DEFAULT,
) -> tuple[list[Erasure], list[tuple[RawRecord, Rejected]]]:
    """Return the requests in a partition's records, and the records that are rejected, with their reasons.

    `identifiers`: the rules by which the ids of inputs are read.
    """
    requests: list[Erasure] = []
    rejections: list[tuple[RawRecord, Rejected]] = []
    for record in raw:
        try:
            requests.append(_decode(record, partition, partitioner, identifiers))
        except Rejected as rejected:
            rejections.append((record, rejected))
    return requests, rejections


def _decode(record: RawRecord, partition: int, partitioner: Partitioner, identifiers: Identifiers) -> Erasure:
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
    person, identified = _customer_id(request, identifiers)
    at = record.timestamp
    if request.requested_at is not None:
        try:
            requested_at = times.parse(request.requested_at)
        except ValueError as error:
            raise Rejected("invalid_time", f"requested_at: {error}") from None
        at = requested_at if at < 0 else min(requested_at, at)  # a clock may be ahead
    if at < 0:
        raise Rejected("missing_time", "requested_at: missing or before 1980, and the record has no timestamp")
    if request.request_id is None or not _REQUEST_ID.fullmatch(request.request_id):
        raise Rejected("invalid_field", "request_id: not 1 to 64 letters, digits, '.', '_' and '-'")
    return Erasure(person, identified, at, request.request_id, partitioner.partition(person.encode()) == partition)


def _customer_id(request: _Request, identifiers: Identifiers) -> tuple[str, bool]:
    customer_id, anonymous_id = request.customer_id, request.anonymous_id
    if customer_id is None and anonymous_id is None:
        raise Rejected("invalid_identity", "customer_id, anonymous_id: both missing")
    if customer_id is not None and anonymous_id is not None:
        raise Rejected("invalid_field", "customer_id, anonymous_id: one of them, not both")
    if customer_id is None:
        person = identifiers.of_other(str(anonymous_id))
    else:
        person = identifiers.of_customer(str(customer_id))
    if person is None:
        raise Rejected("invalid_identity", "customer_id, anonymous_id: none that names somebody")
    return person, customer_id is not None
