"""Aliases: the record of a device, a cart or a checkout.

Aliases are packed field by field, in their order: append new fields with a default, never insert or remove.
"""

from __future__ import annotations

import msgspec


class Alias(msgspec.Struct, array_like=True, gc=False):
    """The owners of a device, or the devices of a cart or a checkout. Kept without a profile."""

    owners: list[tuple[str, int]] = []
    """Customers, each with the time (ms) from which on the id is theirs, in the order of (time, customer)."""
    last_seen_at: int = 0
    """Time at which the id was last seen, ms. At most a day behind the truth: see
    `streams.core.identity.aliases.note_seen`."""
    devices: list[tuple[str, int]] = []
    """Devices that have shown the cart or the checkout, with the time (ms) at which each first did."""
    refused: dict[str, int] = {}
    """Customers who were refused the device when they ordered its cart, the last one last, with the time (ms) of the
    latest refusal."""
