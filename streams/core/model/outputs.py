"""What the core gives back: frozen facts. Encoded for the wire by `streams.contracts`, counted by `streams.observe`.

Times are integer milliseconds, amounts integer minor units (`currency` tells of which).
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

import msgspec

from streams.core.model.event import Source
from streams.core.model.parts import AbandonmentKind, EventPayload, Item
from streams.core.model.sources import StoredProgress, StoredRepartition

AbandonmentType = Literal["abandoned", "recovered", "retracted", "expired"]
IdentityType = Literal["linked", "switched", "refused", "erased"]


class Cause(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why a stage changed: `activity` (with rule and event), `inactivity` (with rule and deadline), `forgotten`,
    `merge` (with rule and `merged`, or with `merged_into`), `erased` on request, or `playbook`: another version of it,
    under which the customer belongs elsewhere."""

    kind: Literal["activity", "inactivity", "merge", "forgotten", "playbook", "erased"]
    rule: str | None = None
    event_id: str | None = None
    event_type: str | None = None
    deadline: int | None = None
    merged: tuple[str, ...] | None = None
    """The anonymous ids whose profiles were merged into this one."""
    merged_into: str | None = None
    """The customer whose this anonymous profile turned out to be. It is the last change of this one."""


class Summary(msgspec.Struct, frozen=True, gc=False):
    """The `profile` of a stage change: the customer as of the change."""

    first_seen_at: int
    last_seen_at: int
    sessions: int
    product_views: int
    orders: int
    revenue: int
    currency: str
    average_order_value: int | None
    cart_items: int
    cart_value: int | None


class StageChange(msgspec.Struct, frozen=True, kw_only=True, tag="stage_changed", tag_field="output", gc=False):
    """A customer entered, moved between or left stages of a track."""

    id: str
    customer: str
    identified: bool
    subscribed: bool | None
    track: str
    from_stage: str | None
    to_stage: str | None
    occurred_at: int
    sequence: int
    cycle: int
    cause: Cause
    previous_stage_ms: int | None
    profile: Summary


class Abandonment(msgspec.Struct, frozen=True, kw_only=True, tag="abandonment", tag_field="output", gc=False):
    """An abandonment, or what became of one. `id == abandonment_id` for the `abandoned` event of step 1."""

    id: str
    type: AbandonmentType
    kind: AbandonmentKind
    abandonment_id: str
    customer: str
    identified: bool
    subscribed: bool | None
    step: int
    steps: int
    occurred_at: int
    last_activity_at: int
    episode_started_at: int
    items: tuple[Item, ...]
    value: int | None
    currency: str | None
    cart_id: str | None
    checkout_id: str | None
    session_id: str | None
    supersedes: str | None
    recent_abandonments: int
    # recovered
    order_id: str | None = None
    order_total: int | None = None
    order_currency: str | None = None
    recovered_after_ms: int | None = None
    match: Literal["cart", "checkout", "items", "customer"] | None = None
    # retracted
    reason: Literal["late_order", "late_activity", "merge"] | None = None


class Datum(msgspec.Struct, frozen=True, array_like=True):
    """Something that a playbook sends along with a trigger."""

    name: str
    kind: Literal["bool", "number", "money", "duration", "time", "text"]
    value: bool | int | float | str | None


class Triggered(msgspec.Struct, frozen=True, kw_only=True, tag="triggered", tag_field="output"):
    """A trigger asks for something to be done for a customer, or says that it would have (`held_out`)."""

    id: str
    customer: str
    identified: bool
    subscribed: bool | None
    trigger: str
    occurred_at: int
    begun_at: int
    number: int
    """Counted from 1: which of the times that this trigger has begun for this customer."""
    step: int
    steps: int
    bucket: int
    """Of 100: which one of this trigger the customer is in."""
    held_out: bool
    cause: Cause
    event_id: str | None
    event_type: str | None
    output_id: str | None
    """What it was begun by: an event, a stage change or an abandonment."""
    currency: str
    """Of amounts in `data`."""
    data: tuple[Datum, ...]


class IdentityChange(msgspec.Struct, frozen=True, kw_only=True, tag="identity_change", tag_field="output", gc=False):
    """A device came to be a customer's (`linked`), or another one's (`switched`: nothing was merged); or it did not,
    though they ordered what it had in its cart, since it is somebody else's (`refused`); or all that was known of an id
    was `erased`."""

    id: str
    type: IdentityType
    customer: str
    identified: bool = True
    """False where an anonymous id was erased: then `customer` is that."""
    occurred_at: int
    # linked, switched, refused
    anonymous_id: str | None = None
    """The device."""
    previous_customer: str | None = None
    """Whose it was before. Of `switched`."""
    event_id: str | None = None
    event_type: str | None = None
    """What showed whose it is."""
    # refused
    owner: str | None = None
    """Whose the device was at that time; None: somebody's who was erased."""
    # erased
    request_id: str | None = None


Output = StageChange | Abandonment | Triggered | IdentityChange


class InternalMessage(msgspec.Struct, frozen=True, kw_only=True, tag="passed", tag_field="output"):
    """An item of a stream: what a record means for a key of a higher level, wherever that lives.

    It waits for the commit with the key whose record it is, like the outputs of deadlines: so, whoever crashes when, it
    is sent, under one number.
    """

    stream: int
    number: int
    """Of this task's in that stream, ascending; -1: of a flush that was cut, to be numbered when its record is read
    again."""
    cause: int
    """The input that its record came by (see `streams.core.identity.aliases.cause_of`)"""
    offset: int
    """and there, at which offset."""
    role: int
    """See `streams.core.model.event`: a `LINK`, an `EVENT`, or `MOVED`."""
    at: int
    customer: str
    """Whom it is for: the device, of a `LINK`; else the customer."""
    other: str
    """The other one of the two."""
    event_id: str | None = None
    event_type: str | None = None
    """Of a `LINK`: what has shown it."""
    event: EventPayload | None = None
    moved: bytes | None = None
    """The packed profile."""


Pending = Output | InternalMessage
"""What waits for the commit in a profile."""


class Effects(msgspec.Struct):
    """What one call of the engine did, beside changing its state."""

    outputs: list[Output]
    """To be sent at once, in this order. Outputs of deadlines are not among them: they wait for the commit."""
    counts: Counter[tuple[str, str]]
    """What to add to counters, by (name, label): `streams.core.engine.partition_engine` lists the names."""
    deadlines: list[int]
    """The deadlines (ms) that the watermark made fire."""

    @classmethod
    def none(cls) -> Effects:
        return cls([], Counter(), [])


class EmissionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Which outputs leave. Withheld ones are counted, and state advances all the same."""

    emit_after: int | None = None
    """Outputs that occurred before it (ms) are withheld; None: always emit."""
    max_delay: int | None = None
    """Abandonments produced later than this after they occurred (ms) are withheld; None: no limit."""


class Snapshot(msgspec.Struct, frozen=True):
    """What one commit writes, in this order: `changes` to the changelog, then `outputs`, then `positions` with `marks`.

    The outputs of activities that the engine returned before must be acknowledged before any of it.
    """

    commit: int
    changes: list[tuple[bytes, bytes | None]]
    outputs: list[Output]
    messages: list[InternalMessage]
    """Items, in the order of their numbers: each is sent to the partition of its key, behind `changes`."""
    positions: dict[Source, int]
    marks: dict[Source, StoredProgress]
    arrivals: StoredRepartition | None
    """None if nothing was ever forwarded or passed on."""
    erasures: int = 0
    """Of the topic of erasure requests: everything before it is done."""
