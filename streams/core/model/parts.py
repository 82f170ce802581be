"""What profiles, events and outputs are made of: plain data, packed field by field.

Fields are packed in their order: append new ones with a default, never insert or remove.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

import msgspec

AbandonmentKind = Literal["browse", "cart", "checkout"]


class Item(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line of a cart or an order. `price` is of one piece, None where unknown."""

    product_id: str | None
    category: str | None
    price: int | None
    currency: str
    quantity: int


class Line(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A product in the cart, or viewed (then `quantity` is 1). `at` is the time of its last event, ms."""

    category: str | None
    price: int | None
    currency: str
    quantity: int
    at: int


class CartOperationKind(IntEnum):
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


class CartOperation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One operation on a cart. Of an ORDER, the ids are the order's and not shown."""

    at: int
    kind: CartOperationKind
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


class Bought(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An order, as a cart sees it. `products` are as in `CartOperation`."""

    at: int
    products: tuple[str, ...]
    cart_id: str | None
    checkout_id: str | None
    cart_shown_at: int | None = None
    """When its cart id was last shown, if it was the last one shown before: then it takes the whole cart. Else None."""
    checkout_shown_at: int | None = None


class Cart(msgspec.Struct, array_like=True, gc=False):
    """The cart as it is, and what is needed to put an operation in its place that arrives late."""

    now: Contents = msgspec.field(default_factory=Contents)
    log: list[CartOperation] = []
    """The latest operations, in (time, arrival) order."""
    before: Contents | None = None
    """The cart before the log's first operation; None if the log is empty."""
    bought: list[Bought] = []
    """The latest orders, in the log or not, earliest first: what a cart that is merged with this one loses by them."""


class Sessions(msgspec.Struct, array_like=True, gc=False):
    """How many sessions a customer had, and when the latest were."""

    count: int = 0
    start: int = 0
    """Of the last session, ms."""
    end: int = 0
    """Of the last session so far, ms."""
    reserved: None = None
    """Always packed as null where `earlier` is packed."""
    earlier: bytes = b""
    """The sessions before the last, as far as they are kept: see `sessions`."""


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


class OpenAbandonment(msgspec.Struct, array_like=True, gc=False):
    """The customer's latest abandonment, as of its last step."""

    id: str
    kind: AbandonmentKind
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
    device: str | None = None
    """The anonymous id that it was told of, where that profile was merged into this one since; else None."""


class Occurrences(msgspec.Struct, array_like=True, gc=False):
    """How often something was done, and when first and last, ms."""

    times: int
    first: int
    last: int


class Credit(msgspec.Struct, array_like=True, gc=False):
    """What is left of a store credit, in minor units of the playbook's currency."""

    id: str | None
    amount: int
    expires_at: int


class Aggregates(msgspec.Struct, array_like=True):
    """What is kept of a customer because the rules of a playbook ask for it (`streams.core.lifecycle.aggregates`).

    All of it can be merged with another customer's: numbers add, times widen, what is latest stays.
    """

    windows: dict[str, dict[int, int]] = {}
    """Of each rolling window, numbers or amounts by bucket of time."""
    sums: dict[str, int] = {}
    """Amounts in total, by event type."""
    in_stage: dict[str, int] = {}
    """Events since a track's stage was entered, by track and event type."""
    categories_bought: dict[str, Occurrences] = {}
    products_bought: dict[str, Occurrences] = {}
    categories_viewed: dict[str, Occurrences] = {}
    kept: dict[str, tuple[bool | int | float | str, int]] = {}
    """The latest value of each property that is kept, and the time of its event."""
    credits: list[Credit] = []
    """Earliest to expire first."""


class TriggerRun(msgspec.Struct, array_like=True, gc=False):
    """A trigger that has begun and has steps to come."""

    begun_at: int
    """ms"""
    number: int
    """Counted from 1: which of the times that the trigger has begun."""
    step: int
    """The next one, from 0."""
    due: int
    """When that is, ms."""
    event_id: str | None
    event_type: str | None
    output_id: str | None
    """What it was begun by; `output_id` of a stage change or an abandonment."""


class TriggerState(msgspec.Struct, array_like=True, gc=False):
    """One trigger of one customer."""

    begun: int = 0
    """How often."""
    last_at: int | None = None
    """When last, ms."""
    runs: list[TriggerRun] = []
    due: int | None = None
    """Of a trigger that waits for a time: when it begins, ms; None: not that one knows."""
    recheck_at: int | None = None
    """When that time may be another one without an event, ms."""


class TriggerBook(msgspec.Struct, array_like=True, gc=False):
    """The triggers of one customer, by name."""

    tag: int = 0
    """Of the triggers that it was last worked on under."""
    due: int | None = None
    """The earliest of all."""
    states: dict[str, TriggerState] = {}


class TrackState(msgspec.Struct, array_like=True, gc=False):
    """Where a customer is in a track beside the lifecycle."""

    track: str
    stage: str | None = None
    """None before it was entered."""
    entered_at: int = 0
    """ms"""
    sequence: int = 0
    cycle: int = 1
    orders_in_stage: int = 0


class Alias(msgspec.Struct, array_like=True, gc=False):
    """Whose an id is that is not a customer's: a device's, a cart's or a checkout's. Kept without a profile."""

    owners: list[tuple[str, int]] = []
    """Customers, each with the time (ms) from which on it is theirs, in the order of (time, customer)."""
    last_seen_at: int = 0
    """ms, as of a day at most before the last record of it; see `identity.seen`."""
    devices: list[tuple[str, int]] = []
    """Of a cart or a checkout: the devices that have shown it, with the time (ms) at which each first did."""
    refused: dict[str, int] = {}
    """Of a device: customers who were told that it is not theirs by a cart, the last one last, and as of when (ms), the
    latest."""


class EventPayload(msgspec.Struct, frozen=True, array_like=True):
    """An event that is passed on, as of `streams.core.model.event.Event`."""

    source: int
    timestamp: int
    event_id: str
    type: str
    session_id: str | None
    cart_id: str | None
    checkout_id: str | None
    product_id: str | None
    category: str | None
    price: int | None
    quantity: int
    order_id: str | None
    total: int | None
    channel: str | None
    coupon: str | None
    currency: str
    items: tuple[Item, ...] | None
    properties: dict[str, bool | int | float | str] | None
    size: int
    """Bytes of the record that it was read in: what a profile weighs must not depend on how an event came to it."""
