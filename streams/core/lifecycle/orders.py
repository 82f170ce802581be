"""A customer's orders: which count, what they come to, and corrections that may overtake the completion."""

from __future__ import annotations

from collections import Counter
from typing import Final

from streams.core.model.event import Event
from streams.core.model.orders import Correction, Order
from streams.core.model.policy import LARGEST_AMOUNT, Policy
from streams.core.profile.profile import Profile

CORRECTIONS: Final = frozenset({"order_cancelled", "order_refunded", "order_updated"})


def complete(profile: Profile, activity: Event, policy: Policy, counts: Counter[tuple[str, str]]) -> Order | None:
    """Book a completion. The order if it is new and counts; None if nothing else may change because of it."""
    order_id = activity.order_id
    assert order_id is not None
    book = profile.order_book
    if order_id in book:
        return None
    if profile.currency is None:
        profile.currency = activity.currency
    order = Order(activity.at, activity.currency, activity.total)
    for correction in profile.order_notes.pop(order_id, ()):
        _apply(order, correction, counts)
    book[order_id] = order
    _tally(profile, order, 1)
    _find_last(profile, order)
    if len(book) > policy.orders:
        drop_oldest(profile)
        counts["trimmed", "orders"] += 1
    return order if order.counts else None


def correct(profile: Profile, activity: Event, policy: Policy, counts: Counter[tuple[str, str]]) -> None:
    """Apply a cancellation, refund or update; kept for later if the order is not completed yet."""
    order_id = activity.order_id
    assert order_id is not None
    correction = Correction(activity.type, activity.at, activity.currency, activity.total)
    order = profile.order_book.get(order_id)
    if order is not None:
        _tally(profile, order, -1)
        _apply(order, correction, counts)
        _tally(profile, order, 1)
        _find_last(profile, order)
        return
    _note(profile.order_notes.setdefault(order_id, []), correction)
    if len(profile.order_notes) > policy.orders:
        del profile.order_notes[next(iter(profile.order_notes))]
        counts["trimmed", "order_notes"] += 1


def unite(profile: Profile, moved: Profile, policy: Policy, counts: Counter[tuple[str, str]]) -> list[Order]:
    """Make the orders of `moved` the profile's, as if all had come to one in time order. Uses them up.

    An order that both have counts once; of such, the later completions are returned. Exact for orders that both keep;
    of what is no longer kept, numbers add, and amounts where they are in the currency of the earliest order of all,
    which is the currency from then on.
    """
    gone, of_moved = _gone(profile), _gone(moved)
    currency, book, notes, copies = _currency(profile, moved), profile.order_book, profile.order_notes, []
    for order_id, order in moved.order_book.items():
        known = book.get(order_id)
        if known is None:
            book[order_id] = order
        else:
            first, later = sorted((known, order), key=_rank)
            _add(first, later)
            book[order_id] = first
            copies.append(later)
    for order_id, corrections in moved.order_notes.items():
        for correction in corrections:
            _note(notes.setdefault(order_id, []), correction)
    for order_id in [order_id for order_id in notes if order_id in book]:
        for correction in notes.pop(order_id):
            _apply(book[order_id], correction, counts)
    profile.order_book = dict(sorted(book.items(), key=lambda entry: (entry[1].at, entry[0])))
    profile.order_notes = dict(sorted(notes.items(), key=lambda entry: (entry[1][0].at, entry[0])))

    profile.orders = profile.revenue = profile.other_currency_orders = 0
    for of, (number, net, others) in ((profile.currency, gone), (moved.currency, of_moved)):
        profile.orders += number
        if of == currency:
            profile.revenue += net
            profile.other_currency_orders += others
        else:
            profile.other_currency_orders += number
    profile.currency = currency
    profile.first_dropped_at = _least(profile.first_dropped_at, moved.first_dropped_at)
    if moved.dropped_order_at is not None:
        profile.dropped_order_at = max(moved.dropped_order_at, profile.dropped_order_at or 0)
    profile.last_order_at = profile.dropped_order_at
    for order in profile.order_book.values():
        _tally(profile, order, 1)
        _find_last(profile, order)
    while len(profile.order_book) > policy.orders:
        drop_oldest(profile)
        counts["trimmed", "orders"] += 1
    while len(profile.order_notes) > policy.orders:
        del profile.order_notes[next(iter(profile.order_notes))]
        counts["trimmed", "order_notes"] += 1
    return copies


def _currency(profile: Profile, moved: Profile) -> str | None:
    """That of the earliest order of both, also if it is no longer kept; of one's own if the other has no orders."""
    if profile.currency is None or moved.currency is None:
        return profile.currency or moved.currency
    earliest = []
    for one in (profile, moved):
        earliest += [(order.at, order_id, order.currency) for order_id, order in one.order_book.items()]
        since = one.first_dropped_at
        if since is None and one.dropped_order_at is not None:
            since = one.first_seen_at  # a version that did not keep it has written the profile
        if since is not None and one.currency is not None:
            earliest.append((since, "", one.currency))
    return min(earliest)[2] if earliest else profile.currency


def _gone(profile: Profile) -> tuple[int, int, int]:
    """What is counted of orders that are no longer kept: how many, their revenue, how many of other currencies."""
    kept = [order for order in profile.order_book.values() if order.counts]
    ours = [order.net for order in kept if order.currency == profile.currency]
    others = profile.other_currency_orders - (len(kept) - len(ours))
    return profile.orders - len(kept), profile.revenue - sum(ours), others


def _rank(order: Order) -> tuple[int, str, int]:
    return order.at, order.currency, -1 if order.total is None else order.total


def _add(order: Order, copy: Order) -> None:
    """What became of another completion of the order became of it."""
    order.cancelled = order.cancelled or copy.cancelled
    order.refunded_fully = order.refunded_fully or copy.refunded_fully
    if copy.currency == order.currency:
        order.refunded = min(LARGEST_AMOUNT, order.refunded + copy.refunded)
        if copy.updated_at is not None and (order.updated_at is None or copy.updated_at >= order.updated_at):
            order.total, order.updated_at = copy.total, copy.updated_at


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None or (other is not None and other < one) else one


def drop_oldest(profile: Profile) -> None:
    """No longer keep the order that was booked first. It stays counted as it is."""
    order = profile.order_book.pop(next(iter(profile.order_book)))
    profile.first_dropped_at = _least(profile.first_dropped_at, order.at)
    if order.counts and (profile.dropped_order_at is None or order.at > profile.dropped_order_at):
        profile.dropped_order_at = order.at


def _apply(order: Order, correction: Correction, counts: Counter[tuple[str, str]]) -> None:
    """Corrections commute: whatever order they come in, the order ends the same."""
    if correction.type == "order_cancelled":
        order.cancelled = True
    elif correction.total is None:
        # Without an amount there is no currency to differ; an update without a total says nothing.
        order.refunded_fully = order.refunded_fully or correction.type == "order_refunded"
    elif correction.currency != order.currency:
        counts["ignored", "refund_currency" if correction.type == "order_refunded" else "update_currency"] += 1
    elif correction.type == "order_refunded":
        order.refunded = min(LARGEST_AMOUNT, order.refunded + correction.total)
    elif order.updated_at is None or correction.at >= order.updated_at:
        order.total, order.updated_at = correction.total, correction.at


def _note(notes: list[Correction], new: Correction) -> None:
    """Keep a correction for later. Those of a kind become one, so that no number of them crowds out another."""
    for n, noted in enumerate(notes):
        if (noted.type, noted.currency, noted.total is None) == (new.type, new.currency, new.total is None):
            if new.type == "order_refunded" and noted.total is not None and new.total is not None:
                total = min(LARGEST_AMOUNT, noted.total + new.total)
                notes[n] = Correction(new.type, new.at, new.currency, total)
            elif new.type == "order_updated" and new.at >= noted.at:
                notes[n] = new
            return
    notes.append(new)


def _tally(profile: Profile, order: Order, sign: int) -> None:
    if not order.counts:
        return
    profile.orders += sign
    if order.currency == profile.currency:
        revenue = profile.revenue + sign * order.net
        profile.revenue = max(-LARGEST_AMOUNT, min(LARGEST_AMOUNT, revenue))
    else:
        profile.other_currency_orders += sign


def _find_last(profile: Profile, order: Order) -> None:
    """Keep `last_order_at` right after `order` changed."""
    last = profile.last_order_at
    if order.counts:
        if last is None or order.at > last:
            profile.last_order_at = order.at
    elif order.at == last:
        times = [kept.at for kept in profile.order_book.values() if kept.counts]
        if profile.dropped_order_at is not None:
            times.append(profile.dropped_order_at)
        profile.last_order_at = max(times, default=None)
