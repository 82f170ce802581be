"""The orders of the reference: what each order is worth is computed from all of its events whenever it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.core.model.currencies import minor_units
from streams.core.model.event import ORDER_TYPES, Event
from streams.core.model.policy import Policy

OrderKey = tuple[str | None, str]
"""The store, if the order names one, and the order id."""


@dataclass(eq=False)
class Order:
    key: OrderKey
    default_currency: str
    events: list[Event] = field(default_factory=list)
    """All of them, in order of arrival."""
    sale: Event | None = None
    """The completion or the fulfilment that made it an order; its time is the order's. None: it is only spoken of."""
    completion: Event | None = None
    """The completion that tells its currency, total and items."""
    anew_at: int | None = None
    """Time of the completion that started the order anew. What is older is forgotten."""

    @property
    def at(self) -> int:
        assert self.sale is not None
        return self.sale.at

    @property
    def by_fulfilment(self) -> bool:
        return self.sale is not None and self.sale.type == "order_fulfilled"

    @property
    def currency(self) -> str:
        """Return the completion's currency.

        The design names none for an order without completion. Here it is that of its newest total, else that of the
        newest event that names one, else the default.
        """
        if self.completion is not None:
            return self.completion.currency
        updates = [e for e in self.events if e.type == "order_updated" and e.total is not None and e.currency]
        fulfilments = [self.sale] if self.sale is not None and self.sale.currency else []
        for named in (updates, fulfilments, [e for e in self.events if e.currency]):
            if named:
                return by_time(named)[-1].currency
        return self.default_currency

    def corrections(self, type_: str) -> list[Event]:
        """Return the events of a type that change something, the earliest first."""
        ours = [e for e in self.events if e.type == type_ and e.currency in ("", self.currency)]
        return by_time([e for e in ours if self.anew_at is None or e.at >= self.anew_at])

    def amount(self, event: Event) -> int | None:
        if event.total is None or event.currency:
            return event.total
        return minor_units(event.total, self.currency)

    @property
    def total(self) -> int | None:
        """Return the newest total of the completion and the updates; else that of the fulfilment that made it count."""
        known = [e for e in self.corrections("order_updated") if e.total is not None]
        completion = self.completion
        if completion is not None and completion.total is not None and (not known or completion.at > known[-1].at):
            return completion.total
        if known:
            return self.amount(known[-1])
        return self.amount(self.sale) if self.sale is not None and self.by_fulfilment else None

    @property
    def partial_cancellations(self) -> list[Event]:
        """Return the cancellations that are refunds: their total is above 0 and smaller than the order's."""
        total = self.total
        return [
            e for e in self.corrections("order_cancelled") if total is not None and 0 < (self.amount(e) or 0) < total
        ]

    @property
    def cancelled_at(self) -> int | None:
        """Return the time of the newest cancellation of the whole order."""
        partial = self.partial_cancellations
        return max((e.at for e in self.corrections("order_cancelled") if e not in partial), default=None)

    def newest(self, *types: str) -> int | None:
        return max((e.at for e in self.events if e.type in types), default=None)

    @property
    def cancelled(self) -> bool:
        alive = self.newest("order_completed", "order_fulfilled")
        return self.cancelled_at is not None and (alive is None or self.cancelled_at >= alive)

    @property
    def refunded(self) -> int:
        refunds = self.corrections("order_refunded") + self.partial_cancellations
        return sum(self.amount(e) or 0 for e in refunds)

    @property
    def counts(self) -> bool:
        if self.sale is None or self.cancelled or any(e.total is None for e in self.corrections("order_refunded")):
            return False
        return self.refunded == 0 or self.total is None or self.refunded < self.total

    @property
    def net(self) -> int:
        return 0 if self.total is None else self.total - self.refunded


def by_time(events: Sequence[Event]) -> list[Event]:
    return sorted(events, key=lambda e: e.at)


@dataclass
class Noted:
    """The effect of an event on the orders."""

    active: bool
    sale: Order | None = None
    """The order that the event made count; None if it made none."""
    stopped: list[OrderKey] = field(default_factory=list)
    """The orders that count no longer."""
    resumed: list[OrderKey] = field(default_factory=list)
    """The orders that count again, without a new sale."""


class OrderBook:
    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.completed: dict[OrderKey, Order] = {}
        """The newest orders that have a sale, counted or not."""
        self.spoken_of: dict[OrderKey, Order] = {}
        """Orders that only other events spoke of."""
        self.written_off: list[Order] = []
        """Orders no longer kept: later events do not change them."""
        self.first_currency: str | None = None
        self.conflicting = 0

    @property
    def all(self) -> list[Order]:
        return [*self.written_off, *self.completed.values()]

    @property
    def counting(self) -> list[Order]:
        return [order for order in self.all if order.counts]

    def apply(self, event: Event) -> Noted:
        active = event.channel not in self.policy.passive_channels
        if event.order_id is None or event.type not in ORDER_TYPES:
            return Noted(active)
        before = {key for key, order in self.completed.items() if order.counts}
        if event.type == "order_completed":
            order = self.home_of_completion(event)
            sold = self.complete(order, event)
        else:
            order = self.home_of_correction(event)
            sold = self.correct(order, event)
        self.keep(order)
        after = {key for key, order in self.completed.items() if order.counts}
        if not (sold and order.counts):
            sold = False
        return Noted(
            active=active and sold and event.type == "order_completed",
            sale=order if sold else None,
            stopped=sorted(before - after, key=repr),
            resumed=sorted(after - before - ({order.key} if sold else set()), key=repr),
        )

    def complete(self, order: Order, event: Event) -> bool:
        """Apply a completion. Return True unless it is a repeated one."""
        known, first, previous = order.completion, order.sale is None, order.newest("order_completed")
        order.completion = known or event
        cancelled_at = order.cancelled_at
        order.events.append(event)
        if cancelled_at is not None and cancelled_at < event.at and (previous is None or cancelled_at >= previous):
            order.completion, order.sale, order.anew_at = event, event, event.at
            return True
        if first:
            order.sale = event
            return True
        # a completion that comes after the fulfilment made the order count only tells currency and total
        if known is not None and (known.total, known.items or ()) != (event.total, event.items or ()):
            self.conflicting += 1
        return False

    def correct(self, order: Order, event: Event) -> bool:
        """Apply another event than a completion. Return True if the order counts because of a fulfilment."""
        was_cancelled = order.cancelled
        order.events.append(event)
        fulfilments = by_time([e for e in order.events if e.type == "order_fulfilled"])
        if not fulfilments or order.cancelled_at is None or order.cancelled:
            return False
        # an order without completion also counts if the cancellation comes after the fulfilment that is newer
        if order.sale is not None and not (was_cancelled and event.type == "order_fulfilled"):
            return False
        order.sale = fulfilments[-1]
        return True

    def home_of_completion(self, event: Event) -> Order:
        """Return the order of a completion, with the corrections that overtook it."""
        assert event.order_id is not None
        key = (event.store, event.order_id)
        if key in self.completed:
            return self.completed[key]
        order = Order(key, self.policy.currency)
        namesakes = [o for o in self.completed.values() if o.key[1] == event.order_id]
        early = [k for k in self.spoken_of if k == key or (k[1] == event.order_id and not namesakes)]
        for k in early:
            order.events += self.spoken_of.pop(k).events
        if event.store is not None:
            for namesake in namesakes:
                moved = [e for e in namesake.events if e.store == event.store]
                namesake.events = [e for e in namesake.events if e not in moved]
                order.events += moved
        return order

    def home_of_correction(self, event: Event) -> Order:
        """Return the order of this store, else the only one of this id, else one that is only spoken of."""
        assert event.order_id is not None
        key = (event.store, event.order_id)
        if key in self.completed:
            return self.completed[key]
        namesakes = [o for o in self.completed.values() if o.key[1] == event.order_id]
        if len(namesakes) == 1:
            return namesakes[0]
        if key not in self.spoken_of:
            same = [k for k in self.spoken_of if k[1] == event.order_id and None in (k[0], event.store)]
            if len(same) == 1:
                order = self.spoken_of.pop(same[0])
                order.key = (order.key[0] or event.store, event.order_id)
                return order
        return self.spoken_of.get(key, Order(key, self.policy.currency))

    def keep(self, order: Order) -> None:
        kept = self.spoken_of if order.sale is None else self.completed
        if order.sale is not None:
            self.spoken_of.pop(order.key, None)
            self.first_currency = self.first_currency or order.currency
        kept.setdefault(order.key, order)
        while len(self.spoken_of) > self.policy.orders:
            del self.spoken_of[next(iter(self.spoken_of))]
        while len(self.completed) > self.policy.orders:
            self.written_off.append(self.completed.pop(next(iter(self.completed))))
