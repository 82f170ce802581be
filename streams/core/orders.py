"""A customer's orders: which count, what they come to, and corrections that may overtake the completion."""

from __future__ import annotations

from collections import Counter
from typing import Final

from streams.core.activity import Activity
from streams.core.parts import Correction, Order
from streams.core.policy import LARGEST_AMOUNT, Policy
from streams.core.profile import Profile

CORRECTIONS: Final = frozenset({"order_cancelled", "order_refunded", "order_updated"})


def complete(profile: Profile, activity: Activity, policy: Policy, counts: Counter[tuple[str, str]]) -> Order | None:
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


def correct(profile: Profile, activity: Activity, policy: Policy, counts: Counter[tuple[str, str]]) -> None:
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


def drop_oldest(profile: Profile) -> None:
    """No longer keep the order that was booked first. It stays counted as it is."""
    order = profile.order_book.pop(next(iter(profile.order_book)))
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
