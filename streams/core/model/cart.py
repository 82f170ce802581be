"""The cart of a profile.

Profiles pack these structs field by field, in their order: append new fields with a default, never insert or remove.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from streams.core.model.items import Item, Line


class CartOperationKind(IntEnum):
    """The effect of an operation on the cart."""

    SHOW = 0
    """Only shows the id of the cart or the checkout, as every operation of the clickstream may."""
    ADD = 1
    REMOVE = 2
    REPLACE = 3
    EMPTY = 4
    CHECKOUT = 5
    STEP = 6
    ORDER = 7
    MARK = 8
    """Sets the checkout mark, and nothing else. Made when carts are merged."""


class CartOperation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One operation on a cart. The `product` of an `ORDER` is the key of its `Purchase`."""

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


class Click(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A view, an addition or a checkout event, as far as it decides which orders reach it."""

    at: int
    products: tuple[str, ...] = ()
    """The products that it is about, named as in `CartOperation`; empty if it is about none."""
    cart_id: str | None = None
    checkout_id: str | None = None
    checkout: bool = False
    view: bool = False


class Shown(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last click that showed these ids together, and its product if it is about one."""

    at: int
    cart_id: str | None
    checkout_id: str | None
    product: str | None


class Contents(msgspec.Struct, array_like=True, gc=False):
    """The content of the cart at one point in time."""

    lines: dict[str, Line] = {}
    mark: Click | None = None
    """The last event of the checkout that goes on; None while nobody checks out."""
    shown: list[Shown] = []
    """The ids of carts and checkouts shown last, the newest last."""
    cut: bool = False
    """True if lines were dropped from the cart because it held too many."""

    @property
    def cart_id(self) -> str | None:
        """Id of the cart that was shown last; None: none was."""
        for shown in reversed(self.shown):
            if shown.cart_id is not None:
                return shown.cart_id
        return None

    @property
    def checkout_id(self) -> str | None:
        """Id of the checkout that was shown last; None: none was."""
        for shown in reversed(self.shown):
            if shown.checkout_id is not None:
                return shown.checkout_id
        return None


class Purchase(msgspec.Struct, array_like=True, gc=False):
    """A completed order, for the clicks that it reaches (`streams.core.lifecycle.reach`).

    `products` are named as in `CartOperation`.
    """

    at: int
    order: str
    """Key of the order in the profile's order book."""
    products: tuple[str, ...]
    cart_id: str | None = None
    checkout_id: str | None = None
    passive: bool = False
    """True if it came by a passive channel."""
    whole: bool = False
    """True if it takes all lines that it reaches, except those of another cart."""
    took: tuple[str, ...] = ()
    """Products that it took out of the cart; only if none of its items has an id."""
    unreached_at: int | None = None
    """Time of the earliest addition after it that it does not reach, ms."""
    reached_until: int = 0
    """Time of the newest addition or checkout event after it that it reaches, ms."""
    stopped_at: int | None = None
    """Time of the cancellation or refund by which it does not count any more, ms; None if it counts."""


class Cart(msgspec.Struct, array_like=True, gc=False):
    """The current cart, with the history that is needed to apply an operation that arrives out of order."""

    now: Contents = msgspec.field(default_factory=Contents)
    log: list[CartOperation] = []
    """The latest operations, in (time, arrival) order."""
    before: Contents | None = None
    """The cart before the first operation of the log; None if the log is empty."""
    purchases: list[Purchase] = []
    """The newest orders that count, as many that count no longer, and those in the log; the earliest first."""
