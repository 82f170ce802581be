"""Products in carts, orders and views.

Profiles pack these structs field by field, in their order: append new fields with a default, never insert or remove.
"""

from __future__ import annotations

import msgspec


class Item(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line of a cart or an order in an event or an output.

    `price` is of one piece, in `PRICE_UNIT`ths of a minor unit; None if unknown. `quantity` is in `PIECE`ths of a piece
    (`streams.core.model.currencies`).
    """

    product_id: str | None
    category: str | None
    price: int | None
    currency: str
    quantity: int


class Line(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A product in the cart of a profile, or viewed (then `quantity` is one piece). Units as in `Item`.

    `at` is the time of its last event, ms; the ids are those that this event showed.
    """

    category: str | None
    price: int | None
    currency: str
    quantity: int
    at: int
    cart_id: str | None = None
    checkout_id: str | None = None
