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

A stage hands its results to the next one in **internal messages**, also if the receiving id lives on this partition. A
message waits in the profile that caused it for the commit, so none is sent that the changelog lacks. Its number counts
up within its stream, in the order in which the stage applies its causes, so a receiver skips a message that it has.

The order of arrival does not change the result, except in the cases that docs/identity.md lists. Only data without a
customer id moves, and a customer id never resolves to another one. Owners, devices and claims are kept with their event
times, so late parts find their place, and late events go to the owner of their time. Merging profiles is commutative
and associative. Messages are merged by event time like all other input, and a task reports no progress past an unsent
one.

After a crash the messages of a complete flush are sent again under their numbers. A flush that broke off leaves records
in the changelog whose messages were never sent (`cut`). These get new numbers when the record that caused them is read
again, so that they are in time order with the others; or, if it will not be read again (it expired, or offsets were
set), as soon as that is known. Until then each commit writes them again with their profile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec.structs import replace

from streams.core.event_time.inputs import FIRST_MESSAGES, MESSAGE_STREAMS, Input
from streams.core.event_time.offset_gaps import cause_of, first_again
from streams.core.identity.aliases import (
    DEVICES,
    ERASED_OWNER,
    OWNERS,
    REFUSED,
    add_owner,
    note_seen,
    note_shown,
    owner_at,
    owners_from,
    part_key,
    payload_of,
)
from streams.core.identity.erasure_sweep import forget_erased
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model import ids
from streams.core.model.alias import Alias
from streams.core.model.counters import STREAM_LABELS
from streams.core.model.event import EVENT, LINK, MOVED, SHOWN, Event
from streams.core.model.internal_messages import InternalMessage
from streams.core.model.outputs import Effects, IdentityChange, IdentityType, Output
from streams.core.processing.output_filter import OutputFilter
from streams.core.processing.processor import SOURCE_LABELS, Processor, last_applied, note_applied
from streams.core.profile.codec import pack_to_move, packed_size, unpack
from streams.core.profile.profile import Profile
from streams.core.store.task_state import TaskState, record_key

CARTS: Final = 0
"""The stream of messages from carts and checkouts to devices."""
MOVES: Final = 1
"""The stream of messages from devices to customers."""


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
        self.numbers = [*numbers, *[-1] * MESSAGE_STREAMS][:MESSAGE_STREAMS]
        """The last number given to a message, by stream."""
        self._made: list[int | None] = [None] * MESSAGE_STREAMS
        self._leaving: list[int | None] = [None] * MESSAGE_STREAMS
        """The earliest time, by stream, of messages made since the last commit (`_made`), and of messages that the last
        commit took and that are not sent yet (`_leaving`)."""
        for message in unsent:
            _note_earliest(self._leaving, message)
        self._cut: dict[tuple[int, int, bytes], list[InternalMessage]] = {}
        """Messages of a flush that broke off, by cause, offset and key of the record that caused them. They wait until
        it is read again."""
        self._cut_bytes: dict[bytes, int] = {}
        """Bytes that they take in the record that keeps them, by its key: they leave less room for other outputs."""
        for key, message in cut:
            self._cut.setdefault((message.cause, message.offset, key), []).append(message)
            self._cut_bytes[key] = self._cut_bytes.get(key, 0) + packed_size(message)
        self._pending.update(self._cut_bytes)

    def waiting_since(self, stream: int) -> int | None:
        """Return the earliest time, ms, of the messages that are not sent yet; None if all are sent."""
        made, leaving = self._made[stream], self._leaving[stream]
        if made is None or leaving is None:
            return leaving if made is None else made
        return min(made, leaving)

    def messages_sent(self) -> None:
        """Note that the messages of the last commit, and those that were unsent before, are sent."""
        self._leaving = [None] * MESSAGE_STREAMS

    def begin_commit(self) -> None:
        """Begin a commit. Messages that wait for their cause are written again with their profiles."""
        super().begin_commit()
        self._leaving, self._made = self._made, [None] * MESSAGE_STREAMS
        for (_, _, key), messages in self._cut.items():
            profile = self.state.get(key)
            if profile is not None:
                profile.pending += [replace(message, number=-1) for message in messages if not self._is_erased(message)]
                self.state.note_change(key, profile, profile.stage, profile.places(), profile.next_deadline)
        self._pending.update(self._cut_bytes)

    def release_cut(self, committed: Mapping[int, int], taken: Mapping[int, int], effects: Effects) -> None:
        """Give the messages that wait for a cause which will not be read again to the next commit. `committed`,
        `taken`: the offsets that are known to be committed (see `TaskState.changes`)."""
        for waiting in list(self._cut):
            cause, offset, key = waiting
            if offset < first_again(cause, committed, taken) and (profile := self.state.get(key)) is not None:
                self._keep_cut(waiting, profile, effects)

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
        """Skip a record. Messages that waited for it to be read again go with the next commit."""
        super().skip(record, via, profile, key, effects)
        if self._cut:
            self._keep_cut((cause_of(via), record.offset, key), profile, effects)
            if via.formerly_own:  # the flush may be from when the task read the source itself
                self._keep_cut((-1 - via.rank, record.offset, key), profile, effects)

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
            stream=MOVES, number=self._next(MOVES), cause=cause_of(via), offset=record.offset, role=EVENT, at=record.at,
            customer=customer, other=record.customer, event=payload_of(record),
        )  # fmt: skip
        self._keep_message(profile, key, message, effects)
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
                profile = self._succeed(key, profile)
            alias = profile.alias = Alias([(customer, at)], at)
            self.state.aliases += 1
            self._emit(profile, key, self._identity_change("linked", record, effects), effects)
            changed = True
        elif via.rank >= FIRST_MESSAGES:
            changed = self._refuse(record, alias, profile, effects)
            changed = note_seen(alias, at, self._device_expiry) or changed
        else:
            last = alias.owners[-1]
            changed = add_owner(alias, customer, at)
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
                stream=MOVES, number=self._next(MOVES), cause=cause_of(via), offset=record.offset, role=MOVED, at=at,
                customer=customer, other=record.customer, moved=moved,
            )  # fmt: skip
            self._keep_message(profile, key, message, effects)
        # Else only the applied offset changed. That is not written: applied again, the record has no effect.
        if changed:
            profile.next_deadline = alias.last_seen_at + self._device_expiry
            self.state.note_change(key, profile, before, places_before, deadline_before)

    def _refuse(self, record: Event, alias: Alias, profile: Profile, effects: Effects) -> bool:
        """Send a refusal to a customer who claimed the cart of another owner's device, unless it, or one for a later
        time, was sent before: an order may have a cart and a checkout. Return True if the alias changed."""
        customer, at, refused = record.other, record.at, alias.refused
        assert customer is not None
        owner = owner_at(alias, at)
        if owner == customer or at <= refused.get(customer, -1):
            return False
        refused.pop(customer, None)
        refused[customer] = at
        if len(refused) > REFUSED:
            del refused[next(iter(refused))]
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
        pairs: list[tuple[str, str, int]] = []
        if record.role == SHOWN:
            changed = note_shown(alias, other, at)
            if changed:
                pairs = [(other, customer, since) for customer, since in owners_from(alias, at)]
            if len(alias.devices) > DEVICES:
                del alias.devices[0]
                effects.counts["trimmed", "devices"] += 1
        else:
            changed = add_owner(alias, other, at)
            if changed:
                pairs = [
                    (device, other, since)
                    for device, since in alias.devices
                    if since <= at or owner_at(alias, since) == other
                ]
            if len(alias.owners) > OWNERS:
                del alias.owners[0]
                effects.counts["trimmed", "owners"] += 1
        changed = note_seen(alias, at, self._cart_id_expiry) or changed
        note_applied(profile, via, record.offset, read_at)
        for device, customer, since in sorted(pairs):
            if customer == ERASED_OWNER:
                continue
            message = InternalMessage(
                stream=CARTS, number=self._next(CARTS), cause=cause_of(via), offset=record.offset, role=LINK,
                at=max(at, since), customer=device, other=customer, event_id=record.event_id, event_type=record.type,
            )  # fmt: skip
            self._keep_message(profile, key, message, effects)
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
            profile = self._succeed(key, profile)
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

    def _is_erased(self, message: InternalMessage) -> bool:
        """Return True if an id that the message names was erased since: its receiver would skip it."""
        markers = self.state.markers
        if not markers.number:
            return False
        to_customer = message.stream == MOVES
        erased_at = markers.erased_at(record_key(message.customer, to_customer))
        if message.role != MOVED:  # a profile that moves is the customer's by now
            erased_at = max(erased_at, markers.erased_at(record_key(message.other, not to_customer)))
        return message.at <= erased_at

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

    def _next(self, stream: int) -> int:
        """Return the number of the next message, which must be made at once."""
        self.numbers[stream] += 1
        return self.numbers[stream]

    def _keep_message(self, profile: Profile, key: bytes, message: InternalMessage, effects: Effects) -> None:
        """Keep the message in the profile until the commit."""
        stream = message.stream
        profile.pending.append(message)
        self.messages.append(message)
        if self.watermark is None or message.at >= self.watermark:  # no task waits for a message that is late already
            _note_earliest(self._made, message)
        self._count_pending(key, message)
        effects.counts["internal_messages", STREAM_LABELS[stream]] += 1

    def _keep_cut(self, waiting: tuple[int, int, bytes], profile: Profile, effects: Effects) -> None:
        """Give the messages that waited for a cause, if there are any, to the next commit, under new numbers."""
        messages, key = self._cut.pop(waiting, None), waiting[2]
        if messages is None:
            return
        for message in messages:
            size = packed_size(message)
            self._cut_bytes[key] -= size
            self._pending[key] -= size
            if not self._is_erased(message):
                self._keep_message(profile, key, replace(message, number=self._next(message.stream)), effects)
        self.state.note_change(key, profile, profile.stage, profile.places(), profile.next_deadline)


def _note_earliest(earliest: list[int | None], message: InternalMessage) -> None:
    known = earliest[message.stream]
    if known is None or message.at < known:
        earliest[message.stream] = message.at
