"""A customer's cart: its lines, the time of the checkout, and the cart and checkout ids last shown.

Operations on a cart do not commute, and arrive out of order by up to `lateness`. So the latest operations are kept in a
short log beside the cart as it was before them, and replayed in the order of (time, arrival) when one arrives late. An
operation older than the log is applied to the settled cart, and never overrides anything newer than itself.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec.structs import astuple

from streams.core.model.cart import Bought, Cart, CartOperation, CartOperationKind, Contents
from streams.core.model.counters import EngineCounters
from streams.core.model.currencies import PIECE
from streams.core.model.event import Event
from streams.core.model.items import Item, Line
from streams.core.model.policy import Policy

LOG_LIMIT: Final = 100
"""Most operations in the log. Bounds the cost of one that arrives late."""
_FEW: Final = 3
"""Up to this number, applying operations once more costs less than copying the cart."""
MOST_BOUGHT: Final = 4
"""Most orders kept, for a merge with another cart."""
MOST_PRODUCTS: Final = 50
"""Most products kept of each of these orders."""


def updated(line: Line | None, category: str | None, price: int | None, currency: str, quantity: int, at: int) -> Line:
    """Return the line after an event at `at`, with this quantity. Missing or older values do not replace known ones."""
    if line is None:
        return Line(category, price, currency, quantity, at)
    older = at < line.at
    if price is None or (older and line.price is not None):
        price, currency = line.price, line.currency
    if category is None or (older and line.category is not None):
        category = line.category
    return Line(category, price, currency, quantity, line.at if older else at)


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


# Members of an Enum as constants: each access to a member through its class is a search.
_ADD: Final = CartOperationKind.ADD
_REMOVE: Final = CartOperationKind.REMOVE
_REPLACE: Final = CartOperationKind.REPLACE
_EMPTY: Final = CartOperationKind.EMPTY
_CHECKOUT: Final = CartOperationKind.CHECKOUT
_SHOW: Final = CartOperationKind.SHOW
_STEP: Final = CartOperationKind.STEP
_ORDER: Final = CartOperationKind.ORDER

OPERATIONS: Final = {
    "product_added": _ADD,
    "product_removed": _REMOVE,
    "cart_viewed": _REPLACE,
    "cart_emptied": _EMPTY,
    "checkout_started": _CHECKOUT,
    "checkout_step_completed": _STEP,
}


_DISCARDED: Final[EngineCounters] = Counter()
"""Receives the counts of operations that are applied again: they were counted the first time."""


def _time(op: CartOperation) -> int:
    return op.at


def operation(event: Event, kind: CartOperationKind) -> CartOperation:
    """Return the cart operation of an event. Of the items of an order it keeps only the products."""
    items = event.items
    if kind is _ORDER and items:
        items = tuple(
            Item(product, None, None, "", PIECE) for product in dict.fromkeys(item.product_id for item in items)
        )
    return CartOperation(
        event.at,
        kind,
        key(event.product_id),
        event.category,
        event.price,
        event.currency,
        event.quantity,
        items,
        event.cart_id,
        event.checkout_id,
    )


def record(
    cart: Cart,
    op: CartOperation,
    newest: int,
    last_order_at: int | None,
    policy: Policy,
    counts: EngineCounters,
) -> bool:
    """Apply an operation at its place in the order of time. Return True if it added something.

    `newest` is the time of the customer's newest event, `last_order_at` of the last order before this event.
    """
    horizon, log, limit, at = newest - policy.lateness, cart.log, policy.cart_lines, op.at
    if op.kind is _ORDER:
        _keep_bought(cart, [*cart.bought, _bought(op, cart.now)])
    if log and log[0].at < horizon:
        _settle_before(cart, horizon, limit)
    before = cart.before
    # The log may have been cut short: an operation from before it is then as late as one from before the horizon.
    if at < horizon or (len(log) >= LOG_LIMIT and at < log[0].at):
        barred = last_order_at is not None and at < last_order_at
        if not log:
            cart.before = before = None
        if before is None:
            return _apply(cart.now, op, barred, limit, counts)
        added = _apply(before, op, barred, limit, counts)
        _replay(cart, None, limit)
        return added
    if before is None:
        cart.before = before = _copy(cart.now)
    if not log or at >= log[-1].at:
        log.append(op)
        added = _apply(cart.now, op, False, limit, counts)
    else:
        log.insert(bisect_right(log, at, key=_time), op)
        added = _replay(cart, op, limit)
    if len(log) > LOG_LIMIT:
        _apply(before, log.pop(0), False, limit, _DISCARDED)
        counts["trimmed", "cart_log"] += 1
    return added


def settle(cart: Cart) -> None:
    """Drop the log, because a deadline is about to change the cart: operations so far are not replayed again."""
    cart.log.clear()
    cart.before = None


def unite(cart: Cart, other: Cart, copies: frozenset[int], limit: int, counts: EngineCounters) -> None:
    """Merge the cart `other` of the same customer into this one: replay the operations of both in the order of time.

    `other` must not be used afterwards. The result is exact for the operations in the logs (the last `lateness` of each
    side), for additions and checkouts of any time, and for the newest `MOST_BOUGHT` orders: products that one side
    bought leave the other's cart too. Additions and checkouts older than all these orders are taken to have been
    bought. Any other operation from before a log took only from the cart that it was applied to. `copies`: times (ms)
    of events that both sides had; their operations are not applied twice.
    """
    if not _is_empty(other):
        if _is_empty(cart):
            cart.now, cart.log, cart.before, cart.bought = other.now, other.log, other.before, other.bought
            return
        first, second = sorted([_history(cart, other.bought), _history(other, cart.bought)], key=repr)
        known = {_match_key(op): n for n, op in enumerate(first) if op.kind is _ORDER or op.at in copies}
        ops = first.copy()
        for op in second:
            n = known.get(_match_key(op))
            if n is None:
                ops.append(op)
            elif op.quantity > first[n].quantity:
                ops[n] = op
        ops.sort(key=_time)
        settled = max(0, len(ops) - LOG_LIMIT)
        before = Contents(cut=cart.now.cut or other.now.cut)
        for op in ops[:settled]:
            _apply(before, op, False, limit, counts)
        cart.log, cart.before = ops[settled:], before
        if settled:
            counts["trimmed", "cart_log"] += settled
        _keep_bought(cart, cart.bought + other.bought)
        _replay(cart, None, limit)


def _is_empty(cart: Cart) -> bool:
    """Return True if no operation was applied that still has an effect."""
    now = cart.now
    return not (cart.log or cart.bought or now.lines or now.cart_id or now.checkout_id or now.checkout_at is not None)


def _history(cart: Cart, elsewhere: list[Bought]) -> list[CartOperation]:
    """Return the known operations on the cart in the order of time. `elsewhere`: the orders of the other cart."""
    base = cart.now if cart.before is None else cart.before
    in_log = {_match_key(op) for op in cart.log}
    ops: list[CartOperation] = []
    for bought in cart.bought:
        op = _op(bought.at, _ORDER, bought.cart_id, bought.checkout_id, bought.products)
        if _match_key(op) not in in_log:
            if bought.cart_shown_at is not None:
                ops.append(_op(bought.cart_shown_at, _SHOW, bought.cart_id, None))
            if bought.checkout_shown_at is not None:
                ops.append(_op(bought.checkout_shown_at, _SHOW, None, bought.checkout_id))
            ops.append(op)
    for bought in elsewhere:
        # Only the last time at which an id was shown is known. If that is after the order, assume that it was shown
        # before the order as well.
        if bought.cart_id is not None and bought.cart_id == base.cart_id and base.cart_id_at > bought.at:
            ops.append(_op(bought.at - 1, _SHOW, bought.cart_id, None))
        if (
            bought.checkout_id is not None
            and bought.checkout_id == base.checkout_id
            and base.checkout_id_at > bought.at
        ):
            ops.append(_op(bought.at - 1, _SHOW, None, bought.checkout_id))
    if base.cart_id is not None:
        ops.append(_op(base.cart_id_at, _SHOW, base.cart_id, None))
    if base.checkout_id is not None:
        ops.append(_op(base.checkout_id_at, _SHOW, None, base.checkout_id))
    for product, line in base.lines.items():
        ops.append(
            CartOperation(
                line.at, _ADD, product, line.category, line.price, line.currency, line.quantity, None, None, None
            )
        )
    if base.checkout_at is not None:
        ops.append(_op(base.checkout_at, _CHECKOUT, None, None))
    ops += cart.log
    if len(elsewhere) == MOST_BOUGHT:  # there may have been earlier orders, which are no longer known
        since = elsewhere[0].at
        ops = [op for op in ops if op.at >= since or (op.kind is not _ADD and op.kind is not _CHECKOUT)]
    return sorted(ops, key=_time)


def _op(
    at: int, kind: CartOperationKind, cart_id: str | None, checkout_id: str | None, products: tuple[str, ...] = ()
) -> CartOperation:
    items = tuple([Item(product, None, None, "", PIECE) for product in products]) if products else None
    return CartOperation(at, kind, "", None, None, "", PIECE, items, cart_id, checkout_id)


def _bought(op: CartOperation, cart: Contents) -> Bought:
    same_cart = op.cart_id is not None and op.cart_id == cart.cart_id
    same_checkout = op.checkout_id is not None and op.checkout_id == cart.checkout_id
    return Bought(
        op.at,
        _products(op)[:MOST_PRODUCTS],
        op.cart_id,
        op.checkout_id,
        cart.cart_id_at if same_cart else None,
        cart.checkout_id_at if same_checkout else None,
    )


def _products(op: CartOperation) -> tuple[str, ...]:
    return tuple([key(item.product_id) for item in op.items or ()])


def _match_key(op: CartOperation) -> tuple[int, CartOperationKind, str, tuple[str, ...], str | None, str | None]:
    """Return the key by which an operation that was applied to both carts is recognized."""
    if op.kind is _ORDER:
        return op.at, op.kind, op.product, _products(op)[:MOST_PRODUCTS], op.cart_id, op.checkout_id
    return op.at, op.kind, op.product, (), None, None


def _keep_bought(cart: Cart, bought: list[Bought]) -> None:
    cart.bought = sorted(dict.fromkeys(bought), key=_bought_at)[-MOST_BOUGHT:]


def _bought_at(bought: Bought) -> int:
    return bought.at


def _settle_before(cart: Cart, horizon: int, limit: int) -> None:
    """Move operations older than the horizon from the log to `before`. If all are, `before` equals `now` or is None."""
    log = cart.log
    before, settled = cart.before, len(log)
    assert before is not None
    if log[-1].at >= horizon:
        settled = bisect_left(log, horizon, key=_time)
    elif settled > _FEW:
        settle(cart)
        return
    for op in log[:settled]:
        _apply(before, op, False, limit, _DISCARDED)
    del log[:settled]


def _replay(cart: Cart, asked: CartOperation | None, limit: int) -> bool:
    """Replay the log from its beginning. Return True if the operation `asked` added something."""
    assert cart.before is not None
    cart.now, discarded, asked_added = _copy(cart.before), EngineCounters(), False
    for op in cart.log:
        added = _apply(cart.now, op, False, limit, discarded)
        if op is asked:
            asked_added = added
    return asked_added


def _copy(cart: Contents) -> Contents:
    """Return a copy that can be changed independently. Lines are shared, because they are frozen."""
    return Contents(
        cart.lines.copy(),
        cart.checkout_at,
        cart.cart_id,
        cart.cart_id_at,
        cart.checkout_id,
        cart.checkout_id_at,
        cart.cut,
    )


def _apply(cart: Contents, op: CartOperation, barred: bool, limit: int, counts: EngineCounters) -> bool:
    """Apply an operation. Return True if it added something.

    A `barred` operation is older than the last order: it neither adds nor starts a checkout. No operation removes or
    overrides anything newer than itself.
    """
    # Unpack all fields at once: reading them one by one takes longer.
    at, kind, product, category, price, currency, quantity, items, cart_id, checkout_id = _fields(op)
    if kind is _ORDER:
        _order(cart, op)
        return False
    if cart_id is not None and (cart.cart_id is None or at >= cart.cart_id_at):
        cart.cart_id, cart.cart_id_at = cart_id, at
    if checkout_id is not None and (cart.checkout_id is None or at >= cart.checkout_id_at):
        cart.checkout_id, cart.checkout_id_at = checkout_id, at
    added = False
    if kind is _ADD:
        if not barred:
            lines = cart.lines
            line = lines.get(product)
            if line is None:
                lines[product] = Line(category, price, currency, quantity, at)
            else:
                lines[product] = updated(line, category, price, currency, line.quantity + quantity, at)
            added = True
    elif kind is _REMOVE:
        _remove(cart, op)
    elif kind is _EMPTY:
        _take(cart, tuple(cart.lines), at)
        _clear_checkout(cart, at)
    elif kind is _STEP:
        if cart.checkout_at is not None and at > cart.checkout_at:
            cart.checkout_at = at
    elif kind is _REPLACE or kind is _CHECKOUT:
        if items is not None:
            added = _replace(cart, items, at, barred)
        if kind is _CHECKOUT and not barred and (cart.checkout_at is None or at > cart.checkout_at):
            cart.checkout_at = at
    if added:
        _trim(cart, limit, counts)
    return added


def _fields(
    op: CartOperation,
) -> tuple[
    int, CartOperationKind, str, str | None, int | None, str, int, tuple[Item, ...] | None, str | None, str | None
]:
    return astuple(op)


def _take(cart: Contents, products: Iterable[str], at: int) -> None:
    lines = cart.lines
    for product in products:
        if (line := lines.get(product)) is not None and line.at <= at:
            del lines[product]
    if not lines:
        cart.cut = False


def _clear_checkout(cart: Contents, at: int) -> None:
    if cart.checkout_at is not None and cart.checkout_at <= at:
        cart.checkout_at = None


def _remove(cart: Contents, op: CartOperation) -> None:
    line = cart.lines.get(op.product)
    if line is None or line.at > op.at:
        return
    if line.quantity > op.quantity:
        quantity = line.quantity - op.quantity
        cart.lines[op.product] = Line(line.category, line.price, line.currency, quantity, op.at)
        return
    del cart.lines[op.product]
    if not cart.lines:
        cart.cut = False
        _clear_checkout(cart, op.at)


def _replace(cart: Contents, items: tuple[Item, ...], at: int, barred: bool) -> bool:
    listed: dict[str, Line] = {}
    for item in items:
        product = key(item.product_id)
        line = listed.get(product)
        quantity = item.quantity if line is None else line.quantity + item.quantity
        listed[product] = updated(line, item.category, item.price, item.currency, quantity, at)
    _take(cart, [product for product in cart.lines if product not in listed], at)
    if not listed:
        _clear_checkout(cart, at)
    if cart.cut and not [line for line in cart.lines.values() if line.at > at]:
        cart.cut = False  # all lines are replaced
    added = False
    for product, new in listed.items():
        line = cart.lines.get(product)
        if line is not None and line.at > at:
            continue
        more = line is None or new.quantity > line.quantity
        if more and barred:
            continue
        added = added or more
        cart.lines[product] = updated(line, new.category, new.price, new.currency, new.quantity, at)
    return added


def _order(cart: Contents, op: CartOperation) -> None:
    _clear_checkout(cart, op.at)
    bought = [key(item.product_id) for item in op.items or ()]
    whole = (
        not any(bought)
        or (op.cart_id is not None and op.cart_id == cart.cart_id)
        or (op.checkout_id is not None and op.checkout_id == cart.checkout_id)
    )
    _take(cart, tuple(cart.lines) if whole else bought, op.at)


def _trim(cart: Contents, limit: int, counts: EngineCounters) -> None:
    lines = cart.lines
    excess = len(lines) - limit
    if excess > 0:
        for product in oldest(lines)[:excess]:
            del lines[product]
        cart.cut = True
        counts["trimmed", "cart_lines"] += excess
