"""Deterministic ids: UUIDv5 of a name space and a name, so that a replayed log yields the same ids.

The name is a compact JSON array in UTF-8 (no spaces, only the escapes that JSON requires):

- a stage change: `["stage_changed",identified,customer,track,sequence,to_stage,occurred_at_ms]`
- a step of an abandonment: `["abandonment",identified,customer,kind,step1_deadline_ms,step]`
- the end of an abandonment: `["abandonment",identified,customer,kind,step1_deadline_ms,"recovered"]` (or retracted,
  expired)
- a step of a trigger: `["trigger",identified,customer,trigger,begun_at_ms,occurrence,step]`
- an identity change of a device: `["linked",anonymous_id,customer,occurred_at_ms]` (or switched, refused)
- an erasure: `["erased",identified,customer,requested_at_ms]`

The bucket of a customer among the 100 of a trigger is the first 8 bytes (big-endian), modulo 100, of the SHA-1 of the
name space and `["holdout",identified,customer,trigger]`.
"""

from __future__ import annotations

import uuid
from functools import lru_cache
from hashlib import blake2b, sha1
from json.encoder import encode_basestring as _quoted
from typing import Any, Final

from streams.core.model.event import Event, Source

NAMESPACE: Final = uuid.UUID("6f1c2f0e-5f0b-5d0a-9c55-8f5d2b7a4c11")
"""The default name space; a setting may replace it."""

FINGERPRINT_BYTES: Final = 8
_CLICKSTREAM: Final = Source.CLICKSTREAM


_quoted_name = lru_cache(maxsize=1024)(_quoted)


def _uuid5(namespace: uuid.UUID, name: str) -> str:
    """Return `str(uuid.uuid5(namespace, name))` (RFC 9562 section 5.5) without the intermediate objects."""
    hashed = _namespace_hash(namespace).copy()
    hashed.update(name.encode())
    h = hashed.hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:32]}"


class _NamespaceHash:
    """SHA-1 state of the name space used last, to be copied: creating a SHA-1 object costs more than hashing a name."""

    def __init__(self) -> None:
        self.namespace: uuid.UUID | None = None
        self.hashed: Any = None


_LAST: Final = _NamespaceHash()


def _namespace_hash(namespace: uuid.UUID) -> Any:
    if _LAST.namespace is not namespace:
        _LAST.hashed = sha1(namespace.bytes, usedforsecurity=False)
        _LAST.namespace = namespace
    return _LAST.hashed


_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""Replacement of the digit that holds the variant: its two highest bits become 10."""


def stage_change_id(
    namespace: uuid.UUID,
    identified: bool,
    customer: str,
    track: str,
    sequence: int,
    to_stage: str | None,
    occurred_at: int,
) -> str:
    """Return the id of a stage change; `occurred_at` in ms."""
    target = "null" if to_stage is None else _quoted_name(to_stage)
    known = "true" if identified else "false"
    name = f'["stage_changed",{known},{_quoted(customer)},{_quoted_name(track)},{sequence},{target},{occurred_at}]'
    return _uuid5(namespace, name)


def abandonment_id(
    namespace: uuid.UUID, identified: bool, customer: str, kind: str, step1_at: int, step_or_type: int | str
) -> str:
    """Return the id of an abandonment output; `step1_at` is the deadline of step 1 in ms for every `step_or_type`."""
    last = _quoted(step_or_type) if isinstance(step_or_type, str) else str(step_or_type)
    known = "true" if identified else "false"
    return _uuid5(namespace, f'["abandonment",{known},{_quoted(customer)},{_quoted_name(kind)},{step1_at},{last}]')


def trigger_id(
    namespace: uuid.UUID, identified: bool, customer: str, trigger: str, begun_at: int, number: int, step: int
) -> str:
    """Return the id of a step (from 1) of a trigger that began at `begun_at`, ms, for the `number`th time."""
    known = "true" if identified else "false"
    name = f'["trigger",{known},{_quoted(customer)},{_quoted_name(trigger)},{begun_at},{number},{step}]'
    return _uuid5(namespace, name)


def link_id(namespace: uuid.UUID, type: str, anonymous_id: str, customer: str, occurred_at: int) -> str:
    """Return the id of the output that a device was linked, switched or refused to a customer; `occurred_at` in ms."""
    return _uuid5(namespace, f'["{type}",{_quoted(anonymous_id)},{_quoted(customer)},{occurred_at}]')


def erasure_id(namespace: uuid.UUID, identified: bool, customer: str, requested_at: int) -> str:
    """Return the id of the notice of an erasure; `requested_at` in ms."""
    known = "true" if identified else "false"
    return _uuid5(namespace, f'["erased",{known},{_quoted(customer)},{requested_at}]')


def bucket(namespace: uuid.UUID, identified: bool, customer: str, trigger: str) -> int:
    """Return the customer's bucket among the 100 of a trigger: evenly spread, and independent between triggers."""
    known = "true" if identified else "false"
    name = f'["holdout",{known},{_quoted(customer)},{_quoted_name(trigger)}]'
    hashed = _namespace_hash(namespace).copy()
    hashed.update(name.encode())
    return int.from_bytes(hashed.digest()[:8], "big") % 100


def fingerprint(event: Event) -> bytes:
    """Return the hash under which an event is remembered: copies of one event have the same.

    It is of the event id, the role and the type, and of the product of a click or the order of an order event. For tag
    managers give all events of a page one id, a browser's and a server's report of a purchase have one id, and some
    shops use the order's id. Then the time of the event tells apart what happened to the order.
    """
    event_id = event.event_id
    if event.source is _CLICKSTREAM:
        name = f"{event_id}\0{event.type}\0{event.product_id or ''}"
    else:
        at = event.at if event_id == event.order_id else ""
        name = f"{event_id}\0{event.type}\0{event.order_id or ''}\0{event.store or ''}\0{at}"
    return blake2b(name.encode(), digest_size=FINGERPRINT_BYTES).digest()
