"""The fields of a packed profile behind its header (`codec`).

Fields are packed in their order. Append new ones with a default; never insert or remove one.
"""

from __future__ import annotations

import msgspec

from streams.core.model.abandonment import Episode, OpenAbandonment
from streams.core.model.aggregates import Aggregates
from streams.core.model.alias import Alias
from streams.core.model.cart import Cart
from streams.core.model.orders import Correction, Order
from streams.core.model.outputs import Pending
from streams.core.model.sessions import Sessions
from streams.core.model.sources import UpstreamId
from streams.core.model.tracks import TrackState
from streams.core.model.triggers import TriggerBook


class PackedFields(msgspec.Struct, array_like=True, gc=False):
    """The fields of `Profile`, without those in the header."""

    customer: str
    pending: list[Pending]
    of_upstreams: dict[UpstreamId, int] | None
    entered_at: int
    sequence: int
    cycle: int
    orders_in_stage: int
    tracks: list[TrackState] | None
    rules_due: int | None
    playbook_version: int
    playbook_tag: int
    weight: int
    first_seen_at: int
    last_seen_at: int
    last_activity_at: int | None
    event_ids: bytearray
    sessions: Sessions
    session_id: str | None
    session_id_at: int
    type_counts: dict[str, int]
    subscribed: bool | None
    subscribed_at: int
    signed_up: bool
    product_views: int
    checkouts: int
    reviews: int
    referrals: int
    orders: int
    revenue: int
    currency: str | None
    other_currency_orders: int
    last_order_at: int | None
    dropped_order_at: int | None
    order_book: dict[str, Order]
    order_notes: dict[str, list[Correction]]
    cart: Cart
    episode: Episode | None
    awaits_step1: bool
    latest: OpenAbandonment | None
    recent_steps: list[int]
    aggregates: Aggregates | None
    triggers: TriggerBook | None
    erased_at: int = -1
    first_dropped_at: int | None = None
    renewals_in_stage: int = 0
    kind_since: int = 0


class PackedAlias(msgspec.Struct, array_like=True, gc=False):
    """The fields of an alias, without those in the header."""

    customer: str
    pending: list[Pending]
    of_upstreams: dict[UpstreamId, int] | None
    alias: Alias
    erased_at: int
