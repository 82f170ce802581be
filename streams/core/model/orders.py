"""The orders of a profile.

Profiles pack these structs field by field, in their order: append new fields with a default, never insert or remove.
"""

from __future__ import annotations

import msgspec


class Order(msgspec.Struct, array_like=True, gc=False):
    """A completed order. Amounts are in minor units of its currency."""

    at: int
    currency: str
    total: int | None
    refunded: int = 0
    refunded_fully: bool = False
    """True after a refund without an amount."""
    cancelled: bool = False
    updated_at: int | None = None
    """Time of the update that set `total`, ms; None if `total` is that of the completion."""

    @property
    def counts(self) -> bool:
        """True if the order is neither cancelled nor refunded in full."""
        if self.cancelled or self.refunded_fully:
            return False
        return self.total is None or self.refunded == 0 or self.refunded < self.total

    @property
    def net(self) -> int:
        """The total less refunds; 0 if the total is unknown."""
        return 0 if self.total is None else self.total - self.refunded


class Correction(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A cancellation, refund or update of an order."""

    type: str
    at: int
    currency: str
    total: int | None
