"""The cart of the reference: it is computed from the whole story of the customer every time it is needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from streams.core.model.event import Event, Source
from streams.core.model.items import Item
from streams.core.model.policy import Policy


@dataclass(eq=False)
class Applied:
    """An event of the customer, with facts that were known when it arrived."""

    event: Event
    active: bool
    """True if it is activity, that is, not passive."""
    buys: bool
    """True if it is a completion that counted when it arrived."""
    behind: bool
    """True if it is more than `lateness` older than the newest event, and so too late to be put in its place."""
    outdated: bool
    """True if it is older than the last order."""

    @property
    def at(self) -> int:
        return self.event.at

    def clicks(self, *types: str) -> bool:
        return self.event.source is Source.CLICKSTREAM and self.event.type in types


@dataclass(eq=False)
class Cleared:
    """A deadline that emptied the cart (`all`), or that only removed the checkout."""

    at: int
    all: bool


@dataclass
class Line:
    product_id: str | None
    category: str | None
    price: int | None
    currency: str
    quantity: int
    at: int

    def describe(self, category: str | None, price: int | None, currency: str) -> None:
        """Take over category, price and currency. Values that are missing stay as they were."""
        self.category = category or self.category
        if price is not None:
            self.price, self.currency = price, currency


class Story:
    """The events and deadlines in the order that counts for the cart: by time, as far as `lateness` allows."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.entries: list[Applied | Cleared] = []

    def place(self, a: Applied, newest: int) -> None:
        """Insert an event at its time. Insert an event that is too late for that after everything already settled."""
        limit = newest - self.policy.lateness - 1 if a.behind else a.at
        before = [i + 1 for i, b in enumerate(self.entries) if b.at <= limit or isinstance(b, Cleared)]
        self.entries.insert(max(before, default=0), a)

    def replay(self, addition: Applied | None = None) -> tuple[dict[str | None, Line], int | None, bool]:
        """Return the lines, the time of the checkout, and whether `addition` added something."""
        cart: dict[str | None, Line] = {}
        checkout_at: int | None = None
        shown: dict[str, tuple[int, str]] = {}
        added = False

        def take(products: Sequence[str | None], at: int) -> bool:
            """Remove lines, except newer ones. Return True if that emptied the cart."""
            taken = {p for p in products if p in cart and cart[p].at <= at}
            for product in taken:
                del cart[product]
            return bool(taken) and not cart

        def remove_checkout(at: int) -> None:
            nonlocal checkout_at
            if checkout_at is not None and checkout_at <= at:
                checkout_at = None

        for a in self.entries:
            if isinstance(a, Cleared):
                checkout_at = None
                if a.all:
                    cart.clear()
                continue
            e, too_late = a.event, a.behind and a.outdated
            if e.source is Source.CLICKSTREAM:
                for name in ("cart_id", "checkout_id"):
                    if (value := getattr(e, name)) and e.at >= shown.get(name, (e.at, ""))[0]:
                        shown[name] = (e.at, value)
            if a.clicks("product_added") and not too_late:
                added |= a is addition
                put(cart, Item(e.product_id, e.category, e.price, e.currency, e.quantity), e.at, total=False)
            elif a.clicks("product_removed"):
                line = cart.get(e.product_id)
                if line is not None and line.at <= e.at:
                    line.quantity, line.at = line.quantity - e.quantity, e.at
                    if line.quantity <= 0 and take([e.product_id], e.at):
                        remove_checkout(e.at)
            elif a.clicks("cart_emptied"):
                take(list(cart), e.at)
                remove_checkout(e.at)
            elif a.clicks("cart_viewed", "checkout_started"):
                if e.items is not None:
                    listed = combined(e.items)
                    take([p for p in cart if p not in listed], e.at)
                    if not listed:
                        remove_checkout(e.at)
                    for product, item in listed.items():
                        held = cart[product].quantity if product in cart else 0
                        if product in cart and cart[product].at > e.at:
                            continue
                        if item.quantity > held and too_late:
                            continue
                        added |= item.quantity > held and a is addition
                        put(cart, item, e.at, total=True)
                if a.clicks("checkout_started") and not too_late:
                    checkout_at = max(checkout_at or e.at, e.at)
            elif a.clicks("checkout_step_completed"):
                checkout_at = None if checkout_at is None else max(checkout_at, e.at)
            elif a.buys:
                remove_checkout(e.at)
                bought = [item.product_id for item in e.items or ()]
                same = any(
                    getattr(e, name) and getattr(e, name) == shown.get(name, (0, None))[1]
                    for name in ("cart_id", "checkout_id")
                )
                take(list(cart) if same or not any(bought) else bought, e.at)
            while len(cart) > self.policy.cart_lines:
                del cart[min(cart, key=lambda p: cart[p].at)]
        return cart, checkout_at, added


def put(cart: dict[str | None, Line], item: Item, at: int, *, total: bool) -> None:
    """Add the item to its line; with `total`, replace the quantity of the line."""
    line = cart.setdefault(item.product_id, Line(item.product_id, None, None, item.currency, 0, at))
    line.quantity = item.quantity if total else line.quantity + item.quantity
    newer = at >= line.at
    line.describe(
        item.category if newer else line.category or item.category,
        item.price if newer or line.price is None else None,
        item.currency,
    )
    line.at = max(line.at, at)


def combined(items: Sequence[Item]) -> dict[str | None, Item]:
    """Return the items with one item per product."""
    lines: dict[str | None, Line] = {}
    for item in items:
        put(lines, item, 0, total=False)
    return {i.product_id: i for i in items_of(lines.values())}


def items_of(lines: Iterable[Line]) -> tuple[Item, ...]:
    return tuple(Item(li.product_id, li.category, li.price, li.currency, li.quantity) for li in lines)
