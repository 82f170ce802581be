"""The merge of two carts of one customer: replay the operations of both in the order of time.

Only `ProfileMerger` calls it. The result is exact for the operations in the logs (the last `lateness` of each side),
for additions and checkouts of any time, and for the newest `MOST_PURCHASES` orders: an order of one side also takes
from the other's cart. Additions and checkouts older than all these orders are taken to have been bought. Any other
operation from before a log took only from the cart that it was applied to. Times in ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streams.core.lifecycle.cart import LOG_LIMIT, apply_history, bare_operation, time_of
from streams.core.lifecycle.reach import MOST_PURCHASES
from streams.core.model.cart import Cart, CartOperation, CartOperationKind, Purchase
from streams.core.model.counters import EngineCounters
from streams.core.model.items import Item
from streams.core.model.policy import Policy

_SHOW: Final = CartOperationKind.SHOW
_ADD: Final = CartOperationKind.ADD
_CHECKOUT: Final = CartOperationKind.CHECKOUT
_ORDER: Final = CartOperationKind.ORDER
_MARK: Final = CartOperationKind.MARK


def unite(cart: Cart, other: Cart, copies: frozenset[int], policy: Policy, counts: EngineCounters) -> None:
    """Merge the cart `other` into this one. `other` must not be used afterwards.

    `copies`: times of events that both sides had; their operations are not applied twice.
    """
    if _is_empty(other):
        return
    if _is_empty(cart):
        cart.now, cart.log, cart.before, cart.purchases = other.now, other.log, other.before, other.purchases
        return
    first, second = sorted([_history(cart, other.purchases), _history(other, cart.purchases)], key=repr)
    known = {_match_key(op): n for n, op in enumerate(first) if op.kind is _ORDER or op.at in copies}
    ops = first.copy()
    for op in second:
        n = known.get(_match_key(op))
        if n is None:
            ops.append(op)
        elif op.quantity > first[n].quantity:
            ops[n] = op
    ops.sort(key=time_of)
    purchases: dict[str, Purchase] = {}
    for purchase in sorted([*cart.purchases, *other.purchases], key=_purchase_key):
        known_purchase = purchases.get(purchase.order)
        if known_purchase is not None:
            purchase.took = tuple(sorted({*purchase.took, *known_purchase.took}))
        purchases[purchase.order] = purchase
    cart.purchases = list(purchases.values())
    cart.purchases.sort(key=_purchase_key)
    if len(ops) > LOG_LIMIT:
        counts["trimmed", "cart_log"] += len(ops) - LOG_LIMIT
    cart.now.cut = cart.now.cut or other.now.cut
    apply_history(cart, ops, policy, counts)


def _is_empty(cart: Cart) -> bool:
    """Return True if no operation was applied that still has an effect."""
    now = cart.now
    return not (cart.log or cart.purchases or now.lines or now.shown or now.mark is not None)


def _history(cart: Cart, elsewhere: Sequence[Purchase]) -> list[CartOperation]:
    """Return the known operations on the cart in the order of time. `elsewhere`: the orders of the other cart."""
    base = cart.now if cart.before is None else cart.before
    in_log = {_match_key(op) for op in cart.log}
    ops = [
        bare_operation(shown.at, _SHOW, shown.cart_id, shown.checkout_id, shown.product or "") for shown in base.shown
    ]
    for purchase in cart.purchases:
        op = bare_operation(purchase.at, _ORDER, product=purchase.order)
        if _match_key(op) not in in_log:
            if purchase.whole and any(purchase.products):  # it named the cart or the checkout shown last
                ops.append(bare_operation(purchase.at, _SHOW, purchase.cart_id, purchase.checkout_id))
            ops.append(op)
    for product, line in base.lines.items():
        ops.append(
            CartOperation(
                line.at, _ADD, product, line.category, line.price, line.currency, line.quantity, None, line.cart_id,
                line.checkout_id,
            )
        )  # fmt: skip
    mark = base.mark
    if mark is not None:
        items = tuple([Item(product or None, None, None, "", 0) for product in mark.products])
        ops.append(CartOperation(mark.at, _MARK, "", None, None, "", 0, items, mark.cart_id, mark.checkout_id))
    ops += cart.log
    if len(elsewhere) >= MOST_PURCHASES:  # there may have been earlier orders, which are no longer known
        since = elsewhere[0].at
        ops = [op for op in ops if op.at >= since or (op.kind is not _ADD and op.kind not in (_CHECKOUT, _MARK))]
    return sorted(ops, key=time_of)


def _match_key(op: CartOperation) -> tuple[int, CartOperationKind, str]:
    """Return the key by which an operation that was applied to both carts is recognized."""
    return op.at, op.kind, op.product


def _purchase_key(purchase: Purchase) -> tuple[int, str]:
    return purchase.at, purchase.order
