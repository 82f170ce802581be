"""Episodes and abandonments of the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from streams.core.model.abandonment import AbandonmentKind
from streams.core.model.currencies import PIECE
from streams.core.model.event import Event
from streams.core.model.items import Item
from streams.core.model.outputs import Abandonment
from tests.support.reference_cart import Applied, Line, items_of, value_of
from tests.support.reference_ids import output_id
from tests.support.reference_orders import Order
from tests.support.reference_reach import Purchase, Trace

if TYPE_CHECKING:
    from tests.support.reference_lifecycle import Customer


@dataclass
class Episode:
    first: Trace
    """Its first view, addition or checkout event that no order has reached since."""
    newest: Trace
    """Its newest one."""
    views: list[Event] = field(default_factory=list)
    abandoned: bool = False
    """True if the latest abandonment is of this episode."""

    def viewed(self, bound: int) -> dict[str | None, Trace]:
        """Return the last view of each of the last distinct products, the most recent one last."""
        seen: dict[str | None, Trace] = {}
        for e in sorted(self.views, key=lambda e: e.at):
            seen.pop(e.product_id, None)
            seen[e.product_id] = Trace(e.at, e.cart_id, e.checkout_id, (e.product_id,), view=True)
        return dict([*seen.items()][-bound:])


@dataclass
class Abandoned:
    step1: Abandonment
    last: Abandonment
    """Its output at the last step."""
    traces: list[Trace]
    """Abandoned content as of the last step: lines or views, and the mark of a checkout."""
    episode: Episode
    open: bool = True
    """True if it is neither recovered, retracted, expired, superseded nor closed silently."""


class Abandonments:
    def __init__(self, customer: Customer) -> None:
        self.customer, self.policy, self.story = customer, customer.policy, customer.story
        self.episode: Episode | None = None
        self.awaits_step1 = False
        """True if the next step to come due is step 1, because there was activity since the last one."""
        self.kind_since = 0
        """Time of the event that made the episode of its kind."""
        self.latest: Abandoned | None = None
        self.first_steps: list[int] = []

    # An order

    def settle(self, purchase: Purchase, order: Order) -> None:
        """Close the episode and the abandonment that an order reaches."""
        self.leave_to(purchase)
        x, reaches = self.latest, self.story.now.reaches
        if x is None or not x.open or not any(reaches(purchase, t) for t in x.traces):
            return
        since = purchase.at - x.step1.occurred_at
        if since < 0:
            within = purchase.at >= x.last.episode_started_at
            if within or all(reaches(purchase, t) for t in x.traces):
                self.close(x, "retracted", purchase.at, reason="late_order")
            return
        match = self.match(purchase, x)
        if purchase.passive and match == "customer":
            return
        if purchase.at <= x.last.occurred_at + self.policy.recovery_window:
            self.close(
                x,
                "recovered",
                purchase.at,
                order_id=order.key[1],
                order_total=order.total,
                order_currency=order.currency,
                recovered_after_ms=since,
                match=match,
            )
        x.open = False

    def match(self, purchase: Purchase, x: Abandoned) -> Literal["cart", "checkout", "items", "customer"]:
        if purchase.cart_id and purchase.cart_id in {x.last.cart_id, *(t.cart_id for t in x.traces)}:
            return "cart"
        if purchase.checkout_id and purchase.checkout_id in {x.last.checkout_id, *(t.checkout_id for t in x.traces)}:
            return "checkout"
        return "items" if {*purchase.items} & {item.product_id for item in x.last.items} else "customer"

    def leave_to(self, purchase: Purchase) -> None:
        """Take out of the episode what an order reaches. Close it if nothing is left.

        What is left of it are the views, the lines and the mark, each with its last event, and the first and the newest
        thing that happened in it.
        """
        episode, now = self.episode, self.story.now
        if episode is None:
            return
        viewed = episode.viewed(self.policy.viewed_products)
        traces = [*viewed.values(), *(line.trace for line in now.lines.values())]
        traces += [] if now.mark is None else [now.mark]
        things = [episode.first, episode.newest, *(t for t in traces if t.at >= episode.first.at)]
        left = sorted((t for t in things if not now.reaches(purchase, t)), key=lambda t: t.at)
        if not left:
            self.episode = None
            return
        taken = {product for product, t in viewed.items() if now.reaches(purchase, t)}
        episode.views = [e for e in episode.views if e.product_id in viewed and e.product_id not in taken]
        episode.first, episode.newest = left[0], left[-1]

    # An activity

    def act(self, a: Applied, moved: bool) -> None:
        """Handle activity: retract an abandonment that it contradicts, open an episode, schedule step 1 again."""
        x = self.latest
        if x is not None and x.open and x.step1.last_activity_at < a.at < x.step1.occurred_at:
            self.close(x, "retracted", a.at, reason="late_activity")
            if x.last.kind == "browse":  # a browse abandonment closes its episode
                self.episode = self.episode or x.episode
            self.awaits_step1 = True
        opening = self.opening(a)
        if opening is not None:
            self.episode = self.episode or Episode(opening, opening)
            if opening.at < self.episode.first.at:
                self.episode.first = opening
            if opening.at >= self.episode.newest.at:
                self.episode.newest = opening
            if a.clicks("product_viewed"):
                self.episode.views.append(a.event)
        # rule 5 reaches a view also if the addition or checkout event after it comes later than the order
        for purchase in self.story.now.in_force:
            if purchase.at < a.at == self.story.now.newest_reached(purchase):
                self.leave_to(purchase)
        self.awaits_step1 = self.awaits_step1 or moved

    def opening(self, a: Applied) -> Trace | None:
        """Return what opens an episode in the event: a view, additions or a checkout that no order reaches."""
        now, t = self.story.now, a.trace
        kept_out = bool(t.products) and all(now.kept_out(t, product) for product in t.products)
        whole = a.clicks("product_viewed") or (a.clicks("checkout_started") and not kept_out)
        if whole and not now.reached(t):
            return t
        added = tuple(p for p in now.additions.get(a, ()) if not now.reached(t.about(p)))
        return t.about(*added) if added else None

    # Steps

    def views(self) -> tuple[Item, ...]:
        """Return the last distinct views of the episode, the most recent one last."""
        seen: dict[str | None, Line] = {}
        for e in sorted(self.episode.views if self.episode else [], key=lambda e: e.at):
            trace = Trace(e.at, e.cart_id, e.checkout_id, (e.product_id,), view=True)
            line = seen.pop(e.product_id, Line(e.product_id, None, None, e.currency, PIECE, trace))
            line.describe(e.category, e.price, e.currency)
            seen[e.product_id] = line
            while len(seen) > self.policy.viewed_products:
                del seen[next(iter(seen))]
        return items_of(seen.values())

    def kind(self) -> AbandonmentKind | None:
        """Return the kind of the episode; None if it has none or there is no episode."""
        last, mark = self.customer.last_activity_at, self.story.now.mark
        if self.episode is None or last is None:
            return None
        found = {
            "checkout": mark is not None and last - mark.at < self.policy.checkout_fresh,
            "cart": bool(self.story.now.lines),
            "browse": bool(self.views()),
        }
        return next((kind for kind in self.policy.precedence if found[kind]), None)

    def _ladder(self, kind: AbandonmentKind) -> tuple[int, ...]:
        return {"browse": (), "cart": self.policy.cart_ladder, "checkout": self.policy.checkout_ladder}[kind]

    def content(self, kind: AbandonmentKind) -> tuple[Item, ...]:
        return self.views() if kind == "browse" else self.customer.cart() or self.views()

    def traces(self, kind: AbandonmentKind) -> list[Trace]:
        assert self.episode is not None
        now, viewed = self.story.now, list(self.episode.viewed(self.policy.viewed_products).values())
        if kind == "browse":
            return viewed
        mark = [now.mark] if kind == "checkout" and now.mark is not None else []
        return ([line.trace for line in now.lines.values()] or viewed) + mark

    def step_due(self) -> int | None:
        last, episode, x = self.customer.last_activity_at, self.episode, self.latest
        if episode is None or last is None:
            return None
        if self.awaits_step1:
            kind = self.kind()
            return None if kind is None else max(last + getattr(self.policy, f"{kind}_window"), self.kind_since)
        if x is not None and x.open and episode.abandoned and x.last.step < x.last.steps:
            return last + self._ladder(x.last.kind)[x.last.step - 1]
        return None

    def fire_step(self, due: int) -> None:
        episode, x = self.episode, self.latest
        assert episode is not None
        if not self.awaits_step1:
            assert x is not None
            x.last, x.traces = self.abandonment(x.last.kind, due, x), self.traces(x.last.kind)
            self.customer.outputs.append(x.last)
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
            self.latest = Abandoned(step1, step1, self.traces(kind), episode)
            self.first_steps.append(due)
            self.customer.outputs.append(step1)
        if kind == "browse":
            self.episode = None
            self.story.clear(due, all=False)

    def abandonment(self, kind: AbandonmentKind, due: int, x: Abandoned | None) -> Abandonment:
        """Return step 1 of a new abandonment, or the next step of `x`."""
        episode, latest, c = self.episode, self.latest, self.customer
        assert episode is not None
        assert c.last_activity_at is not None
        step1, step = (x.step1.occurred_at, x.last.step + 1) if x else (due, 1)
        items = self.content(kind)
        cut = kind != "browse" and self.story.now.cut
        value, currency = value_of(items, c.currency, cut=cut)
        supersedes = latest.step1.id if latest is not None and latest.open else None
        return Abandonment(
            id=output_id(["abandonment", c.identified, c.id, kind, step1, step]),
            type="abandoned",
            kind=kind,
            abandonment_id=output_id(["abandonment", c.identified, c.id, kind, step1, 1]),
            customer=c.id,
            identified=c.identified,
            subscribed=c.subscribed,
            step=step,
            steps=1 + len(self._ladder(kind)),
            occurred_at=due,
            last_activity_at=c.last_activity_at,
            episode_started_at=episode.first.at,
            items=items,
            items_cut=cut,
            value=value if items else None,
            currency=currency,
            cart_id=c.shown("cart_id"),
            checkout_id=c.shown("checkout_id"),
            session_id=c.shown("session_id"),
            supersedes=x.step1.supersedes if x else supersedes,
            recent_abandonments=x.step1.recent_abandonments if x else self.recent(due),
        )

    def recent(self, due: int) -> int:
        return sum(due - self.policy.recent_window < at < due for at in self.first_steps)

    def close(self, x: Abandoned, type_: str, at: int, **more: Any) -> None:
        x.open = False
        c = self.customer
        name = ["abandonment", c.identified, c.id, x.last.kind, x.step1.occurred_at, type_]
        change = {"id": output_id(name), "type": type_, "occurred_at": at, "subscribed": c.subscribed, **more}
        c.outputs.append(msgspec.structs.replace(x.last, **change))

    def expire(self, due: int) -> None:
        episode, x = self.episode, self.latest
        if episode is not None and episode.abandoned and x is not None and x.open and x.last.kind != "browse":
            self.close(x, "expired", due)
        self.episode = None
        self.story.clear(due, all=True)


def _quantities(items: Sequence[Item]) -> set[tuple[str | None, int]]:
    return {(item.product_id, item.quantity) for item in items}
