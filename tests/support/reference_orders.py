"""The orders of the reference: what each order is worth is computed from all of its events whenever it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.core.model.currencies import minor_units
from streams.core.model.event import ORDER_TYPES, Event
from streams.core.model.policy import Policy

OrderKey = tuple[str | None, str]
"""The store, if the order names one, and the order id."""


@dataclass
class Told:
    """Facts of an order that follow from all of its events, in whatever order they came."""

    sale: Event | None = None
    """The completion or the fulfilment that made it an order; its time is the order's. None: it is only spoken of."""
    completion: Event | None = None
    """The completion that tells its currency, total and items."""
    anew_at: int | None = None
    """Time of the completion that started the order anew. Refunds and updates older than it are forgotten."""
    cancelled: bool = False
    partial: list[Event] = field(default_factory=list)
    """Cancellations that are refunds."""


@dataclass(eq=False)
class Order:
    key: OrderKey
    default_currency: str
    events: list[Event] = field(default_factory=list)
    """All of them, in order of arrival."""
    _told: tuple[int, Told] = (0, Told())

    @property
    def told(self) -> Told:
        if self._told[0] != len(self.events):
            self._told = len(self.events), self._tell()
        return self._told[1]

    def _tell(self) -> Told:
        """Walk through the cancellations in time order. Each ends the sale before it, or is a refund of a part of it.

        A sale begins with a completion that is newer than the cancellation before it, or with a fulfilment that is. Of
        several completions without a cancellation between them, the first that came is the one that counts.
        """
        told, since = Told(), None
        for x in by_time(self.of("order_cancelled")):
            self._sell(told, since, x.at)
            if told.completion is None:
                # a cancellation that overtakes the completion is about the next one
                self._sell(later := Told(), since, None)
                known = Told(later.sale, later.completion, later.anew_at)
            else:
                known = told
            if x.currency not in ("", self.currency_of(known)):
                continue
            total = self.total_of(known)
            if total is not None and 0 < (self._amount(x, known) or 0) < total:
                told.partial.append(x)
            else:
                since = x.at
        before = told.sale
        self._sell(told, since, None)
        told.cancelled = since is not None and (told.sale is None or told.sale.at <= since)
        told.sale = told.sale or before
        return told

    def _sell(self, told: Told, since: int | None, until: int | None) -> None:
        """Note the sale between two times, if there is one."""

        def within(type_: str) -> Event | None:
            found = [e for e in self.of(type_) if since is None or e.at > since]
            return next((e for e in found if until is None or e.at <= until), None)

        completion, fulfilment = within("order_completed"), within("order_fulfilled")
        if completion is not None:
            told.sale = told.completion = completion
            told.anew_at = None if since is None else completion.at
        elif fulfilment is not None and since is not None:
            told.sale = fulfilment

    def of(self, type_: str) -> list[Event]:
        return [e for e in self.events if e.type == type_]

    @property
    def sale(self) -> Event | None:
        return self.told.sale

    @property
    def at(self) -> int:
        assert self.sale is not None
        return self.sale.at

    @property
    def by_fulfilment(self) -> bool:
        return self.sale is not None and self.sale.type == "order_fulfilled"

    @property
    def currency(self) -> str:
        return self.currency_of(self.told)

    def currency_of(self, told: Told) -> str:
        """Return the completion's currency.

        The design names none for an order without completion. Here it is that of the fulfilment, else that of the
        earliest other event that names one, else the default.
        """
        if told.completion is not None:
            return told.completion.currency
        if told.sale is not None and told.sale.currency:
            return told.sale.currency
        named = by_time([e for e in self.events if e.currency and e.type != "order_fulfilled"])
        return named[0].currency if named else self.default_currency

    def corrections(self, type_: str, told: Told) -> list[Event]:
        """Return the events of a type that change something, the earliest first."""
        ours = [e for e in self.of(type_) if e.currency in ("", self.currency_of(told))]
        return by_time([e for e in ours if told.anew_at is None or e.at >= told.anew_at])

    def _amount(self, event: Event, told: Told) -> int | None:
        if event.total is None or event.currency:
            return event.total
        return minor_units(event.total, self.currency_of(told))

    @property
    def total(self) -> int | None:
        return self.total_of(self.told)

    def total_of(self, told: Told) -> int | None:
        """Return the newest total of the completion and the updates; else that of the fulfilment that made it count."""
        known = [e for e in self.corrections("order_updated", told) if e.total is not None]
        completion, sale = told.completion, told.sale
        if completion is not None and completion.total is not None and (not known or completion.at > known[-1].at):
            return completion.total
        if known:
            return self._amount(known[-1], told)
        return self._amount(sale, told) if sale is not None and sale.type == "order_fulfilled" else None

    @property
    def refunded(self) -> int:
        told = self.told
        partial = [e for e in told.partial if told.anew_at is None or e.at >= told.anew_at]
        return sum(self._amount(e, told) or 0 for e in self.corrections("order_refunded", told) + partial)

    @property
    def counts(self) -> bool:
        told = self.told
        if told.sale is None or told.cancelled:
            return False
        if any(e.total is None for e in self.corrections("order_refunded", told)):
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
    order: Order | None = None
    sold_by: Event | None = None
    """The completion or fulfilment by which the order counts since this event; None if it changed no such thing."""
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
        before = {order.key for order in self.counting}
        completed = event.type == "order_completed"
        order = self.home_of_completion(event) if completed else self.home_of_correction(event)
        sale, first, known = order.sale, not order.of("order_completed"), order.told.completion
        order.events.append(event)
        self.keep(order)
        after = {order.key for order in self.counting}
        sold_by = order.sale if order.sale is not sale else None
        if sale is not None and sold_by is not event:
            # a cancellation that comes after a repeated completion that is newer only dates the order anew
            sold_by = None
        if completed and first:
            # the first completion is never a repeated one, also if a fulfilment has made the order count before
            sold_by = event
        elif completed and sold_by is None and known is not None:
            self.conflicting += (known.total, known.items or ()) != (event.total, event.items or ())
        if not order.counts:
            sold_by = None
        return Noted(
            active=active and completed and sold_by is event,
            order=order,
            sold_by=sold_by,
            stopped=sorted(before - after, key=repr),
            resumed=sorted(after - before - ({order.key} if sold_by else set()), key=repr),
        )

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
        """Keep an order among the newest: those with a sale, or those that are only spoken of.

        A fulfilment alone is kept, too, so that the completion and the cancellation may still come.
        """
        kept = self.spoken_of if order.sale is None else self.completed
        if order.sale is not None:
            self.spoken_of.pop(order.key, None)
            self.first_currency = self.first_currency or order.currency
        kept.setdefault(order.key, order)
        while len(self.spoken_of) > self.policy.orders:
            del self.spoken_of[next(iter(self.spoken_of))]
        while len(self.completed) > self.policy.orders:
            oldest = min(self.completed, key=lambda key: self.completed[key].at)
            self.written_off.append(self.completed.pop(oldest))
