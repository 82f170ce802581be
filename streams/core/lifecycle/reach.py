"""Orders and the clicks that they have dealt with.

An order is often older than clicks that belong to it: it is dated when its draft was opened, phones' clocks are wrong,
and a shop shows a bought cart once more. So a completed order that counts *reaches* clicks by five rules:

1. what is not newer than the order, unless it carries another cart's id, none of the order's, and is about no product
   of the order;
2. what is up to `order_skew_named` newer and carries the order's checkout id; or carries its cart id, and is about a
   product of the order, or none of the order's products has an id;
3. what is up to `order_skew_items` newer, carries no other cart's id, and is about a product of the order;
4. a checkout event about no product, with no unreached addition between the order and it: up to `order_skew_named`
   newer if it carries the order's cart id, else up to `order_skew_items` unless it carries another cart's id;
5. a view that is newer, carries no other cart's id, and is not newer than the newest addition or checkout event that
   rules 2 to 4 reach.

An order that is cancelled or refunded in full reaches nothing from then on, unless it counts again. An order of a
passive channel reaches only what carries its ids or is about its products, and views by rule 5. "Another cart's id" is
a cart id or a checkout id other than the one of that kind that the order names.

A click is about one product (`product` is its key in the cart, "" for products without an id), or about none (None). An
event with items is judged line by line. The functions here change nothing; `streams.core.lifecycle.cart` and
`abandonment` do what follows from them. Times in ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streams.core.model.cart import Click, Contents, Purchase
from streams.core.model.items import Line
from streams.core.model.policy import HOUR, Policy

MOST_PURCHASES: Final = 5
"""Most orders kept that count, and most that count no longer, beside those in the cart's log."""
MOST_PRODUCTS: Final = 200
"""Most products kept of each of these orders: as many as a cart has lines."""
NO_ORDERS: Final[tuple[Reach, ...]] = ()


class Reach:
    """One order and the clicks that it reaches, as of when this object was made."""

    def __init__(self, order: Purchase, purchases: Sequence[Purchase], policy: Policy) -> None:
        """`purchases`: the orders known, whose products count for orders of the same cart or checkout."""
        self.order = order
        self._at = order.at
        self._cart_id = order.cart_id
        self._checkout_id = order.checkout_id
        self._passive = order.passive
        self._stopped_at = order.stopped_at
        self._named = policy.order_skew_named
        self._items = policy.order_skew_items
        self._longest = longest_skew(policy)
        self._products = set(order.products)
        took = set(order.took)
        if order.cart_id is not None or order.checkout_id is not None:
            for other in purchases:
                if other is not order and other.stopped_at is None and _are_of_one_cart(order, other):
                    self._products.update(other.products)
                    took.update(other.took)
        self._newer_products = self._products if any(self._products) else self._products | took
        """Its products for what is newer than the order."""

    def has(self, at: int, product: str) -> bool:
        """Return True if a click at `at` about this product is about a product of the order.

        The unnamed product is none: nobody knows that it is the same.
        """
        return bool(product) and product in (self._products if at <= self._at else self._newer_products)

    def names(self, cart_id: str | None, checkout_id: str | None) -> bool:
        """Return True if one of the ids is the order's."""
        return (cart_id is not None and cart_id == self._cart_id) or (
            checkout_id is not None and checkout_id == self._checkout_id
        )

    def is_other(self, cart_id: str | None, checkout_id: str | None) -> bool:
        """Return True if one of the ids is another cart's."""
        return (cart_id is not None and self._cart_id is not None and cart_id != self._cart_id) or (
            checkout_id is not None and self._checkout_id is not None and checkout_id != self._checkout_id
        )

    def click(
        self, at: int, product: str | None, cart_id: str | None, checkout_id: str | None, checkout: bool = False
    ) -> bool:
        """Return True if the order reaches a click by rules 1 to 4. `checkout`: it is a checkout event."""
        if self._stopped_at is not None and at >= self._stopped_at:
            return False
        about = product is not None and self.has(at, product)
        age = at - self._at
        if age <= 0:
            if about or self.names(cart_id, checkout_id):
                return True
            return not self._passive and not self.is_other(cart_id, checkout_id)
        if age > self._longest:
            return False
        if age <= self._named and checkout_id is not None and checkout_id == self._checkout_id:
            return True
        of_cart = age <= self._named and cart_id is not None and cart_id == self._cart_id
        if of_cart and (about or not any(self._newer_products)):
            return True
        near = age <= self._items and not self.is_other(cart_id, checkout_id)
        if near and about:
            return True
        if checkout and product is None and (of_cart or (near and not self._passive)):
            unreached_at = self.order.unreached_at
            return unreached_at is None or unreached_at >= at
        return False

    def view(self, at: int, product: str, cart_id: str | None, checkout_id: str | None) -> bool:
        """Return True if the order reaches a view, by any rule."""
        if self.click(at, product, cart_id, checkout_id):
            return True
        if self._stopped_at is not None and at >= self._stopped_at:
            return False
        return self._at < at <= self.order.reached_until and not self.is_other(cart_id, checkout_id)

    def reaches(self, click: Click) -> bool:
        """Return True if the order reaches a click: all its products, if it is about any."""
        at, cart_id, checkout_id = click.at, click.cart_id, click.checkout_id
        if not click.products:
            return self.click(at, None, cart_id, checkout_id, click.checkout)
        for product in click.products:
            if not (self.view if click.view else self.click)(at, product, cart_id, checkout_id):
                return False
        return True

    def takes(self, product: str, cart_id: str | None, checkout_id: str | None) -> bool:
        """Return True if the order takes a line that it reaches out of the cart."""
        if product in self.order.products or self.names(cart_id, checkout_id):
            return True
        return self.order.whole and not self.is_other(cart_id, checkout_id)

    def takes_line(self, product: str, line: Line) -> bool:
        """Return True if the order reaches the line and takes it out of the cart."""
        at, cart_id, checkout_id = line.at, line.cart_id, line.checkout_id
        return self.click(at, product, cart_id, checkout_id) and self.takes(product, cart_id, checkout_id)

    def names_shown(self, contents: Contents) -> bool:
        """Return True if the order names the cart or the checkout that was shown last among what it reaches.

        Only the last click that showed a pair of ids is known. If that click is of the order's cart, the order is taken
        to reach it, or one before it.
        """
        if self._cart_id is not None:
            for shown in reversed(contents.shown):
                if shown.cart_id == self._cart_id:
                    return True
                if shown.cart_id is not None and self.click(shown.at, shown.product, shown.cart_id, shown.checkout_id):
                    break
        if self._checkout_id is not None:
            for shown in reversed(contents.shown):
                if shown.checkout_id == self._checkout_id:
                    return True
                if shown.checkout_id is not None and self.click(
                    shown.at, shown.product, shown.cart_id, shown.checkout_id
                ):
                    break
        return False


def _are_of_one_cart(order: Purchase, other: Purchase) -> bool:
    """Return True if both orders name the same cart or the same checkout and are an hour apart at most."""
    if abs(other.at - order.at) > HOUR:
        return False
    return (order.cart_id is not None and order.cart_id == other.cart_id) or (
        order.checkout_id is not None and order.checkout_id == other.checkout_id
    )


def longest_skew(policy: Policy) -> int:
    """Return the longest time after an order up to which it reaches clicks, ms."""
    return max(policy.order_skew_named, policy.order_skew_items)


def reaching(
    purchases: Sequence[Purchase], at: int, cart_id: str | None, checkout_id: str | None, policy: Policy
) -> Sequence[Reach]:
    """Return the orders that may reach a click with these ids: most often none, which is found out cheaply."""
    if not purchases:
        return NO_ORDERS
    oldest = at - longest_skew(policy)
    if purchases[-1].at < oldest:
        return NO_ORDERS
    near = at - policy.order_skew_items
    found: list[Reach] = []
    for order in purchases:
        if order.at >= oldest and (
            order.at >= near
            or order.reached_until >= at
            or (cart_id is not None and order.cart_id == cart_id)
            or (checkout_id is not None and order.checkout_id == checkout_id)
        ):
            found.append(Reach(order, purchases, policy))
    return found


def is_reached(
    orders: Sequence[Reach], at: int, product: str | None, cart_id: str | None, checkout_id: str | None, checkout: bool
) -> bool:
    """Return True if one of the orders reaches a click that is no view."""
    for order in orders:  # noqa: SIM110  a loop compiles to faster code than a generator
        if order.click(at, product, cart_id, checkout_id, checkout):
            return True
    return False


def is_taken(orders: Sequence[Reach], at: int, product: str, cart_id: str | None, checkout_id: str | None) -> bool:
    """Return True if one of the orders reaches a line of a click and would have taken it out of the cart."""
    for order in orders:
        if order.click(at, product, cart_id, checkout_id) and order.takes(product, cart_id, checkout_id):
            return True
    return False
