"""A customer's orders: completions, fulfilments and corrections, in whatever order they arrive.

The number of orders and the revenue are of the orders that count (`Order.counts`). What an event means for its order is
in `order_facts`; which order it is about is decided here. An event whose store has no order of its id, or that names no
store, is about the only order of that id.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from streams.core.lifecycle.order_facts import (
    CANCELLATION,
    FULFILMENT,
    KINDS,
    REFUND,
    UPDATE,
    completion_of,
    correction_of,
    history_of,
    items_hash,
    keep,
    order_from,
    settle,
    was_cancelled,
)
from streams.core.model.counters import EngineCounters
from streams.core.model.currencies import minor_units
from streams.core.model.event import Event
from streams.core.model.order_keys import keys_of, order_id_of, order_key
from streams.core.model.orders import Completion, Correction, Order, OrderHistory
from streams.core.model.policy import LARGEST_AMOUNT, Policy
from streams.core.profile.profile import Profile

COMPLETED: Final = "order_completed"
FULFILLED: Final = "order_fulfilled"


def note(profile: Profile, event: Event, policy: Policy, counts: EngineCounters) -> Order | None:
    """Apply an event of an order. Return the order if it begins to count by this completion or fulfilment.

    None: nothing but the numbers of orders may change because of the event. A completion is returned too if only a
    fulfilment had made its order count before.
    """
    if event.order_id is None:
        return None
    if event.type == COMPLETED:
        return _complete(profile, event, policy, counts)
    if event.type == FULFILLED:
        return _fulfil(profile, event, policy, counts)
    if event.type in KINDS:
        return _correct(profile, event, policy, counts)
    return None


def _complete(profile: Profile, event: Event, policy: Policy, counts: EngineCounters) -> Order | None:
    assert event.order_id is not None
    key = order_key(event.store, event.order_id)
    order = profile.order_book.get(key)
    if profile.currency is None:
        profile.currency = event.currency
    completion = completion_of(event)
    if order is not None:
        begins = _complete_again(profile, order, completion, counts)
        return order if begins and order.counts else None
    order = order_from(completion, event.at)
    known = keys_of(profile.order_book, event.order_id) if profile.order_book else []
    dated_at = reclaim(profile, known, key, order, counts) if known else -1
    profile.order_book[key] = order
    if profile.order_notes:
        adopt_notes(profile, event.order_id, key, order, counts)
    count(profile, order, 1)
    find_last(profile, order, dated_at)
    _limit_book(profile, policy, counts)
    return order if order.counts else None


def _complete_again(profile: Profile, order: Order, completion: Completion, counts: EngineCounters) -> bool:
    """Note a further completion of an order. Return True if the order is from this one from now on."""
    history = history_of(order)
    before, repeated = history.started, history.repeated
    dated_at = order.at if order.counts else -1
    total = order.total
    count(profile, order, -1)
    if before.at < 0:
        history.started = completion
    elif completion.at > (before if repeated is None else repeated).at:
        history.repeated = completion
    settle(order)
    count(profile, order, 1)
    find_last(profile, order, dated_at)
    if history.started is completion:
        return True
    both_told = completion.total is not None and before.total is not None
    if completion.currency != before.currency or (both_told and completion.total not in (before.total, total)):
        counts["orders_conflicting", "total"] += 1
    elif completion.items and before.items and completion.items != before.items:
        counts["orders_conflicting", "items"] += 1
    return False


def _correct(profile: Profile, event: Event, policy: Policy, counts: EngineCounters) -> Order | None:
    correction = correction_of(event)
    if correction is None:
        return None
    assert event.order_id is not None
    key = order_key(event.store, event.order_id)
    known = _known_key(profile, key, event.order_id)
    if known is None:
        _note(profile, key, correction, policy, counts)
        if correction.kind == CANCELLATION:
            for noted in profile.order_notes.get(key, ()):
                if noted.kind == FULFILMENT and noted.at > correction.at:
                    return _count_fulfilled(profile, event, key, noted, 0, policy, counts)
        return None
    order = profile.order_book[known]
    dated_at = order.at if order.counts else -1
    count(profile, order, -1)
    add(order, [correction], None if known == key or event.store is None else key, counts)
    count(profile, order, 1)
    find_last(profile, order, dated_at)
    return None


def _fulfil(profile: Profile, event: Event, policy: Policy, counts: EngineCounters) -> Order | None:
    assert event.order_id is not None
    key = order_key(event.store, event.order_id)
    known = _known_key(profile, key, event.order_id)
    if known is None:
        return _fulfil_unknown(profile, event, key, policy, counts)
    order = profile.order_book[known]
    counted, dated_at = order.counts, order.at if order.counts else -1
    count(profile, order, -1)
    if known != key and event.store is not None:
        add(order, [Correction(FULFILMENT, event.at, "", None)], key, counts)
    else:
        order.fulfilled_at = max(order.fulfilled_at, event.at)
        if order.history is not None:
            settle(order, event.at)
    begins = order.counts and not counted
    if begins and order.total is None and event.total is not None:
        # What the completion did not tell, the fulfilment does; as old as the completion, so that any update prevails.
        told = Correction(UPDATE, history_of(order).started.at, event.currency, event.total)
        add(order, [told], None, counts)
    count(profile, order, 1)
    find_last(profile, order, dated_at)
    return order if begins else None


def _fulfil_unknown(profile: Profile, event: Event, key: str, policy: Policy, counts: EngineCounters) -> Order | None:
    """Add an order whose completion did not come, if it counts. Otherwise note the fulfilment for later events."""
    fulfilment = Correction(FULFILMENT, event.at, event.currency, event.total)
    order = _count_fulfilled(profile, event, key, fulfilment, items_hash(event.items), policy, counts)
    if order is None:
        _note(profile, key, fulfilment, policy, counts)
    return order


def _count_fulfilled(
    profile: Profile,
    event: Event,
    key: str,
    fulfilment: Correction,
    items: int,
    policy: Policy,
    counts: EngineCounters,
) -> Order | None:
    """Add an order whose completion did not come, if a fulfilment newer than its cancellation makes it count.

    Without a cancellation it does not: its completion is late, or older than all that is known here.
    """
    assert event.order_id is not None
    if not _is_cancellation_noted(profile, event.order_id, fulfilment.at):
        return None
    notes = profile.order_notes.get(key, [])
    named = [correction.currency for correction in notes if correction.currency]
    currency = fulfilment.currency or (named[0] if named else policy.currency)
    total = fulfilment.total
    if total is not None and fulfilment.currency == "":
        total = minor_units(total, currency)
    told = Completion(-1, currency, total, items, False)
    order = order_from(told, fulfilment.at)
    order.fulfilled_at, order.history = fulfilment.at, OrderHistory(told)
    before = dict(profile.order_notes)
    profile.order_book[key] = order
    settle(order)
    adopt_notes(profile, event.order_id, key, order, counts)
    if order.counts and was_cancelled(order, fulfilment.at):
        if profile.currency is None:
            profile.currency = currency
        count(profile, order, 1)
        find_last(profile, order, -1)
        _limit_book(profile, policy, counts)
        return order
    del profile.order_book[key]
    profile.order_notes = before
    return None


def _is_cancellation_noted(profile: Profile, order_id: str, before: int) -> bool:
    """Return True if a cancellation of an order of this id, of whatever store, is noted that is older than `before`."""
    for key in keys_of(profile.order_notes, order_id):
        for noted in profile.order_notes[key]:
            if noted.kind == CANCELLATION and noted.at < before:
                return True
    return False


def key_of(profile: Profile, order: Order, event: Event) -> str:
    """Return the key of an order that begins to count by this event. It may be so old that the book dropped it."""
    for key in reversed(profile.order_book):  # most often the newest
        if profile.order_book[key] is order:
            return key
    assert event.order_id is not None
    return order_key(event.store, event.order_id)


# -- the facts of an order


def add(order: Order, corrections: Iterable[Correction], lender: str | None, counts: EngineCounters) -> None:
    """Add corrections to an order, without those in another currency, and settle it.

    `lender`: the key that they named, if the order only borrows them because there is none with that key.
    """
    fulfilled_at = -1
    for correction in corrections:
        if correction.kind == FULFILMENT:
            fulfilled_at = correction.at
            if lender is None:
                order.fulfilled_at = max(order.fulfilled_at, fulfilled_at)
                continue
            correction = Correction(FULFILMENT, fulfilled_at, "", None)
        elif correction.currency and correction.currency != order.currency:
            _count_ignored(correction.kind, counts)
            continue
        history = history_of(order)
        if lender is None:
            keep(history.corrections, correction)
        else:
            if history.borrowed is None:
                history.borrowed = {}
            keep(history.borrowed.setdefault(lender, []), correction)
    if order.history is not None:
        settle(order, fulfilled_at)


def adopt_notes(profile: Profile, order_id: str, key: str, order: Order, counts: EngineCounters) -> None:
    """Add the corrections that came before the order, which is in the book. They are noted no longer."""
    notes = profile.order_notes
    own = notes.pop(key, None)
    if own is not None:
        add(order, own, None, counts)
    if notes and (others := keys_of(notes, order_id)) and keys_of(profile.order_book, order_id) == [key]:
        for other in others:
            add(order, notes.pop(other), None if other == order_key(None, order_id) else other, counts)


def reclaim(profile: Profile, known: list[str], key: str, order: Order, counts: EngineCounters) -> int:
    """Give a new order what other orders of its id, those with the `known` keys, have of it.

    These are corrections that named its key, and an order of which only a fulfilment is known: that is this order.
    Return the time at which that one counted; -1: none did.
    """
    for other_key in known:
        other = profile.order_book[other_key]
        history = other.history
        if history is None:
            continue
        if history.borrowed is not None and key in history.borrowed:
            dated_at = other.at if other.counts else -1
            count(profile, other, -1)
            lent = history.borrowed.pop(key)
            settle(other)
            count(profile, other, 1)
            find_last(profile, other, dated_at)
            add(order, lent, None, counts)
        elif len(known) == 1 and history.started.at < 0 and other_key == order_key(None, order_id_of(other_key)):
            dated_at = other.at if other.counts else -1
            count(profile, other, -1)
            del profile.order_book[other_key]
            absorb(order, other, other_key, counts)
            return dated_at
    return -1


def absorb(order: Order, fulfilled: Order, key: str, counts: EngineCounters) -> None:
    """Add the facts of an order that is known by a fulfilment to its completion, which has another key."""
    history = history_of(fulfilled)
    fulfilment = Correction(FULFILMENT, fulfilled.fulfilled_at, "", None)
    named_no_store = key == order_key(None, order_id_of(key))
    add(order, [*history.corrections, fulfilment], None if named_no_store else key, counts)
    for lender, lent in (history.borrowed or {}).items():
        add(order, lent, lender, counts)


def _known_key(profile: Profile, key: str, order_id: str) -> str | None:
    """Return the key of the order that a correction which names `key` is about; None if none is known, or several."""
    book = profile.order_book
    if key in book:
        return key
    if not book:
        return None
    known = keys_of(book, order_id)
    return known[0] if len(known) == 1 else None


def _note(profile: Profile, key: str, correction: Correction, policy: Policy, counts: EngineCounters) -> None:
    """Note a correction of an order that is not known."""
    keep(profile.order_notes.setdefault(key, []), correction)
    if len(profile.order_notes) > policy.orders:
        del profile.order_notes[next(iter(profile.order_notes))]
        counts["trimmed", "order_notes"] += 1


def _count_ignored(kind: int, counts: EngineCounters) -> None:
    if kind == REFUND:
        counts["corrections_ignored", "refund_currency"] += 1
    elif kind == UPDATE:
        counts["corrections_ignored", "update_currency"] += 1
    else:
        counts["corrections_ignored", "cancellation_currency"] += 1


# -- the numbers of the profile


def count(profile: Profile, order: Order, sign: int) -> None:
    """Add the order to the profile's numbers (`sign` 1) or take it out (-1), if it counts."""
    if not order.counts:
        return
    profile.orders += sign
    if order.currency == profile.currency:
        revenue = profile.revenue + sign * order.net
        profile.revenue = max(-LARGEST_AMOUNT, min(LARGEST_AMOUNT, revenue))
    else:
        profile.other_currency_orders += sign


def find_last(profile: Profile, order: Order, dated_at: int) -> None:
    """Update `last_order_at` after an order of the book changed. `dated_at`: its time before; -1: it did not count."""
    last = profile.last_order_at
    if order.counts and (last is None or order.at >= last):
        profile.last_order_at = order.at
    elif last is not None and dated_at == last:
        times = [kept.at for kept in profile.order_book.values() if kept.counts]
        if profile.dropped_order_at is not None:
            times.append(profile.dropped_order_at)
        profile.last_order_at = max(times, default=None)


def drop_oldest(profile: Profile) -> None:
    """Drop the oldest order of the book; of several the one that came first. It stays counted as it is."""
    book = profile.order_book
    order = book.pop(min(book, key=lambda key: book[key].at))
    first = profile.first_dropped_at
    profile.first_dropped_at = order.at if first is None else min(first, order.at)
    if order.counts and (profile.dropped_order_at is None or order.at > profile.dropped_order_at):
        profile.dropped_order_at = order.at


def _limit_book(profile: Profile, policy: Policy, counts: EngineCounters) -> None:
    if len(profile.order_book) > policy.orders:
        drop_oldest(profile)
        counts["trimmed", "orders"] += 1
