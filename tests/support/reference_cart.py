"""The cart of the reference: it is computed from the whole story of the customer every time it is needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from streams.core.model.currencies import PIECE, PRICE_UNIT
from streams.core.model.event import Event, Source
from streams.core.model.items import Item
from streams.core.model.policy import Policy
from tests.support.reference_orders import OrderKey
from tests.support.reference_reach import Purchase, Reach, Trace


@dataclass(eq=False)
class Applied:
    """An event of the customer, with facts that were known when it arrived."""

    event: Event
    active: bool
    """True if it is activity, that is, not passive."""

    @property
    def at(self) -> int:
        return self.event.at

    def clicks(self, *types: str) -> bool:
        return self.event.source is Source.CLICKSTREAM and self.event.type in types

    @property
    def trace(self) -> Trace:
        e = self.event
        products: tuple[str | None, ...] = () if e.product_id is None else (e.product_id,)
        if self.clicks("product_viewed", "product_added", "product_removed"):
            products = (e.product_id,)
        elif self.clicks("cart_viewed", "checkout_started") and e.items is not None:
            products = tuple(combined(e.items))
        checkout = self.clicks("checkout_started", "checkout_step_completed")
        return Trace(e.at, e.cart_id, e.checkout_id, products, checkout, view=self.clicks("product_viewed"))


@dataclass(eq=False)
class Change:
    """An order counts no longer, or counts again."""

    at: int
    order: OrderKey
    counts: bool


@dataclass(eq=False)
class Cleared:
    """A deadline that emptied the cart (`all`), or that only removed the mark."""

    at: int
    all: bool


@dataclass
class Line:
    product_id: str | None
    category: str | None
    price: int | None
    currency: str
    quantity: int
    trace: Trace

    @property
    def at(self) -> int:
        return self.trace.at

    def describe(self, category: str | None, price: int | None, currency: str) -> None:
        """Take over category, price and currency. Values that are missing stay as they were."""
        self.category = category or self.category
        if price is not None:
            self.price, self.currency = price, currency


Lines = dict[str | None, Line]


class State(Reach):
    """The cart at one point of the story."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self.lines: Lines = {}
        self.cut = False
        """True if lines were dropped because there were too many, until the cart is empty or shown as a whole."""
        self.mark: Trace | None = None
        """The last event of the checkout that goes on."""
        self.clicks: list[Trace] = []
        self.additions: dict[Applied, tuple[str | None, ...]] = {}
        """The products that each click added to the cart."""

    def take(self, products: Iterable[str | None], at: int) -> bool:
        """Remove lines, except newer ones. Return True if that emptied the cart."""
        taken = [p for p in products if p in self.lines and self.lines[p].at <= at]
        for product in taken:
            del self.lines[product]
        return bool(taken) and not self.lines

    def clear_mark(self, at: int) -> None:
        if self.mark is not None and self.mark.at <= at:
            self.mark = None

    def click(self, a: Applied) -> None:
        e, t = a.event, a.trace
        self.clicks.append(t)
        if a.clicks("product_added"):
            item = Item(e.product_id, e.category, e.price, e.currency, e.quantity)
            self.add(a, item, total=False, out=self.kept_out(t, e.product_id))
        elif a.clicks("product_removed"):
            line = self.lines.get(e.product_id)
            if line is not None and line.at <= e.at:
                line.quantity, line.trace = line.quantity - e.quantity, t
                if line.quantity <= 0 and self.take([e.product_id], e.at):
                    self.clear_mark(e.at)
        elif a.clicks("cart_emptied"):
            self.take(list(self.lines), e.at)
            self.clear_mark(e.at)
        applied = True
        if a.clicks("cart_viewed", "checkout_started") and e.items is not None:
            applied = self.show(a, combined(e.items))
        if t.checkout:
            self.check_out(a, applied)
        if e.cart_id or e.checkout_id:
            self.show_last(t)

    def show_last(self, t: Trace) -> None:
        """Let the orders that reach the click, and whose cart or checkout it is the last to show, take the whole cart.

        An order that came after the click would have known it.
        """
        for order in self.in_force:
            if order.whole or order.passive or t.at <= order.at or not self.reaches(order, t):
                continue
            if order.owns(t) and self.shown_last(order):
                order.whole = True
                lines = [(p, line.trace) for p, line in self.lines.items() if self.reaches(order, line.trace)]
                for product, trace in lines:
                    if order.would_take(trace, product):
                        del self.lines[product]

    def add(self, a: Applied, item: Item, *, total: bool, out: bool) -> None:
        """Put an addition into the cart, unless an order keeps it out."""
        t = a.trace.about(item.product_id)
        self.offered.append(t)
        if out:
            return
        self.added.append(t)
        self.additions[a] = (*self.additions.get(a, ()), item.product_id)
        put(self.lines, item, t, total=total)

    def show(self, a: Applied, listed: dict[str | None, Item]) -> bool:
        """Replace the content of the cart. Return False if nothing of the snapshot is applied."""
        e, t = a.event, a.trace
        out = {p for p in listed if self.kept_out(t, p)}
        everything_out = bool(listed) and len(out) == len(listed)
        if not everything_out:
            self.take([p for p in self.lines if p not in listed or p in out], e.at)
            self.cut = False
            if not listed:
                self.clear_mark(e.at)
        for product, item in listed.items():
            line = self.lines.get(product)
            if line is not None and line.at > e.at:
                continue
            if line is None or item.quantity > line.quantity:
                self.add(a, item, total=True, out=product in out)
            elif product not in out:
                put(self.lines, item, t.about(product), total=True)
        return not everything_out

    def check_out(self, a: Applied, applied: bool) -> None:
        """Set the mark, or renew it. `applied` is False if nothing of a snapshot was applied."""
        t = a.trace
        self.offered.append(t)
        starts = a.clicks("checkout_started")
        nothing_to_buy = starts and a.event.items == ()
        if not applied or nothing_to_buy or self.reached(t):
            return
        if t.at >= self.mark.at if self.mark is not None else starts:
            self.mark = t

    def buy(self, order: Purchase) -> None:
        """Take out of the cart and clear what the order reaches of it."""
        self.purchases.pop(order.key, None)
        self.purchases[order.key] = order
        self.stopped.discard(order.key)
        order.taken = set()
        order.whole = not order.passive and (not order.ids or self.shown_last(order))
        reached = {p: line.trace for p, line in self.lines.items() if self.reaches(order, line.trace)}
        taken = [p for p, t in reached.items() if order.would_take(t, p)]
        for product in taken:
            del self.lines[product]
        order.taken = {p for p in taken if p is not None}
        if self.mark is not None:
            clears = self.reaches(order, self.mark)
            if order.passive:
                # the mark goes with the last line whatever their times: nothing is left to buy
                clears = (clears and order.owns(self.mark)) or bool(taken and not self.lines)
            self.mark = None if clears else self.mark

    def shown_last(self, order: Purchase) -> bool:
        """Return True if it names the cart or the checkout that was shown last among what it reaches."""
        reached = sorted((t for t in self.clicks if self.reaches(order, t)), key=lambda t: t.at)
        carts = [t.cart_id for t in reached if t.cart_id]
        checkouts = [t.checkout_id for t in reached if t.checkout_id]
        names_cart = bool(carts) and carts[-1] == order.cart_id
        return names_cart or (bool(checkouts) and checkouts[-1] == order.checkout_id)

    def apply(self, entry: Entry) -> None:
        if isinstance(entry, Cleared):
            self.mark = None
            if entry.all:
                self.lines.clear()
        elif isinstance(entry, Change):
            (self.stopped.discard if entry.counts else self.stopped.add)(entry.order)
        elif isinstance(entry, Purchase):
            self.buy(entry)
        else:
            self.click(entry)
        while len(self.lines) > self.policy.cart_lines:
            del self.lines[min(self.lines, key=lambda p: self.lines[p].at)]
            self.cut = True
        self.cut = self.cut and bool(self.lines)


Entry = Applied | Purchase | Change | Cleared


@dataclass
class Story:
    """The events and deadlines in the order that counts for the cart: by time, as far as `lateness` allows."""

    policy: Policy
    entries: list[Entry] = field(default_factory=list)
    _now: State | None = None

    def place(self, entry: Entry, newest: int) -> None:
        """Insert an event at its time. Insert one that is too late for that after everything already settled.

        `newest` is the time of the newest event before it.
        """
        behind = entry.at < newest - self.policy.lateness
        limit = newest - self.policy.lateness - 1 if behind else entry.at
        before = [i + 1 for i, b in enumerate(self.entries) if b.at <= limit or isinstance(b, Cleared)]
        self._insert(max(before, default=0), entry)

    def clear(self, at: int, *, all: bool) -> None:
        self._insert(len(self.entries), Cleared(at, all))

    def _insert(self, position: int, entry: Entry) -> None:
        self.entries.insert(position, entry)
        if position == len(self.entries) - 1 and self._now is not None:
            self._now.apply(entry)
        else:
            self._now = None

    @property
    def now(self) -> State:
        if self._now is None:
            self._now = State(self.policy)
            for entry in self.entries:
                self._now.apply(entry)
        return self._now


def put(cart: Lines, item: Item, trace: Trace, *, total: bool) -> None:
    """Add the item to its line; with `total`, replace the quantity of the line."""
    line = cart.setdefault(item.product_id, Line(item.product_id, None, None, item.currency, 0, trace))
    line.quantity = item.quantity if total else line.quantity + item.quantity
    newer = trace.at >= line.at
    line.describe(
        item.category if newer else line.category or item.category,
        item.price if newer or line.price is None else None,
        item.currency,
    )
    line.trace = trace if newer else line.trace


def combined(items: Sequence[Item]) -> dict[str | None, Item]:
    """Return the items with one item per product."""
    lines: Lines = {}
    for item in items:
        put(lines, item, Trace(0, None, None, ()), total=False)
    return {i.product_id: i for i in items_of(lines.values())}


def items_of(lines: Iterable[Line]) -> tuple[Item, ...]:
    return tuple(Item(li.product_id, li.category, li.price, li.currency, li.quantity) for li in lines)


def value_of(items: Sequence[Item], usual: str, *, cut: bool) -> tuple[int | None, str | None]:
    """Return the sum and the currency of the prices.

    The sum is None if a price is missing, currencies differ or lines were cut; the currency is None if there is not
    exactly one. An empty cart is worth 0 of the usual currency.
    """
    if not items:
        return 0, usual
    currencies = {item.currency for item in items if item.price is not None}
    currency = currencies.pop() if len(currencies) == 1 else None
    if cut or currency is None or any(item.price is None for item in items):
        return None, currency
    unit = PRICE_UNIT * PIECE
    return (2 * sum((item.price or 0) * item.quantity for item in items) + unit) // (2 * unit), currency
