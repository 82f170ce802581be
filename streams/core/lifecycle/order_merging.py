"""The merge of the orders of two profiles of one customer."""

from __future__ import annotations

from streams.core.lifecycle.order_facts import keep, settle, unite, united_corrections
from streams.core.lifecycle.orders import absorb, add, adopt_notes, count, drop_oldest, find_last
from streams.core.model.counters import EngineCounters
from streams.core.model.order_keys import keys_of, order_id_of
from streams.core.model.orders import Correction, Order
from streams.core.model.policy import Policy
from streams.core.profile.profile import Profile


def merge(profile: Profile, moved: Profile, policy: Policy, counts: EngineCounters) -> list[Order]:
    """Merge the orders of `moved` into the profile, as if one profile had got all of them in time order. Consume them.

    An order that both profiles have counts once. Return the later completion of each such order. The result is exact
    for orders that are kept. For orders that are no longer kept, numbers are added; amounts are added if they are in
    the profile's currency, which becomes that of the earliest order of both.
    """
    dropped, moved_dropped = _dropped_totals(profile), _dropped_totals(moved)
    currency, copies = _currency(profile, moved), list[Order]()
    book, notes = profile.order_book, profile.order_notes
    for key, order in moved.order_book.items():
        known = book.get(key)
        if known is None:
            book[key] = order
        else:
            copies.append(max(known, order, key=_copy_key))
            book[key] = unite(known, order)
    for key, corrections in moved.order_notes.items():
        noted: list[Correction] = []
        for correction in united_corrections(notes.get(key, []), corrections):
            keep(noted, correction)
        notes[key] = noted
    profile.order_book = dict(sorted(book.items(), key=lambda entry: (entry[1].at, entry[0])))
    profile.order_notes = dict(sorted(notes.items(), key=lambda entry: (entry[1][0].at, entry[0])))
    _assign(profile, counts)

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
        count(profile, order, 1)
        find_last(profile, order, -1)
    while len(profile.order_book) > policy.orders:
        drop_oldest(profile)
        counts["trimmed", "orders"] += 1
    while len(profile.order_notes) > policy.orders:
        del profile.order_notes[next(iter(profile.order_notes))]
        counts["trimmed", "order_notes"] += 1
    return copies


def _assign(profile: Profile, counts: EngineCounters) -> None:
    """Give corrections and fulfilments to the orders of the book that they are about."""
    book = profile.order_book
    for order in book.values():
        borrowed = None if order.history is None else order.history.borrowed
        if borrowed is None or book.keys().isdisjoint(borrowed):
            continue
        for key in [key for key in borrowed if key in book]:
            add(book[key], borrowed.pop(key), None, counts)
        settle(order)
    fulfilled = [key for key, order in book.items() if order.history is not None and order.history.started.at < 0]
    for key in fulfilled:
        others = [other for other in keys_of(book, order_id_of(key)) if other != key]
        if len(others) == 1:
            absorb(book[others[0]], book.pop(key), key, counts)
    for key in list(profile.order_notes):
        order_id = order_id_of(key)
        known = [key] if key in book else keys_of(book, order_id)
        if len(known) == 1:
            adopt_notes(profile, order_id, known[0], book[known[0]], counts)


def _currency(profile: Profile, moved: Profile) -> str | None:
    """Return the currency of the earliest order of both, kept or not; the only currency if one has no orders."""
    if profile.currency is None or moved.currency is None:
        return profile.currency or moved.currency
    earliest = []
    for side in (profile, moved):
        earliest += [(order.at, key, order.currency) for key, order in side.order_book.items()]
        if side.first_dropped_at is not None and side.currency is not None:
            earliest.append((side.first_dropped_at, "", side.currency))
    return min(earliest)[2] if earliest else profile.currency


def _dropped_totals(profile: Profile) -> tuple[int, int, int]:
    """Return the totals of orders that are no longer kept: their number, revenue, and number in other currencies."""
    kept = [order for order in profile.order_book.values() if order.counts]
    ours = [order.net for order in kept if order.currency == profile.currency]
    others = profile.other_currency_orders - (len(kept) - len(ours))
    return profile.orders - len(kept), profile.revenue - sum(ours), others


def _copy_key(order: Order) -> tuple[int, str, int]:
    return order.at, order.currency, -1 if order.total is None else order.total


def _earliest(first: int | None, second: int | None) -> int | None:
    return second if first is None or (second is not None and second < first) else first
