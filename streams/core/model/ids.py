"""Deterministic ids: UUIDv5 of a name space and a name, so that a replayed log yields the same ids.

The name is a compact JSON array in UTF-8 (no spaces, only the escapes that JSON requires):

- a stage change: `["stage_changed",identified,customer,track,sequence,to_stage,occurred_at_ms]`
- a step of an abandonment: `["abandonment",identified,customer,kind,step1_deadline_ms,step]`
- what became of it: `["abandonment",identified,customer,kind,step1_deadline_ms,"recovered"]` (or retracted, expired)
- a step of a trigger: `["trigger",identified,customer,trigger,begun_at_ms,number,step]`
- whose a device is: `["linked",anonymous_id,customer,occurred_at_ms]` (or switched, or refused)
- an erasure: `["erased",identified,customer,requested_at_ms]`

Which of the 100 buckets of a trigger a customer is in is the first 8 bytes (big-endian), modulo 100, of the SHA-1 of
the name space and `["holdout",identified,customer,trigger]`.
"""

from __future__ import annotations

import uuid
from functools import lru_cache
from hashlib import blake2b, sha1
from json.encoder import encode_basestring as _quoted
from typing import Any, Final

NAMESPACE: Final = uuid.UUID("6f1c2f0e-5f0b-5d0a-9c55-8f5d2b7a4c11")
"""The default name space; a setting may replace it."""

FINGERPRINT_BYTES: Final = 8


_quoted_name = lru_cache(maxsize=1024)(_quoted)


def _uuid5(namespace: uuid.UUID, name: str) -> str:
    """As `str(uuid.uuid5(namespace, name))`: RFC 9562 section 5.5, without the objects in between."""
    hashed = _begun(namespace).copy()
    hashed.update(name.encode())
    h = hashed.hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:32]}"


class _Begun:
    """The hash of the name space last used, to be gone on with: finding SHA-1 anew costs more than hashing a name."""

    def __init__(self) -> None:
        self.namespace: uuid.UUID | None = None
        self.hashed: Any = None


_LAST: Final = _Begun()


def _begun(namespace: uuid.UUID) -> Any:
    if _LAST.namespace is not namespace:
        _LAST.hashed = sha1(namespace.bytes, usedforsecurity=False)
        _LAST.namespace = namespace
    return _LAST.hashed


_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""What becomes of the digit that holds the variant: its two highest bits are 10."""


def stage_change_id(
    namespace: uuid.UUID,
    identified: bool,
    customer: str,
    track: str,
    sequence: int,
    to_stage: str | None,
    occurred_at: int,
) -> str:
    """The id of a stage change; `occurred_at` in ms."""
    target = "null" if to_stage is None else _quoted_name(to_stage)
    known = "true" if identified else "false"
    name = f'["stage_changed",{known},{_quoted(customer)},{_quoted_name(track)},{sequence},{target},{occurred_at}]'
    return _uuid5(namespace, name)


def abandonment_id(
    namespace: uuid.UUID, identified: bool, customer: str, kind: str, step1_at: int, step_or_type: int | str
) -> str:
    """The id of an abandonment event; `step1_at` is the deadline of step 1 in ms, whatever `step_or_type`."""
    last = _quoted(step_or_type) if isinstance(step_or_type, str) else str(step_or_type)
    known = "true" if identified else "false"
    return _uuid5(namespace, f'["abandonment",{known},{_quoted(customer)},{_quoted_name(kind)},{step1_at},{last}]')


def trigger_id(
    namespace: uuid.UUID, identified: bool, customer: str, trigger: str, begun_at: int, number: int, step: int
) -> str:
    """The id of a step (from 1) of a trigger that began at `begun_at`, ms, for the `number`th time."""
    known = "true" if identified else "false"
    name = f'["trigger",{known},{_quoted(customer)},{_quoted_name(trigger)},{begun_at},{number},{step}]'
    return _uuid5(namespace, name)


def link_id(namespace: uuid.UUID, type: str, anonymous_id: str, customer: str, occurred_at: int) -> str:
    """The id of a device that was linked to a customer, or switched to one, or refused to one, at a time in ms."""
    return _uuid5(namespace, f'["{type}",{_quoted(anonymous_id)},{_quoted(customer)},{occurred_at}]')


def erasure_id(namespace: uuid.UUID, identified: bool, customer: str, requested_at: int) -> str:
    """The id of the notice of an erasure that was asked for at a time in ms."""
    known = "true" if identified else "false"
    return _uuid5(namespace, f'["erased",{known},{_quoted(customer)},{requested_at}]')


def bucket(namespace: uuid.UUID, identified: bool, customer: str, trigger: str) -> int:
    """Which of 100 buckets of a trigger the customer is in: spread evenly, and for each trigger anew."""
    known = "true" if identified else "false"
    name = f'["holdout",{known},{_quoted(customer)},{_quoted_name(trigger)}]'
    hashed = _begun(namespace).copy()
    hashed.update(name.encode())
    return int.from_bytes(hashed.digest()[:8], "big") % 100


@lru_cache(maxsize=1)  # asked twice for each event: is it a duplicate, and note it
def fingerprint(event_id: str) -> bytes:
    """The hash under which an event id is remembered."""
    return blake2b(event_id.encode(), digest_size=FINGERPRINT_BYTES).digest()
