"""The cart of the naive reference: the customer's story, told from its beginning at every question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from streams.core.activity import Activity, Item, Source
from streams.core.policy import Policy


@dataclass(eq=False)
class Applied:
    """An event of the customer, and what was found when it came."""

    event: Activity
    active: bool
    """It is activity: not passive."""
    buys: bool
    """A completion that counted when it came."""
    behind: bool
    """More than `lateness` older than the customer's newest event: too late to be put in its place."""
    outdated: bool
    """Older than the customer's last order."""

    @property
    def at(self) -> int:
        return self.event.at

    def clicks(self, *types: str) -> bool:
        return self.event.source is Source.CLICKSTREAM and self.event.type in types


@dataclass(eq=False)
class Cleared:
    """A deadline that emptied the cart, or only took the checkout mark."""

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
        """What is not said stays as last known."""
        self.category = category or self.category
        if price is not None:
            self.price, self.currency = price, currency


class Story:
    """What happened, in the order in which it counts for the cart: by time, as far as `lateness` allows."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.entries: list[Applied | Cleared] = []

    def place(self, a: Applied, newest: int) -> None:
        """Where it belongs by its time, unless it comes too late for that: then after all that is settled."""
        limit = newest - self.policy.lateness - 1 if a.behind else a.at
        before = [i + 1 for i, b in enumerate(self.entries) if b.at <= limit or isinstance(b, Cleared)]
        self.entries.insert(max(before, default=0), a)

    def tell(self, addition: Applied | None = None) -> tuple[dict[str | None, Line], int | None, bool]:
        """The lines, the checkout mark, and whether `addition` added something."""
        cart: dict[str | None, Line] = {}
        mark: int | None = None
        shown: dict[str, tuple[int, str]] = {}
        added = False

        def take(products: Sequence[str | None], at: int) -> bool:
            """Never what is newer. Whether there was something, and nothing is left."""
            taken = {p for p in products if p in cart and cart[p].at <= at}
            for product in taken:
                del cart[product]
            return bool(taken) and not cart

        def unmark(at: int) -> None:
            nonlocal mark
            if mark is not None and mark <= at:
                mark = None

        for a in self.entries:
            if isinstance(a, Cleared):
                mark = None
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
                        unmark(e.at)
            elif a.clicks("cart_emptied"):
                take(list(cart), e.at)
                unmark(e.at)
            elif a.clicks("cart_viewed", "checkout_started"):
                if e.items is not None:
                    listed = combined(e.items)
                    take([p for p in cart if p not in listed], e.at)
                    if not listed:
                        unmark(e.at)
                    for product, item in listed.items():
                        held = cart[product].quantity if product in cart else 0
                        if product in cart and cart[product].at > e.at:
                            continue
                        if item.quantity > held and too_late:
                            continue
                        added |= item.quantity > held and a is addition
                        put(cart, item, e.at, total=True)
                if a.clicks("checkout_started") and not too_late:
                    mark = max(mark or e.at, e.at)
            elif a.clicks("checkout_step_completed"):
                mark = None if mark is None else max(mark, e.at)
            elif a.buys:
                unmark(e.at)
                bought = [item.product_id for item in e.items or ()]
                same = any(
                    getattr(e, name) and getattr(e, name) == shown.get(name, (0, None))[1]
                    for name in ("cart_id", "checkout_id")
                )
                take(list(cart) if same or not any(bought) else bought, e.at)
            while len(cart) > self.policy.cart_lines:
                del cart[min(cart, key=lambda p: cart[p].at)]
        return cart, mark, added


def put(cart: dict[str | None, Line], item: Item, at: int, *, total: bool) -> None:
    """Adds the item, or with `total` makes the line what it says."""
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
    """One line per product."""
    lines: dict[str | None, Line] = {}
    for item in items:
        put(lines, item, 0, total=False)
    return {i.product_id: i for i in items_of(lines.values())}


def items_of(lines: Iterable[Line]) -> tuple[Item, ...]:
    return tuple(Item(li.product_id, li.category, li.price, li.currency, li.quantity) for li in lines)
