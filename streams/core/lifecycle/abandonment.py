"""Abandonment: episodes, step 1, further steps, cool-down, and the outcomes of an abandonment.

Called by `Lifecycle`, its deadlines and `ProfileMerger` only. Times in ms. `Profile.awaits_step1` is True while step 1
is scheduled. Once step 1 was due, `Episode.abandoned` lets further steps of the latest abandonment follow, until new
activity schedules step 1 again.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final, Literal

from streams.core.lifecycle.cart import settle
from streams.core.lifecycle.cart_contents import as_items, key, updated
from streams.core.lifecycle.reach import Reach, longest_skew, reaching
from streams.core.lifecycle.summary import value
from streams.core.model import ids
from streams.core.model.abandonment import AbandonmentKind, Episode, OpenAbandonment
from streams.core.model.cart import Click, Purchase
from streams.core.model.counters import EngineCounters
from streams.core.model.currencies import PIECE
from streams.core.model.event import Event
from streams.core.model.items import Line
from streams.core.model.order_keys import order_id_of
from streams.core.model.orders import Order
from streams.core.model.outputs import Abandonment, AbandonmentType, Output
from streams.core.model.policy import Policy
from streams.core.profile.profile import Profile

RECENT_LIMIT: Final = 512
"""Most step-1 times that a profile keeps: over a week of half hours. Only endless retractions reach it."""
_DEFAULT_PRECEDENCE: Final = ("checkout", "cart", "browse")


def _quantities(lines: Mapping[str, Line]) -> set[tuple[str, int]]:
    return {(product, line.quantity) for product, line in lines.items()}


class Abandonments:
    """The rules that open, close and abandon episodes. Holds no state of any customer."""

    def __init__(self, policy: Policy, namespace: uuid.UUID) -> None:
        self._policy = policy
        self._longest_skew = longest_skew(policy)
        self._namespace = namespace
        self._expiry = policy.expiry
        self._checkout_fresh = policy.checkout_fresh
        self._windows: dict[AbandonmentKind, int] = {
            "browse": policy.browse_window,
            "cart": policy.cart_window,
            "checkout": policy.checkout_window,
        }
        self._ladders: dict[AbandonmentKind, tuple[int, ...]] = {
            "browse": (),  # a browse abandonment closes its episode
            "cart": policy.cart_ladder,
            "checkout": policy.checkout_ladder,
        }
        self._has_default_precedence = policy.precedence == _DEFAULT_PRECEDENCE
        self._precedence: list[AbandonmentKind] = list(policy.precedence)
        kinds: tuple[AbandonmentKind, ...] = ("browse", "cart", "checkout")
        self._rank: dict[AbandonmentKind, int] = {
            kind: len(_DEFAULT_PRECEDENCE) - self._precedence.index(kind) if kind in self._precedence else 0
            for kind in kinds
        }

    # -- the kind and content of the episode

    def kind(self, profile: Profile) -> AbandonmentKind | None:
        """Return the kind of the open episode; None if no kind applies or no episode is open."""
        episode, last, cart = profile.episode, profile.last_activity_at, profile.cart.now
        if episode is None or last is None:
            return None
        mark = cart.mark
        checkout = mark is not None and last - mark.at < self._checkout_fresh
        if self._has_default_precedence:
            if checkout:
                return "checkout"
            if cart.lines:
                return "cart"
            return "browse" if episode.views else None
        for kind in self._precedence:
            if (kind == "checkout" and checkout) or (kind == "cart" and cart.lines):
                return kind
            if kind == "browse" and episode.views:
                return kind
        return None

    @staticmethod
    def _content(profile: Profile, kind: AbandonmentKind) -> dict[str, Line]:
        lines, episode = profile.cart.now.lines, profile.episode
        if lines and kind != "browse":
            return lines.copy()
        return {} if episode is None else episode.views.copy()

    @staticmethod
    def _is_viewed(profile: Profile, kind: AbandonmentKind) -> bool:
        """Return True if the content is the views of the episode."""
        return kind == "browse" or not profile.cart.now.lines

    # -- deadlines

    def step_due(self, profile: Profile) -> int | None:
        """Return the time of step 1, or of the next step of the latest abandonment; None if neither is scheduled."""
        last, episode, latest = profile.last_activity_at, profile.episode, profile.latest
        if episode is None or last is None:
            return None
        if profile.awaits_step1:
            kind = self.kind(profile)
            return None if kind is None else max(last + self._windows[kind], profile.kind_since)
        if episode.abandoned and latest is not None and latest.open and latest.step < self._steps(latest.kind):
            return last + self._ladders[latest.kind][latest.step - 1]
        return None

    def expiry_due(self, profile: Profile) -> int | None:
        """Return the time at which an open episode, or a cart that an order has left behind, expires; else None."""
        last = profile.last_activity_at
        if last is None or (profile.episode is None and not profile.cart.now.lines):
            return None
        return last + self._expiry

    def fire_step(self, profile: Profile, due: int, outputs: list[Output]) -> None:
        """Abandon the episode, silently continue the latest abandonment, or make its next step."""
        if not profile.awaits_step1:
            self._next_step(profile, due, outputs)
            return
        kind, episode, latest = self.kind(profile), profile.episode, profile.latest
        assert kind is not None
        assert episode is not None
        lines = self._content(profile, kind)
        profile.awaits_step1, episode.abandoned = False, True
        continues = (
            latest is not None
            and latest.open
            and self._rank[kind] <= self._rank[latest.kind]
            and due - latest.step1_at < self._policy.cool_down
            and (self._policy.cool_down_per_kind or _quantities(lines) == _quantities(latest.lines))
        )
        last_order_at = profile.last_order_at
        silent = (
            kind == "browse"
            and last_order_at is not None
            and 0 <= due - last_order_at < self._policy.browse_silent_after_order
        )
        if not (continues or silent):
            self._abandon(profile, kind, due, lines, outputs)
        if kind == "browse":
            profile.episode = None
            settle(profile.cart)
            profile.cart.now.mark = None  # too old to have made this a checkout

    def is_continuation(self, earlier: OpenAbandonment, later: OpenAbandonment) -> bool:
        """Return True if `later` would only have continued `earlier`, had both been of one customer from the start.

        Called for two abandonments of profiles that are merged; `fire_step` decides the same within one profile.
        """
        if self._rank[later.kind] > self._rank[earlier.kind]:
            return False
        if later.step1_at - earlier.step1_at >= self._policy.cool_down:
            return False
        if self._policy.cool_down_per_kind or (later.kind == "browse" and earlier.kind != "browse"):
            return True
        return _quantities(later.lines) <= _quantities(earlier.lines)

    def fire_expiry(self, profile: Profile, due: int, outputs: list[Output]) -> None:
        """Close the episode and its abandonment, if open, and empty the cart.

        The abandonment is never a browse, because that has closed its episode.
        """
        episode, latest = profile.episode, profile.latest
        if episode is not None and episode.abandoned and latest is not None and latest.open:
            self._close(profile, latest, "expired", due, outputs)
        profile.episode = None
        settle(profile.cart)
        profile.cart.now.lines.clear()
        profile.cart.now.mark, profile.cart.now.cut = None, False

    def _abandon(
        self, profile: Profile, kind: AbandonmentKind, due: int, lines: dict[str, Line], outputs: list[Output]
    ) -> None:
        cart, episode, latest, last = profile.cart.now, profile.episode, profile.latest, profile.last_activity_at
        assert episode is not None
        assert last is not None
        recent = [at for at in profile.recent_steps if at > due - self._policy.recent_window]
        profile.latest = new = OpenAbandonment(
            id=self._id(profile, kind, due, 1),
            kind=kind,
            step1_at=due,
            step1_activity_at=last,
            step=1,
            step_at=due,
            last_activity_at=last,
            episode_started_at=episode.first.at,
            lines=lines,
            viewed=self._is_viewed(profile, kind),
            mark=cart.mark if kind == "checkout" else None,
            currency=profile.currency or self._policy.currency,
            items_cut=kind != "browse" and cart.cut,
            cart_id=cart.cart_id,
            checkout_id=cart.checkout_id,
            session_id=profile.session_id,
            supersedes=latest.id if latest is not None and latest.open else None,
            recent=sum(at < due for at in recent),
            episode=episode if kind == "browse" else None,
        )
        profile.recent_steps = [*recent[-RECENT_LIMIT + 1 :], due]
        outputs.append(self._output(profile, new, "abandoned", new.id, due))

    def _next_step(self, profile: Profile, due: int, outputs: list[Output]) -> None:
        cart, episode, latest, last = profile.cart.now, profile.episode, profile.latest, profile.last_activity_at
        assert episode is not None
        assert latest is not None
        assert last is not None
        latest.step += 1
        latest.step_at, latest.last_activity_at, latest.episode_started_at = due, last, episode.first.at
        latest.lines, latest.currency = self._content(profile, latest.kind), profile.currency or self._policy.currency
        latest.viewed = self._is_viewed(profile, latest.kind)
        latest.mark = cart.mark if latest.kind == "checkout" else None
        latest.items_cut = cart.cut
        latest.cart_id, latest.checkout_id, latest.session_id = cart.cart_id, cart.checkout_id, profile.session_id
        id_ = self._id(profile, latest.kind, latest.step1_at, latest.step)
        outputs.append(self._output(profile, latest, "abandoned", id_, due))

    # -- events

    def shopped(self, profile: Profile, click: Click) -> None:
        """Note additions or a checkout that no order reaches: they open an episode or belong to the open one."""
        episode = profile.episode
        if episode is None:
            profile.episode = Episode(click, click.at, click)
            return
        if click.at < episode.first.at:
            episode.first = click
        if click.at >= episode.newest_at:
            episode.newest_at, episode.newest = click.at, click

    def viewed(self, profile: Profile, event: Event, counts: EngineCounters) -> None:
        """Note a view: it opens an episode or belongs to the open one. Ignore one that an order reaches."""
        at, product, cart_id, checkout_id = event.at, key(event.product_id), event.cart_id, event.checkout_id
        purchases = profile.cart.purchases
        if purchases and purchases[-1].at >= at - self._longest_skew:
            for order in reaching(purchases, at, cart_id, checkout_id, self._policy):
                if order.view(at, product, cart_id, checkout_id):
                    return
        episode = profile.episode
        if episode is None:
            profile.episode = episode = Episode(Click(at, (product,), cart_id, checkout_id, False, True), at)
        elif at >= episode.newest_at:
            episode.newest_at, episode.newest = at, None
        elif at < episode.first.at:
            episode.first = Click(at, (product,), cart_id, checkout_id, False, True)
        views = episode.views
        known = views.get(product)
        if known is not None and at >= known.at:
            del views[product]
        views[product] = updated(known, event.category, event.price, event.currency, PIECE, at, cart_id, checkout_id)
        if at < episode.newest_at:  # not the most recent: keep the views in the order of time
            views = episode.views = dict(sorted(views.items(), key=lambda view: view[1].at))
        if len(views) > self._policy.viewed_products:
            del views[next(iter(views))]
            counts["trimmed", "viewed_products"] += 1

    def ordered(
        self,
        profile: Profile,
        purchase: Purchase,
        order: Order,
        outputs: list[Output],
    ) -> None:
        """Close the episode and the latest abandonment after an order that counts, as far as it reaches them.

        The order must have been applied to the cart before.
        """
        reach, latest = Reach(purchase, profile.cart.purchases, self._policy), profile.latest
        if profile.episode is not None:
            self.close_episode(profile, profile.episode, reach)
        if latest is None or not latest.open:
            return
        some, all_ = reached_part(latest, reach)
        if not some:
            return
        if purchase.at < latest.step1_at:
            if all_ or purchase.at >= latest.episode_started_at:
                self._close(profile, latest, "retracted", purchase.at, outputs, reason="late_order")
        elif not recovers(latest, purchase):
            return
        elif purchase.at <= latest.step_at + self._policy.recovery_window:
            self.recover(profile, latest, order, purchase, outputs)
        else:
            set_closed(latest)

    def recover(
        self,
        profile: Profile,
        latest: OpenAbandonment,
        order: Order,
        purchase: Purchase,
        outputs: list[Output],
    ) -> None:
        """Close the abandonment as recovered by an order that came after it and in time (see `recovers`)."""
        self._close(
            profile,
            latest,
            "recovered",
            purchase.at,
            outputs,
            order_id=order_id_of(purchase.order),
            order_total=order.total,
            order_currency=order.currency,
            recovered_after_ms=purchase.at - latest.step1_at,
            match=_match(latest, purchase),
        )

    def retract_after_merge(self, profile: Profile, latest: OpenAbandonment, at: int, outputs: list[Output]) -> None:
        """Retract an abandonment, because a merge at `at` showed that it was wrong or repeats another one."""
        self._close(profile, latest, "retracted", at, outputs, reason="merge")

    def note_kind(self, profile: Profile, known: AbandonmentKind | None, at: int) -> None:
        """Note that a passive event at `at` gave the episode another kind than the `known` one.

        Step 1 is not due before. Activity needs no note, since step 1 is due a window after it.
        """
        if profile.episode is not None and at > profile.kind_since and self.kind(profile) != known:
            profile.kind_since = at

    def reconsider(self, profile: Profile, at: int) -> None:
        """Take views out of the episode that orders reach because they also reach a newer click, at `at`."""
        purchases = profile.cart.purchases
        for purchase in purchases:
            if profile.episode is not None and purchase.at < at == purchase.reached_until:
                self.close_episode(profile, profile.episode, Reach(purchase, purchases, self._policy))

    @staticmethod
    def close_episode(profile: Profile, episode: Episode, order: Reach) -> None:
        """Take what the order reaches out of the episode. Close it if nothing is left; else it starts with the first
        thing left.

        What is known of the episode are its views, the lines of the cart and the mark, each with its last event, and
        the first and the newest thing that happened in it.
        """
        cart, since = profile.cart.now, episode.first.at
        things = [episode.first] if episode.newest is None else [episode.first, episode.newest]
        for product, line in cart.lines.items():
            if line.at >= since:
                things.append(Click(line.at, (product,), line.cart_id, line.checkout_id))
        if cart.mark is not None and cart.mark.at >= since:
            things.append(cart.mark)
        views: dict[str, Line] = {}
        for product, view in episode.views.items():
            click = Click(view.at, (product,), view.cart_id, view.checkout_id, False, True)
            if not order.reaches(click):
                views[product] = view
                things.append(click)
        left = [thing for thing in things if not order.reaches(thing)]
        if not left:
            profile.episode = None
            return
        left.sort(key=_click_at)
        newest = left[-1]
        episode.views = views
        episode.first, episode.newest_at, episode.newest = left[0], newest.at, None if newest.view else newest

    def late_activity(self, profile: Profile, at: int, outputs: list[Output]) -> None:
        """Retract the latest abandonment if activity at `at` should have postponed it, and schedule step 1 again."""
        latest = profile.latest
        if latest is None or not latest.open or not latest.step1_activity_at < at < latest.step1_at:
            return
        if profile.episode is None:
            profile.episode = latest.episode
        profile.awaits_step1 = True
        self._close(profile, latest, "retracted", at, outputs, reason="late_activity")

    # -- outputs

    def _steps(self, kind: AbandonmentKind) -> int:
        return 1 + len(self._ladders[kind])

    def _id(self, profile: Profile, kind: AbandonmentKind, step1_at: int, step_or_type: int | str) -> str:
        return ids.abandonment_id(self._namespace, profile.identified, profile.customer, kind, step1_at, step_or_type)

    def _close(
        self,
        profile: Profile,
        latest: OpenAbandonment,
        type_: Literal["recovered", "retracted", "expired"],
        at: int,
        outputs: list[Output],
        **fields: Any,
    ) -> None:
        identified, customer = _subject(profile, latest, type_)
        id_ = ids.abandonment_id(self._namespace, identified, customer, latest.kind, latest.step1_at, type_)
        outputs.append(self._output(profile, latest, type_, id_, at, **fields))
        set_closed(latest)

    def _output(
        self, profile: Profile, latest: OpenAbandonment, type_: AbandonmentType, id_: str, at: int, **fields: Any
    ) -> Abandonment:
        items = as_items(latest.lines)
        total, currency = value(items) if items else (None, latest.currency)
        identified, customer = _subject(profile, latest, type_)
        return Abandonment(
            id=id_,
            type=type_,
            kind=latest.kind,
            abandonment_id=latest.id,
            customer=customer,
            identified=identified,
            subscribed=profile.subscribed,
            step=latest.step,
            steps=self._steps(latest.kind),
            occurred_at=at,
            last_activity_at=latest.last_activity_at,
            episode_started_at=latest.episode_started_at,
            items=items,
            items_cut=latest.items_cut,
            value=None if latest.items_cut else total,
            currency=currency,
            cart_id=latest.cart_id,
            checkout_id=latest.checkout_id,
            session_id=latest.session_id,
            supersedes=latest.supersedes,
            recent_abandonments=latest.recent,
            **fields,
        )


def _subject(profile: Profile, latest: OpenAbandonment, type_: AbandonmentType) -> tuple[bool, str]:
    """Return (`identified`, id) of the customer that the output is about.

    A retraction is about the device that the abandonment was sent for, if its profile was merged since. All other
    outputs are about the customer.
    """
    if latest.device is not None and type_ == "retracted":
        return False, latest.device
    return profile.identified, profile.customer


def reached_part(latest: OpenAbandonment, order: Reach) -> tuple[bool, bool]:
    """Return whether the order reaches something of what was abandoned, and whether it reaches all of it.

    All are its products; of a checkout without any, the checkout.
    """
    reached = 0
    for product, line in latest.lines.items():
        if latest.viewed:
            reached += order.view(line.at, product, line.cart_id, line.checkout_id)
        else:
            reached += order.click(line.at, product, line.cart_id, line.checkout_id)
    of_mark = latest.mark is not None and order.reaches(latest.mark)
    return reached > 0 or of_mark, reached == len(latest.lines) if latest.lines else of_mark


def _click_at(click: Click) -> int:
    return click.at


def recovers(latest: OpenAbandonment, order: Purchase) -> bool:
    """Return False if the order is of a passive channel and matches nothing but the customer."""
    return not order.passive or _match(latest, order) != "customer"


def _match(latest: OpenAbandonment, order: Purchase) -> Literal["cart", "checkout", "items", "customer"]:
    """Return the strongest thing that an order has in common with what was abandoned: an id that its output names or
    that one of its lines or its checkout showed, or a product."""
    carts, checkouts = {latest.cart_id}, {latest.checkout_id}
    for line in latest.lines.values():
        carts.add(line.cart_id)
        checkouts.add(line.checkout_id)
    if latest.mark is not None:
        carts.add(latest.mark.cart_id)
        checkouts.add(latest.mark.checkout_id)
    if order.cart_id is not None and order.cart_id in carts:
        return "cart"
    if order.checkout_id is not None and order.checkout_id in checkouts:
        return "checkout"
    if not latest.lines.keys().isdisjoint(order.products):
        return "items"
    return "customer"


def set_closed(latest: OpenAbandonment) -> None:
    """Close the abandonment without an output. Drop its content, which later outputs do not need."""
    latest.open, latest.lines, latest.mark, latest.episode = False, {}, None, None
