"""A customer's orders: completions and their corrections, which may arrive before the completion.

The number of orders and the revenue are of the orders that count (`Order.counts`).
"""

from __future__ import annotations

from typing import Final

from streams.core.model.counters import EngineCounters
from streams.core.model.event import Event
from streams.core.model.orders import Correction, Order
from streams.core.model.policy import LARGEST_AMOUNT, Policy
from streams.core.profile.profile import Profile

CORRECTIONS: Final = frozenset({"order_cancelled", "order_refunded", "order_updated"})


def complete(profile: Profile, event: Event, policy: Policy, counts: EngineCounters) -> Order | None:
    """Record a completion. Return the order if it is new and counts; None if nothing else may change because of it."""
    order_id = event.order_id
    assert order_id is not None
    book = profile.order_book
    if order_id in book:
        return None
    if profile.currency is None:
        profile.currency = event.currency
    order = Order(event.at, event.currency, event.total)
    for correction in profile.order_notes.pop(order_id, ()):
        _apply(order, correction, counts)
    book[order_id] = order
    _count(profile, order, 1)
    _find_last(profile, order)
    if len(book) > policy.orders:
        drop_oldest(profile)
        counts["trimmed", "orders"] += 1
    return order if order.counts else None


def correct(profile: Profile, event: Event, policy: Policy, counts: EngineCounters) -> None:
    """Apply a cancellation, refund or update, or keep it for later if the order is not completed yet."""
    order_id = event.order_id
    assert order_id is not None
    correction = Correction(event.type, event.at, event.currency, event.total)
    order = profile.order_book.get(order_id)
    if order is not None:
        _count(profile, order, -1)
        _apply(order, correction, counts)
        _count(profile, order, 1)
        _find_last(profile, order)
        return
    _keep_correction(profile.order_notes.setdefault(order_id, []), correction)
    if len(profile.order_notes) > policy.orders:
        del profile.order_notes[next(iter(profile.order_notes))]
        counts["trimmed", "order_notes"] += 1


def merge(profile: Profile, moved: Profile, policy: Policy, counts: EngineCounters) -> list[Order]:
    """Merge the orders of `moved` into the profile, as if one profile had got all of them in time order. Consume them.

    An order that both profiles have counts once. Return the later completion of each such order. The result is exact
    for orders that are kept. For orders that are no longer kept, numbers are added; amounts are added if they are in
    the profile's currency, which becomes that of the earliest order of both.
    """
    dropped, moved_dropped = _dropped_totals(profile), _dropped_totals(moved)
    currency, book, early, copies = _currency(profile, moved), profile.order_book, profile.order_notes, []
    for order_id, order in moved.order_book.items():
        known = book.get(order_id)
        if known is None:
            book[order_id] = order
        else:
            first, later = sorted((known, order), key=_completion_key)
            _merge_copy(first, later)
            book[order_id] = first
            copies.append(later)
    for order_id, corrections in moved.order_notes.items():
        for correction in corrections:
            _keep_correction(early.setdefault(order_id, []), correction)
    for order_id in [order_id for order_id in early if order_id in book]:
        for correction in early.pop(order_id):
            _apply(book[order_id], correction, counts)
    profile.order_book = dict(sorted(book.items(), key=lambda entry: (entry[1].at, entry[0])))
    profile.order_notes = dict(sorted(early.items(), key=lambda entry: (entry[1][0].at, entry[0])))

    profile.orders = profile.revenue = profile.other_currency_orders = 0
    for dropped_currency, (number, net, others) in ((profile.currency, dropped), (moved.currency, moved_dropped)):
        profile.orders += number
        if dropped_currency == currency:
            profile.revenue += net
            profile.other_currency_orders += others
        else:
            profile.other_currency_orders += number
    profile.currency = currency
    profile.first_dropped_at = _earliest(profile.first_dropped_at, moved.first_dropped_at)
    if moved.dropped_order_at is not None:
        profile.dropped_order_at = max(moved.dropped_order_at, profile.dropped_order_at or 0)
    profile.last_order_at = profile.dropped_order_at
    for order in profile.order_book.values():
        _count(profile, order, 1)
        _find_last(profile, order)
    while len(profile.order_book) > policy.orders:
        drop_oldest(profile)
        counts["trimmed", "orders"] += 1
    while len(profile.order_notes) > policy.orders:
        del profile.order_notes[next(iter(profile.order_notes))]
        counts["trimmed", "order_notes"] += 1
    return copies


def _currency(profile: Profile, moved: Profile) -> str | None:
    """Return the currency of the earliest order of both, kept or not; the only currency if one has no orders."""
    if profile.currency is None or moved.currency is None:
        return profile.currency or moved.currency
    earliest = []
    for side in (profile, moved):
        earliest += [(order.at, order_id, order.currency) for order_id, order in side.order_book.items()]
        if side.first_dropped_at is not None and side.currency is not None:
            earliest.append((side.first_dropped_at, "", side.currency))
    return min(earliest)[2] if earliest else profile.currency


def _dropped_totals(profile: Profile) -> tuple[int, int, int]:
    """Return the totals of orders that are no longer kept: their number, revenue, and number in other currencies."""
    kept = [order for order in profile.order_book.values() if order.counts]
    ours = [order.net for order in kept if order.currency == profile.currency]
    others = profile.other_currency_orders - (len(kept) - len(ours))
    return profile.orders - len(kept), profile.revenue - sum(ours), others


def _completion_key(order: Order) -> tuple[int, str, int]:
    return order.at, order.currency, -1 if order.total is None else order.total


def _merge_copy(order: Order, copy: Order) -> None:
    """Apply the corrections of another completion of the same order to it."""
    order.cancelled = order.cancelled or copy.cancelled
    order.refunded_fully = order.refunded_fully or copy.refunded_fully
    if copy.currency == order.currency:
        order.refunded = min(LARGEST_AMOUNT, order.refunded + copy.refunded)
        if copy.updated_at is not None and (order.updated_at is None or copy.updated_at >= order.updated_at):
            order.total, order.updated_at = copy.total, copy.updated_at


def _earliest(first: int | None, second: int | None) -> int | None:
    return second if first is None or (second is not None and second < first) else first


def drop_oldest(profile: Profile) -> None:
    """Drop the first order of the book. It stays counted as it is."""
    order = profile.order_book.pop(next(iter(profile.order_book)))
    profile.first_dropped_at = _earliest(profile.first_dropped_at, order.at)
    if order.counts and (profile.dropped_order_at is None or order.at > profile.dropped_order_at):
        profile.dropped_order_at = order.at


def _apply(order: Order, correction: Correction, counts: EngineCounters) -> None:
    """Apply a correction. Corrections commute, except that of two updates at the same time the last to come wins."""
    if correction.type == "order_cancelled":
        order.cancelled = True
    elif correction.total is None:
        # Without an amount the currency does not matter. An update without a total changes nothing.
        order.refunded_fully = order.refunded_fully or correction.type == "order_refunded"
    elif correction.currency != order.currency:
        counts[
            "corrections_ignored", "refund_currency" if correction.type == "order_refunded" else "update_currency"
        ] += 1
    elif correction.type == "order_refunded":
        order.refunded = min(LARGEST_AMOUNT, order.refunded + correction.total)
    elif order.updated_at is None or correction.at >= order.updated_at:
        order.total, order.updated_at = correction.total, correction.at


def _keep_correction(early: list[Correction], new: Correction) -> None:
    """Keep a correction for later. Corrections of one kind become one, so that they cannot crowd out another kind."""
    for n, noted in enumerate(early):
        if (noted.type, noted.currency, noted.total is None) == (new.type, new.currency, new.total is None):
            if new.type == "order_refunded" and noted.total is not None and new.total is not None:
                total = min(LARGEST_AMOUNT, noted.total + new.total)
                early[n] = Correction(new.type, new.at, new.currency, total)
            elif new.type == "order_updated" and new.at >= noted.at:
                early[n] = new
            return
    early.append(new)


def _count(profile: Profile, order: Order, sign: int) -> None:
    if not order.counts:
        return
    profile.orders += sign
    if order.currency == profile.currency:
        revenue = profile.revenue + sign * order.net
        profile.revenue = max(-LARGEST_AMOUNT, min(LARGEST_AMOUNT, revenue))
    else:
        profile.other_currency_orders += sign


def _find_last(profile: Profile, order: Order) -> None:
    """Update `last_order_at` after `order` changed."""
    last = profile.last_order_at
    if order.counts:
        if last is None or order.at > last:
            profile.last_order_at = order.at
    elif order.at == last:
        times = [kept.at for kept in profile.order_book.values() if kept.counts]
        if profile.dropped_order_at is not None:
            times.append(profile.dropped_order_at)
        profile.last_order_at = max(times, default=None)
