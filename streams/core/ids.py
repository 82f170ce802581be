"""Deterministic ids: UUIDv5 of a name space and a name, so that a replayed log yields the same ids.

The name is a compact JSON array in UTF-8 (no spaces, only the escapes that JSON requires):

- a stage change: `["stage_changed",identified,customer,track,sequence,to_stage,occurred_at_ms]`
- a step of an abandonment: `["abandonment",identified,customer,kind,step1_deadline_ms,step]`
- what became of it: `["abandonment",identified,customer,kind,step1_deadline_ms,"recovered"]` (or retracted, expired)
"""

from __future__ import annotations

import json
import uuid
from functools import lru_cache
from hashlib import blake2b
from typing import Final

NAMESPACE: Final = uuid.UUID("6f1c2f0e-5f0b-5d0a-9c55-8f5d2b7a4c11")
"""The default name space; a setting may replace it."""

FINGERPRINT_BYTES: Final = 8


def _name(*parts: str | int | bool | None) -> str:
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":"))


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
    name = _name("stage_changed", identified, customer, track, sequence, to_stage, occurred_at)
    return str(uuid.uuid5(namespace, name))


def abandonment_id(
    namespace: uuid.UUID, identified: bool, customer: str, kind: str, step1_at: int, step_or_type: int | str
) -> str:
    """The id of an abandonment event; `step1_at` is the deadline of step 1 in ms, whatever `step_or_type`."""
    return str(uuid.uuid5(namespace, _name("abandonment", identified, customer, kind, step1_at, step_or_type)))


@lru_cache(maxsize=1)  # asked twice for each event: is it a duplicate, and note it
def fingerprint(event_id: str) -> bytes:
    """The hash under which an event id is remembered."""
    return blake2b(event_id.encode(), digest_size=FINGERPRINT_BYTES).digest()
