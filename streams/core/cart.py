"""A customer's cart: lines, checkout mark and the cart and checkout ids last shown.

What is done to a cart does not commute, and arrives out of order by up to `lateness`. So the latest operations are
kept in a short log beside the cart as it was before them, and told again in (time, arrival) order when one arrives
late. An operation older than that is applied to what is there, and never overrides what is newer than itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final

import msgspec

from streams.core.activity import Activity, Item
from streams.core.policy import Policy

LOG_LIMIT: Final = 100
"""Operations kept to be told again: bounds the cost of one that arrives late."""


class Line(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A product in the cart, or viewed (then `quantity` is 1). `at` is the time of its last event, ms."""

    category: str | None
    price: int | None
    currency: str
    quantity: int
    at: int


def updated(line: Line | None, category: str | None, price: int | None, currency: str, quantity: int, at: int) -> Line:
    """The line after an event at `at`, now of `quantity`: what is not said, or said too late, stays as last known."""
    if line is None:
        return Line(category, price, currency, quantity, at)
    older = at < line.at
    if price is None or (older and line.price is not None):
        price, currency = line.price, line.currency
    if category is None or (older and line.category is not None):
        category = line.category
    return Line(category, price, currency, quantity, line.at if older else at)


def key(product_id: str | None) -> str:
    """Products without an id are one unnamed product."""
    return product_id or ""


def as_items(lines: Mapping[str, Line]) -> tuple[Item, ...]:
    """The lines as they are shown to others."""
    return tuple(
        Item(product or None, line.category, line.price, line.currency, line.quantity)
        for product, line in lines.items()
    )


class OpKind(IntEnum):
    """What an operation does to the cart."""

    SHOW = 0
    """Nothing but showing the cart's or the checkout's id, as every operation of the clickstream may."""
    ADD = 1
    REMOVE = 2
    REPLACE = 3
    EMPTY = 4
    CHECKOUT = 5
    STEP = 6
    ORDER = 7


OPERATIONS: Final = {
    "product_added": OpKind.ADD,
    "product_removed": OpKind.REMOVE,
    "cart_viewed": OpKind.REPLACE,
    "cart_emptied": OpKind.EMPTY,
    "checkout_started": OpKind.CHECKOUT,
    "checkout_step_completed": OpKind.STEP,
}


class Op(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One operation on a cart. Of an ORDER, the ids are the order's and not shown."""

    at: int
    kind: OpKind
    product: str
    category: str | None
    price: int | None
    currency: str
    quantity: int
    items: tuple[Item, ...] | None
    cart_id: str | None
    checkout_id: str | None


def operation(activity: Activity, kind: OpKind) -> Op:
    """The operation that an activity is. Of an order's items, only which products they are matters."""
    items = activity.items
    if kind is OpKind.ORDER and items:
        items = tuple(Item(product, None, None, "", 1) for product in dict.fromkeys(item.product_id for item in items))
    return Op(
        activity.at,
        kind,
        key(activity.product_id),
        activity.category,
        activity.price,
        activity.currency,
        activity.quantity,
        items,
        activity.cart_id,
        activity.checkout_id,
    )


class Contents(msgspec.Struct, array_like=True, gc=False):
    """The cart at one point of its story."""

    lines: dict[str, Line] = {}
    checkout_at: int | None = None
    """The checkout mark: the time of the last checkout event, None where it is not set."""
    cart_id: str | None = None
    cart_id_at: int = 0
    checkout_id: str | None = None
    checkout_id_at: int = 0

    def copy(self) -> Contents:
        """One that can be changed without changing this one (lines are frozen)."""
        return Contents(
            self.lines.copy(),
            self.checkout_at,
            self.cart_id,
            self.cart_id_at,
            self.checkout_id,
            self.checkout_id_at,
        )

    def apply(self, op: Op, barred: bool, limit: int, counts: Counter[tuple[str, str]]) -> bool:
        """Do it; whether something was added. `barred` ones neither add nor mark: they are older than the last order.

        Every branch takes and overrides only what is not newer than `op`.
        """
        kind, at = op.kind, op.at
        if kind is OpKind.ORDER:
            self._order(op)
            return False
        if op.cart_id is not None and (self.cart_id is None or at >= self.cart_id_at):
            self.cart_id, self.cart_id_at = op.cart_id, at
        if op.checkout_id is not None and (self.checkout_id is None or at >= self.checkout_id_at):
            self.checkout_id, self.checkout_id_at = op.checkout_id, at
        added = False
        if kind is OpKind.ADD:
            if not barred:
                line = self.lines.get(op.product)
                quantity = op.quantity if line is None else line.quantity + op.quantity
                self.lines[op.product] = updated(line, op.category, op.price, op.currency, quantity, at)
                added = True
        elif kind is OpKind.REMOVE:
            self._remove(op)
        elif kind is OpKind.EMPTY:
            self._take(tuple(self.lines), at)
            self._unmark(at)
        elif kind is OpKind.STEP:
            if self.checkout_at is not None and at > self.checkout_at:
                self.checkout_at = at
        elif kind in (OpKind.REPLACE, OpKind.CHECKOUT):
            if op.items is not None:
                added = self._replace(op.items, at, barred)
            if kind is OpKind.CHECKOUT and not barred and (self.checkout_at is None or at > self.checkout_at):
                self.checkout_at = at
        if added:
            self._trim(limit, counts)
        return added

    def _take(self, products: Iterable[str], at: int) -> None:
        lines = self.lines
        for product in products:
            if (line := lines.get(product)) is not None and line.at <= at:
                del lines[product]

    def _unmark(self, at: int) -> None:
        if self.checkout_at is not None and self.checkout_at <= at:
            self.checkout_at = None

    def _remove(self, op: Op) -> None:
        line = self.lines.get(op.product)
        if line is None or line.at > op.at:
            return
        if line.quantity > op.quantity:
            quantity = line.quantity - op.quantity
            self.lines[op.product] = Line(line.category, line.price, line.currency, quantity, op.at)
            return
        del self.lines[op.product]
        if not self.lines:
            self._unmark(op.at)

    def _replace(self, items: tuple[Item, ...], at: int, barred: bool) -> bool:
        listed: dict[str, Line] = {}
        for item in items:
            product = key(item.product_id)
            line = listed.get(product)
            quantity = item.quantity if line is None else line.quantity + item.quantity
            listed[product] = updated(line, item.category, item.price, item.currency, quantity, at)
        self._take([product for product in self.lines if product not in listed], at)
        if not listed:
            self._unmark(at)
        added = False
        for product, new in listed.items():
            line = self.lines.get(product)
            if line is not None and line.at > at:
                continue
            more = line is None or new.quantity > line.quantity
            if more and barred:
                continue
            added = added or more
            self.lines[product] = updated(line, new.category, new.price, new.currency, new.quantity, at)
        return added

    def _order(self, op: Op) -> None:
        self._unmark(op.at)
        bought = [key(item.product_id) for item in op.items or ()]
        whole = (
            not any(bought)
            or (op.cart_id is not None and op.cart_id == self.cart_id)
            or (op.checkout_id is not None and op.checkout_id == self.checkout_id)
        )
        self._take(tuple(self.lines) if whole else bought, op.at)

    def _trim(self, limit: int, counts: Counter[tuple[str, str]]) -> None:
        lines = self.lines
        excess = len(lines) - limit
        if excess > 0:
            for product in sorted(lines, key=lambda product: lines[product].at)[:excess]:
                del lines[product]
            counts["trimmed", "cart_lines"] += excess


class Cart(msgspec.Struct, array_like=True, gc=False):
    """The cart as it is, and what is needed to put an operation in its place that arrives late."""

    now: Contents = msgspec.field(default_factory=Contents)
    log: list[Op] = []
    """The latest operations, in (time, arrival) order."""
    before: Contents | None = None
    """The cart before the log's first operation; None if the log is empty."""

    def record(
        self, op: Op, newest: int, last_order_at: int | None, policy: Policy, counts: Counter[tuple[str, str]]
    ) -> bool:
        """Apply an operation where it belongs; whether it added something.

        `newest` is the time of the customer's newest event, `last_order_at` of the last order before this event.
        """
        horizon, log, limit = newest - policy.lateness, self.log, policy.cart_lines
        if log and log[0].at < horizon:
            self._settle_before(horizon, limit)
        # The log may have been cut short: what belongs before it is then as old as what is older than the horizon.
        if op.at < horizon or (len(log) >= LOG_LIMIT and op.at < log[0].at):
            barred = last_order_at is not None and op.at < last_order_at
            if self.before is None:
                return self.now.apply(op, barred, limit, counts)
            added = self.before.apply(op, barred, limit, counts)
            self._tell(None, limit)
            return added
        if self.before is None:
            self.before = self.now.copy()
        if not log or op.at >= log[-1].at:
            log.append(op)
            added = self.now.apply(op, False, limit, counts)
        else:
            log.insert(bisect_right(log, op.at, key=lambda other: other.at), op)
            added = self._tell(op, limit)
        if len(log) > LOG_LIMIT:
            self.before.apply(log.pop(0), False, limit, Counter())
            counts["trimmed", "cart_log"] += 1
        return added

    def settle(self) -> None:
        """A deadline is about to change the cart: from here on, what was before is not told again."""
        self.log.clear()
        self.before = None

    def _settle_before(self, horizon: int, limit: int) -> None:
        log = self.log
        if log[-1].at < horizon:
            self.settle()
            return
        assert self.before is not None
        settled = next(i for i, op in enumerate(log) if op.at >= horizon)
        for op in log[:settled]:
            self.before.apply(op, False, limit, Counter())
        del log[:settled]

    def _tell(self, asked: Op | None, limit: int) -> bool:
        """Tell the log again from its beginning; whether the operation asked about added something."""
        assert self.before is not None
        self.now, uncounted, answer = self.before.copy(), Counter[tuple[str, str]](), False
        for op in self.log:
            added = self.now.apply(op, False, limit, uncounted)
            if op is asked:
                answer = added
        return answer
