"""Scenarios of single customers with their expected outputs, the same for the harness and for every broker. Times
are minutes before the present. Deadlines are at least a minute away from it, so that the duration of a run does not
matter."""

from __future__ import annotations

from typing import Any, NamedTuple

HOUR = 60
DAY = 24 * HOUR


class Scenario(NamedTuple):
    """The events of one customer, and the outputs and dead letters expected."""

    name: str
    events: tuple[tuple[int, dict[str, Any]], ...]
    """Minutes before the present, and the event without its time and customer."""
    outputs: tuple[tuple[int, str], ...]
    """Minutes before the present, and the output as `summary` shows it, in the order of the customer's outputs."""
    anonymous: bool = False
    dead_letters: tuple[str, ...] = ()
    """The reasons of the dead letters."""


def view(product: str = "p", **fields: Any) -> dict[str, Any]:
    return {"type": "product_viewed", "product_id": product, "price": "9.99", "currency": "EUR", **fields}


def add(product: str = "p", **fields: Any) -> dict[str, Any]:
    return view(product, **{"type": "product_added", **fields})


def order(order_id: str = "1", type: str = "order_completed", **fields: Any) -> dict[str, Any]:
    return {"type": type, "order_id": order_id, "total": "20.00", "currency": "EUR", **fields}


SCENARIOS = (
    Scenario("looks-and-leaves", ((40, view()),), ((40, "visitor"), (10, "abandoned browse 1"))),
    Scenario(
        "buys-in-time",
        ((90, add(cart_id="c")), (45, order(cart_id="c"))),
        ((90, "visitor"), (90, "prospect"), (45, "customer")),
    ),
    Scenario(
        "leaves-a-cart-and-comes-back",
        ((200, add(cart_id="c")), (100, order(cart_id="c"))),
        (
            (200, "visitor"),
            (200, "prospect"),
            (140, "abandoned cart 1"),
            (100, "recovered cart 1 cart"),
            (100, "customer"),
        ),
    ),
    Scenario(
        "turns-round-at-the-checkout",
        ((100, add()), (99, {"type": "checkout_started", "checkout_id": "x"})),
        ((100, "visitor"), (100, "prospect"), (69, "abandoned checkout 1")),
    ),
    Scenario(
        "is-reminded-three-times",
        ((80 * HOUR, add()),),
        (
            (80 * HOUR, "visitor"),
            (80 * HOUR, "prospect"),
            (79 * HOUR, "abandoned cart 1"),
            (56 * HOUR, "abandoned cart 2"),
            (8 * HOUR, "abandoned cart 3"),
        ),
    ),
    Scenario(
        "looks-at-the-same-again",
        ((200, view()), (120, view())),
        ((200, "visitor"), (170, "abandoned browse 1")),
    ),
    Scenario(
        "looks-at-something-else",
        ((200, view()), (120, view("q"))),
        ((200, "visitor"), (170, "abandoned browse 1"), (90, "abandoned browse 1")),
    ),
    Scenario(
        "fills-a-cart-and-is-never-seen-again",
        ((31 * DAY, add()),),
        (
            (31 * DAY, "visitor"),
            (31 * DAY, "prospect"),
            (31 * DAY - HOUR, "abandoned cart 1"),
            (30 * DAY, "abandoned cart 2"),
            (28 * DAY, "abandoned cart 3"),
            (DAY, "expired cart 3"),
            (DAY, "dormant"),
        ),
    ),
    Scenario(
        "buys-once-and-lapses",
        ((200 * DAY, order()),),
        ((200 * DAY, "visitor"), (200 * DAY, "customer"), (110 * DAY, "at_risk"), (20 * DAY, "lapsed")),
    ),
    Scenario(
        "is-won-back",
        ((200 * DAY, order("1")), (100, order("2"))),
        (
            (200 * DAY, "visitor"),
            (200 * DAY, "customer"),
            (110 * DAY, "at_risk"),
            (20 * DAY, "lapsed"),
            (100, "reactivated"),
        ),
    ),
    Scenario(
        "sends-everything-back",
        ((90, order()), (50, order(type="order_refunded"))),
        ((90, "visitor"), (90, "customer"), (50, "prospect")),
    ),
    Scenario(
        "is-reported-twice",
        (
            (25, view("p", event_id="same")),
            (24, view("q")),
            (23, view("p", event_id="same")),
            (22, view("r")),
        ),
        ((25, "visitor"), (22, "prospect")),
    ),
    Scenario(
        "is-unknown-and-forgotten",
        ((100 * DAY, view()),),
        (
            (100 * DAY, "visitor"),
            (100 * DAY - 30, "abandoned browse 1"),
            (70 * DAY, "dormant"),
            (10 * DAY, "forgotten"),
        ),
        anonymous=True,
    ),
    Scenario(
        "is-reported-wrongly",
        ((20, {"type": "page_viewed"}), (19, add(quantity=0)), (18, order(order_id=""))),
        ((20, "visitor"),),
        dead_letters=("invalid_field", "invalid_field"),
    ),
)


def summary(document: dict[str, Any]) -> str:
    """Return an output in words."""
    if document["type"] == "stage_changed":
        return str(document["to_stage"] or document["cause"]["kind"])
    told = f"{document['type']} {document['kind']} {document['step']}"
    return f"{told} {document['match']}" if document["type"] == "recovered" else told
