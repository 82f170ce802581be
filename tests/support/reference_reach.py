"""Which clicks an order reaches, in the reference: the five rules of the design, word by word."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from streams.core.model.policy import HOUR, Policy
from tests.support.reference_orders import OrderKey


class Trace(NamedTuple):
    """A click as the rules look at it, or the last event of a line, a view or the mark."""

    at: int
    cart_id: str | None
    checkout_id: str | None
    products: tuple[str | None, ...]
    """The products that it is about: several of a snapshot, none of most clicks. The unnamed product is None."""
    checkout: bool = False
    """True for a checkout event."""
    view: bool = False

    def about(self, *products: str | None) -> Trace:
        return self._replace(products=products, checkout=False)


@dataclass(eq=False)
class Purchase:
    """A sale of an order that counts."""

    key: OrderKey
    at: int
    passive: bool
    items: tuple[str | None, ...]
    cart_id: str | None
    checkout_id: str | None
    taken: set[str] = field(default_factory=set)
    """The products that it took out of the cart."""
    whole: bool = False
    """True if it takes all lines that it reaches, except those of another cart."""

    @property
    def ids(self) -> set[str]:
        """Return the products of its items that have an id."""
        return {product for product in self.items if product is not None}

    def owns(self, t: Trace) -> bool:
        """Return True if the click carries its cart id or its checkout id."""
        return self._same_cart(t) or self._same_checkout(t)

    def of_another_cart(self, t: Trace) -> bool:
        """Return True if the click carries another id than the order, of a kind that the order names."""
        carts = t.cart_id and self.cart_id and not self._same_cart(t)
        checkouts = t.checkout_id and self.checkout_id and not self._same_checkout(t)
        return bool(carts or checkouts)

    def near(self, other: Purchase) -> bool:
        """Return True if both name the same cart or checkout and are within an hour of each other."""
        carts = self.cart_id is not None and self.cart_id == other.cart_id
        checkouts = self.checkout_id is not None and self.checkout_id == other.checkout_id
        return (carts or checkouts) and abs(self.at - other.at) <= HOUR

    def _same_cart(self, t: Trace) -> bool:
        return self.cart_id is not None and self.cart_id == t.cart_id

    def _same_checkout(self, t: Trace) -> bool:
        return self.checkout_id is not None and self.checkout_id == t.checkout_id

    def would_take(self, t: Trace, product: str | None) -> bool:
        """Return True if it takes a line of this product, with this last event, if it reaches it."""
        if product in self.items or self.owns(t):
            return True
        return self.whole and not self.of_another_cart(t)


class Reach:
    """The orders in force, and the clicks that the rules ask for, at one point of the story."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.purchases: dict[OrderKey, Purchase] = {}
        """The latest sale of each order, in the order in which they came."""
        self.stopped: set[OrderKey] = set()
        """The orders that count no longer."""
        self.added: list[Trace] = []
        """All additions to the cart, one product each."""
        self.offered: list[Trace] = []
        """The same, with those that an order kept out of the cart, and the checkout events."""

    @property
    def in_force(self) -> list[Purchase]:
        """Return the newest 5 orders that count."""
        return sorted((p for key, p in self.purchases.items() if key not in self.stopped), key=lambda p: p.at)[-5:]

    def products(self, order: Purchase, *, newer: bool) -> set[str]:
        """Return the products of an order, with those of the orders near it. Those it took count for newer clicks."""
        found = set()
        for one in [order, *(p for p in self.in_force if p is not order and p.near(order))]:
            found |= one.ids or (one.taken if newer else set())
        return found

    def reached(self, t: Trace) -> bool:
        """Return True if one of the orders in force reaches the click."""
        return any(self.reaches(order, t) for order in self.in_force)

    def reaches(self, order: Purchase, t: Trace) -> bool:
        """Return True if the order reaches the click, all its products included."""
        if not t.products:
            return self._reaches(order, t, None, named=False)
        return all(self._reaches(order, t, product, named=product is not None) for product in t.products)

    def _reaches(self, order: Purchase, t: Trace, product: str | None, *, named: bool) -> bool:
        newer_by = t.at - order.at
        products = self.products(order, newer=newer_by > 0)
        own, another = order.owns(t), order.of_another_cart(t)
        bought = named and product in products
        if not order.passive or own or bought:
            if newer_by <= 0:  # rule 1
                return own or bought or not another
            if self._rules_2_and_3(order, t, newer_by, bought, products):
                return True
            if t.checkout and not t.products and self._rule_4(order, t, newer_by):
                return True
        return t.view and newer_by > 0 and not another and t.at <= self.newest_reached(order)  # rule 5

    def _rules_2_and_3(self, order: Purchase, t: Trace, newer_by: int, bought: bool, products: set[str]) -> bool:
        if newer_by <= self.policy.order_skew_named:
            if order.checkout_id is not None and order.checkout_id == t.checkout_id:
                return True
            if order.cart_id is not None and order.cart_id == t.cart_id and (bought or not products):
                return True
        return newer_by <= self.policy.order_skew_items and bought and not order.of_another_cart(t)

    def _rule_4(self, order: Purchase, t: Trace, newer_by: int) -> bool:
        # an addition at the very time of the order or of the checkout event does not lie between them; one that any
        # order reaches is not unreached
        between = [a for a in self.added if order.at < a.at < t.at]
        if any(not self.reaches(order, a) and not self.reached(a) for a in between):
            return False
        if order.cart_id is not None and order.cart_id == t.cart_id:
            return newer_by <= self.policy.order_skew_named
        return newer_by <= self.policy.order_skew_items and not order.of_another_cart(t)

    def newest_reached(self, order: Purchase) -> int:
        """Return the time of the newest addition or checkout event after the order that it reaches."""
        return max((t.at for t in self.offered if t.at > order.at and self.reaches(order, t)), default=order.at)

    def kept_out(self, t: Trace, product: str | None) -> bool:
        """Return True if an order reaches what would come into the cart, and would have taken it."""
        one = t.about(product)
        return any(self.reaches(o, one) and o.would_take(one, product) for o in self.in_force)
