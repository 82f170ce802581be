"""The state of a customer and its update, in plain Python: the logic of all Python peers but ours.

The state is a dict of JSON values, since some peers store it as JSON. It is quick: after an update no rule applies, so
the next event needs only the rules for its own type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from benchmarks.job import RULES, TYPES

State = dict[str, Any]
Output = dict[str, Any]

STAGES: Final = ("visitor", *dict.fromkeys(to for _, to, _, _ in RULES))
OF_STAGE: Final = {stage: [(kind, n, to) for of, to, kind, n in RULES if stage in of] for stage in STAGES}
NEEDED: Final = {stage: {kind: n for kind, n, _ in rules} for stage, rules in OF_STAGE.items()}
"""Numbers of events by type that make a customer leave a stage."""


class Event(msgspec.Struct, gc=False):
    """The fields of an event that the job needs, for peers that choose their decoder."""

    type: str
    occurred_at: int
    customer_id: str
    product_id: str
    quantity: int


def new() -> State:
    """Return the state of a new customer."""
    return {"counts": dict.fromkeys(TYPES, 0), "last_seen": 0, "cart": {}, "stage": None, "sequence": 0}


def step(state: State, customer: str, kind: str, at: int, product: str, quantity: int) -> Sequence[Output]:
    """Apply one event to `state` and return the stage changes, in order."""
    counts = state["counts"]
    counts[kind] = count = counts[kind] + 1
    if at > state["last_seen"]:
        state["last_seen"] = at
    if kind == "product_added":
        cart = state["cart"]
        cart[product] = cart.get(product, 0) + quantity
    elif kind == "product_removed":
        state["cart"].pop(product, None)
    elif kind == "order_completed":
        state["cart"].clear()
    stage = state["stage"]
    if stage is not None:
        needed = NEEDED[stage].get(kind)
        if needed is None or count < needed:
            return ()
    return _changes(state, customer, at)


def _changes(state: State, customer: str, at: int) -> list[Output]:
    outputs: list[Output] = []
    counts, stage = state["counts"], state["stage"]
    to = _next(stage, counts) if stage else "visitor"
    while to is not None:
        state["sequence"] += 1
        outputs.append({"customer": customer, "from": stage, "to": to, "at": at, "sequence": state["sequence"]})
        stage = to
        to = _next(stage, counts)
    state["stage"] = stage
    return outputs


def _next(stage: str, counts: dict[str, int]) -> str | None:
    for kind, n, to in OF_STAGE[stage]:
        if counts[kind] >= n:
            return to
    return None
