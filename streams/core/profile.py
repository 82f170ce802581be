"""What is known of one customer: plain data, moved by the rules in `customer` and packed by `packing`.

Fields are packed in their order: append new ones with a default, never insert or remove.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from streams.core.activity import Item, Source
from streams.core.effects import Kind, Output


class Line(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A product in the cart, or viewed (then `quantity` is 1). `at` is the time of its last event, ms."""

    category: str | None
    price: int | None
    currency: str
    quantity: int
    at: int


class OpKind(IntEnum):
    """What an operation does to the cart."""

    SHOW = 0
    """Nothing but showing the cart's or the checkout's id, as every operation of the clickstream may."""
    ADD = 1
    REMOVE = 2
    REPLACE = 3
    EMPTY = 4
    CHECKOUT = 5
    STEP = 6
    ORDER = 7


class Op(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One operation on a cart. Of an ORDER, the ids are the order's and not shown."""

    at: int
    kind: OpKind
    product: str
    category: str | None
    price: int | None
    currency: str
    quantity: int
    items: tuple[Item, ...] | None
    cart_id: str | None
    checkout_id: str | None


class Contents(msgspec.Struct, array_like=True, gc=False):
    """The cart at one point of its story."""

    lines: dict[str, Line] = {}
    checkout_at: int | None = None
    """The checkout mark: the time of the last checkout event, None where it is not set."""
    cart_id: str | None = None
    cart_id_at: int = 0
    checkout_id: str | None = None
    checkout_id_at: int = 0


class Cart(msgspec.Struct, array_like=True, gc=False):
    """The cart as it is, and what is needed to put an operation in its place that arrives late."""

    now: Contents = msgspec.field(default_factory=Contents)
    log: list[Op] = []
    """The latest operations, in (time, arrival) order."""
    before: Contents | None = None
    """The cart before the log's first operation; None if the log is empty."""


class Sessions(msgspec.Struct, array_like=True, gc=False):
    """How many sessions a customer had, and as much of the last two as activity out of order needs."""

    count: int = 0
    start: int = 0
    """Of the last session, ms."""
    end: int = 0
    """Of the last session so far, ms."""
    previous_end: int | None = None


class Order(msgspec.Struct, array_like=True, gc=False):
    """A completed order. Amounts in minor units of its currency."""

    at: int
    currency: str
    total: int | None
    refunded: int = 0
    refunded_fully: bool = False
    """By a refund without an amount."""
    cancelled: bool = False
    updated_at: int | None = None
    """Time of the update that set `total`; None: the completion did."""

    @property
    def counts(self) -> bool:
        """Neither cancelled nor refunded in full."""
        if self.cancelled or self.refunded_fully:
            return False
        return self.total is None or self.refunded == 0 or self.refunded < self.total

    @property
    def net(self) -> int:
        """The total less refunds; 0 where the total is unknown."""
        return 0 if self.total is None else self.total - self.refunded


class Correction(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A cancellation, refund or update of an order."""

    type: str
    at: int
    currency: str
    total: int | None


class Episode(msgspec.Struct, array_like=True, gc=False):
    """A stretch of shopping, open until an order, an abandonment of kind browse, or expiry."""

    started_at: int
    newest: int
    """The newest view, addition or checkout in it, ms."""
    views: dict[str, Line] = {}
    """The last distinct products viewed, the most recent last."""
    abandoned: bool = False
    """Its step 1 came due, emitted or silenced, so that further steps may follow."""


class Abandoned(msgspec.Struct, array_like=True, gc=False):
    """The customer's latest abandonment, as of its last step."""

    id: str
    kind: Kind
    step1_at: int
    armed_at: int
    """The last activity before step 1, ms."""
    step: int
    step_at: int
    last_activity_at: int
    episode_started_at: int
    items: tuple[Item, ...]
    currency: str
    """The customer's at its last step, in which no items are worth 0."""
    cart_id: str | None
    checkout_id: str | None
    session_id: str | None
    supersedes: str | None
    recent: int
    episode: Episode | None
    """The episode that a browse closed, to open it again should the abandonment be retracted."""
    open: bool = True
    """Neither recovered, retracted, expired nor closed silently."""
    withheld: bool = False


class Profile(msgspec.Struct, array_like=True, gc=False):
    """One customer. `stage` is None before the first event and after forgetting (then `sequence` is not 0)."""

    customer: str
    identified: bool

    # kept by the engine, and packed into the header (with `identified`, `stage` and `next_deadline`)
    applied: list[int] = msgspec.field(default_factory=lambda: [-1] * len(Source))
    """Per source, the last offset applied; -1: none."""
    commit: int = 0
    """The number of the commit that last wrote it."""
    pending: list[Output] = []
    """Outputs of deadlines, kept until they are known to be sent."""

    next_deadline: int | None = None
    """When the earliest deadline is due, ms; kept right by `Lifecycle`."""

    # the lifecycle track
    stage: str | None = None
    entered_at: int = 0
    """When the stage was entered, ms."""
    sequence: int = 0
    cycle: int = 1
    orders_in_stage: int = 0

    # times, ms
    first_seen_at: int = 0
    last_seen_at: int = 0
    last_activity_at: int | None = None

    # what the customer did
    event_ids: bytearray = msgspec.field(default_factory=bytearray)
    """See `recent_ids`."""
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

    # orders
    orders: int = 0
    """Distinct completed orders that count."""
    revenue: int = 0
    currency: str | None = None
    """Of the first completed order; None: there was none yet, counted or not."""
    other_currency_orders: int = 0
    last_order_at: int | None = None
    """The latest order that counts, ms."""
    dropped_order_at: int | None = None
    """The latest order that counted when it was dropped from the book, ms."""
    order_book: dict[str, Order] = {}
    """The newest completed orders, in order of application."""
    order_notes: dict[str, list[Correction]] = {}
    """What came for orders that are not completed yet."""

    # shopping and abandonment
    cart: Cart = msgspec.field(default_factory=Cart)
    episode: Episode | None = None
    armed: bool = False
    """Step 1 has not come due since the last activity."""
    latest: Abandoned | None = None
    recent_steps: list[int] = []
    """Step-1 times of the abandonments in the recent window, ms."""

    weight: int = 0
    """An upper bound of its packed size in bytes, as of the last time it was measured and what came since."""

    type_counts: dict[str, int] = {}
    """Events applied, of each type that the playbook counts."""
    event_tags: bytearray = msgspec.field(default_factory=bytearray)
    """See `recent_ids`. Follows from `event_ids`, and is not packed."""

    def note_withheld(self, abandonment_id: str, withheld: bool) -> None:
        """The engine decided whether step 1 of the latest abandonment leaves."""
        if self.latest is not None and self.latest.id == abandonment_id:
            self.latest.withheld = withheld

    def is_withheld(self, abandonment_id: str) -> bool:
        """Whether step 1 of this abandonment was withheld, so that what follows from it is withheld too."""
        return self.latest is not None and self.latest.id == abandonment_id and self.latest.withheld
