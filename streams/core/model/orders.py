"""The orders of a profile.

Profiles pack these structs field by field, in their order: append new fields with a default, never insert or remove.
"""

from __future__ import annotations

import msgspec


class Correction(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A later event of an order: a kind (`streams.core.lifecycle.order_facts`), its time and its amount."""

    kind: int
    at: int
    currency: str
    """"": that of the order; `total` then is in `UNNAMED_UNIT`ths of a major unit."""
    total: int | None


class Completion(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A completion of an order, as it was reported."""

    at: int
    """-1: it never came, and what follows is what a fulfilment told."""
    currency: str
    total: int | None
    items: int
    """Hash of the products and quantities; 0 if it named none."""
    renewal: bool


class OrderHistory(msgspec.Struct, array_like=True, gc=False):
    """The facts of an order to which more happened than one completion and its fulfilment."""

    started: Completion
    """The completion that the order is from: the first, or the first after a cancellation."""
    repeated: Completion | None = None
    """The newest completion after it, which changed nothing; None if there was none."""
    cancelled_at: int = -1
    """Time of the newest cancellation of those before `started`; -1 if there was none."""
    corrections: list[Correction] = []
    """Those that matter still, in the order of their times."""
    borrowed: dict[str, list[Correction]] | None = None
    """Corrections that named a store without such an order, by the key of the order that they named."""


class Order(msgspec.Struct, array_like=True, gc=False):
    """An order that was completed or fulfilled. Amounts are in minor units of its currency.

    All that a rule reads is derived from the facts whenever one is added (`streams.core.lifecycle.order_facts`).
    """

    at: int
    """Time of the completion that the order is from; of the fulfilment, if that made it count."""
    currency: str
    total: int | None
    """Before refunds."""
    items: int = 0
    """Hash of the products and quantities, as in `Completion`."""
    renewal: bool = False
    fulfilled_at: int = -1
    """Time of the newest fulfilment; -1 if there was none."""
    refunded: int = 0
    void: bool = False
    """True if the order is cancelled, or was refunded by a refund without an amount."""
    history: OrderHistory | None = None
    """None: nothing but one completion and fulfilments."""

    @property
    def counts(self) -> bool:
        """True if the order is neither cancelled nor refunded in full."""
        if self.void:
            return False
        return self.total is None or self.refunded == 0 or self.refunded < self.total

    @property
    def net(self) -> int:
        """The total less refunds; 0 if the total is unknown."""
        return 0 if self.total is None else self.total - self.refunded

    @property
    def completed(self) -> bool:
        """True if the order is dated at a completion, and not at the fulfilment that made it count."""
        return self.history is None or self.history.started.at == self.at
