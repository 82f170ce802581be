"""The rules of one customer: what an event, or a deadline, does to a profile.

The engine calls `is_duplicate` and `apply` for each event and `fire` for each deadline that is due. Everything here is
a pure function of the profile and the event: no clock, no other customers.
"""

from __future__ import annotations

import uuid
from typing import Final

from streams.core.lifecycle import aggregates, orders
from streams.core.lifecycle.abandonment import Abandonments
from streams.core.lifecycle.cart import operation, record
from streams.core.lifecycle.merging import Merging, empty
from streams.core.lifecycle.playbook import Playbook
from streams.core.lifecycle.stages import BYTES_PER_TRACK, Stages, summary
from streams.core.lifecycle.trigger_runner import TriggerRunner
from streams.core.lifecycle.trimming import BYTES_PER_EVENT, trim
from streams.core.model import ids
from streams.core.model.cart import CartOperationKind
from streams.core.model.counters import EngineCounters
from streams.core.model.event import Event, Source
from streams.core.model.outputs import Cause, IdentityChange, Output, Summary
from streams.core.model.sources import Erasure
from streams.core.profile import recent_ids, sessions
from streams.core.profile.codec import HEADER_ROOM
from streams.core.profile.profile import Profile

# Each look into an Enum is a search.
_ORDERS: Final = Source.ORDERS
_SHOW: Final = CartOperationKind.SHOW
_REPLACE: Final = CartOperationKind.REPLACE
_ORDER: Final = CartOperationKind.ORDER
_SUBSCRIPTIONS: Final = frozenset({"subscribed", "unsubscribed"})
_NOTED: Final = frozenset({"checkout_started", "signed_up", "product_reviewed", "referral_made"})
PASSIVE_CLICKS: Final = frozenset({"message_opened", "unsubscribed"})
PASSIVE_ORDERS: Final = frozenset({"order_updated", "order_cancelled", "order_refunded", "order_fulfilled"})
PASSIVE_CHANNELS: Final = frozenset({"pos", "retail", "subscription", "marketplace"})


def successor_of(ended: Profile) -> Profile:
    """An empty profile of the same customer, that knows what was applied to the one before, and what waits to leave."""
    profile = Profile(ended.customer, ended.identified)
    profile.applied, profile.of_upstreams, profile.offset_gaps = ended.applied, ended.of_upstreams, ended.offset_gaps
    profile.pending, profile.commit = ended.pending, ended.commit
    profile.erased_at = ended.erased_at
    return profile


class Lifecycle:
    """The rules that move one customer's profile; holds no state of its own."""

    def __init__(self, playbook: Playbook = Playbook(), namespace: uuid.UUID = ids.NAMESPACE) -> None:
        self.policy = policy = playbook.policy
        self.playbook = playbook
        self.namespace = namespace
        # What every event asks for: attributes here are read much faster than those of the Structs they come from.
        self._stages = Stages(playbook, namespace)
        self._cart = playbook.cart
        self._counted_types = playbook.counted_types
        self._keeps_sessions = playbook.sessions
        self._keeps_episodes = playbook.abandonment
        self._session_gap = policy.session_gap
        self._event_ids = policy.event_ids
        self._event_id_window = policy.event_id_window
        self._largest = policy.profile_bytes - HEADER_ROOM
        self._forget_identified = policy.forget_identified
        self._forget_unidentified = policy.forget_unidentified
        self._plan = playbook.plan
        self._bytes_per_event = BYTES_PER_EVENT + (0 if playbook.plan is None else playbook.plan.bytes_per_event)
        self._bytes_of_tracks = BYTES_PER_TRACK * (len(playbook.tracks) - 1)
        self._abandonments = Abandonments(policy, namespace)
        self._has_deadlines = (
            playbook.abandonment
            or self._stages.has_deadlines
            or self._forget_identified is not None
            or self._forget_unidentified is not None
            or bool(playbook.triggers)
        )
        """Whether anything that it says is ever due."""
        self._type_numbers = {type_: recent_ids.type_number(type_) for type_ in _counted(playbook)}
        self._merging = Merging(playbook, self._abandonments, self._type_numbers)
        self._triggers: TriggerRunner | None = None
        if playbook.triggers:
            self._triggers = TriggerRunner(playbook.triggers, policy.currency, namespace, playbook.cart)

    def new(self, customer: str, identified: bool) -> Profile:
        """An empty profile, in no stage yet: its first event is to be applied at once."""
        return Profile(customer, identified)

    def is_duplicate(self, profile: Profile, activity: Event) -> bool:
        """Whether this event id was applied to the customer within 24 h before: then nothing is to be done for it.

        Else the id is not known any more, so that it can be noted. To be asked before each `apply`.
        """
        if not self._event_ids:
            return False
        place = recent_ids.find(profile.event_tags, profile.event_ids, ids.fingerprint(activity.event_id))
        if place < 0:
            return False
        if activity.at <= recent_ids.seen_at(profile.event_ids, place) + self._event_id_window:
            return True
        recent_ids.forget(profile.event_tags, profile.event_ids, place)
        return False

    def apply(self, profile: Profile, activity: Event, outputs: list[Output], counts: EngineCounters) -> None:
        """Apply one event; append what comes of it to `outputs`.

        The event must not be a duplicate, and the profile's deadlines at or before its time must have been fired.
        """
        at, first = activity.at, profile.stage is None
        if not first and self._stages.has_other_playbook(profile):
            self._stages.adopt_playbook(profile, at, outputs)
            profile.weight += self._bytes_of_tracks
        since = len(outputs)  # nothing follows up what a changed playbook says
        if first:
            profile.first_seen_at = profile.last_seen_at = at
        elif at >= profile.last_seen_at:
            profile.last_seen_at = at
        elif at < profile.first_seen_at:
            profile.first_seen_at = at
        if self._event_ids:
            fingerprint = ids.fingerprint(activity.event_id)
            stamp = at + self._type_numbers.get(activity.type, 0)
            recent_ids.note(profile.event_tags, profile.event_ids, fingerprint, stamp, self._event_ids)
        if activity.type in self._counted_types:
            profile.type_counts[activity.type] = profile.type_counts.get(activity.type, 0) + 1

        completed = profile.orders_in_stage
        if activity.source is _ORDERS:
            active = self._order(profile, activity, outputs, counts)
        else:
            active = self._click(profile, activity, outputs, counts)
        if self._plan is not None:
            aggregates.note(profile, self._plan, activity, profile.orders_in_stage > completed, counts)
        if active:
            if at > profile.active_at:
                profile.active_at, profile.armed = at, True
            if self._keeps_sessions:
                sessions.note(profile.sessions, at, self._session_gap)

        if first:
            self._stages.begin(profile, activity, active, outputs)
            profile.weight += self._bytes_of_tracks
        else:
            self._stages.after_event(profile, activity, active, outputs)
        if self._triggers is not None:
            self._triggers.after_event(profile, activity, active, outputs, since, counts)

        profile.weight += 2 * activity.size + self._bytes_per_event
        if profile.weight > self._largest:
            trim(profile, self._largest, counts)
        self._schedule(profile)

    def fire(self, profile: Profile, outputs: list[Output], counts: EngineCounters) -> None:
        """Fire the profile's earliest deadline; there must be one. One that the policy no longer knows only goes.

        A forgotten profile is in no stage and has no deadline any more: it is to be deleted.
        """
        due, abandonments, since = profile.next_deadline, self._abandonments, len(outputs)
        assert due is not None
        if self._stages.has_other_playbook(profile):
            self._stages.adopt_playbook(profile, due, outputs)  # what is due under this playbook is seen next
            profile.weight += self._bytes_of_tracks
            since = len(outputs)
        elif due == abandonments.step_due(profile):
            abandonments.fire_step(profile, due, outputs)
        elif due == abandonments.expiry_due(profile):
            abandonments.fire_expiry(profile, due, outputs)
            self._stages.cart_expired(profile, due, outputs)
        elif self._stages.fire(profile, due, outputs):
            pass
        elif due == self._forget_due(profile):
            cause = Cause(kind="forgotten", deadline=due)
            self._stages.end(profile, max(due, profile.last_seen_at), cause, outputs)
            profile.next_deadline = None
            return
        elif self._triggers is not None and self._triggers.fire(profile, due, outputs, counts):
            since = len(outputs)  # nothing follows up what a trigger says
        # Else it was packed under another policy, by which this was a deadline: from here on, it is as of now.
        if self._triggers is not None:
            self._triggers.after_outputs(profile, due, outputs, since, counts)
        self._schedule(profile)

    # -- two profiles of one customer

    def leave(self, profile: Profile, into: str, at: int, outputs: list[Output]) -> None:
        """It has turned out at `at` (ms) that this anonymous profile is customer `into`'s, who gets it packed: it ends.

        To be called once its deadlines up to then were fired and it was packed. What remains is in no stage, as before
        the first event: only what was applied to it, and what is still to be sent.
        """
        if self._stages.has_other_playbook(profile):
            self._stages.adopt_playbook(profile, at, outputs)
        self._stages.end(profile, at, Cause(kind="merge", merged_into=into), outputs)
        empty(profile)

    def merge(
        self,
        profile: Profile,
        moved: Profile,
        device: str,
        at: int,
        outputs: list[Output],
        counts: EngineCounters,
    ) -> None:
        """Unite with the customer's profile, which may be new, the one of `device` that has left at `at` (ms).

        The deadlines up to then must have been fired of both. `moved` is used up. Afterwards a deadline may be due that
        lies before `at`. In whatever order profiles are merged, the customer's says the same in the end.
        """
        if profile.stage is not None and self._stages.has_other_playbook(profile):
            self._stages.adopt_playbook(profile, at, outputs)
        since = len(outputs)
        news = self._merging.unite(profile, moved, device, at, outputs, counts)
        cause = Cause(kind="merge", merged=(device,))
        self._stages.after_merge(profile, news.active, news.orders, at, cause, outputs)
        if self._triggers is not None:
            self._triggers.after_merge(profile, moved, device, at, outputs, since, counts)
        trim(profile, self._largest, counts)
        self._schedule(profile)

    # -- erasure

    def erase(self, profile: Profile, request: Erasure, outputs: list[Output]) -> Profile:
        """All that is known of this customer is to be erased: the profile ends, and what is returned takes its place.

        It knows nothing but what was applied, and is to be deleted as a forgotten one is.
        """
        if profile.stage is not None:
            if self._stages.has_other_playbook(profile):
                self._stages.adopt_playbook(profile, request.at, outputs)
            self._stages.end(profile, max(request.at, profile.last_seen_at), Cause(kind="erased"), outputs)
        outputs.append(self.erasure_notice(request))
        nothing = successor_of(profile)
        nothing.sequence, nothing.erased_at = max(1, profile.sequence), request.at
        return nothing

    def erasure_notice(self, request: Erasure) -> IdentityChange:
        """What subscribers are told of an erasure, also of somebody who has no profile: they may know more."""
        return IdentityChange(
            id=ids.erasure_id(self.namespace, request.identified, request.customer, request.at),
            type="erased",
            customer=request.customer,
            identified=request.identified,
            occurred_at=request.at,
            request_id=request.request_id,
        )

    def summary(self, profile: Profile) -> Summary:
        """The customer as of now."""
        return summary(profile, self.policy.currency)

    # -- events

    def _click(self, profile: Profile, activity: Event, outputs: list[Output], counts: EngineCounters) -> bool:
        """An event of the clickstream; whether it is activity."""
        at, type_, abandonments = activity.at, activity.type, self._abandonments
        active = type_ not in PASSIVE_CLICKS
        if type_ in _SUBSCRIPTIONS and (profile.subscribed is None or at >= profile.subscribed_at):
            profile.subscribed, profile.subscribed_at = type_ == "subscribed", at  # before anything is told
        if active:
            abandonments.late_activity(profile, at, outputs)
        if self._keeps_episodes:
            session = activity.session_id  # for the abandonments to tell
            if session is not None and (profile.session_id is None or at >= profile.session_id_at):
                profile.session_id, profile.session_id_at = session, at

        added = False
        kind = self._cart.get(type_)
        if kind is _REPLACE and activity.items is None:
            kind = None
        if kind is not None or activity.cart_id is not None or activity.checkout_id is not None:
            op = operation(activity, _SHOW if kind is None else kind)
            added = record(profile.cart, op, profile.last_seen_at, profile.last_order_at, self.policy, counts)

        viewed = type_ == "product_viewed"
        if self._keeps_episodes and (viewed or added or type_ == "checkout_started"):
            abandonments.shopped(profile, at, profile.last_order_at, activity if viewed else None, counts)
        if viewed:
            profile.product_views += 1
        elif type_ in _NOTED:
            _note(profile, type_)
        return active

    def _order(self, profile: Profile, activity: Event, outputs: list[Output], counts: EngineCounters) -> bool:
        """An event of the orders; whether it is activity."""
        active = activity.channel not in PASSIVE_CHANNELS
        if activity.type == "order_completed":
            last_order_at = profile.last_order_at
            order = orders.complete(profile, activity, self.policy, counts)
            if order is None:
                return False
            profile.orders_in_stage += 1
            for state in profile.tracks or ():
                state.orders_in_stage += 1
            op = operation(activity, _ORDER)
            record(profile.cart, op, profile.last_seen_at, last_order_at, self.policy, counts)
            self._abandonments.ordered(profile, activity, order, outputs)
        elif activity.type in orders.CORRECTIONS:
            orders.correct(profile, activity, self.policy, counts)
        active = active and activity.type not in PASSIVE_ORDERS
        if active:
            self._abandonments.late_activity(profile, activity.at, outputs)
        return active

    # -- deadlines

    def _schedule(self, profile: Profile) -> None:
        """Keep `next_deadline` right. Which of equal ones goes first is decided in `fire`."""
        due: int | None = None
        if not self._has_deadlines:
            profile.next_deadline = None
            return
        if self._keeps_episodes:
            due = self._abandonments.step_due(profile)
            if (other := self._abandonments.expiry_due(profile)) is not None and (due is None or other < due):
                due = other
        if (other := self._stages.due(profile)) is not None and (due is None or other < due):
            due = other
        if (other := self._forget_due(profile)) is not None and (due is None or other < due):
            due = other
        if self._triggers is not None:
            other = self._triggers.due(profile)
            if other is not None and (due is None or other < due):
                due = other
        profile.next_deadline = due

    def _forget_due(self, profile: Profile) -> int | None:
        """When the profile is forgotten; None if it never is, or ever had an order."""
        if profile.currency is not None:
            return None
        after = self._forget_identified if profile.identified else self._forget_unidentified
        return None if after is None else profile.last_seen_at + after


def _note(profile: Profile, type_: str) -> None:
    """An event of a type that is `_NOTED`."""
    if type_ == "checkout_started":
        profile.checkouts += 1
    elif type_ == "signed_up":
        profile.signed_up = True
    elif type_ == "product_reviewed":
        profile.reviews += 1
    else:
        profile.referrals += 1


def _counted(playbook: Playbook) -> set[str]:
    """Types of events that are counted one by one."""
    types = {"product_viewed", "checkout_started", "product_reviewed", "referral_made", *playbook.counted_types}
    if playbook.plan is not None:
        types.update(playbook.plan.windows, playbook.plan.in_stage)
    return types
