"""The reference for the default lifecycle (docs/concepts.md), written to be read and not to be fast.

It keeps the whole history of each customer, and computes sessions, counts, orders and the cart from it every time they
are needed. It shares only the types of events and outputs with the engine.

`reference` returns the outputs, `final` the customers that are left. Both take the events in the order in which they
are applied. A customer's deadlines at or before an event fire before it; those up to `until` fire at the end.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import msgspec

from streams.core.model.abandonment import AbandonmentKind
from streams.core.model.currencies import PIECE, PRICE_UNIT
from streams.core.model.event import Event, Source
from streams.core.model.items import Item
from streams.core.model.outputs import Abandonment, Cause, Output, StageChange, Summary
from streams.core.model.policy import DAY, Policy
from tests.support.reference_cart import Applied, Cleared, Line, Story, items_of

DORMANT_AFTER, AT_RISK_AFTER, LAPSED_AFTER = 30 * DAY, 90 * DAY, 180 * DAY
PASSIVE_CLICKS = {"message_opened", "unsubscribed"}
PASSIVE_ORDERS = {"order_updated", "order_cancelled", "order_refunded", "order_fulfilled"}
PASSIVE_CHANNELS = {"pos", "retail", "subscription", "marketplace"}


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
) -> dict[tuple[bool, str], _Customer]:
    customers: dict[tuple[bool, str], _Customer] = {}

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
            customers[key] = _Customer(policy, event, outputs)
        customers[key].apply(event)
    if until is not None:
        for key in list(customers):
            pass_time(key, until)
    return customers


@dataclass
class _Order:
    events: list[Event] = field(default_factory=list)

    @property
    def completion(self) -> Event | None:
        return next((e for e in self.events if e.type == "order_completed"), None)

    def _amounts(self, type_: str) -> list[Event]:
        """Return the events of a type whose amounts are in the currency of the order."""
        done = self.completion
        amounts = [e for e in self.events if e.type == type_ and e.total is not None]
        return [e for e in amounts if done is None or e.currency == done.currency]

    @property
    def total(self) -> int | None:
        updates = sorted(self._amounts("order_updated"), key=lambda e: e.at)
        if updates:
            return updates[-1].total
        return self.completion.total if self.completion else None

    @property
    def refunded(self) -> int:
        return sum(e.total or 0 for e in self._amounts("order_refunded"))

    @property
    def counts(self) -> bool:
        if self.completion is None or any(e.type == "order_cancelled" for e in self.events):
            return False
        if any(e.type == "order_refunded" and e.total is None for e in self.events):
            return False
        return self.refunded == 0 or self.total is None or self.refunded < self.total

    @property
    def net(self) -> int:
        return 0 if self.total is None else self.total - self.refunded


@dataclass
class _Episode:
    started_at: int
    newest: int
    """Time of the last view, addition or checkout."""
    views: list[Event] = field(default_factory=list)
    abandoned: bool = False
    """True if the latest abandonment is of this episode."""

    @property
    def viewed(self) -> dict[str | None, int]:
        """Return the time of the last view of each product."""
        return {e.product_id: e.at for e in sorted(self.views, key=lambda e: e.at)}


@dataclass
class _Abandoned:
    step1: Abandonment
    last: Abandonment
    """Its output at the last step."""
    episode: _Episode
    open: bool = True
    """True if it is neither recovered, retracted, expired, superseded nor closed silently."""


class _Customer:
    def __init__(self, policy: Policy, first: Event, outputs: list[Output]) -> None:
        self.policy = policy
        self.customer, self.identified = first.customer, first.identified
        self.outputs = outputs
        self.applied: list[Applied] = []
        """In order of arrival."""
        self.story = Story(policy)
        self.completed: dict[str, _Order] = {}
        self.spoken_of: dict[str, _Order] = {}
        self.written_off: list[_Order] = []
        """Orders no longer kept: later events do not change them."""
        self.order_currency: str | None = None
        self.stage: str | None = None
        self.entered_at = 0
        self.sequence, self.cycle, self.orders_in_stage = 0, 1, 0
        self.episode: _Episode | None = None
        self.awaits_step1 = False
        """True if the next step to come due is step 1, because there was activity since the last one."""
        self.latest: _Abandoned | None = None
        self.first_steps: list[int] = []
        self.times: list[int] = []
        """Times of the activity in the newest 16 sessions."""
        self.session_count = self.older_sessions = 0

    @property
    def forgotten(self) -> bool:
        return self.stage is None and self.sequence > 0

    # Questions to the history

    def has_had(self, event: Event) -> bool:
        newest = {a.event.event_id: a.at for a in self.applied}
        order = list(dict.fromkeys(a.event.event_id for a in reversed(self.applied)))
        kept = order[: self.policy.event_ids]
        return event.event_id in kept and event.at <= newest[event.event_id] + self.policy.event_id_window

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
    def counting(self) -> list[_Order]:
        return [order for order in [*self.written_off, *self.completed.values()] if order.counts]

    @property
    def last_order_at(self) -> int | None:
        return max((order.completion.at for order in self.counting if order.completion), default=None)

    @property
    def currency(self) -> str:
        return self.order_currency or self.policy.currency

    @property
    def revenue(self) -> int:
        ours = [o for o in self.counting if o.completion and o.completion.currency == self.order_currency]
        return sum(o.net for o in ours)

    @property
    def other_currency_orders(self) -> int:
        return sum(o.completion is not None and o.completion.currency != self.order_currency for o in self.counting)

    def summary(self) -> Summary:
        orders, lines = len(self.counting), self.cart()
        of = orders - self.other_currency_orders  # amounts of other currencies are not in the revenue
        value, currency = _value(lines) if lines else (0, self.currency)
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
        return items_of(self.story.replay()[0].values())

    # An event

    def apply(self, event: Event) -> None:
        newest, before, last_order = (
            (self.last_seen_at, self.last_activity_at, self.last_order_at) if self.applied else (event.at, None, None)
        )
        active, buys = self.note_order(event)
        a = Applied(
            event,
            active,
            buys,
            behind=event.at < newest - self.policy.lateness,
            outdated=last_order is not None and event.at < last_order,
        )
        self.story.place(a, max(event.at, newest))
        self.applied.append(a)
        if buys:
            self.orders_in_stage += 1
            self.settle_by_order(event)
        if active:
            self.in_sessions(event.at)
            self.act(a, moved=before is None or event.at > before)
        self.try_rules(a)

    def note_order(self, event: Event) -> tuple[bool, bool]:
        """Add the event to its order. Return two flags: it is activity; it is a completion that counts."""
        if event.source is Source.CLICKSTREAM:
            return event.type not in PASSIVE_CLICKS, False
        active = event.type not in PASSIVE_ORDERS and event.channel not in PASSIVE_CHANNELS
        if event.order_id is None or event.type not in PASSIVE_ORDERS | {"order_completed"}:
            return active, False
        if event.order_id in self.completed:
            self.completed[event.order_id].events.append(event)
            return False, False
        if event.type != "order_completed":
            if event.type != "order_fulfilled":
                self.spoken_of.setdefault(event.order_id, _Order()).events.append(event)
            if len(self.spoken_of) > self.policy.orders:
                del self.spoken_of[next(iter(self.spoken_of))]
            return active, False
        order = self.spoken_of.pop(event.order_id, _Order())
        order.events.append(event)
        self.completed[event.order_id] = order
        self.order_currency = self.order_currency or event.currency
        if len(self.completed) > self.policy.orders:
            self.written_off.append(self.completed.pop(next(iter(self.completed))))
        return active and order.counts, order.counts

    def settle_by_order(self, order: Event) -> None:
        x = self.latest
        if self.episode is not None and self.episode.started_at <= order.at:
            self.episode = self.newer_part(self.episode, order.at)
        if x is None or not x.open:
            return
        since = order.at - x.step1.occurred_at
        if since < 0:
            if order.at >= x.last.episode_started_at:
                self.close(x, "retracted", order.at, reason="late_order")
        elif order.at <= x.last.occurred_at + self.policy.recovery_window:
            bought = {item.product_id for item in order.items or ()}
            match: Literal["cart", "checkout", "items", "customer"] = "customer"
            if order.cart_id and order.cart_id == x.last.cart_id:
                match = "cart"
            elif order.checkout_id and order.checkout_id == x.last.checkout_id:
                match = "checkout"
            elif bought & {item.product_id for item in x.last.items}:
                match = "items"
            assert order.order_id is not None
            self.close(
                x,
                "recovered",
                order.at,
                order_id=order.order_id,
                order_total=self.completed[order.order_id].total,
                order_currency=order.currency,
                recovered_after_ms=since,
                match=match,
            )
        x.open = False if since >= 0 else x.open

    def newer_part(self, episode: _Episode, than: int) -> _Episode | None:
        """Return the rest of an episode after an order within it: it starts at the oldest later trace that remains."""
        if episode.newest <= than and not self.newer_times(episode, than):
            return None
        episode.started_at = min(self.newer_times(episode, than), default=episode.newest)
        episode.views = [e for e in episode.views if episode.viewed[e.product_id] > than]
        return episode

    def newer_times(self, episode: _Episode, than: int) -> list[int]:
        """Return the times after `than` of lines, checkout and views. Each has the time of its last event."""
        cart, checkout_at, _ = self.story.replay()
        times = [
            *episode.viewed.values(),
            *(line.at for line in cart.values()),
            *([] if checkout_at is None else [checkout_at]),
        ]
        return [at for at in times if at > than]

    def act(self, a: Applied, moved: bool) -> None:
        """Handle activity: retract an abandonment that it contradicts, open an episode, schedule step 1 again."""
        x = self.latest
        if x is not None and x.open and x.step1.last_activity_at < a.at < x.step1.occurred_at:
            self.close(x, "retracted", a.at, reason="late_activity")
            if x.last.kind == "browse":  # a browse abandonment closes its episode
                self.episode = self.episode or x.episode
            self.awaits_step1 = True
        opens = a.clicks("product_viewed", "checkout_started") or self.story.replay(addition=a)[2]
        if opens and not a.outdated:
            self.episode = self.episode or _Episode(a.at, a.at)
            self.episode.started_at = min(self.episode.started_at, a.at)
            self.episode.newest = max(self.episode.newest, a.at)
            if a.clicks("product_viewed"):
                self.episode.views.append(a.event)
        self.awaits_step1 = self.awaits_step1 or moved

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
        orders, here = len(self.counting), self.orders_in_stage
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
        self.stage, self.entered_at, self.orders_in_stage = stage, at, 0
        name = ["stage_changed", self.identified, self.customer, "lifecycle", self.sequence, stage, at]
        self.outputs.append(
            StageChange(
                id=_id(name),
                customer=self.customer,
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

    # Abandonment

    def views(self) -> tuple[Item, ...]:
        """Return the last distinct views of the episode, the most recent one last."""
        seen: dict[str | None, Line] = {}
        for e in sorted(self.episode.views if self.episode else [], key=lambda e: e.at):
            line = seen.pop(e.product_id, Line(e.product_id, None, None, e.currency, PIECE, e.at))
            line.describe(e.category, e.price, e.currency)
            seen[e.product_id] = line
            while len(seen) > self.policy.viewed_products:
                del seen[next(iter(seen))]
        return items_of(seen.values())

    def kind(self) -> AbandonmentKind | None:
        cart, checkout_at, _ = self.story.replay()
        assert self.last_activity_at is not None
        found = {
            "checkout": checkout_at is not None and self.last_activity_at - checkout_at < self.policy.checkout_fresh,
            "cart": bool(cart),
            "browse": bool(self.views()),
        }
        return next((kind for kind in self.policy.precedence if found[kind]), None)

    def _ladder(self, kind: AbandonmentKind) -> tuple[int, ...]:
        return {"browse": (), "cart": self.policy.cart_ladder, "checkout": self.policy.checkout_ladder}[kind]

    def content(self, kind: AbandonmentKind) -> tuple[Item, ...]:
        return self.views() if kind == "browse" else self.cart() or self.views()

    def step_due(self) -> int | None:
        last, episode, x = self.last_activity_at, self.episode, self.latest
        if episode is None or last is None:
            return None
        if self.awaits_step1:
            kind = self.kind()
            return None if kind is None else last + getattr(self.policy, f"{kind}_window")
        if x is not None and x.open and episode.abandoned and x.last.step < x.last.steps:
            return last + self._ladder(x.last.kind)[x.last.step - 1]
        return None

    def fire_step(self, due: int) -> None:
        episode, x = self.episode, self.latest
        assert episode is not None
        if not self.awaits_step1:
            assert x is not None
            x.last = self.abandonment(x.last.kind, due, x)
            self.outputs.append(x.last)
            return
        kind = self.kind()
        assert kind is not None
        self.awaits_step1, episode.abandoned = False, True
        goes_on = (
            x is not None
            and x.open
            and self.policy.precedence.index(kind) >= self.policy.precedence.index(x.last.kind)
            and _quantities(self.content(kind)) == _quantities(x.last.items)
            and due - x.step1.occurred_at < self.policy.cool_down
        )
        if not goes_on:
            step1 = self.abandonment(kind, due, None)
            if x is not None:
                x.open = False
            self.latest = _Abandoned(step1, step1, episode)
            self.first_steps.append(due)
            self.outputs.append(step1)
        if kind == "browse":
            self.episode = None
            self.story.entries.append(Cleared(due, all=False))

    def abandonment(self, kind: AbandonmentKind, due: int, x: _Abandoned | None) -> Abandonment:
        """Return step 1 of a new abandonment, or the next step of `x`."""
        episode, latest = self.episode, self.latest
        assert episode is not None
        assert self.last_activity_at is not None
        step1, step = (x.step1.occurred_at, x.last.step + 1) if x else (due, 1)
        items = self.content(kind)
        value, currency = _value(items) if items else (None, self.currency)
        supersedes = latest.step1.id if latest is not None and latest.open else None
        return Abandonment(
            id=_id(["abandonment", self.identified, self.customer, kind, step1, step]),
            type="abandoned",
            kind=kind,
            abandonment_id=_id(["abandonment", self.identified, self.customer, kind, step1, 1]),
            customer=self.customer,
            identified=self.identified,
            subscribed=self.subscribed,
            step=step,
            steps=1 + len(self._ladder(kind)),
            occurred_at=due,
            last_activity_at=self.last_activity_at,
            episode_started_at=episode.started_at,
            items=items,
            items_cut=False,
            value=value,
            currency=currency,
            cart_id=self.shown("cart_id"),
            checkout_id=self.shown("checkout_id"),
            session_id=self.shown("session_id"),
            supersedes=x.step1.supersedes if x else supersedes,
            recent_abandonments=x.step1.recent_abandonments if x else self.recent(due),
        )

    def recent(self, due: int) -> int:
        return sum(due - self.policy.recent_window < at < due for at in self.first_steps)

    def close(self, x: _Abandoned, type_: str, at: int, **more: Any) -> None:
        x.open = False
        name = ["abandonment", self.identified, self.customer, x.last.kind, x.step1.occurred_at, type_]
        change = {"id": _id(name), "type": type_, "occurred_at": at, "subscribed": self.subscribed, **more}
        self.outputs.append(msgspec.structs.replace(x.last, **change))

    def expire(self, due: int) -> None:
        episode, x = self.episode, self.latest
        if episode is not None and episode.abandoned and x is not None and x.open and x.last.kind != "browse":
            self.close(x, "expired", due)
        self.episode = None
        self.story.entries.append(Cleared(due, all=True))

    # Deadlines

    def deadlines(self) -> list[tuple[int, int]]:
        """Return (time, what) of all deadlines, the first to fire first.

        `what` is 0 for a step of an abandonment, 1 for the expiry, 2 for the track, 3 for forgetting.
        """
        last = self.last_activity_at
        track = self.track_deadline()
        found: list[tuple[int | None, int]] = [(self.step_due(), 0), (track[0] if track else None, 2)]
        if last is not None and (self.episode is not None or self.cart()):
            found.append((last + self.policy.expiry, 1))
        if not self.completed and not self.written_off:
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
            self.fire_step(due)
        elif what == 1:
            self.expire(due)
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
        }


def _quantities(items: Sequence[Item]) -> set[tuple[str | None, int]]:
    return {(item.product_id, item.quantity) for item in items}


def _value(items: Sequence[Item]) -> tuple[int | None, str | None]:
    """Return the sum and the currency of the prices.

    The sum is None if a price is missing or currencies differ; the currency is None if there is not exactly one.
    """
    currencies = {item.currency for item in items if item.price is not None}
    missing = any(item.price is None for item in items)
    exact = sum(Fraction((item.price or 0) * item.quantity, PRICE_UNIT * PIECE) for item in items)
    value = None if missing or len(currencies) != 1 else math.floor(exact + Fraction(1, 2))
    return value, currencies.pop() if len(currencies) == 1 else None


def _id(name: list[Any]) -> str:
    from streams.core.model.ids import NAMESPACE

    return str(uuid.uuid5(NAMESPACE, json.dumps(name, ensure_ascii=False, separators=(",", ":"))))
