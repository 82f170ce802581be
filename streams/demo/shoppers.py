"""Simulated shoppers. Seed and time are parameters, so that a test can drive them.

They browse, search, fill carts, check out, buy, leave and come back, at a pace that can be watched. Each shopper is a
generator of actions; `Shoppers` runs all of them by the clock.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from streams.contracts import times
from streams.core.model.event import Source
from streams.core.model.policy import SECOND
from streams.demo.shop_history import DemoEvent

NAMES: Final = (
    *("ada", "alan", "anita", "barbara", "blaise", "dorothy", "edsger", "emmy", "evelyn", "frances"),
    *("grace", "hedy", "ida", "katherine", "margaret", "marie", "noether", "radia", "rosalind", "tim"),
)


class Product(NamedTuple):
    """A product of the shop."""

    id: str
    category: str
    price: str
    """Price in EUR."""


SHELVES: Final = {
    "tea": ("4.90", "7.50", "12.00", "18.40"),
    "mugs": ("9.00", "11.50", "14.90", "24.00"),
    "books": ("8.99", "15.00", "22.00", "39.90"),
    "lamps": ("29.00", "49.00", "79.00", "119.00"),
    "plants": ("5.50", "12.90", "19.90", "34.00"),
}
PRODUCTS: Final = tuple(
    Product(f"{category}-{number}", category, price)
    for category, prices in SHELVES.items()
    for number, price in enumerate(prices, 1)
)


class Action(NamedTuple):
    """One event of a shopper, `seconds` after the previous one."""

    seconds: float
    source: Source
    fields: dict[str, Any]


@dataclass
class Shopper:
    """One customer, on a phone or at a desk, with a cart that stays full between visits.

    In each visit, events name the customer only from a sign-up or checkout on.
    """

    customer: str
    random: random.Random
    cart: dict[Product, int] = field(default_factory=dict)
    visits: int = 0
    orders: int = 0
    device: str = ""
    known: bool = False

    def life(self) -> Iterator[Action]:
        """Yield the actions of endless visits."""
        pause = self.random.uniform(0, 15)
        while True:
            yield from self._visit(pause)
            # Away for moments, for long enough to abandon the cart, or for months of the live playbook's time.
            pause = self.random.choices(
                (self._between(4, 10), self._between(12, 45), self._between(60, 200)), (3, 5, 2)
            )[0]

    def _visit(self, pause: float) -> Iterator[Action]:
        self.visits += 1
        self.device = f"{self.customer}-{'phone' if self._chance(0.4) else 'desk'}"
        self.known = False
        yield self._click(pause, "page_viewed", url="/")
        if self.visits == 1 and self._chance(0.3):
            self.known = True
            yield self._click(self._between(1, 3), "signed_up")
        if self.visits == 1 and self._chance(0.3):
            yield self._click(self._between(1, 2), "subscribed")
        if self.cart and self._chance(0.6):  # back for the cart left behind
            yield self._click(self._between(1, 3), "cart_viewed", items=self._lines())
            yield from self._check_out(0.8)
            return
        yield from self._browse()
        if self.cart and self._chance(0.45):
            yield from self._check_out(0.6)
        elif self.orders and self._chance(0.25):
            yield self._click(self._between(2, 4), "product_reviewed", **self._any_product())

    def _browse(self) -> Iterator[Action]:
        if self._chance(0.4):
            yield self._click(self._between(1, 3), "products_searched")
        for _ in range(self.random.randint(1, 4)):
            product = self.random.choice(PRODUCTS)
            about = {"product_id": product.id, "category": product.category, "price": product.price, "currency": "EUR"}
            yield self._click(self._between(1, 3), "product_viewed", **about)
            if self._chance(0.35):
                quantity = 2 if self._chance(0.15) else 1
                self.cart[product] = self.cart.get(product, 0) + quantity
                yield self._click(self._between(1, 3), "product_added", quantity=quantity, **about)
        if self.cart and self._chance(0.06):
            self.cart.clear()
            yield self._click(self._between(1, 2), "cart_emptied")

    def _check_out(self, buys: float) -> Iterator[Action]:
        checkout = f"{self.customer}-checkout-{self.visits}"
        self.known = True
        yield self._click(self._between(1, 3), "checkout_started", items=self._lines(), checkout_id=checkout)
        if self._chance(0.8):
            yield self._click(self._between(1, 3), "checkout_step_completed", checkout_id=checkout)
        if self._chance(buys):
            yield self._order(self._between(1, 3), checkout)
            self.cart.clear()

    def _click(self, seconds: float, type: str, **fields: Any) -> Action:
        ids = {"session_id": f"{self.customer}-{self.visits}", "cart_id": self._cart_id()}
        return Action(seconds, Source.CLICKSTREAM, {"type": type, **self._ids(), **ids, **fields})

    def _order(self, seconds: float, checkout: str) -> Action:
        cents = sum(round(float(product.price) * 100) * quantity for product, quantity in self.cart.items())
        fields: dict[str, Any] = {
            "type": "order_completed",
            **self._ids(),
            "order_id": f"{self.customer}-order-{self.orders + 1}",
            "cart_id": self._cart_id(),
            "checkout_id": checkout,
            "total": f"{cents // 100}.{cents % 100:02d}",
            "currency": "EUR",
            "items": self._lines(),
        }
        self.orders += 1
        return Action(seconds, Source.ORDERS, fields)

    def _ids(self) -> dict[str, str]:
        return {"anonymous_id": self.device} | ({"customer_id": self.customer} if self.known else {})

    def _cart_id(self) -> str:
        return f"{self.customer}-cart-{self.orders + 1}"

    def _lines(self) -> list[dict[str, Any]]:
        return [
            {"product_id": product.id, "category": product.category, "price": product.price, "quantity": quantity}
            for product, quantity in self.cart.items()
        ]

    def _any_product(self) -> dict[str, Any]:
        return {"product_id": self.random.choice(PRODUCTS).id}

    def _chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def _between(self, least: float, most: float) -> float:
        return self.random.uniform(least, most)


class Shoppers:
    """All shoppers, from `start` (ms) on. Their events depend only on seed and start, not on the calls of `due`."""

    def __init__(self, seed: int, start: int, *, count: int = 80) -> None:
        self._seed = seed
        self._made = 0
        self._lives: list[Iterator[Action]] = []
        self._customers: list[str] = []
        self._queue: list[tuple[float, int, Action]] = []  # due (ms), number of the shopper, action
        for number in range(count):
            customer = f"{NAMES[number % len(NAMES)]}-{number // len(NAMES) + 1}"
            self._customers.append(customer)
            self._lives.append(Shopper(customer, random.Random(f"{seed} {customer}")).life())
            self._schedule(number, start)

    @property
    def next_at(self) -> float:
        """Time at which the next event is due, ms."""
        return self._queue[0][0]

    def due(self, now: int) -> list[DemoEvent]:
        """Return the events up to `now` that were not returned before, in time order."""
        events: list[DemoEvent] = []
        while self.next_at <= now:
            at, number, action = heapq.heappop(self._queue)
            events.append(self._event(int(at), number, action))
            self._schedule(number, at)
        return events

    def _schedule(self, number: int, after: float) -> None:
        action = next(self._lives[number])
        heapq.heappush(self._queue, (after + action.seconds * SECOND, number, action))

    def _event(self, at: int, number: int, action: Action) -> DemoEvent:
        self._made += 1
        ids = {"event_id": f"live-{self._seed}-{self._made}", "occurred_at": times.text(at)}
        key = action.fields.get("customer_id") or action.fields["anonymous_id"]
        return DemoEvent(action.source, at, self._customers[number], key, msgspec.json.encode(ids | action.fields))
