"""What an engine does with records when it finds out whose an id is: `streams.core.identity.aliases` has the rules.

What a record means for a key of a higher level is passed on as an item of a stream, to wherever that key lives, also if
that is here. Items wait for the commit in the record of the key that caused them, so that none is sent that the
changelog does not know of; and they are numbered in the order of time, so that whoever takes them knows what it has.

A crash in the middle of a flush leaves records in the changelog whose items were never sent, beside others that are as
they were before. Their items are passed on when what caused them is read again, so that they are in the order of time
with those of the others; or, where it is not read again because it is gone or somebody set offsets, once that is known.
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
"""The stream of what ids of carts and checkouts tell of devices."""
MOVES: Final = 1
"""That of what moves on from devices to customers."""


class IdentityResolver(Processor):
    """An `Processor` that keeps aliases, and passes on what they mean."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        state: TaskState,
        gate: OutputFilter,
        most_pending: int,
        numbers: Iterable[int],
        unsent: Iterable[InternalMessage],
        cut: Iterable[tuple[bytes, InternalMessage]],
    ) -> None:
        """`numbers`: the last ones given, by stream. `unsent`, `cut`: see `TaskState.unsent_items`."""
        super().__init__(lifecycle, state, gate, most_pending)
        self._device_expiry = lifecycle.policy.device_expiry
        self._cart_id_expiry = lifecycle.policy.cart_id_expiry
        self.numbers = [*numbers, *[-1] * MESSAGE_STREAMS][:MESSAGE_STREAMS]
        """By stream, the last one given to an item."""
        self._made: list[int | None] = [None] * MESSAGE_STREAMS
        self._leaving: list[int | None] = [None] * MESSAGE_STREAMS
        """By stream, the earliest time of items made since the last commit, and of those that it takes."""
        for item in unsent:
            _earlier(self._leaving, item)
        self._cut: dict[tuple[int, int, bytes], list[InternalMessage]] = {}
        """By what caused them: items that wait for it to be read again."""
        self._cut_bytes: dict[bytes, int] = {}
        """What they take in the record that keeps them, by its key: there is so much less room for others."""
        for key, item in cut:
            self._cut.setdefault((item.cause, item.offset, key), []).append(item)
            self._cut_bytes[key] = self._cut_bytes.get(key, 0) + packed_size(item)
        self._pending.update(self._cut_bytes)

    def waiting_since(self, stream: int) -> int | None:
        """The earliest time of items that are not on their way, ms; None: all are."""
        made, leaving = self._made[stream], self._leaving[stream]
        if made is None or leaving is None:
            return leaving if made is None else made
        return min(made, leaving)

    def messages_sent(self) -> None:
        """What the last commit took, and what was unsent before, is on its way."""
        self._leaving = [None] * MESSAGE_STREAMS

    def committing(self) -> None:
        """Of `Processor`."""
        super().committing()
        self._leaving, self._made = self._made, [None] * MESSAGE_STREAMS
        for (_, _, key), items in self._cut.items():
            profile = self.state.get(key)
            if profile is not None:
                profile.pending += [replace(item, number=-1) for item in items if not self._is_erased(item)]
                self.state.note_change(key, profile, profile.stage, profile.places(), profile.next_deadline)
        self._pending.update(self._cut_bytes)

    def go_without(self, committed: Mapping[int, int], taken: Mapping[int, int], effects: Effects) -> None:
        """Pass on what waits for its cause to be read again where that will not be. `committed`, `taken`: what is known
        to be committed (see `TaskState.changes`)."""
        for waiting in list(self._cut):
            cause, offset, key = waiting
            if offset < first_again(cause, committed, taken) and (profile := self.state.get(key)) is not None:
                self._pass_cut(waiting, profile, effects)

    def apply(self, record: Event, one: Input, read_at: int, effects: Effects) -> bool:
        """Of `Processor`."""
        role = record.role
        if role == EVENT:
            if record.identified or not self._is_owned(record, one, read_at, effects):
                return super().apply(record, one, read_at, effects)
        elif role == LINK:
            self._link(record, one, read_at, effects)
        elif role == MOVED:
            self._merge(record, one, read_at, effects)
        else:
            self._cart(record, one, read_at, effects)
        return False

    def skipped(self, record: Event, one: Input, profile: Profile, key: bytes, effects: Effects) -> None:
        """Of `Processor`."""
        super().skipped(record, one, profile, key, effects)
        if self._cut:
            self._pass_cut((cause_of(one), record.offset, key), profile, effects)
            if one.once_own:  # it was read here then
                self._pass_cut((-1 - one.rank, record.offset, key), profile, effects)

    # -- devices

    def _is_owned(self, record: Event, one: Input, read_at: int, effects: Effects) -> bool:
        """Pass an event on to the customer whose its device is; whether there is one."""
        key = part_key(record)
        profile = self.state.get(key)
        if profile is None or profile.alias is None:
            return False
        if record.offset <= last_applied(profile, one) and self._is_again(record, one, profile, key):
            self.skipped(record, one, profile, key, effects)
            return True
        if self.in_doubt:
            forget_erased(profile, key, self.state)
        if record.at <= profile.erased_at:  # of whoever had the device then: not of who has it now
            effects.counts["erased", SOURCE_LABELS[record.source]] += 1
            return True
        deadline_before = profile.next_deadline
        self._fire_up_to(record.at, profile, key, effects)
        alias = profile.alias
        if alias is None:  # after so long, the device is a stranger's
            self.state.note_change(key, profile, None, (), deadline_before)
            return False
        customer = owner_at(alias, record.at)
        if customer == ERASED_OWNER:
            effects.counts["erased", SOURCE_LABELS[record.source]] += 1
            return True
        note_seen(alias, record.at, self._device_expiry)
        note_applied(profile, one, record.offset, read_at)
        item = InternalMessage(
            stream=MOVES, number=self._next(MOVES), cause=cause_of(one), offset=record.offset, role=EVENT, at=record.at,
            customer=customer, other=record.customer, event=payload_of(record),
        )  # fmt: skip
        self._pass(profile, key, item, effects)
        profile.next_deadline = alias.last_seen_at + self._device_expiry
        self.state.note_change(key, profile, None, (), deadline_before)
        return True

    def _link(self, record: Event, one: Input, read_at: int, effects: Effects) -> None:
        """A customer was seen on a device: from then on it is theirs. Who orders what was in its cart does not take it
        over from anybody: carts are shown to others too."""
        at, customer, key = record.at, record.other, part_key(record)
        assert customer is not None
        profile = self._profile(record, one, key, effects)
        if profile is None:
            return
        before, places_before, deadline_before = profile.stage, profile.places(), profile.next_deadline
        self._fire_up_to(at, profile, key, effects)
        alias, moved = profile.alias, None
        if alias is None:
            if profile.stage is not None:
                moved = pack_to_move(profile)
                outputs: list[Output] = []
                self._lifecycle.leave(profile, customer, at, outputs)
                for output in outputs:
                    self._emit(profile, key, output, effects)
            elif profile.sequence:  # forgotten
                profile = self._afresh(key, profile)
            alias = profile.alias = Alias([(customer, at)], at)
            self.state.aliases += 1
            self._emit(profile, key, self._told("linked", record, effects), effects)
            news = True
        elif one.rank >= FIRST_MESSAGES:
            news = self._refuse(record, alias, profile, effects)
            news = note_seen(alias, at, self._device_expiry) or news
        else:
            last = alias.owners[-1]
            news = add_owner(alias, customer, at)
            # Only who has it in the end is told: so the latest that was told is right, in whatever order it comes.
            if alias.owners[-1] != last:
                self._emit(profile, key, self._told("switched", record, effects, previous=last[0]), effects)
            elif news:
                effects.counts["identity_resolution", "earlier"] += 1
            if len(alias.owners) > OWNERS:
                del alias.owners[0]
                effects.counts["trimmed", "owners"] += 1
            news = note_seen(alias, at, self._device_expiry) or news
        note_applied(profile, one, record.offset, read_at)
        if moved is not None:
            item = InternalMessage(
                stream=MOVES, number=self._next(MOVES), cause=cause_of(one), offset=record.offset, role=MOVED, at=at,
                customer=customer, other=record.customer, moved=moved,
            )  # fmt: skip
            self._pass(profile, key, item, effects)
        if news:  # else all that changed is what was applied, which need not be written: the same says the same again
            profile.next_deadline = alias.last_seen_at + self._device_expiry
            self.state.note_change(key, profile, before, places_before, deadline_before)

    def _refuse(self, record: Event, alias: Alias, profile: Profile, effects: Effects) -> bool:
        """Who ordered what was in the cart of somebody's device does not take it over, and is told so, unless that or
        something later was told: an order may have a cart and a checkout. Whether that is news."""
        customer, at, refused = record.other, record.at, alias.refused
        assert customer is not None
        owner = owner_at(alias, at)
        if owner == customer or at <= refused.get(customer, -1):
            return False
        refused.pop(customer, None)
        refused[customer] = at
        if len(refused) > REFUSED:
            del refused[next(iter(refused))]
        change = self._told("refused", record, effects, owner=None if owner == ERASED_OWNER else owner)
        # At once: it need not wait behind what is told of others, nor stay in the record with their names.
        if self._gate.passes(profile, change, False, effects.counts):
            effects.outputs.append(change)
        return True

    # -- carts and checkouts

    def _cart(self, record: Event, one: Input, read_at: int, effects: Effects) -> None:
        """A device showed the id of a cart or a checkout, or a customer claimed it: the device is theirs from when both
        are known, until another customer claims the cart."""
        at, other, key = record.at, record.other, part_key(record)
        assert other is not None
        profile = self._profile(record, one, key, effects)
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
            news = note_shown(alias, other, at)
            if news:
                pairs = [(other, customer, since) for customer, since in owners_from(alias, at)]
            if len(alias.devices) > DEVICES:
                del alias.devices[0]
                effects.counts["trimmed", "devices"] += 1
        else:
            news = add_owner(alias, other, at)
            if news:
                pairs = [
                    (device, other, since)
                    for device, since in alias.devices
                    if since <= at or owner_at(alias, since) == other
                ]
            if len(alias.owners) > OWNERS:
                del alias.owners[0]
                effects.counts["trimmed", "owners"] += 1
        news = note_seen(alias, at, self._cart_id_expiry) or news
        note_applied(profile, one, record.offset, read_at)
        for device, customer, since in sorted(pairs):
            if customer == ERASED_OWNER:
                continue
            item = InternalMessage(
                stream=CARTS, number=self._next(CARTS), cause=cause_of(one), offset=record.offset, role=LINK,
                at=max(at, since), customer=device, other=customer, event_id=record.event_id, event_type=record.type,
            )  # fmt: skip
            self._pass(profile, key, item, effects)
        if news:
            profile.next_deadline = alias.last_seen_at + self._cart_id_expiry
            self.state.note_change(key, profile, None, (), deadline_before)

    # -- customers

    def _merge(self, record: Event, one: Input, read_at: int, effects: Effects) -> None:
        """What was known of a device is a customer's."""
        key, device, moved = record_key(record.customer, True), record.other, record.moved
        assert device is not None
        assert moved is not None
        profile = self._profile(record, one, key, effects)
        if profile is None:
            return
        before, places_before, deadline_before = profile.stage, profile.places(), profile.next_deadline
        self._fire_up_to(record.at, profile, key, effects)
        if profile.stage is None and profile.sequence:  # forgotten: begins afresh with what is moved
            profile = self._afresh(key, profile)
        outputs: list[Output] = []
        self._lifecycle.merge(profile, unpack(moved), device, record.at, outputs, effects.counts)
        note_applied(profile, one, record.offset, read_at)
        for output in outputs:
            if self._gate.passes(profile, output, False, effects.counts):
                self._keep(profile, key, output)
        self.state.note_change(key, profile, before, places_before, deadline_before)
        effects.counts["identity_resolution", "merged"] += 1

    # -- inside

    def _profile(self, record: Event, one: Input, key: bytes, effects: Effects) -> Profile | None:
        """What is kept under the key, fresh if there is nothing; None if the record was applied to it before, or if who
        is told of was erased since."""
        profile = self.state.get(key)
        if (
            profile is not None
            and record.offset <= last_applied(profile, one)
            and self._is_again(record, one, profile, key)
        ):
            self.skipped(record, one, profile, key, effects)
            return None
        if profile is not None and self.in_doubt:  # first: it may tell from when on the device is somebody's anew
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
        """When whom a part makes known was erased, ms; -1: never. What moves is the customer's by now."""
        if record.other is None or record.role == MOVED:
            return -1
        return self.state.markers.erased_at(record_key(record.other, record.role != SHOWN))

    def _is_erased(self, item: InternalMessage) -> bool:
        """Whether an item is of somebody who was erased since: whoever takes it would pass it over."""
        marks = self.state.markers
        if not marks.number:
            return False
        to_customer = item.stream == MOVES
        erased_at = marks.erased_at(record_key(item.customer, to_customer))
        if item.role != MOVED:  # what moves is the customer's by now
            erased_at = max(erased_at, marks.erased_at(record_key(item.other, not to_customer)))
        return item.at <= erased_at

    def _told(
        self,
        type_: IdentityType,
        link: Event,
        effects: Effects,
        *,
        previous: str | None = None,
        owner: str | None = None,
    ) -> IdentityChange:
        """What is told of a link, and counted."""
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
        """The number of the next item, which is to be passed on at once."""
        self.numbers[stream] += 1
        return self.numbers[stream]

    def _pass(self, profile: Profile, key: bytes, item: InternalMessage, effects: Effects) -> None:
        """The item waits for the commit."""
        stream = item.stream
        profile.pending.append(item)
        self.messages.append(item)
        if self.watermark is None or item.at >= self.watermark:  # who is late already is not waited for
            _earlier(self._made, item)
        self._weigh(key, item)
        effects.counts["internal_messages", STREAM_LABELS[stream]] += 1

    def _pass_cut(self, waiting: tuple[int, int, bytes], profile: Profile, effects: Effects) -> None:
        """Items of a cause, if there are any, wait for the commit, and no more for the cause to be read again."""
        items, key = self._cut.pop(waiting, None), waiting[2]
        if items is None:
            return
        for item in items:
            size = packed_size(item)
            self._cut_bytes[key] -= size
            self._pending[key] -= size
            if not self._is_erased(item):
                self._pass(profile, key, replace(item, number=self._next(item.stream)), effects)
        self.state.note_change(key, profile, profile.stage, profile.places(), profile.next_deadline)


def _earlier(earliest: list[int | None], item: InternalMessage) -> None:
    known = earliest[item.stream]
    if known is None or item.at < known:
        earliest[item.stream] = item.at
