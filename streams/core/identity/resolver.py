"""Identity resolution: application of records when customers use devices, and devices show carts.

Theory of operation
-------------------

An **alias** is kept in the profile of an id (`streams.core.model.alias.Alias`). The alias of a device lists its owners,
each with the event time from which the device is theirs; the alias of a cart or checkout lists the devices that showed
it and the customers that claimed it. `streams.core.identity.aliases` has the rules for reading and changing them.

An event may concern other ids than its own. The shell derives **parts** from it when it reads it, and sends each to the
partition of its id: a `LINK` if an event names a customer and a device; a `SHOWN` for each cart or checkout id in a
clickstream event without a customer; a `CLAIM` for each such id in an order event of a customer. Parts are a pure
function of the event, so every reading gives the same ones.

Records are applied in three stages (`streams.core.engine.merge`). *Carts*: a `SHOWN` or a `CLAIM` changes the alias of
the cart; each new pair of a device and a customer makes a `LINK`. *Devices*: a `LINK` gives a device without an owner
to the customer, which is a **link**; the profile of the device ends and travels to the customer. If the device has
another owner, the `LINK` of an event makes a **switch** from its time on (a late one only adds an earlier owner), and a
`LINK` from a cart makes a **refusal**: the owner keeps the device. An event without a customer goes to the owner at its
time; without any owner it is applied to the device's own profile. *Customers*: an event is applied to the customer's
profile, and a `MOVED` merges a device's profile into it (`streams.core.lifecycle.merging`).

A stage hands its results to the next one in **internal messages**, also if the receiving id lives on this partition
(`streams.core.identity.message_outbox`).

The order of arrival does not change the result, except in the cases that docs/identity.md lists. Only data without a
customer id moves, and a customer id never resolves to another one. Owners, devices and claims are kept with their event
times, so late parts find their place, and late events go to the owner of their time. Merging profiles is commutative
and associative. Messages are merged by event time like all other input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streams.core.event_time.inputs import FIRST_MESSAGES, Input, partition_of
from streams.core.event_time.offset_gaps import input_id, own_input_id
from streams.core.identity.aliases import (
    DEVICES,
    ERASED_OWNER,
    OWNERS,
    Pair,
    add_owner,
    note_refused,
    note_seen,
    note_shown,
    owner_at,
    pairs_of_customer,
    pairs_of_device,
    part_key,
    payload_of,
)
from streams.core.identity.erasure_sweep import forget_erased
from streams.core.identity.message_outbox import CARTS, MOVES, CausingRecord, MessageOutbox
from streams.core.identity.shared_ids import SharedIds
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model import ids
from streams.core.model.alias import Alias
from streams.core.model.counters import STREAM_LABELS
from streams.core.model.event import EVENT, LINK, MOVED, SHOWN, Event
from streams.core.model.internal_messages import InternalMessage
from streams.core.model.outputs import Effects, IdentityChange, IdentityType, Output
from streams.core.model.sources import NO_UPSTREAM, Rank, UpstreamId
from streams.core.processing.output_filter import OutputFilter
from streams.core.processing.processor import SOURCE_LABELS, Processor, last_applied, note_applied
from streams.core.profile.codec import pack_to_move, unpack
from streams.core.profile.profile import Profile
from streams.core.store.task_state import TaskState, record_key


class IdentityResolver(Processor):
    """A `Processor` that keeps aliases, and sends internal messages to the next resolution stage."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        state: TaskState,
        output_filter: OutputFilter,
        pending_budget: int,
        numbers: Iterable[int],
        unsent: Iterable[InternalMessage],
        cut: Iterable[tuple[bytes, InternalMessage]],
    ) -> None:
        """`numbers`: the last numbers given, by stream. `unsent`, `cut`: see `TaskState.unsent_messages`."""
        super().__init__(lifecycle, state, output_filter, pending_budget)
        self._device_expiry = lifecycle.policy.device_expiry
        self._cart_id_expiry = lifecycle.policy.cart_id_expiry
        self.shared_ids = SharedIds()
        self.outbox = MessageOutbox(state, self._pending, numbers, unsent, cut)

    def begin_commit(self) -> list[InternalMessage]:
        """Implement `Processor.begin_commit`."""
        super().begin_commit()
        return self.outbox.begin_commit()

    def release_orphans(self, committed: Mapping[Rank, int], taken: Mapping[UpstreamId, int], effects: Effects) -> None:
        """Give the cut messages whose cause will not be read again to the next commit. `committed`, `taken`: see
        `MessageOutbox.orphaned`."""
        for causing in self.outbox.orphaned(committed, taken):
            if (profile := self.state.get(causing[2])) is not None:
                self._release_cut(causing, profile, effects)

    def apply(self, record: Event, via: Input, read_at: int, effects: Effects) -> bool:
        """Implement `Processor.apply`, for parts and internal messages too."""
        role = record.role
        if role == EVENT:
            if record.identified or not self._goes_to_owner(record, via, read_at, effects):
                return super().apply(record, via, read_at, effects)
        elif role == LINK:
            self._link(record, via, read_at, effects)
        elif role == MOVED:
            self._merge(record, via, read_at, effects)
        else:
            self._cart(record, via, read_at, effects)
        return False

    def skip(self, record: Event, via: Input, profile: Profile, key: bytes, effects: Effects) -> None:
        """Skip a record. Cut messages that waited for it to be read again go with the next commit."""
        super().skip(record, via, profile, key, effects)
        if self.outbox.cut:
            self._release_cut((input_id(via), record.offset, key), profile, effects)
            if via.formerly_own:  # the flush may be from when the task read the source itself
                self._release_cut((own_input_id(via.rank), record.offset, key), profile, effects)

    # -- devices

    def _goes_to_owner(self, record: Event, via: Input, read_at: int, effects: Effects) -> bool:
        """Send an event to the owner of its device, if there is one. Return False if the event is to be applied to the
        device's own profile."""
        key = part_key(record)
        profile = self.state.get(key)
        if profile is None or profile.alias is None:
            return False
        if record.offset <= last_applied(profile, via) and self._is_repeated(record, via, profile, key):
            self.skip(record, via, profile, key, effects)
            return True
        if self.in_doubt:
            forget_erased(profile, key, self.state)
        if record.at <= profile.erased_at:  # it belongs to the erased owner, not to the present one
            effects.counts["erased", SOURCE_LABELS[record.source]] += 1
            return True
        deadline_before = profile.next_deadline
        self._fire_up_to(record.at, profile, key, effects)
        alias = profile.alias
        if alias is None:  # the alias has expired: the device has no owner
            self.state.note_change(key, profile, None, (), deadline_before)
            return False
        customer = owner_at(alias, record.at)
        if customer == ERASED_OWNER:
            effects.counts["erased", SOURCE_LABELS[record.source]] += 1
            return True
        note_seen(alias, record.at, self._device_expiry)
        note_applied(profile, via, record.offset, read_at)
        message = InternalMessage(
            stream=MOVES, number=self.outbox.next_number(MOVES), cause=input_id(via), offset=record.offset, role=EVENT,
            at=record.at, customer=customer, other=record.customer, event=payload_of(record),
        )  # fmt: skip
        self._send(profile, key, message, effects)
        profile.next_deadline = alias.last_seen_at + self._device_expiry
        self.state.note_change(key, profile, None, (), deadline_before)
        return True

    def _link(self, record: Event, via: Input, read_at: int, effects: Effects) -> None:
        """Apply a `LINK`: the customer owns the device from its time on. A `LINK` from a cart does not take the device
        from another owner, since customers share carts."""
        at, customer, key = record.at, record.other, part_key(record)
        assert customer is not None
        profile = self._profile(record, via, key, effects)
        if profile is None:
            return
        before, places_before, deadline_before = profile.stage, profile.places(), profile.next_deadline
        self._fire_up_to(at, profile, key, effects)
        alias, moved = profile.alias, None
        if alias is None:
            if profile.stage is not None:
                moved = pack_to_move(profile)
                outputs: list[Output] = []
                self._lifecycle.end_by_merge(profile, customer, at, outputs)
                for output in outputs:
                    self._emit(profile, key, output, effects)
            elif profile.sequence:  # the profile was forgotten
                profile = self._replace_ended(key, profile)
            alias = profile.alias = Alias([(customer, at)], at)
            self.state.aliases += 1
            self._note_device(record, via)
            self._emit(profile, key, self._identity_change("linked", record, effects), effects)
            changed = True
        elif via.rank >= FIRST_MESSAGES:
            changed = self._refuse(record, alias, profile, effects)
            changed = note_seen(alias, at, self._device_expiry) or changed
        else:
            last, known = alias.owners[-1], customer in [owner for owner, _ in alias.owners]
            changed = add_owner(alias, customer, at)
            if changed and not known:
                self._note_device(record, via)
            # Only a change of the last owner is sent. So the latest output is right, in whatever order events come.
            if alias.owners[-1] != last:
                self._emit(profile, key, self._identity_change("switched", record, effects, previous=last[0]), effects)
            elif changed:
                effects.counts["identity_resolution", "earlier"] += 1
            if len(alias.owners) > OWNERS:
                del alias.owners[0]
                effects.counts["trimmed", "owners"] += 1
            changed = note_seen(alias, at, self._device_expiry) or changed
        note_applied(profile, via, record.offset, read_at)
        if moved is not None:
            message = InternalMessage(
                stream=MOVES, number=self.outbox.next_number(MOVES), cause=input_id(via), offset=record.offset,
                role=MOVED, at=at, customer=customer, other=record.customer, moved=moved,
            )  # fmt: skip
            self._send(profile, key, message, effects)
        # Else only the applied offset changed. That is not written: applied again, the record has no effect.
        if changed:
            profile.next_deadline = alias.last_seen_at + self._device_expiry
            self.state.note_change(key, profile, before, places_before, deadline_before)

    def _note_device(self, link: Event, via: Input) -> None:
        """Count a device of the customer, if an event and not a cart told of it."""
        if via.rank < FIRST_MESSAGES:
            assert link.other is not None
            partition = -1 if via.number == NO_UPSTREAM else partition_of(via.number)
            self.shared_ids.note(link.other, int(link.source), partition, link.offset)

    def _refuse(self, record: Event, alias: Alias, profile: Profile, effects: Effects) -> bool:
        """Send a refusal to a customer who claimed the cart of another owner's device, unless it, or one for a later
        time, was sent before: an order may have a cart and a checkout. Return True if the alias changed."""
        customer, at = record.other, record.at
        assert customer is not None
        owner = owner_at(alias, at)
        if owner == customer or not note_refused(alias, customer, at):
            return False
        change = self._identity_change("refused", record, effects, owner=None if owner == ERASED_OWNER else owner)
        # At once: it need not wait behind outputs about other customers, nor stay in the record with their names.
        if self._filter.passes(profile, change, False, effects.counts):
            effects.outputs.append(change)
        return True

    # -- carts and checkouts

    def _cart(self, record: Event, via: Input, read_at: int, effects: Effects) -> None:
        """Apply a `SHOWN` or a `CLAIM`: link each device that showed the id with each customer who claimed it, from
        when both are known until another customer claims it."""
        at, other, key = record.at, record.other, part_key(record)
        assert other is not None
        profile = self._profile(record, via, key, effects)
        if profile is None:
            return
        deadline_before = profile.next_deadline
        self._fire_up_to(at, profile, key, effects)
        alias = profile.alias
        if alias is None:
            alias = profile.alias = Alias([], at)
            self.state.aliases += 1
        pairs: list[Pair] = []
        if record.role == SHOWN:
            changed = note_shown(alias, other, at)
            if changed:
                pairs = pairs_of_device(alias, other, at)
            if len(alias.devices) > DEVICES:
                del alias.devices[0]
                effects.counts["trimmed", "devices"] += 1
        else:
            changed = add_owner(alias, other, at)
            if changed:
                pairs = pairs_of_customer(alias, other, at)
            if len(alias.owners) > OWNERS:
                del alias.owners[0]
                effects.counts["trimmed", "owners"] += 1
        changed = note_seen(alias, at, self._cart_id_expiry) or changed
        note_applied(profile, via, record.offset, read_at)
        for device, customer, since in sorted(pairs):
            message = InternalMessage(
                stream=CARTS, number=self.outbox.next_number(CARTS), cause=input_id(via), offset=record.offset,
                role=LINK, at=since, customer=device, other=customer, event_id=record.event_id,
                event_type=record.type,
            )  # fmt: skip
            self._send(profile, key, message, effects)
        if changed:
            profile.next_deadline = alias.last_seen_at + self._cart_id_expiry
            self.state.note_change(key, profile, None, (), deadline_before)

    # -- customers

    def _merge(self, record: Event, via: Input, read_at: int, effects: Effects) -> None:
        """Apply a `MOVED`: merge a device's profile into the customer's."""
        key, device, moved = record_key(record.customer, True), record.other, record.moved
        assert device is not None
        assert moved is not None
        profile = self._profile(record, via, key, effects)
        if profile is None:
            return
        before, places_before, deadline_before = profile.stage, profile.places(), profile.next_deadline
        self._fire_up_to(record.at, profile, key, effects)
        if profile.stage is None and profile.sequence:  # forgotten: a new one begins with the profile that moves
            profile = self._replace_ended(key, profile)
        outputs: list[Output] = []
        self._lifecycle.merge(profile, unpack(moved), device, record.at, outputs, effects.counts)
        note_applied(profile, via, record.offset, read_at)
        for output in outputs:
            if self._filter.passes(profile, output, False, effects.counts):
                self._keep(profile, key, output)
        self.state.note_change(key, profile, before, places_before, deadline_before)
        effects.counts["identity_resolution", "merged"] += 1

    # -- inside

    def _profile(self, record: Event, via: Input, key: bytes, effects: Effects) -> Profile | None:
        """Return the profile of the key, a new one if there is none. Return None if the record was applied to it
        before, or if the customer or the device that it names was erased since."""
        profile = self.state.get(key)
        if (
            profile is not None
            and record.offset <= last_applied(profile, via)
            and self._is_repeated(record, via, profile, key)
        ):
            self.skip(record, via, profile, key, effects)
            return None
        if profile is not None and self.in_doubt:  # first, since it may set `erased_at`
            forget_erased(profile, key, self.state)
        erased_at = self.state.markers.erased_at(key) if profile is None else profile.erased_at
        if record.at <= max(erased_at, self._other_erased_at(record)):
            return None
        if profile is None:
            profile = self._lifecycle.new(record.customer, record.identified)
            profile.erased_at = erased_at
            self.state.put(key, profile)
        return profile

    def _other_erased_at(self, record: Event) -> int:
        """Return when the other id of a part was erased, ms; -1: never. A profile that moves is the customer's by now,
        so an erasure of the device does not count."""
        if record.other is None or record.role == MOVED:
            return -1
        return self.state.markers.erased_at(record_key(record.other, record.role != SHOWN))

    def _identity_change(
        self,
        type_: IdentityType,
        link: Event,
        effects: Effects,
        *,
        previous: str | None = None,
        owner: str | None = None,
    ) -> IdentityChange:
        """Return the output about a link, and count it."""
        customer, at = link.other, link.at
        assert customer is not None
        effects.counts["identity_resolution", type_] += 1
        return IdentityChange(
            id=ids.link_id(self._lifecycle.namespace, type_, link.customer, customer, at),
            type=type_,
            customer=customer,
            occurred_at=at,
            anonymous_id=link.customer,
            previous_customer=previous,
            event_id=link.event_id,
            event_type=link.type,
            owner=owner,
        )

    def _send(self, profile: Profile, key: bytes, message: InternalMessage, effects: Effects) -> None:
        """Send the message with the next commit."""
        self.outbox.keep(message, profile, self.watermark)
        self._count_message(key, message, effects)

    def _release_cut(self, causing: CausingRecord, profile: Profile, effects: Effects) -> None:
        """Give the cut messages that waited for this record, if there are any, to the next commit."""
        for message in self.outbox.release_cut(causing, profile, self.watermark):
            self._count_message(causing[2], message, effects)

    def _count_message(self, key: bytes, message: InternalMessage, effects: Effects) -> None:
        self._count_pending(key, message)
        effects.counts["internal_messages", STREAM_LABELS[message.stream]] += 1
