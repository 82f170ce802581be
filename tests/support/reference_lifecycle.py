"""The reference for the default lifecycle (docs/concepts.md), written to be read and not to be fast.

It keeps the whole history of each customer, and computes sessions, counts, orders and the cart from it every time they
are needed. It shares only the types of events and outputs with the engine.

`reference` returns the outputs, `final` the customers that are left. Both take the events in the order in which they
are applied. A customer's deadlines at or before an event fire before it; those up to `until` fire at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from streams.core.model.event import Event, Source
from streams.core.model.items import Item
from streams.core.model.outputs import Cause, Output, StageChange, Summary
from streams.core.model.policy import DAY, Policy
from tests.support.reference_abandonment import Abandonments
from tests.support.reference_cart import Applied, Change, Story, items_of, value_of
from tests.support.reference_ids import output_id
from tests.support.reference_orders import Order, OrderBook
from tests.support.reference_reach import Purchase

DORMANT_AFTER, AT_RISK_AFTER, LAPSED_AFTER = 30 * DAY, 90 * DAY, 180 * DAY


def reference(histories: Sequence[Event], policy: Policy, until: int | None) -> list[Output]:
    """Return all outputs, those of each customer in their order."""
    outputs: list[Output] = []
    _play(histories, policy, until, outputs)
    return outputs


def final(histories: Sequence[Event], policy: Policy, until: int | None) -> dict[tuple[bool, str], dict[str, Any]]:
    """Return a view of each customer at the end. Forgotten customers are absent."""
    return {key: customer.view() for key, customer in _play(histories, policy, until, []).items()}


def _play(
    histories: Sequence[Event], policy: Policy, until: int | None, outputs: list[Output]
) -> dict[tuple[bool, str], Customer]:
    customers: dict[tuple[bool, str], Customer] = {}

    def pass_time(key: tuple[bool, str], to: int) -> None:
        while key in customers and (due := customers[key].deadlines()) and due[0][0] <= to:
            customers[key].fire(due[0][0], due[0][1])
            if customers[key].forgotten:
                del customers[key]

    for event in histories:
        key = (event.identified, event.customer)
        if key in customers and customers[key].has_had(event):
            continue
        pass_time(key, event.at)
        if key not in customers:
            customers[key] = Customer(policy, event, outputs)
        customers[key].apply(event)
    if until is not None:
        for key in list(customers):
            pass_time(key, until)
    return customers


class Customer:
    def __init__(self, policy: Policy, first: Event, outputs: list[Output]) -> None:
        self.policy = policy
        self.id, self.identified = first.customer, first.identified
        self.outputs = outputs
        self.applied: list[Applied] = []
        """In order of arrival."""
        self.orders = OrderBook(policy)
        self.story = Story(policy)
        self.abandonments = Abandonments(self)
        self.stage: str | None = None
        self.entered_at = 0
        self.sequence, self.cycle = 0, 1
        self.orders_in_stage = self.renewals_in_stage = 0
        self.times: list[int] = []
        """Times of the activity in the newest 16 sessions."""
        self.session_count = self.older_sessions = 0

    @property
    def forgotten(self) -> bool:
        return self.stage is None and self.sequence > 0

    # Questions to the history

    def has_had(self, event: Event) -> bool:
        newest = {sameness(a.event): a.at for a in self.applied}
        order = list(dict.fromkeys(sameness(a.event) for a in reversed(self.applied)))
        kept = order[: self.policy.event_ids]
        return sameness(event) in kept and event.at <= newest[sameness(event)] + self.policy.event_id_window

    def count(self, *types: str) -> int:
        return sum(a.clicks(*types) for a in self.applied)

    def latest_of(self, applied: Sequence[Applied]) -> Applied | None:
        """Return the last by time; of those with equal times, the one that arrived last."""
        return sorted(applied, key=lambda a: a.at)[-1] if applied else None

    @property
    def last_seen_at(self) -> int:
        return max(a.at for a in self.applied)

    @property
    def last_activity_at(self) -> int | None:
        return max((a.at for a in self.applied if a.active), default=None)

    def in_sessions(self, at: int) -> None:
        """Add activity to one of the newest 16 sessions or to a new one; ignore it if it is too late for both."""
        times = sorted([*self.times, at])
        starts = [t for i, t in enumerate(times) if i == 0 or t - times[i - 1] >= self.policy.session_gap]
        if at == times[0] and self.older_sessions and at not in self.times and len(starts) > self.session_count:
            return
        self.times, self.session_count = [t for t in times if t >= starts[-16:][0]], len(starts[-16:])
        self.older_sessions += len(starts[:-16])

    @property
    def sessions(self) -> int:
        return self.older_sessions + self.session_count

    @property
    def subscribed(self) -> bool | None:
        last = self.latest_of([a for a in self.applied if a.clicks("subscribed", "unsubscribed")])
        return None if last is None else last.event.type == "subscribed"

    def shown(self, name: str) -> Any:
        last = self.latest_of(
            [a for a in self.applied if a.event.source is Source.CLICKSTREAM and getattr(a.event, name)]
        )
        return None if last is None else getattr(last.event, name)

    @property
    def last_order_at(self) -> int | None:
        return max((order.at for order in self.orders.counting), default=None)

    @property
    def currency(self) -> str:
        return self.orders.first_currency or self.policy.currency

    @property
    def revenue(self) -> int:
        return sum(o.net for o in self.orders.counting if o.currency == self.orders.first_currency)

    @property
    def other_currency_orders(self) -> int:
        return sum(o.currency != self.orders.first_currency for o in self.orders.counting)

    def summary(self) -> Summary:
        orders, lines = len(self.orders.counting), self.cart()
        of = orders - self.other_currency_orders  # amounts of other currencies are not in the revenue
        value, currency = value_of(lines, self.currency, cut=self.story.now.cut)
        return Summary(
            first_seen_at=min(a.at for a in self.applied),
            last_seen_at=self.last_seen_at,
            sessions=self.sessions,
            product_views=self.count("product_viewed"),
            orders=orders,
            revenue=self.revenue,
            currency=self.currency,
            average_order_value=(2 * self.revenue + of) // (2 * of) if of else None,
            cart_items=sum(line.quantity for line in lines),
            cart_value=value if currency == self.currency else None,
        )

    def cart(self) -> tuple[Item, ...]:
        return items_of(self.story.now.lines.values())

    # An event

    def apply(self, event: Event) -> None:
        newest, before = (self.last_seen_at, self.last_activity_at) if self.applied else (event.at, None)
        kind = self.abandonments.kind()
        noted = self.orders.apply(event) if event.source is Source.ORDERS else None
        active = noted.active if noted else event.type not in self.policy.passive_types
        a = Applied(event, active)
        self.applied.append(a)
        if noted is None:
            self.story.place(a, newest)
        else:
            for key in [*noted.stopped, *noted.resumed]:
                self.story.place(Change(event.at, key, key in noted.resumed), newest)
            if noted.order is not None and noted.sold_by is not None:
                if noted.sold_by is event:
                    self.count_in_stage(noted.order)
                purchase = self.purchase(noted.order, noted.sold_by)
                self.story.place(purchase, newest)
                self.abandonments.settle(purchase, noted.order)
        if active:
            self.in_sessions(event.at)
            self.abandonments.act(a, moved=before is None or event.at > before)
        if self.abandonments.kind() != kind:
            self.abandonments.kind_since = event.at
        self.try_rules(a)

    def count_in_stage(self, order: Order) -> None:
        """Count a completion that made its order the last one, unless a fulfilment made it count."""
        others = [o.at for o in self.orders.counting if o is not order]
        assert order.sale is not None
        if order.by_fulfilment or order.at < max(others, default=order.at):
            return
        if order.sale.channel == "subscription":
            self.renewals_in_stage += 1
        else:
            self.orders_in_stage += 1

    def purchase(self, order: Order, sale: Event) -> Purchase:
        """Return the sale for the cart. What is known of an order before its fulfilment tells more than that does."""
        by_fulfilment = sale.type == "order_fulfilled"
        passive = by_fulfilment or sale.channel in self.policy.passive_channels
        known = order.told.completion if by_fulfilment else None
        bought, cart_id, checkout_id = sale.items, sale.cart_id, sale.checkout_id
        if known is not None:
            bought = bought if known.items is None else known.items
            cart_id, checkout_id = known.cart_id or cart_id, known.checkout_id or checkout_id
        return Purchase(order.key, sale.at, passive, tuple(i.product_id for i in bought or ()), cart_id, checkout_id)

    # Stages

    def try_rules(self, a: Applied) -> None:
        entered: set[str] = set()

        def enter(stage: str) -> None:
            entered.add(stage)
            cause = Cause(kind="activity", rule=stage, event_id=a.event.event_id, event_type=a.event.type)
            self.enter(stage, a.at, cause)

        if self.stage is None:
            enter("visitor")
        while True:
            possible = [stage for stage in self.rules(a.active) if stage not in entered]
            if not possible:
                return
            enter(possible[0])

    def rules(self, active: bool) -> list[str]:
        """Return the stages that the table leads to, in its order."""
        orders, here = len(self.orders.counting), self.orders_in_stage
        wants = (
            self.count("signed_up") > 0
            or self.subscribed is True
            or self.count("product_viewed") >= 3
            or sum(item.quantity for item in self.cart()) > 0
            or self.count("checkout_started") > 0
        )
        praise = self.count("product_reviewed", "referral_made")
        bought_once = "customer repeat loyal advocate reactivated at_risk lapsed"
        table = [
            ("visitor prospect dormant", "customer", orders >= 1),
            ("customer", "repeat", orders >= 2),
            ("reactivated", "loyal", here >= 1 and orders >= 5),
            ("reactivated", "repeat", here >= 1),
            ("repeat", "loyal", orders >= 5),
            ("loyal", "advocate", praise >= 1),
            ("at_risk lapsed", "reactivated", here >= 1),
            ("at_risk lapsed", "repeat", self.renewals_in_stage >= 1),
            (bought_once, "prospect", orders == 0),
            ("visitor", "prospect", wants),
            ("dormant", "prospect", active),
        ]
        return [to for sources, to, holds in table if holds and self.stage in sources.split()]

    def enter(self, stage: str | None, at: int, cause: Cause) -> None:
        at = max(at, self.entered_at) if self.stage else at
        left, left_at = self.stage, self.entered_at
        if left == "lapsed" and stage == "reactivated":
            self.cycle += 1
        self.sequence += 1
        self.stage, self.entered_at = stage, at
        self.orders_in_stage = self.renewals_in_stage = 0
        name = ["stage_changed", self.identified, self.id, "lifecycle", self.sequence, stage, at]
        self.outputs.append(
            StageChange(
                id=output_id(name),
                customer=self.id,
                identified=self.identified,
                subscribed=self.subscribed,
                track="lifecycle",
                from_stage=left,
                to_stage=stage,
                occurred_at=at,
                sequence=self.sequence,
                cycle=self.cycle,
                cause=cause,
                previous_stage_ms=None if left is None else at - left_at,
                profile=self.summary(),
            )
        )

    # Deadlines

    def deadlines(self) -> list[tuple[int, int]]:
        """Return (time, what) of all deadlines, the first to fire first.

        `what` is 0 for a step of an abandonment, 1 for the expiry, 2 for the track, 3 for forgetting.
        """
        last = self.last_activity_at
        track = self.track_deadline()
        found: list[tuple[int | None, int]] = [(self.abandonments.step_due(), 0), (track[0] if track else None, 2)]
        if last is not None and (self.abandonments.episode is not None or self.cart()):
            found.append((last + self.policy.expiry, 1))
        if not self.orders.all:
            days = self.policy.forget_identified if self.identified else self.policy.forget_unidentified
            found.append((None if days is None else self.last_seen_at + days, 3))
        return sorted((at, what) for at, what in found if at is not None)

    def track_deadline(self) -> tuple[int, str] | None:
        if self.stage in ("visitor", "prospect"):
            since = max(self.entered_at, self.last_activity_at or self.entered_at)
            return since + DORMANT_AFTER, "dormant"
        if self.last_order_at is None or self.stage in ("dormant", "lapsed"):
            return None
        if self.stage == "at_risk":
            return self.last_order_at + LAPSED_AFTER, "lapsed"
        return self.last_order_at + AT_RISK_AFTER, "at_risk"

    def fire(self, due: int, what: int) -> None:
        if what == 0:
            self.abandonments.fire_step(due)
        elif what == 1:
            self.abandonments.expire(due)
        elif what == 2:
            track = self.track_deadline()
            assert track is not None
            self.enter(track[1], max(due, self.last_seen_at), Cause(kind="inactivity", rule=track[1], deadline=due))
        else:
            self.enter(None, max(due, self.last_seen_at), Cause(kind="forgotten", deadline=due))

    def view(self) -> dict[str, Any]:
        seen = msgspec.structs.asdict(self.summary())
        del seen["average_order_value"]
        return {
            **seen,
            "stage": self.stage,
            "sequence": self.sequence,
            "cycle": self.cycle,
            "last_activity_at": self.last_activity_at,
            "last_order_at": self.last_order_at,
            "other_currency_orders": self.other_currency_orders,
            "subscribed": self.subscribed,
            "cart": self.cart(),
            "conflicting": self.orders.conflicting,
        }


def sameness(event: Event) -> tuple[object, ...]:
    """Return what a copy of the event has in common with it."""
    role = (event.source, event.type, event.event_id)
    if event.source is Source.CLICKSTREAM:
        return (*role, event.product_id)
    # some systems use the order's id for all events of the order
    return (*role, event.store, event.order_id, event.at if event.event_id == event.order_id else None)
