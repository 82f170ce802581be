"""Two profiles that turn out to be one customer's.

Called by `customer.Lifecycle` only. What is united is what both have seen, as if all of it had come to one profile in
time order. How far that is exact, each part says: `sessions`, `cart`, `orders`, `recent_ids`, `facts`. Times in ms.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Final

from streams.core.lifecycle import aggregates, cart, orders
from streams.core.lifecycle.abandonment import RECENT_LIMIT, Abandonments, forget_content
from streams.core.lifecycle.playbook import Playbook
from streams.core.model.abandonment import Episode, OpenAbandonment
from streams.core.model.cart import Bought
from streams.core.model.items import Line
from streams.core.model.orders import Order
from streams.core.model.outputs import Output
from streams.core.profile import recent_ids, sessions
from streams.core.profile.profile import Profile

KEPT_ON_LEAVING: Final = frozenset({
    "customer", "identified", "dirty", "commit", "pending", "alias",
    "applied_clicks", "applied_orders", "applied_forwarded", "of_upstreams", "offset_gaps", "erased_at",
})  # fmt: skip
"""What is not about the customer but about how far the record has got."""


def empty(profile: Profile) -> None:
    """Nothing is known of the customer any more; what was applied, and what is still to be sent, is."""
    new = Profile(profile.customer, profile.identified)
    for field in dataclasses.fields(profile):
        if field.name not in KEPT_ON_LEAVING:
            setattr(profile, field.name, getattr(new, field.name))


class MergeResult:
    """What a merge told of the customer that was not known."""

    def __init__(self, active: bool, orders: int) -> None:
        self.active = active
        """Activity after all that was known."""
        self.orders = orders
        """Completed after the last one that was known, or since the stage was entered."""


class _Verdict:
    """What the other one's orders and activity make of an abandonment."""

    def __init__(self) -> None:
        self.bought_before = False
        """It should not have been told: there was an order."""
        self.was_active = False
        """It should not have been told yet: there was activity."""
        self.order_id = ""
        self.order: Order | None = None
        """The first one after it."""


class Merging:
    """Unites profiles; holds nothing of any customer."""

    def __init__(self, playbook: Playbook, abandonments: Abandonments, numbers: dict[str, int]) -> None:
        """`numbers`: of the types that are counted, as in `recent_ids`."""
        self._policy = policy = playbook.policy
        self._plan = playbook.plan
        self._abandonments = abandonments
        self._longest_window = max(policy.browse_window, policy.cart_window, policy.checkout_window)
        self._types = {number: type_ for type_, number in numbers.items()}

    def unite(
        self,
        profile: Profile,
        moved: Profile,
        device: str,
        at: int,
        outputs: list[Output],
        counts: Counter[tuple[str, str]],
    ) -> MergeResult:
        """Make what `moved` is the profile's, which may be new; stages, triggers and deadlines are not yet right then.

        `outputs` gets what becomes of abandonments. `moved` is used up.
        """
        if moved.latest is not None:
            moved.latest.device = device
        mine, theirs = self._judge(profile, moved, at), self._judge(moved, profile, at)
        news = _news(profile, moved)
        if profile.active_at == moved.active_at:
            profile.armed = profile.armed and moved.armed
        elif moved.active_at > profile.active_at:
            profile.armed = moved.armed
        self._add_up(profile, moved)
        copies = self._unite_ids(profile, moved)
        sessions.unite(profile.sessions, moved.sessions, self._policy.session_gap)
        twice = orders.unite(profile, moved, self._policy, counts)
        if self._plan is not None:
            aggregates.unite(profile, moved, self._plan, copies, twice, counts)
        times = frozenset([when for when, _ in copies])
        cart.unite(profile.cart, moved.cart, times, self._policy.cart_lines, counts)
        self._unite_abandonments(profile, moved, mine, theirs, at, outputs, counts)
        return news

    # -- numbers

    def _add_up(self, profile: Profile, moved: Profile) -> None:
        if profile.stage is None:
            profile.first_seen_at, profile.last_seen_at = moved.first_seen_at, moved.last_seen_at
        profile.first_seen_at = min(profile.first_seen_at, moved.first_seen_at)
        profile.last_seen_at = max(profile.last_seen_at, moved.last_seen_at)
        profile.active_at = max(profile.active_at, moved.active_at)
        if moved.session_id is not None and (
            profile.session_id is None
            or (moved.session_id_at, moved.session_id) > (profile.session_id_at, profile.session_id)
        ):
            profile.session_id, profile.session_id_at = moved.session_id, moved.session_id_at
        if moved.subscribed is not None and (
            profile.subscribed is None
            or moved.subscribed_at > profile.subscribed_at
            or (moved.subscribed_at == profile.subscribed_at and not moved.subscribed)  # when in doubt, no
        ):
            profile.subscribed, profile.subscribed_at = moved.subscribed, moved.subscribed_at
        profile.signed_up = profile.signed_up or moved.signed_up
        profile.product_views += moved.product_views
        profile.checkouts += moved.checkouts
        profile.reviews += moved.reviews
        profile.referrals += moved.referrals
        for type_, number in moved.type_counts.items():
            profile.type_counts[type_] = profile.type_counts.get(type_, 0) + number

    def _unite_ids(self, profile: Profile, moved: Profile) -> list[tuple[int, str]]:
        """Of events that both had: when, and of which type, as far as that counts. They are counted once."""
        policy = self._policy
        profile.event_ids, copies = recent_ids.unite(
            profile.event_ids, moved.event_ids, policy.event_id_window, policy.event_ids
        )
        profile.event_tags = recent_ids.tags_of(profile.event_ids)
        found = [(when, self._types.get(number, "")) for when, number in copies]
        for _, type_ in found:
            if type_ == "product_viewed":
                profile.product_views -= 1
            elif type_ == "checkout_started":
                profile.checkouts -= 1
            elif type_ == "product_reviewed":
                profile.reviews -= 1
            elif type_ == "referral_made":
                profile.referrals -= 1
            if type_ in profile.type_counts:
                profile.type_counts[type_] -= 1
        return found

    # -- abandonments

    def _judge(self, of: Profile, other: Profile, at: int) -> _Verdict | None:
        """What becomes of the latest abandonment; None if it is closed."""
        latest = of.latest
        if latest is None or not latest.open:
            return None
        verdict = _Verdict()
        verdict.was_active = self._was_active(latest, of, other, at)
        for order_id, order in sorted(other.order_book.items(), key=lambda entry: (entry[1].at, entry[0])):
            if not order.counts:
                continue
            if order.at < latest.step1_at:
                verdict.bought_before = verdict.bought_before or order.at >= latest.episode_started_at
            elif verdict.order is None:
                verdict.order_id, verdict.order = order_id, order
        return verdict

    def _was_active(self, latest: OpenAbandonment, of: Profile, other: Profile, at: int) -> bool:
        """Whether the other one was active while step 1 was waited for, and it would not have come due a little later
        all the same, before anything else happened or the merge at `at` came."""
        since, until = latest.armed_at, latest.step1_at
        last, upcoming, window = since, at, until - since
        if other.episode is not None or other.cart.now.lines:  # it may have been of another kind
            window = max(window, self._longest_window)
        for start, end in [*sessions.spans(other.sessions), (other.active_at, other.active_at)]:
            if start >= until:
                upcoming = min(upcoming, start)
            elif end >= until:
                # All the while: then there was activity in between if that is longer than the gaps of a session.
                if start > since or until - since >= self._policy.session_gap:
                    return True
            else:
                last = max(last, end)
        for start, _ in sessions.spans(of.sessions):
            if start >= until:
                upcoming = min(upcoming, start)
        return last > since and last + window > upcoming

    def _unite_abandonments(
        self,
        profile: Profile,
        moved: Profile,
        mine: _Verdict | None,
        theirs: _Verdict | None,
        at: int,
        outputs: list[Output],
        counts: Counter[tuple[str, str]],
    ) -> None:
        for one, verdict in ((profile, mine), (moved, theirs)):
            if one.latest is not None and verdict is not None:
                self._pronounce(profile, one, one.latest, verdict, at, outputs, counts)
        profile.recent_steps = sorted([*profile.recent_steps, *moved.recent_steps])[-RECENT_LIMIT:]
        latest, other, of = profile.latest, moved.latest, profile.episode
        if other is not None and (latest is None or self._prevails(other, latest)):
            latest, other, of = other, latest, moved.episode
        if latest is not None and latest.open and other is not None and other.open:
            self._take_back(profile, other, at, outputs, counts)
        goes_on = latest is not None and latest.open and of is not None and of.abandoned
        profile.latest = latest
        episode = self._united(self._left(profile, profile.episode), self._left(profile, moved.episode), counts)
        if episode is not None:
            episode.abandoned = goes_on
        profile.episode = episode
        if profile.armed and self._abandonments.step_due(profile) in profile.recent_steps:
            profile.armed = False  # told when it was due, if of less: a second time would be under the same id

    def _left(self, profile: Profile, episode: Episode | None) -> Episode | None:
        """What the customer's orders, which are all known by now, have left of an episode."""
        ordered = [bought.at for bought in profile.cart.bought]
        if profile.last_order_at is not None:
            ordered.append(profile.last_order_at)
        if episode is None or not ordered:
            return episode
        newest, profile.episode = episode.newest, episode
        self._abandonments.close_episode(profile, episode, max(ordered))
        if newest > max(ordered):  # what it had of its own, beside what is in the cart of both
            episode.started_at = min(episode.started_at, newest)
        return profile.episode

    def _prevails(self, one: OpenAbandonment, other: OpenAbandonment) -> bool:
        """Which one the customer's latest abandonment is: an open one; of two, the one that would be if both had been
        the same customer's; of two that are closed, the later one."""
        if one.open is not other.open:
            return one.open
        earlier, later = sorted((one, other), key=_told_at)
        if one.open and self._abandonments.goes_on(earlier, later):
            return one is earlier
        return one is later

    def _pronounce(
        self,
        profile: Profile,
        of: Profile,
        latest: OpenAbandonment,
        verdict: _Verdict,
        at: int,
        outputs: list[Output],
        counts: Counter[tuple[str, str]],
    ) -> None:
        if verdict.bought_before or verdict.was_active:
            if verdict.was_active:
                profile.armed = True
                of.episode = self._united(latest.episode, of.episode, counts)
            self._take_back(profile, latest, at, outputs, counts)
        elif verdict.order is not None:
            order = verdict.order
            in_time = order.at <= latest.step_at + self._policy.recovery_window
            if in_time and not _follows_withheld(latest, "recovered", counts):
                bought = [bought for bought in profile.cart.bought if bought.at == order.at]
                how = bought[0] if bought else Bought(order.at, (), None, None)
                self._abandonments.recover(profile, latest, verdict.order_id, order, how, outputs)
            forget_content(latest)

    def _take_back(
        self,
        profile: Profile,
        latest: OpenAbandonment,
        at: int,
        outputs: list[Output],
        counts: Counter[tuple[str, str]],
    ) -> None:
        if not _follows_withheld(latest, "retracted", counts):
            self._abandonments.take_back(profile, latest, at, outputs)
        forget_content(latest)

    def _united(self, one: Episode | None, other: Episode | None, counts: Counter[tuple[str, str]]) -> Episode | None:
        """What both are one of."""
        if one is None or other is None:
            return one or other
        views: dict[str, Line] = {}
        for product, view in sorted([*one.views.items(), *other.views.items()], key=lambda entry: entry[1].at):
            known = views.pop(product, None)
            views[product] = cart.updated(known, view.category, view.price, view.currency, 1, view.at)
        excess = max(0, len(views) - self._policy.viewed_products)
        if excess:
            counts["trimmed", "viewed_products"] += excess
        return Episode(
            min(one.started_at, other.started_at), max(one.newest, other.newest), dict([*views.items()][excess:])
        )


def _news(profile: Profile, moved: Profile) -> MergeResult:
    last, entered_at = profile.last_order_at, profile.entered_at
    news = 0
    for order_id, order in moved.order_book.items():
        if order.counts and order_id not in profile.order_book:
            news += last is None or order.at > last or order.at >= entered_at
    return MergeResult(moved.active_at > profile.active_at, news)


def _told_at(abandoned: OpenAbandonment) -> tuple[int, str]:
    return abandoned.step1_at, abandoned.id


def _follows_withheld(latest: OpenAbandonment, type_: str, counts: Counter[tuple[str, str]]) -> bool:
    """What follows from a withheld abandonment is withheld too; the engine can tell of the latest one only."""
    if latest.withheld:
        counts["withheld", f"{type_}/follows_withheld"] += 1
    return latest.withheld
