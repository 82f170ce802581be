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


class CartOperation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One operation on a cart. In an `ORDER` the ids are those of the order and were not shown."""

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
    """The content of the cart at one point in time."""

    lines: dict[str, Line] = {}
    checkout_at: int | None = None
    """Time of the last checkout event, ms; None while nobody checks out."""
    cart_id: str | None = None
    cart_id_at: int = 0
    checkout_id: str | None = None
    checkout_id_at: int = 0
    cut: bool = False
    """True if lines were dropped, because there were more than are kept."""


class Bought(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An order and its effect on the cart. `products` are named as in `CartOperation`."""

    at: int
    products: tuple[str, ...]
    cart_id: str | None
    checkout_id: str | None
    cart_shown_at: int | None = None
    """Time at which its cart id was last shown, if it was the last one shown before the order: then the
    order takes the whole cart. Else None."""
    checkout_shown_at: int | None = None


class Cart(msgspec.Struct, array_like=True, gc=False):
    """The current cart, with the history that is needed to apply an operation that arrives out of order."""

    now: Contents = msgspec.field(default_factory=Contents)
    log: list[CartOperation] = []
    """The latest operations, in (time, arrival) order."""
    before: Contents | None = None
    """The cart before the first operation of the log; None if the log is empty."""
    bought: list[Bought] = []
    """The latest orders, in the log or not, earliest first. A cart that is merged into this one loses
    their products."""
