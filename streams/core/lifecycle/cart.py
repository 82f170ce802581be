"""A customer's cart: its lines, the checkout, and the ids of carts and checkouts that were shown last.

Operations on a cart do not commute, and arrive out of order by up to `lateness`. So the latest operations are kept in a
short log beside the cart as it was before them, and replayed in the order of (time, arrival) when one arrives late. An
operation older than the log is applied to the settled cart, and never overrides anything newer than itself.

An order takes lines out of the cart, also lines that are newer than itself (`streams.core.lifecycle.reach`). A click
that is applied after an order that reaches it enters the cart only if that order would have left it there.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping
from typing import Final

from streams.core.lifecycle.cart_contents import CHECKOUT, apply_operation, copy_of, is_click_reached, key
from streams.core.lifecycle.reach import MOST_PRODUCTS, MOST_PURCHASES, is_reached, reaching
from streams.core.model.cart import Cart, CartOperation, CartOperationKind, Click, Contents, Purchase
from streams.core.model.counters import EngineCounters
from streams.core.model.event import Event
from streams.core.model.orders import Order
from streams.core.model.policy import Policy

LOG_LIMIT: Final = 100
"""Most operations in the log. Bounds the cost of one that arrives late."""
_FEW: Final = 3
"""Up to this number, applying operations once more costs less than copying the cart."""
_ORDER: Final = CartOperationKind.ORDER  # a member as a constant: access through its class is a search

_DISCARDED: Final[EngineCounters] = Counter()
"""Receives the counts of operations that are applied again: they were counted the first time."""


def time_of(op: CartOperation) -> int:
    """Return the time of an operation, ms: the key by which operations are sorted."""
    return op.at


def operation(event: Event, kind: CartOperationKind) -> CartOperation:
    """Return the cart operation of a click."""
    return CartOperation(
        event.at,
        kind,
        key(event.product_id),
        event.category,
        event.price,
        event.currency,
        event.quantity,
        event.items,
        event.cart_id,
        event.checkout_id,
    )


def purchase_of(cart: Cart, event: Event, order_key: str, order: Order, passive: bool) -> Purchase:
    """Return an order that begins to count by this event, for the clicks that it reaches.

    `order_key`: its key in the order book. `passive`: the event came by a passive channel. An order that counts by its
    fulfilment is passive too; it has the items and ids of its completion, as far as they are known, else its own.
    """
    products = tuple(dict.fromkeys([key(item.product_id) for item in event.items or ()]))[:MOST_PRODUCTS]
    cart_id, checkout_id = event.cart_id, event.checkout_id
    if event.type != "order_completed":
        for known in cart.purchases:
            if known.order == order_key:
                products = known.products or products
                cart_id, checkout_id = known.cart_id or cart_id, known.checkout_id or checkout_id
    return Purchase(order.at, order_key, products, cart_id, checkout_id, passive or not order.completed)


def note_corrections(cart: Cart, book: Mapping[str, Order], at: int, policy: Policy) -> None:
    """Note which orders count no longer, or count again, since an event at `at`."""
    changed = False
    for purchase in cart.purchases:
        order = book.get(purchase.order)
        if order is not None and order.counts is not (purchase.stopped_at is None):
            purchase.stopped_at = None if order.counts else at
            changed = True
    if changed and cart.before is not None:
        _replay(cart, None, policy)


def record(cart: Cart, op: CartOperation, newest: int, policy: Policy, counts: EngineCounters) -> Click | None:
    """Apply a click at its place in the order of time. `newest` is the time of the customer's newest event.

    Return what is shopping in it, if it added something or started a checkout and no order reaches that; else None.
    """
    orders = reaching(cart.purchases, op.at, op.cart_id, op.checkout_id, policy)
    products = _place(cart, op, newest, policy, counts)
    if products is None:
        return None
    at, cart_id, checkout_id, checkout = op.at, op.cart_id, op.checkout_id, op.kind is CHECKOUT
    if orders:
        if checkout:
            if is_click_reached(orders, op):
                return None
        else:
            left = [p for p in products if not is_reached(orders, at, p, cart_id, checkout_id, False)]
            if not left:
                return None
            products = tuple(left)
    return Click(at, products, cart_id, checkout_id, checkout)


def record_order(cart: Cart, purchase: Purchase, newest: int, policy: Policy, counts: EngineCounters) -> None:
    """Take out of the cart what an order takes of it, and keep the order for clicks that are applied after it.

    It replaces an order of the same key: that one has started anew.
    """
    horizon = newest - policy.lateness
    if cart.log and cart.log[0].at < horizon:
        _settle_before(cart, horizon, policy)  # first, since these operations came before the order
    kept = [known for known in cart.purchases if known.order != purchase.order]
    cart.purchases = sorted([*kept, purchase], key=_bought_at)
    _place(cart, bare_operation(purchase.at, _ORDER, product=purchase.order), newest, policy, counts)
    _trim_purchases(cart)


def _place(
    cart: Cart, op: CartOperation, newest: int, policy: Policy, counts: EngineCounters
) -> tuple[str, ...] | None:
    """Apply an operation at its place in the order of time. Return what `apply_operation` returns."""
    horizon, log, at = newest - policy.lateness, cart.log, op.at
    if log and log[0].at < horizon:
        _settle_before(cart, horizon, policy)
    before = cart.before
    # The log may have been cut short: an operation from before it is then as late as one from before the horizon.
    if at < horizon or (len(log) >= LOG_LIMIT and at < log[0].at):
        if not log:
            cart.before = before = None
        if before is None:
            return apply_operation(cart.now, op, cart.purchases, True, policy, counts)
        shopped = apply_operation(before, op, _settled(cart), True, policy, counts)
        _replay(cart, None, policy)
        return shopped
    if before is None:
        cart.before = before = copy_of(cart.now)
    if not log or at >= log[-1].at:
        log.append(op)
        shopped = apply_operation(cart.now, op, cart.purchases, True, policy, counts)
    else:
        log.insert(bisect_right(log, at, key=time_of), op)
        shopped = _replay(cart, op, policy)
    if len(log) > LOG_LIMIT:
        first = log.pop(0)
        apply_operation(before, first, _settled(cart), False, policy, _DISCARDED)
        counts["trimmed", "cart_log"] += 1
    return shopped


def _settled(cart: Cart) -> list[Purchase]:
    """Return the orders that are not in the log: they were applied to `before`."""
    if not cart.purchases:  # most often
        return cart.purchases
    logged = {op.product for op in cart.log if op.kind is _ORDER}
    return [purchase for purchase in cart.purchases if purchase.order not in logged] if logged else cart.purchases


def settle(cart: Cart) -> None:
    """Drop the log, because a deadline is about to change the cart: operations so far are not replayed again."""
    cart.log.clear()
    cart.before = None


def apply_history(cart: Cart, ops: list[CartOperation], policy: Policy, counts: EngineCounters) -> None:
    """Set the cart to the result of these operations, which are in the order of time, on an empty cart.

    `cart.purchases` must hold their orders. The newest operations become the log.
    """
    settled = max(0, len(ops) - LOG_LIMIT)
    cart.log, cart.before = ops, Contents(cut=cart.now.cut)
    applied = _settled(cart)
    for op in ops[:settled]:
        if op.kind is _ORDER:
            applied = _with(applied, cart, op)
        apply_operation(cart.before, op, applied, True, policy, counts)
    cart.log = ops[settled:]
    _replay(cart, None, policy)
    _trim_purchases(cart)


def bare_operation(
    at: int, kind: CartOperationKind, cart_id: str | None = None, checkout_id: str | None = None, product: str = ""
) -> CartOperation:
    """Return an operation that has no more than these fields."""
    return CartOperation(at, kind, product, None, None, "", 0, None, cart_id, checkout_id)


def _bought_at(purchase: Purchase) -> int:
    return purchase.at


def _trim_purchases(cart: Cart) -> None:
    """Keep the newest orders that count, and those in the log, which may have to be applied again.

    Of orders that do not count, which may come to count again, keep as many.
    """
    if len(cart.purchases) <= MOST_PURCHASES:
        return
    logged = {op.product for op in cart.log if op.kind is _ORDER}
    counting = [purchase.order for purchase in cart.purchases if purchase.stopped_at is None][-MOST_PURCHASES:]
    stopped = [purchase.order for purchase in cart.purchases if purchase.stopped_at is not None][-MOST_PURCHASES:]
    cart.purchases = [
        purchase
        for purchase in cart.purchases
        if purchase.order in counting or purchase.order in stopped or purchase.order in logged
    ]


def _settle_before(cart: Cart, horizon: int, policy: Policy) -> None:
    """Move operations older than the horizon from the log to `before`. If all are, `before` equals `now` or is None."""
    log = cart.log
    before, settled = cart.before, len(log)
    assert before is not None
    if log[-1].at >= horizon:
        settled = bisect_left(log, horizon, key=time_of)
    elif settled > _FEW:
        settle(cart)
        return
    applied = _settled(cart)
    for op in log[:settled]:
        if op.kind is _ORDER:
            applied = _with(applied, cart, op)
        apply_operation(before, op, applied, False, policy, _DISCARDED)
    del log[:settled]


def _replay(cart: Cart, asked: CartOperation | None, policy: Policy) -> tuple[str, ...] | None:
    """Replay the log from its beginning. Return what `apply_operation` returns for the operation `asked`."""
    assert cart.before is not None
    cart.now, discarded = copy_of(cart.before), EngineCounters()
    result: tuple[str, ...] | None = None
    applied = _settled(cart)
    for op in cart.log:
        if op.kind is _ORDER:
            applied = _with(applied, cart, op)
        shopped = apply_operation(cart.now, op, applied, True, policy, discarded)
        if op is asked:
            result = shopped
    return result


def _with(applied: list[Purchase], cart: Cart, op: CartOperation) -> list[Purchase]:
    """Return the orders that are applied once the order of `op` is."""
    known = [purchase for purchase in cart.purchases if purchase.order == op.product and purchase.at == op.at]
    return sorted([*applied, *known], key=_bought_at)
