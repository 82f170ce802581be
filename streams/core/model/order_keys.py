"""The keys by which a profile knows orders: the id, with the store where the order names one.

The key of an order without a store is its id, unless that begins like the key of an order with a store.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_PREFIX: Final = "\0"


def order_key(store: str | None, order_id: str) -> str:
    """Return the key of an order. Different orders have different keys."""
    if store is not None:
        return f"{_PREFIX}{len(store)}:{store}{order_id}"
    return f"{_PREFIX}:{order_id}" if order_id.startswith(_PREFIX) else order_id


def order_id_of(key: str) -> str:
    """Return the id of the order with this key."""
    if not key.startswith(_PREFIX):
        return key
    length, _, rest = key[1:].partition(":")
    return rest[int(length) if length else 0 :]


def keys_of(keys: Iterable[str], order_id: str) -> list[str]:
    """Return those of the keys that are of an order with this id, of whatever store."""
    return [key for key in keys if key.endswith(order_id) and order_id_of(key) == order_id]
