"""The rules of one customer: how an event or a deadline changes a profile, and which outputs it makes.

The engine calls `is_duplicate` and `apply` for each event, and `fire` for each deadline that is due. Everything here is
a pure function of the profile and the event: no clock, no other customers.
"""

from __future__ import annotations

import uuid
from typing import Final

from streams.core.lifecycle import aggregates, orders
from streams.core.lifecycle.abandonment import Abandonments
from streams.core.lifecycle.cart import note_corrections, operation, purchase_of, record, record_order
from streams.core.lifecycle.deadlines import deadlines_of
from streams.core.lifecycle.merging import ProfileMerger, reset
from streams.core.lifecycle.playbook import Playbook
from streams.core.lifecycle.stages import BYTES_PER_TRACK, Stages
from streams.core.lifecycle.summary import summary
from streams.core.lifecycle.trigger_runner import TriggerRunner
from streams.core.lifecycle.trimming import BYTES_PER_EVENT, trim
from streams.core.model import ids
from streams.core.model.cart import CartOperationKind, Click
from streams.core.model.counters import EngineCounters
from streams.core.model.event import CLICKSTREAM_TYPES, ORDER_TYPES, Event, Source
from streams.core.model.orders import Order
from streams.core.model.outputs import Cause, IdentityChange, Output, Summary
from streams.core.model.sources import Erasure
from streams.core.profile import recent_ids, sessions
from streams.core.profile.codec import HEADER_ROOM
from streams.core.profile.profile import Profile

# Members of an Enum as constants: each access to a member through its class is a search.
_ORDERS: Final = Source.ORDERS
_SHOW: Final = CartOperationKind.SHOW
_REPLACE: Final = CartOperationKind.REPLACE
_SUBSCRIPTIONS: Final = frozenset({"subscribed", "unsubscribed"})
_TALLIED: Final = frozenset({"checkout_started", "signed_up", "product_reviewed", "referral_made"})
PASSIVE_ORDERS: Final = frozenset({"order_updated", "order_cancelled", "order_refunded", "order_fulfilled"})
"""Types of the orders that are never activity. A playbook adds types of the clickstream, and channels."""


def replacement_of(ended: Profile) -> Profile:
    """Return an empty profile that takes the place of `ended`.

    It keeps the applied offsets of `ended`, the outputs that still wait to be sent, and the time of the erasure.
    """
    profile = Profile(ended.customer, ended.identified)
    profile.applied, profile.of_upstreams, profile.offset_gaps = ended.applied, ended.of_upstreams, ended.offset_gaps
    profile.pending, profile.commit = ended.pending, ended.commit
    profile.erased_at = ended.erased_at
    return profile


class Lifecycle:
    """The rules that change one customer's profile. Holds no state of any customer."""

    def __init__(self, playbook: Playbook, namespace: uuid.UUID = ids.NAMESPACE) -> None:
        self.policy = policy = playbook.policy
        self.playbook = playbook
        self.namespace = namespace
        # Values that every event needs: attributes here are read much faster than those of the Structs they come from.
        self._stages = Stages(playbook, namespace)
        self._cart = playbook.cart
        self._counted_types = playbook.counted_types
        self._keeps_sessions = playbook.sessions
        self._keeps_episodes = playbook.abandonment
        self._passive_types = policy.passive_types
        # A type of the clickstream is an unknown type on the other topic, and so activity.
        self._passive_reports = policy.passive_types - CLICKSTREAM_TYPES - ORDER_TYPES
        self._passive_channels = policy.passive_channels
        self._session_gap = policy.session_gap
        self._event_ids = policy.event_ids
        self._event_id_window = policy.event_id_window
        self._largest = policy.profile_bytes - HEADER_ROOM
        self._plan = playbook.plan
        self._bytes_per_event = BYTES_PER_EVENT + (0 if playbook.plan is None else playbook.plan.bytes_per_event)
        self._bytes_of_tracks = BYTES_PER_TRACK * (len(playbook.tracks) - 1)
        self._abandonments = Abandonments(policy, namespace)
        self._type_numbers = {type_: recent_ids.type_number(type_) for type_ in _counted(playbook)}
        self._merging = ProfileMerger(playbook, self._abandonments, self._type_numbers)
        self._fingerprint_of: Event | None = None
        self._fingerprint = b""
        self._triggers: TriggerRunner | None = None
        if playbook.triggers:
            self._triggers = TriggerRunner(playbook.triggers, policy.currency, namespace, playbook.cart)
        self._deadlines = deadlines_of(playbook, self._abandonments, self._stages, self._triggers)

    def new(self, customer: str, identified: bool) -> Profile:
        """Return an empty profile in no stage. Its first event must be applied at once."""
        return Profile(customer, identified)

    def is_duplicate(self, profile: Profile, event: Event) -> bool:
        """Return True if a copy of the event was applied to the customer within the window (24 h); skip the event then.

        A copy has the same event id, role and type, and is about the same product or order (`ids.fingerprint`).
        Otherwise forget the copy if it is known, so that `apply` can note it. Must be called before each `apply`.
        """
        if not self._event_ids:
            return False
        place = recent_ids.find(profile.event_tags, profile.event_ids, self._fingerprint_for(event))
        if place < 0:
            return False
        if event.at <= recent_ids.seen_at(profile.event_ids, place) + self._event_id_window:
            return True
        recent_ids.forget(profile.event_tags, profile.event_ids, place)
        return False

    def apply(self, profile: Profile, event: Event, outputs: list[Output], counts: EngineCounters) -> None:
        """Apply one event, and append its outputs to `outputs`.

        The event must not be a duplicate, and the profile's deadlines at or before its time must have been fired.
        """
        at, first = event.at, profile.stage is None
        if not first and self._stages.has_other_playbook(profile):
            self._stages.adopt_playbook(profile, at, outputs)
            profile.weight += self._bytes_of_tracks
        since = len(outputs)  # triggers do not follow up the outputs of a changed playbook
        if first:
            profile.first_seen_at = profile.last_seen_at = at
        elif at >= profile.last_seen_at:
            profile.last_seen_at = at
        elif at < profile.first_seen_at:
            profile.first_seen_at = at
        if self._event_ids:
            fingerprint = self._fingerprint_for(event)
            stamp = at + self._type_numbers.get(event.type, 0)
            recent_ids.note(profile.event_tags, profile.event_ids, fingerprint, stamp, self._event_ids)
        if event.type in self._counted_types:
            profile.type_counts[event.type] = profile.type_counts.get(event.type, 0) + 1

        counted = profile.orders
        sold: Order | None = None
        if event.source is _ORDERS:
            sold = self._order(profile, event, outputs, counts)
            active = self._is_active_order(event, sold)
            if active:
                self._abandonments.late_activity(profile, at, outputs)
        else:
            active = self._click(profile, event, outputs, counts)
        if self._plan is not None:
            aggregates.note_event(profile, self._plan, event, sold, profile.orders > counted, counts)
        if active:
            if at > profile.active_at:
                profile.active_at, profile.awaits_step1 = at, True
            if self._keeps_sessions:
                sessions.note(profile.sessions, at, self._session_gap)

        if first:
            self._stages.begin(profile, event, active, outputs)
            profile.weight += self._bytes_of_tracks
        else:
            self._stages.after_event(profile, event, active, outputs)
        if self._triggers is not None:
            self._triggers.after_event(profile, event, active, outputs, since, counts)

        profile.weight += 2 * event.size + self._bytes_per_event
        if profile.weight > self._largest:
            trim(profile, self._largest, counts)
        self._schedule(profile)

    def fire(self, profile: Profile, outputs: list[Output], counts: EngineCounters) -> None:
        """Fire the profile's earliest deadline; there must be one.

        A profile that was last processed under another playbook only adopts this one; if the deadline exists under this
        one too, the next call fires it. A deadline that the present policy does not have is dropped. A forgotten
        profile is in no stage and has no deadline; the caller must delete it.
        """
        due, since = profile.next_deadline, len(outputs)
        assert due is not None
        if self._stages.has_other_playbook(profile):
            self._stages.adopt_playbook(profile, due, outputs)
            profile.weight += self._bytes_of_tracks
            since = len(outputs)  # triggers do not follow up the outputs of a changed playbook
        else:
            for deadline in self._deadlines:
                if deadline.due(profile) == due:
                    deadline.fire(profile, due, outputs, counts)
                    if profile.stage is None:  # forgotten
                        profile.next_deadline = None
                        return
                    if not deadline.followed_up:
                        since = len(outputs)
                    break
        if self._triggers is not None:
            self._triggers.after_outputs(profile, due, outputs, since, counts)
        self._schedule(profile)

    # -- two profiles of one customer

    def end_by_merge(self, profile: Profile, into: str, at: int, outputs: list[Output]) -> None:
        """End this anonymous profile, because identity resolution at `at` (ms) found it to be customer `into`'s.

        Its deadlines up to `at` must have been fired, and it must have been packed: the packed copy goes to `into`.
        Afterwards it is in no stage, as before its first event, and keeps only its applied offsets and the outputs that
        still wait to be sent.
        """
        if self._stages.has_other_playbook(profile):
            self._stages.adopt_playbook(profile, at, outputs)
        self._stages.end(profile, at, Cause(kind="merge", merged_into=into), outputs)
        reset(profile)

    def merge(
        self,
        profile: Profile,
        moved: Profile,
        device: str,
        at: int,
        outputs: list[Output],
        counts: EngineCounters,
    ) -> None:
        """Merge `moved`, the profile of `device` that ended at `at` (ms), into the customer's, which may be new.

        The deadlines of both up to `at` must have been fired. `moved` must not be used afterwards. The profile may then
        have a deadline before `at`. The result does not depend on the order in which profiles are merged.
        """
        if profile.stage is not None and self._stages.has_other_playbook(profile):
            self._stages.adopt_playbook(profile, at, outputs)
        since = len(outputs)
        merged = self._merging.merge(profile, moved, device, at, outputs, counts)
        cause = Cause(kind="merge", merged=(device,))
        self._stages.after_merge(profile, merged.active, merged.orders, merged.renewals, at, cause, outputs)
        if self._triggers is not None:
            self._triggers.after_merge(profile, moved, device, at, outputs, since, counts)
        trim(profile, self._largest, counts)
        self._schedule(profile)

    # -- erasure

    def erase(self, profile: Profile, request: Erasure, outputs: list[Output]) -> Profile:
        """End the profile on an erasure request, and return the empty profile that takes its place.

        The returned profile is made by `replacement_of`. The caller must delete it as it deletes a forgotten one.
        """
        if profile.stage is not None:
            if self._stages.has_other_playbook(profile):
                self._stages.adopt_playbook(profile, request.at, outputs)
            self._stages.end(profile, max(request.at, profile.last_seen_at), Cause(kind="erased"), outputs)
        outputs.append(self.erasure_notice(request))
        erased = replacement_of(profile)
        erased.sequence, erased.erased_at = max(1, profile.sequence), request.at
        return erased

    def erasure_notice(self, request: Erasure) -> IdentityChange:
        """Return the notice of an erasure. It is sent also without a profile: subscribers may know the customer."""
        return IdentityChange(
            id=ids.erasure_id(self.namespace, request.identified, request.customer, request.at),
            type="erased",
            customer=request.customer,
            identified=request.identified,
            occurred_at=request.at,
            request_id=request.request_id,
        )

    def summary(self, profile: Profile) -> Summary:
        """Return the summary of the customer as of now."""
        return summary(profile, self.policy.currency)

    # -- events

    def _click(self, profile: Profile, event: Event, outputs: list[Output], counts: EngineCounters) -> bool:
        """Apply an event of the clickstream. Return True if it is activity."""
        at, type_, abandonments = event.at, event.type, self._abandonments
        active = type_ not in self._passive_types
        if type_ in _SUBSCRIPTIONS and (profile.subscribed is None or at >= profile.subscribed_at):
            profile.subscribed, profile.subscribed_at = type_ == "subscribed", at  # first: outputs carry it
        if active:
            abandonments.late_activity(profile, at, outputs)
        if self._keeps_episodes:
            session = event.session_id  # abandonments carry it
            if session is not None and (profile.session_id is None or at >= profile.session_id_at):
                profile.session_id, profile.session_id_at = session, at

        known_kind = None if active else abandonments.kind(profile)
        shopping: Click | None = None
        kind = self._cart.get(type_)
        if kind is _REPLACE and event.items is None:
            kind = None
        if kind is not None or event.cart_id is not None or event.checkout_id is not None:
            op = operation(event, _SHOW if kind is None else kind)
            shopping = record(profile.cart, op, profile.last_seen_at, self.policy, counts)

        viewed = type_ == "product_viewed"
        if self._keeps_episodes:
            if viewed:
                abandonments.viewed(profile, event, counts)
            elif shopping is not None:
                abandonments.shopped(profile, shopping)
            if kind is not None and profile.episode is not None and profile.cart.purchases:
                abandonments.reconsider(profile, at)
            if not active:
                abandonments.note_kind(profile, known_kind, at)
        if viewed:
            profile.product_views += 1
        elif type_ in _TALLIED:
            _tally(profile, type_)
        return active

    def _order(self, profile: Profile, event: Event, outputs: list[Output], counts: EngineCounters) -> Order | None:
        """Apply an event of the orders. Return the order if it begins to count by a completion or a fulfilment."""
        order = orders.note(profile, event, self.policy, counts)
        if order is None:
            note_corrections(profile.cart, profile.order_book, event.at, self.policy)
            return None
        completed = event.type == orders.COMPLETED
        if completed and order.at == event.at == profile.last_order_at:
            _count_in_stage(profile, order.renewal)
        passive = event.channel in self._passive_channels
        purchase = purchase_of(profile.cart, event, orders.key_of(profile, order, event), order, passive)
        known_kind = self._abandonments.kind(profile)
        record_order(profile.cart, purchase, profile.last_seen_at, self.policy, counts)
        self._abandonments.ordered(profile, purchase, order, outputs)
        if purchase.passive:
            self._abandonments.note_kind(profile, known_kind, event.at)
        return order

    def _is_active_order(self, event: Event, sold: Order | None) -> bool:
        """Return True if an event of the orders is activity. `sold`: the order that began to count by it."""
        if event.type in PASSIVE_ORDERS or event.channel in self._passive_channels:
            return False
        if event.type in self._passive_reports:
            return False
        return sold is not None or event.type != orders.COMPLETED

    def _fingerprint_for(self, event: Event) -> bytes:
        """Return the event's fingerprint: computed once, and needed to find a copy and to remember the event."""
        if self._fingerprint_of is not event:
            self._fingerprint_of, self._fingerprint = event, ids.fingerprint(event)
        return self._fingerprint

    # -- deadlines

    def _schedule(self, profile: Profile) -> None:
        """Set `next_deadline` to the earliest deadline of the profile."""
        earliest: int | None = None
        for deadline in self._deadlines:
            due = deadline.due(profile)
            if due is not None and (earliest is None or due < earliest):
                earliest = due
        profile.next_deadline = earliest


def _count_in_stage(profile: Profile, renewal: bool) -> None:
    """Count the completion of an order that became the customer's last one, in every track."""
    if renewal:
        profile.renewals_in_stage += 1
        for state in profile.tracks or ():
            state.renewals_in_stage += 1
    else:
        profile.orders_in_stage += 1
        for state in profile.tracks or ():
            state.orders_in_stage += 1


def _tally(profile: Profile, type_: str) -> None:
    """Count an event of one of the types `_TALLIED`."""
    if type_ == "checkout_started":
        profile.checkouts += 1
    elif type_ == "signed_up":
        profile.signed_up = True
    elif type_ == "product_reviewed":
        profile.reviews += 1
    else:
        profile.referrals += 1


def _counted(playbook: Playbook) -> set[str]:
    """Return the types of events that a profile counts one by one."""
    types = {"product_viewed", "checkout_started", "product_reviewed", "referral_made", *playbook.counted_types}
    if playbook.plan is not None:
        types.update(playbook.plan.windows, playbook.plan.in_stage)
    return types
