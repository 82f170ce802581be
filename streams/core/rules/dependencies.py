"""Which facts an event can change: a rule that reads none of them has the value it had.

Facts are `orders`, `cart`, `activity` (that there was some), `seen` (that there was an event), `event` (what is at
hand), `count:TYPE` (that there was an event of the type) and `stage:TRACK`. `time` stands for what time alone changes,
which is `RuleKind.moves_at`'s to tell.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from streams.core.model.event import ORDER_TYPES

STAGE: Final = "stage:"
BY_EXPIRY: Final = frozenset({"cart"})
"""What the deadlines of abandonments can change."""


def touched(type_: str, from_orders: bool, cart_types: Collection[str]) -> frozenset[str]:
    """What an event of this type can change (of the clickstream, unless `from_orders`), but for stages.

    `cart_types`: those that change the cart (`Playbook.cart`). An event that is the customer's first touches all.
    """
    facts = {"event", "seen", "activity", f"count:{type_}"}
    if from_orders:
        if type_ in ORDER_TYPES:
            facts |= {"orders", "cart"}
    elif type_ in cart_types:
        facts.add("cart")
    return frozenset(facts)
