"""The facts that an event can change: a rule that reads none of them keeps its value.

Facts are `orders`, `cart`, `activity` (there was activity), `seen` (there was an event), `event` (the current event),
`count:TYPE` (there was an event of the type) and `stage:TRACK`. `time` stands for everything that time alone changes;
`CompiledRule.next_change_at` returns when that happens.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from streams.core.model.event import ORDER_TYPES

STAGE: Final = "stage:"
BY_EXPIRY: Final = frozenset({"cart"})
"""Facts that the deadlines of abandonments can change."""


def touched(type_: str, from_orders: bool, cart_types: Collection[str]) -> frozenset[str]:
    """Return the facts, except stages, that an event of this type can change. Without `from_orders` it is clickstream.

    `cart_types`: the event types that change the cart (`Playbook.cart`). The first event of a customer can change
    every fact.
    """
    facts = {"event", "seen", "activity", f"count:{type_}"}
    if from_orders:
        if type_ in ORDER_TYPES:
            facts |= {"orders", "cart"}
    elif type_ in cart_types:
        facts.add("cart")
    return frozenset(facts)
