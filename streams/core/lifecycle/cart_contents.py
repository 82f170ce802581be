"""The content of a cart, and the operations that change it. `streams.core.lifecycle.cart` orders them by time.

No operation removes or overrides anything newer than itself, except that an order also takes newer lines that it
reaches (`streams.core.lifecycle.reach`). Of a click that is applied after an order, only what that order would have
left there enters the cart. Times in ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec.structs import astuple

from streams.core.lifecycle.reach import MOST_PRODUCTS, NO_ORDERS, Reach, is_reached, is_taken, reaching
from streams.core.model.cart import CartOperation, CartOperationKind, Click, Contents, Purchase, Shown
from streams.core.model.counters import EngineCounters
from streams.core.model.items import Item, Line
from streams.core.model.policy import Policy

_MOST_SHOWN: Final = 6
"""Most pairs of ids of which the last click is kept."""

# Members of an Enum as constants: each access to a member through its class is a search.
_ADD: Final = CartOperationKind.ADD
_REMOVE: Final = CartOperationKind.REMOVE
_REPLACE: Final = CartOperationKind.REPLACE
_EMPTY: Final = CartOperationKind.EMPTY
CHECKOUT: Final = CartOperationKind.CHECKOUT
_SHOW: Final = CartOperationKind.SHOW
_STEP: Final = CartOperationKind.STEP
_ORDER: Final = CartOperationKind.ORDER
_MARK: Final = CartOperationKind.MARK

OPERATIONS: Final = {
    "product_added": _ADD,
    "product_removed": _REMOVE,
    "cart_viewed": _REPLACE,
    "cart_emptied": _EMPTY,
    "checkout_started": CHECKOUT,
    "checkout_step_completed": _STEP,
}


def updated(
    line: Line | None,
    category: str | None,
    price: int | None,
    currency: str,
    quantity: int,
    at: int,
    cart_id: str | None,
    checkout_id: str | None,
) -> Line:
    """Return the line after an event at `at`, with this quantity. Missing or older values do not replace known ones.

    The ids are those that the line's newest event showed.
    """
    if line is None:
        return Line(category, price, currency, quantity, at, cart_id, checkout_id)
    older = at < line.at
    if price is None or (older and line.price is not None):
        price, currency = line.price, line.currency
    if category is None or (older and line.category is not None):
        category = line.category
    if older:
        at, cart_id, checkout_id = line.at, line.cart_id, line.checkout_id
    return Line(category, price, currency, quantity, at, cart_id, checkout_id)


def key(product_id: str | None) -> str:
    """Return the key of a product in a cart. Products without an id are one unnamed product."""
    return product_id or ""


def as_items(lines: Mapping[str, Line]) -> tuple[Item, ...]:
    """Return the lines in the form that outputs carry."""
    return tuple(
        Item(product or None, line.category, line.price, line.currency, line.quantity)
        for product, line in lines.items()
    )


def oldest(lines: Mapping[str, Line]) -> list[str]:
    """Return the products in the order of their lines' times, the oldest first."""
    return sorted(lines, key=lambda product: lines[product].at)


def copy_of(cart: Contents) -> Contents:
    """Return a copy that can be changed independently. What it contains is shared, because it is frozen."""
    return Contents(cart.lines.copy(), cart.mark, cart.shown.copy(), cart.cut)


def apply_operation(
    cart: Contents,
    op: CartOperation,
    purchases: Sequence[Purchase],
    first: bool,
    policy: Policy,
    counts: EngineCounters,
) -> tuple[str, ...] | None:
    """Apply an operation. Return the products of a click that added something or started a checkout, else None.

    `purchases`: the orders applied so far; what they reach and take does not enter the cart. No operation removes or
    overrides anything newer than itself, but for an order. `first`: compute anew what the order takes.
    """
    # Unpack all fields at once: reading them one by one takes longer.
    at, kind, product, category, price, currency, quantity, items, cart_id, checkout_id = _fields(op)
    if kind is _ORDER:
        for purchase in purchases:
            if purchase.order == product and purchase.at == at:
                _take_order(cart, purchase, purchases, first, policy)
        return None
    if cart_id is not None or checkout_id is not None:
        _show(cart, at, cart_id, checkout_id, product if product or kind is _ADD else None)
    shopped: tuple[str, ...] | None = None
    orders = reaching(purchases, at, cart_id, checkout_id, policy) if purchases else NO_ORDERS
    if kind is _ADD:
        if not (purchases and _judge_line(cart, orders, op, product, purchases)):
            lines = cart.lines
            line = lines.get(product)
            if line is None:
                lines[product] = Line(category, price, currency, quantity, at, cart_id, checkout_id)
            else:
                quantity += line.quantity
                lines[product] = updated(line, category, price, currency, quantity, at, cart_id, checkout_id)
            shopped = (product,)
    elif kind is _REMOVE:
        _remove(cart, op)
    elif kind is _EMPTY:
        _take(cart, tuple(cart.lines), at)
        _clear_mark(cart, at)
    elif kind is _STEP:
        reached = bool(orders) and _judge_checkout(cart, orders, op)
        if cart.mark is not None and at >= cart.mark.at and not reached:
            cart.mark = Click(at, (), cart_id, checkout_id, True)
    elif kind is _REPLACE or kind is CHECKOUT:
        shopped = _replace_or_start(cart, op, orders, purchases)
    elif kind is _MARK and (cart.mark is None or at >= cart.mark.at):
        cart.mark = Click(at, tuple([key(item.product_id) for item in items or ()]), cart_id, checkout_id, True)
    if shopped is not None:
        _trim(cart, policy.cart_lines, counts)
    return shopped


def _fields(
    op: CartOperation,
) -> tuple[
    int, CartOperationKind, str, str | None, int | None, str, int, tuple[Item, ...] | None, str | None, str | None
]:
    return astuple(op)


def _show(cart: Contents, at: int, cart_id: str | None, checkout_id: str | None, product: str | None) -> None:
    """Note that a click showed ids."""
    shown = cart.shown
    for n in range(len(shown) - 1, -1, -1):
        known = shown[n]
        if known.cart_id == cart_id and known.checkout_id == checkout_id:
            if at < known.at:
                return
            if n == len(shown) - 1:  # most often
                shown[n] = Shown(at, cart_id, checkout_id, product)
                return
            del shown[n]
            break
    shown.append(Shown(at, cart_id, checkout_id, product))
    if len(shown) > 1 and at < shown[-2].at:
        shown.sort(key=_shown_at)
    if len(shown) > _MOST_SHOWN:
        del shown[0]


def _shown_at(shown: Shown) -> int:
    return shown.at


# -- clicks and the orders that may reach them


def is_click_reached(orders: Sequence[Reach], op: CartOperation) -> bool:
    """Return True if the orders reach a click: each of its lines, if it has any."""
    checkout = op.kind is CHECKOUT or op.kind is _STEP
    if op.items:
        for item in op.items:
            if not is_reached(orders, op.at, key(item.product_id), op.cart_id, op.checkout_id, checkout):
                return False
        return True
    product = op.product if op.kind is _ADD else None
    return is_reached(orders, op.at, product, op.cart_id, op.checkout_id, checkout)


def _judge_line(
    cart: Contents, orders: Sequence[Reach], op: CartOperation, product: str, purchases: Sequence[Purchase]
) -> bool:
    """Return True if one of `orders`, which may reach an addition, would have taken its line.

    Note the addition for all orders before it, the `purchases`.
    """
    at, cart_id, checkout_id = op.at, op.cart_id, op.checkout_id
    if orders and is_reached(orders, at, product, cart_id, checkout_id, False):
        for order in orders:
            if order.order.at < at and order.click(at, product, cart_id, checkout_id):
                _note_reached(cart, order, at, cart_id, checkout_id)
        return is_taken(orders, at, product, cart_id, checkout_id)
    for purchase in purchases:
        if purchase.at < at and (purchase.unreached_at is None or at < purchase.unreached_at):
            purchase.unreached_at = at
    return False


def _judge_checkout(cart: Contents, orders: Sequence[Reach], op: CartOperation) -> bool:
    """Return True if an order reaches a checkout event about no product. Note the event for all orders before it."""
    reached = False
    for order in orders:
        if order.click(op.at, None, op.cart_id, op.checkout_id, True):
            reached = True
            if order.order.at < op.at:
                _note_reached(cart, order, op.at, op.cart_id, op.checkout_id)
    return reached


def _note_reached(cart: Contents, order: Reach, at: int, cart_id: str | None, checkout_id: str | None) -> None:
    """Note that an order reaches an addition or a checkout event that is newer than the order.

    If that shows the order's cart or checkout, it may be the one shown last: then the order takes the whole cart.
    """
    purchase = order.order
    purchase.reached_until = max(purchase.reached_until, at)
    if not (purchase.whole or purchase.passive) and order.names(cart_id, checkout_id):
        purchase.whole = True
        _take(cart, [product for product, line in cart.lines.items() if order.takes_line(product, line)], None)


def _take_order(cart: Contents, purchase: Purchase, purchases: Sequence[Purchase], first: bool, policy: Policy) -> None:
    """Clear the mark and take the lines that an order reaches, as far as it takes them.

    `first`: find out anew whether it takes the whole cart, and which clicks after it it reaches.
    """
    named, at, lines = any(purchase.products), purchase.at, cart.lines
    if first:
        purchase.whole, purchase.unreached_at, purchase.reached_until = False, None, 0
    order = Reach(purchase, purchases, policy)
    if first and not purchase.passive:
        purchase.whole = not named or order.names_shown(cart)
    taken = [product for product, line in lines.items() if line.at <= at and order.takes_line(product, line)]
    if first and taken and not named:
        purchase.took = tuple(dict.fromkeys([*purchase.took, *taken]))[:MOST_PRODUCTS]
        order = Reach(purchase, purchases, policy)
    for product, line in lines.items():
        if line.at > at:
            if order.click(line.at, product, line.cart_id, line.checkout_id):
                purchase.reached_until = max(purchase.reached_until, line.at)
                if order.takes(product, line.cart_id, line.checkout_id):
                    taken.append(product)
            elif (purchase.unreached_at is None or line.at < purchase.unreached_at) and not is_reached(
                reaching(purchases, line.at, line.cart_id, line.checkout_id, policy),
                line.at,
                product,
                line.cart_id,
                line.checkout_id,
                False,
            ):
                purchase.unreached_at = line.at
    _take(cart, taken, None)
    mark = cart.mark
    if mark is None:
        return
    reached = order.reaches(mark)
    if reached and mark.at > at:
        purchase.reached_until = max(purchase.reached_until, mark.at)
    if purchase.passive:
        # It clears the mark with the last line, whatever their times: nothing is left to buy.
        if (reached and order.names(mark.cart_id, mark.checkout_id)) or (taken and not lines):
            cart.mark = None
    elif reached:
        cart.mark = None


# -- operations


def _take(cart: Contents, products: Iterable[str], at: int | None) -> None:
    """Remove the lines of these products, except those that are newer than `at` (ms; None: any time)."""
    lines = cart.lines
    for product in products:
        if (line := lines.get(product)) is not None and (at is None or line.at <= at):
            del lines[product]
    if not lines:
        cart.cut = False


def _clear_mark(cart: Contents, at: int) -> None:
    """Clear the checkout mark, unless it is newer than `at`."""
    if cart.mark is not None and cart.mark.at <= at:
        cart.mark = None


def _remove(cart: Contents, op: CartOperation) -> None:
    line = cart.lines.get(op.product)
    if line is None or line.at > op.at:
        return
    if line.quantity > op.quantity:
        cart.lines[op.product] = Line(
            line.category,
            line.price,
            line.currency,
            line.quantity - op.quantity,
            op.at,
            op.cart_id,
            op.checkout_id,
        )
        return
    _take(cart, (op.product,), op.at)
    if not cart.lines:
        _clear_mark(cart, op.at)


def _replace_or_start(
    cart: Contents, op: CartOperation, orders: Sequence[Reach], purchases: Sequence[Purchase]
) -> tuple[str, ...] | None:
    """Apply a snapshot of the cart, a start of a checkout, or both. Return what `apply_operation` returns."""
    at, checkout = op.at, op.kind is CHECKOUT
    if op.items is None:
        if not checkout or (orders and _judge_checkout(cart, orders, op)):
            return None
        _start_checkout(cart, op, ())
        return ()
    listed = _listed(op, op.items)
    products = tuple(listed)
    if not products:
        _replace(cart, listed, at)
        return () if checkout and not (orders and _judge_checkout(cart, orders, op)) else None
    added: list[str] = []
    for product, new in list(listed.items()):
        line = cart.lines.get(product)
        adds = line is None or (new.quantity > line.quantity and line.at <= at)
        if adds:
            added.append(product)
        if purchases and (
            _judge_line(cart, orders, op, product, purchases)
            if adds
            else is_taken(orders, at, product, op.cart_id, op.checkout_id)
        ):
            del listed[product]
    if listed:
        _replace(cart, listed, at)
    if not checkout or (orders and is_click_reached(orders, op)):
        return tuple(added) if added else None
    _start_checkout(cart, op, products)
    return products


def _start_checkout(cart: Contents, op: CartOperation, products: tuple[str, ...]) -> None:
    if cart.mark is None or op.at >= cart.mark.at:
        cart.mark = Click(op.at, products, op.cart_id, op.checkout_id, True)


def _listed(op: CartOperation, items: Sequence[Item]) -> dict[str, Line]:
    """Return the lines of a snapshot, one per product. A line of quantity 0 says that there is none of the product."""
    listed: dict[str, Line] = {}
    for item in items:
        product = key(item.product_id)
        line = listed.get(product)
        quantity = item.quantity if line is None else line.quantity + item.quantity
        if quantity > 0:
            listed[product] = updated(
                line, item.category, item.price, item.currency, quantity, op.at, op.cart_id, op.checkout_id
            )
    return listed


def _replace(cart: Contents, listed: dict[str, Line], at: int) -> None:
    """Replace the cart's content by the lines of a snapshot."""
    _take(cart, [product for product in cart.lines if product not in listed], at)
    if not listed:
        _clear_mark(cart, at)
    cart.cut = False
    for product, new in listed.items():
        line = cart.lines.get(product)
        if line is None or line.at <= at:
            cart.lines[product] = updated(
                line, new.category, new.price, new.currency, new.quantity, at, new.cart_id, new.checkout_id
            )


def _trim(cart: Contents, limit: int, counts: EngineCounters) -> None:
    lines = cart.lines
    excess = len(lines) - limit
    if excess > 0:
        for product in oldest(lines)[:excess]:
            del lines[product]
        cart.cut = True
        counts["trimmed", "cart_lines"] += excess
