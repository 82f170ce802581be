"""A packed profile behind its header: how `packing` reads it.

Fields are packed in their order: append new ones with a default, never insert or remove.
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
from streams.core.model.tracks import TrackState
from streams.core.model.triggers import TriggerBook


class PackedFields(msgspec.Struct, array_like=True, gc=False):
    """The fields of `Profile`. The first seven but customer and pending stand for what is in the header."""

    customer: str
    in_header_1: bool = False
    in_header_2: list[int] = []
    in_header_3: int = 0
    pending: list[Pending] = []
    in_header_4: None = None
    in_header_5: None = None
    entered_at: int = 0
    sequence: int = 0
    cycle: int = 1
    orders_in_stage: int = 0
    first_seen_at: int = 0
    last_seen_at: int = 0
    last_activity_at: int | None = None
    event_ids: bytearray = msgspec.field(default_factory=bytearray)
    sessions: Sessions = msgspec.field(default_factory=Sessions)
    session_id: str | None = None
    session_id_at: int = 0
    subscribed: bool | None = None
    subscribed_at: int = 0
    signed_up: bool = False
    product_views: int = 0
    checkouts: int = 0
    reviews: int = 0
    referrals: int = 0
    orders: int = 0
    revenue: int = 0
    currency: str | None = None
    other_currency_orders: int = 0
    last_order_at: int | None = None
    dropped_order_at: int | None = None
    order_book: dict[str, Order] = {}
    order_notes: dict[str, list[Correction]] = {}
    cart: Cart = msgspec.field(default_factory=Cart)
    episode: Episode | None = None
    armed: bool = False
    latest: OpenAbandonment | None = None
    recent_steps: list[int] = []
    weight: int = 0
    type_counts: dict[str, int] = {}
    facts: Aggregates | None = None
    triggers: TriggerBook | None = None
    of_origins: dict[int, int] | None = None
    tracks: list[TrackState] | None = None
    rules_due: int | None = None
    playbook_version: int = 0
    playbook_tag: int = 0
    erased_at: int = -1
    first_dropped_at: int | None = None


class PackedAlias(msgspec.Struct, array_like=True, gc=False):
    """The same of an alias."""

    customer: str
    alias: Alias
    pending: list[Pending] = []
    of_origins: dict[int, int] | None = None
    erased_at: int = -1
