"""The results of the core: outputs, the effects of a call of the engine, and the content of a commit.

Outputs are immutable. `streams.contracts` encodes them for the wire, `streams.observe` counts them. Times are integer
milliseconds, amounts integer minor units of `currency`; quantities are in `PIECE`ths of a piece.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

import msgspec

from streams.core.model.abandonment import AbandonmentKind
from streams.core.model.counters import EngineCounters
from streams.core.model.event import Source
from streams.core.model.internal_messages import InternalMessage
from streams.core.model.items import Item
from streams.core.model.sources import StoredProgress, StoredRepartition

AbandonmentType = Literal["abandoned", "recovered", "retracted", "expired"]
IdentityType = Literal["linked", "switched", "refused", "erased"]


class Cause(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The cause of a stage change or a trigger.

    `activity` comes with rule and event, `inactivity` with rule and deadline, `merge` with rule and `merged` or with
    `merged_into`. `forgotten` is the end of the profile of a customer who was away for long, `erased` an erasure on
    request, `playbook` a new version of the playbook, under which the customer belongs to another stage.
    """

    kind: Literal["activity", "inactivity", "merge", "forgotten", "playbook", "erased"]
    rule: str | None = None
    event_id: str | None = None
    event_type: str | None = None
    deadline: int | None = None
    merged: tuple[str, ...] | None = None
    """The anonymous ids whose profiles were merged into this one."""
    merged_into: str | None = None
    """The customer that this anonymous profile was merged into. It is the last change of this profile."""


class Summary(msgspec.Struct, frozen=True, gc=False):
    """The `profile` of a stage change: the state of the customer right after the change."""

    first_seen_at: int
    last_seen_at: int
    sessions: int
    product_views: int
    orders: int
    revenue: int
    currency: str
    average_order_value: int | None
    cart_items: int
    """In `PIECE`ths of a piece."""
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
    """A step of an abandonment, or its end. `id == abandonment_id` for the `abandoned` output of step 1."""

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
    items_cut: bool
    """True if the cart held more lines than are kept. `value` is None then."""
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
    """A value that a playbook sends along with a trigger."""

    name: str
    kind: Literal["bool", "number", "money", "duration", "time", "text"]
    value: bool | int | float | str | None


class Triggered(msgspec.Struct, frozen=True, kw_only=True, tag="triggered", tag_field="output"):
    """A step of a trigger: a request to subscribers. With `held_out` it is not to be carried out (holdout)."""

    id: str
    customer: str
    identified: bool
    subscribed: bool | None
    trigger: str
    occurred_at: int
    begun_at: int
    number: int
    """Number of times, with this one, that the trigger has begun for this customer."""
    step: int
    steps: int
    bucket: int
    """The customer's bucket among the 100 of this trigger, from 0."""
    held_out: bool
    cause: Cause
    event_id: str | None
    event_type: str | None
    output_id: str | None
    """Id of the stage change or the abandonment that the trigger began with; None if it began with an event."""
    currency: str
    """Currency of the amounts in `data`."""
    data: tuple[Datum, ...]


class IdentityChange(msgspec.Struct, frozen=True, kw_only=True, tag="identity_change", tag_field="output", gc=False):
    """A change of identity.

    - `linked`: a device that had no owner became a customer's.
    - `switched`: a device of one customer became another customer's. Nothing was merged.
    - `refused`: a customer ordered the cart of a device that another customer owns. The device stays with its owner.
    - `erased`: everything that was stored about an id was erased.
    """

    id: str
    type: IdentityType
    customer: str
    identified: bool = True
    """False if `customer` is an anonymous id, which was erased."""
    occurred_at: int
    # linked, switched, refused
    anonymous_id: str | None = None
    """The device."""
    previous_customer: str | None = None
    """The former owner, in `switched`."""
    event_id: str | None = None
    event_type: str | None = None
    """Type of the event that linked, switched or was refused the device."""
    # refused
    owner: str | None = None
    """Owner of the device at that time; None if that customer was erased."""
    # erased
    request_id: str | None = None


Output = StageChange | Abandonment | Triggered | IdentityChange


Pending = Output | InternalMessage
"""An entry of a profile that waits for the commit."""


class Effects(msgspec.Struct):
    """The effects of one call of the engine other than its changes of the state."""

    outputs: list[Output]
    """Outputs to send at once, in this order. Outputs of deadlines are not among them: they wait for the commit."""
    counts: EngineCounters
    """Increments of counters, by (name, label)."""
    deadlines: list[int]
    """The deadlines (ms) that fired because of the watermark."""

    @classmethod
    def none(cls) -> Effects:
        return cls([], Counter(), [])


class EmissionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions under which outputs are withheld. Withheld outputs are counted, and state advances all the same."""

    emit_after: int | None = None
    """Outputs that occurred before it (ms) are withheld; None: always emit."""
    max_delay: int | None = None
    """Abandonments and triggers produced more than this after they occurred (ms) are withheld; None: no limit."""


class Snapshot(msgspec.Struct, frozen=True):
    """The content of one commit, in the order in which it is written.

    `changes` go to the changelog, then `outputs` and `messages`, then `positions` with
    `source_progress` and `repartition`. The outputs that earlier calls of the
    engine returned must be acknowledged before any of it.
    """

    commit: int
    changes: list[tuple[bytes, bytes | None]]
    outputs: list[Output]
    messages: list[InternalMessage]
    """Internal messages in the order of their numbers. Each is sent to the partition of its key, after `changes`."""
    positions: dict[Source, int]
    source_progress: dict[Source, StoredProgress]
    repartition: StoredRepartition | None
    """None if the task never received or sent anything through the repartition topic."""
    erasures: int = 0
    """Offset in the topic of erasure requests; every request before it is carried out."""
