"""Merges of two profiles of one customer: the profile of a device into that of its owner.

Only `Lifecycle` calls it. The result is as if the events of both had come to one profile in time order. The modules
`sessions`, `cart`, `orders`, `recent_ids` and `aggregates` state how far that is exact for their parts. Times in ms.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from streams.core.lifecycle import aggregates, cart_merging, order_merging
from streams.core.lifecycle.abandonment import RECENT_LIMIT, Abandonments, reached_part, recovers, set_closed
from streams.core.lifecycle.cart import note_corrections
from streams.core.lifecycle.cart_contents import updated
from streams.core.lifecycle.playbook import Playbook
from streams.core.lifecycle.reach import Reach
from streams.core.model.abandonment import Episode, OpenAbandonment
from streams.core.model.cart import Click, Purchase
from streams.core.model.counters import EngineCounters
from streams.core.model.currencies import PIECE
from streams.core.model.items import Line
from streams.core.model.orders import Order
from streams.core.model.outputs import Output
from streams.core.profile import recent_ids, sessions
from streams.core.profile.profile import Profile

KEPT_ON_RESET: Final = frozenset({
    "customer", "identified", "dirty", "commit", "pending", "alias",
    "applied_clicks", "applied_orders", "applied_forwarded", "of_upstreams", "offset_gaps", "erased_at",
})  # fmt: skip
"""Fields that describe the progress of the record, and not the customer."""


def reset(profile: Profile) -> None:
    """Reset the profile, but for the fields of `KEPT_ON_RESET`: applied offsets, pending outputs and the like."""
    new = Profile(profile.customer, profile.identified)
    for field in dataclasses.fields(profile):
        if field.name not in KEPT_ON_RESET:
            setattr(profile, field.name, getattr(new, field.name))


class MergeResult:
    """Facts of the moved profile that are new to the customer's, for the rules of stages."""

    def __init__(self, active: bool, orders: int, renewals: int) -> None:
        self.active = active
        """True if the moved profile was active after the customer's last activity."""
        self.orders = orders
        """Number of new orders completed after the last known one, or since the stage was entered, without renewals."""
        self.renewals = renewals
        """Number of such renewals."""


class _Judgment:
    """The consequences of the other profile's orders and activity for an abandonment."""

    def __init__(self) -> None:
        self.bought_before = False
        """The abandonment should not have been emitted: there was an order in its episode."""
        self.was_active = False
        """The abandonment should not have been emitted yet: there was activity."""
        self.order: Order | None = None
        """The first order after the abandonment that reaches something of it."""
        self.purchase: Purchase | None = None


class ProfileMerger:
    """Merges profiles; keeps no state of customers."""

    def __init__(self, playbook: Playbook, abandonments: Abandonments, numbers: dict[str, int]) -> None:
        """`numbers`: the numbers of the event types that are counted, as in `recent_ids`."""
        self._policy = policy = playbook.policy
        self._plan = playbook.plan
        self._abandonments = abandonments
        self._longest_window = max(policy.browse_window, policy.cart_window, policy.checkout_window)
        self._types = {number: type_ for type_, number in numbers.items()}

    def merge(
        self,
        profile: Profile,
        moved: Profile,
        device: str,
        at: int,
        outputs: list[Output],
        counts: EngineCounters,
    ) -> MergeResult:
        """Merge `moved` into the profile, which may be new. Append the ends of abandonments to `outputs`.

        `moved` is consumed. Stages, triggers and deadlines are not updated: the caller does that.
        """
        if moved.latest is not None:
            moved.latest.device = device
        judgment, moved_judgment = self._judge(profile, moved, at), self._judge(moved, profile, at)
        merge_result = _merge_result(profile, moved)
        if profile.active_at == moved.active_at:
            profile.awaits_step1 = profile.awaits_step1 and moved.awaits_step1
        elif moved.active_at > profile.active_at:
            profile.awaits_step1 = moved.awaits_step1
        self._merge_numbers(profile, moved)
        copies = self._merge_event_ids(profile, moved)
        sessions.unite(profile.sessions, moved.sessions, self._policy.session_gap)
        duplicate_orders = order_merging.merge(profile, moved, self._policy, counts)
        if self._plan is not None:
            aggregates.merge(profile, moved, self._plan, copies, duplicate_orders, counts)
        times = frozenset([when for when, _ in copies])
        cart_merging.unite(profile.cart, moved.cart, times, self._policy, counts)
        note_corrections(profile.cart, profile.order_book, at, self._policy)
        self._merge_abandonments(profile, moved, judgment, moved_judgment, at, outputs, counts)
        return merge_result

    # -- numbers

    def _merge_numbers(self, profile: Profile, moved: Profile) -> None:
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
            or (moved.subscribed_at == profile.subscribed_at and not moved.subscribed)  # in doubt: not subscribed
        ):
            profile.subscribed, profile.subscribed_at = moved.subscribed, moved.subscribed_at
        profile.signed_up = profile.signed_up or moved.signed_up
        profile.product_views += moved.product_views
        profile.checkouts += moved.checkouts
        profile.reviews += moved.reviews
        profile.referrals += moved.referrals
        for type_, number in moved.type_counts.items():
            profile.type_counts[type_] = profile.type_counts.get(type_, 0) + number

    def _merge_event_ids(self, profile: Profile, moved: Profile) -> list[tuple[int, str]]:
        """Merge the remembered event ids, and count events that both profiles had once.

        Return time and type of each such event; the type is "" if events of that type are not counted.
        """
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

    def _judge(self, judged: Profile, other: Profile, at: int) -> _Judgment | None:
        """Return the consequences of `other` for the latest abandonment of `judged`; None if that is closed."""
        latest = judged.latest
        if latest is None or not latest.open:
            return None
        judgment = _Judgment()
        judgment.was_active = self._was_active(latest, judged, other, at)
        for purchase in other.cart.purchases:
            order = other.order_book.get(purchase.order)
            if order is None or not order.counts:
                continue
            some, all_ = reached_part(latest, Reach(purchase, other.cart.purchases, self._policy))
            if not some:
                continue
            if purchase.at < latest.step1_at:
                judgment.bought_before |= all_ or purchase.at >= latest.episode_started_at
            elif judgment.order is None and recovers(latest, purchase):
                judgment.order, judgment.purchase = order, purchase
        return judgment

    def _was_active(self, latest: OpenAbandonment, judged: Profile, other: Profile, at: int) -> bool:
        """Return True if activity in `other` would have prevented step 1.

        That is so if `other` was active while `judged` waited for step 1, unless step 1 would still have come due a
        little later: before anything else happened and before the merge at `at`.
        """
        since, until = latest.step1_activity_at, latest.step1_at
        last, upcoming, window = since, at, until - since
        if other.episode is not None or other.cart.now.lines:  # the episode may have been of another kind
            window = max(window, self._longest_window)
        for start, end in [*sessions.spans(other.sessions), (other.active_at, other.active_at)]:
            if start >= until:
                upcoming = min(upcoming, start)
            elif end >= until:
                # A session across the whole wait: it had activity within if the wait is longer than a session gap.
                if start > since or until - since >= self._policy.session_gap:
                    return True
            else:
                last = max(last, end)
        for start, _ in sessions.spans(judged.sessions):
            if start >= until:
                upcoming = min(upcoming, start)
        return last > since and last + window > upcoming

    def _merge_abandonments(
        self,
        profile: Profile,
        moved: Profile,
        judgment: _Judgment | None,
        moved_judgment: _Judgment | None,
        at: int,
        outputs: list[Output],
        counts: EngineCounters,
    ) -> None:
        for of, found in ((profile, judgment), (moved, moved_judgment)):
            if of.latest is not None and found is not None:
                self._apply_judgment(profile, of, of.latest, found, at, outputs, counts)
        profile.kind_since = max(profile.kind_since, moved.kind_since)
        profile.recent_steps = sorted([*profile.recent_steps, *moved.recent_steps])[-RECENT_LIMIT:]
        latest, other, episode_of_latest = profile.latest, moved.latest, profile.episode
        if other is not None and (latest is None or self._prevails(other, latest)):
            latest, other, episode_of_latest = other, latest, moved.episode
        if latest is not None and latest.open and other is not None and other.open:
            self._retract(profile, other, at, outputs, counts)
        goes_on = latest is not None and latest.open and episode_of_latest is not None and episode_of_latest.abandoned
        profile.latest = latest
        rest = self._after_orders(profile, profile.episode)
        episode = self._merge_episodes(rest, self._after_orders(profile, moved.episode), counts)
        if episode is not None:
            episode.abandoned = goes_on
        profile.episode = episode
        if profile.awaits_step1 and self._abandonments.step_due(profile) in profile.recent_steps:
            # That step 1 was emitted already, if with less content. A second one would have the same id.
            profile.awaits_step1 = False

    def _after_orders(self, profile: Profile, episode: Episode | None) -> Episode | None:
        """Return the rest of an episode after the customer's orders, which are all known by now; None: nothing."""
        profile.episode = episode
        for purchase in profile.cart.purchases:
            if profile.episode is None:
                return None
            reach = Reach(purchase, profile.cart.purchases, self._policy)
            self._abandonments.close_episode(profile, profile.episode, reach)
        return profile.episode

    def _prevails(self, one: OpenAbandonment, other: OpenAbandonment) -> bool:
        """Return True if `one`, not `other`, is the customer's latest abandonment.

        An open one prevails over a closed one. Otherwise the later one prevails, unless both are open and it would only
        have continued the earlier one, had both been of one customer from the start.
        """
        if one.open is not other.open:
            return one.open
        earlier, later = sorted((one, other), key=_emission_key)
        if one.open and self._abandonments.is_continuation(earlier, later):
            return one is earlier
        return one is later

    def _apply_judgment(
        self,
        profile: Profile,
        judged: Profile,
        latest: OpenAbandonment,
        judgment: _Judgment,
        at: int,
        outputs: list[Output],
        counts: EngineCounters,
    ) -> None:
        if judgment.bought_before or judgment.was_active:
            if judgment.was_active:
                profile.awaits_step1 = True
                judged.episode = self._merge_episodes(latest.episode, judged.episode, counts)
            self._retract(profile, latest, at, outputs, counts)
        elif judgment.order is not None and judgment.purchase is not None:
            order, purchase = judgment.order, judgment.purchase
            in_time = purchase.at <= latest.step_at + self._policy.recovery_window
            if in_time and not _follows_withheld(latest, "recovered", counts):
                self._abandonments.recover(profile, latest, order, purchase, outputs)
            set_closed(latest)

    def _retract(
        self,
        profile: Profile,
        latest: OpenAbandonment,
        at: int,
        outputs: list[Output],
        counts: EngineCounters,
    ) -> None:
        if not _follows_withheld(latest, "retracted", counts):
            self._abandonments.retract_after_merge(profile, latest, at, outputs)
        set_closed(latest)

    def _merge_episodes(self, one: Episode | None, other: Episode | None, counts: EngineCounters) -> Episode | None:
        """Return one episode with the content of both."""
        if one is None or other is None:
            return one or other
        views: dict[str, Line] = {}
        for product, view in sorted([*one.views.items(), *other.views.items()], key=lambda entry: entry[1].at):
            known = views.pop(product, None)
            views[product] = updated(
                known, view.category, view.price, view.currency, PIECE, view.at, view.cart_id, view.checkout_id
            )
        excess = max(0, len(views) - self._policy.viewed_products)
        if excess:
            counts["trimmed", "viewed_products"] += excess
        first, last = sorted((one, other), key=_newest_at)
        newest = last.newest
        if newest is None and last.newest_at != next(reversed(views.values())).at:  # its views are no longer the last
            newest = first.newest
        return Episode(
            min(one.first, other.first, key=_click_key), last.newest_at, newest, dict([*views.items()][excess:])
        )


def _merge_result(profile: Profile, moved: Profile) -> MergeResult:
    last, entered_at = profile.last_order_at, profile.entered_at
    new_orders = renewals = 0
    for key, order in moved.order_book.items():
        if not order.counts or not order.completed or key in profile.order_book:
            continue
        if last is None or order.at > last or order.at >= entered_at:
            if order.renewal:
                renewals += 1
            else:
                new_orders += 1
    return MergeResult(moved.active_at > profile.active_at, new_orders, renewals)


def _newest_at(episode: Episode) -> int:
    return episode.newest_at


def _click_key(click: Click) -> tuple[int, str]:
    return click.at, repr(click)


def _emission_key(abandoned: OpenAbandonment) -> tuple[int, str]:
    return abandoned.step1_at, abandoned.id


def _follows_withheld(latest: OpenAbandonment, type_: str, counts: EngineCounters) -> bool:
    """Return True, and count it, if an output must be withheld because its abandonment was.

    This check is made here since the `OutputFilter` knows it for the latest abandonment only.
    """
    if latest.withheld:
        counts["outputs_withheld", f"{type_}/follows_withheld"] += 1
    return latest.withheld
