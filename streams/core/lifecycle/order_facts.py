"""One order: its facts, and what follows from them.

The facts are completions, fulfilments and corrections. `settle` derives date, total, refunds and whether the order is
void from all of them, so that these do not depend on the order in which the facts arrived:

- The newest cancellation cancels the order unless a completion or a fulfilment is newer.
- A completion newer than a cancellation starts the order anew: it replaces the one before, and corrections that are
  older than it are forgotten.
- A fulfilment newer than a cancellation, of which no completion is newer, makes the order count from then.
- A cancellation of less than the order's total is a refund.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final

from streams.core.model.currencies import minor_units
from streams.core.model.event import Event
from streams.core.model.items import Item
from streams.core.model.orders import Completion, Correction, Order, OrderHistory
from streams.core.model.policy import LARGEST_AMOUNT

REFUND: Final = 0
UPDATE: Final = 1
CANCELLATION: Final = 2
FULFILMENT: Final = 3
KINDS: Final = {"order_refunded": REFUND, "order_updated": UPDATE, "order_cancelled": CANCELLATION}
RENEWAL: Final = "subscription"
"""The channel of renewals."""
MOST_AMOUNTS: Final = 16
"""Refunds of one currency that an order keeps one by one, and as many cancellations. Beyond it, the two oldest become
one."""


def items_hash(items: tuple[Item, ...] | None) -> int:
    """Return a hash of the products and their quantities; 0 for no items."""
    if not items:
        return 0
    quantities: dict[str, int] = {}
    for item in items:
        product = item.product_id or ""
        quantities[product] = quantities.get(product, 0) + item.quantity
    return zlib.crc32(repr(sorted(quantities.items())).encode()) or 1


def completion_of(event: Event) -> Completion:
    """Return the completion that an event reports."""
    return Completion(event.at, event.currency, event.total, items_hash(event.items), event.channel == RENEWAL)


def correction_of(event: Event) -> Correction | None:
    """Return the correction that an event reports; None if it changes nothing: a refund of 0, or no new total."""
    kind, total = KINDS[event.type], event.total
    if kind == CANCELLATION and total == 0:
        total = None
    elif (kind == REFUND and total == 0) or (kind == UPDATE and total is None):
        return None
    return Correction(kind, event.at, event.currency, total)


def order_from(completion: Completion, at: int) -> Order:
    """Return an order with this completion as its only fact, dated at `at`."""
    return Order(at, completion.currency, completion.total, completion.items, completion.renewal)


def history_of(order: Order) -> OrderHistory:
    """Return the history of the order, which it has from now on."""
    history = order.history
    if history is None:
        started = Completion(order.at, order.currency, order.total, order.items, order.renewal)
        order.history = history = OrderHistory(started)
    return history


def keep(corrections: list[Correction], new: Correction) -> None:
    """Add a correction. Where only the newest of a kind and currency matters, it replaces the one before."""
    each_matters = new.kind == CANCELLATION or (new.kind == REFUND and new.total is not None)
    alike = [
        known
        for known in corrections
        if (known.kind, known.currency, known.total is None) == (new.kind, new.currency, new.total is None)
    ]
    if alike and not each_matters:
        if new.at < alike[-1].at:
            return
        corrections.remove(alike[-1])
    elif len(alike) >= MOST_AMOUNTS:
        first, second = alike[0], alike[1]
        corrections.remove(first)
        if first.total is not None and second.total is not None:
            total = min(LARGEST_AMOUNT, first.total + second.total)
            corrections[corrections.index(second)] = Correction(second.kind, second.at, second.currency, total)
    place = len(corrections)
    while place and corrections[place - 1].at > new.at:
        place -= 1
    corrections.insert(place, new)


def settle(order: Order, fulfilled_at: int = -1) -> None:
    """Derive the order from its facts. `fulfilled_at`: time of a fulfilment that was just added, if one was."""
    history = history_of(order)
    while True:
        started = history.started
        order.currency, order.items, order.renewal = started.currency, started.items, started.renewal
        corrections = _valid(order, history)
        order.total = _total(started, corrections, order.currency)
        cancellations, refunded, in_full = [history.cancelled_at], 0, False
        newest_fulfilment = order.fulfilled_at
        for correction in corrections:
            amount = _amount(correction, order.currency)
            kind = correction.kind
            if kind == FULFILMENT:
                newest_fulfilment = max(newest_fulfilment, correction.at)
            elif kind == CANCELLATION and _is_whole(correction, order, history, corrections):
                cancellations.append(correction.at)
            elif kind != UPDATE:
                in_full = in_full or amount is None
                refunded += amount or 0
        if not _start_anew(history, cancellations):
            break
    cancelled_at = max(cancellations)
    order.refunded = min(LARGEST_AMOUNT, refunded)
    completed_at = started.at if history.repeated is None else history.repeated.at
    order.void = in_full or (cancelled_at >= 0 and cancelled_at >= max(completed_at, newest_fulfilment))
    if started.at > cancelled_at:
        order.at = started.at
    elif newest_fulfilment > cancelled_at:
        if order.at <= cancelled_at:
            order.at = newest_fulfilment
        elif cancelled_at < fulfilled_at < order.at:
            order.at = fulfilled_at
    elif started.at >= 0:
        order.at = started.at
    if not history.borrowed:
        history.borrowed = None
    if started.at == order.at and history == OrderHistory(started):
        order.history = None


def was_cancelled(order: Order, before: int) -> bool:
    """Return True if a cancellation of the whole order, older than `before` (ms), is known."""
    history = history_of(order)
    corrections = _valid(order, history)
    for one in corrections:
        if one.kind == CANCELLATION and one.at < before and _is_whole(one, order, history, corrections):
            return True
    return 0 <= history.cancelled_at < before


def _is_whole(cancellation: Correction, order: Order, history: OrderHistory, corrections: Iterable[Correction]) -> bool:
    """Return True if a cancellation is of the whole order, as far as its total was known to whoever cancelled it.

    What a later fulfilment tells of an order without a completion is what was left to send.
    """
    amount, total = _amount(cancellation, order.currency), order.total
    if history.started.at < 0 and cancellation.at < order.fulfilled_at:
        total = _total(Completion(-1, order.currency, None, 0, False), corrections, order.currency)
    return amount is None or total is None or amount >= total


def _start_anew(history: OrderHistory, cancellations: list[int]) -> bool:
    """Start the order anew if a completion is newer than a cancellation; forget what is older than it.

    `cancellations`: times of those of the whole order. Return True if anything changed.
    """
    started, repeated, changed = history.started, history.repeated, False
    cancelled_at = max(cancellations, default=-1)
    if started.at <= cancelled_at and repeated is not None and repeated.at > cancelled_at:
        history.started, history.repeated, changed = repeated, None, True
    started_at = history.started.at
    older = [at for at in cancellations if at < started_at]
    if older and max(older) > history.cancelled_at:
        history.cancelled_at, changed = max(older), True
    if history.cancelled_at < 0:
        return False
    newer = [one for one in history.corrections if one.at >= started_at]
    changed = changed or len(newer) < len(history.corrections)
    history.corrections = newer
    return changed


def _valid(order: Order, history: OrderHistory) -> list[Correction]:
    """Return the corrections that have the order's currency."""
    corrections = history.corrections
    if history.borrowed:
        # Those older than a new start are not the order's any more, but may be of the order that they named.
        since = history.started.at if history.cancelled_at >= 0 else -1
        lent = [one for borrowed in history.borrowed.values() for one in borrowed]
        corrections = [*corrections, *[one for one in lent if one.at >= since or one.kind == FULFILMENT]]
    currency = order.currency
    return [one for one in corrections if one.currency == "" or one.currency == currency]


def _total(started: Completion, corrections: Iterable[Correction], currency: str) -> int | None:
    """Return the newest total of those of the completion and the updates; at equal times the later update's."""
    total, told_at = started.total, -1 if started.total is None else started.at
    for correction in corrections:
        if correction.kind == UPDATE and correction.at >= told_at:
            total, told_at = _amount(correction, currency), correction.at
    return total


def _amount(correction: Correction, currency: str) -> int | None:
    """Return the amount of the correction in minor units of the order's currency."""
    total = correction.total
    if total is None or correction.currency:
        return total
    return minor_units(total, currency)


def unite(one: Order, other: Order) -> Order:
    """Return the order with the facts of both, which are of one order in two profiles.

    A correction of the same kind, time and amount that both have is the same one. Does not depend on which is which.
    """
    histories = (history_of(one), history_of(other))
    cancelled_at = max(history.cancelled_at for history in histories)
    completions = [history.started for history in histories]
    completions += [history.repeated for history in histories if history.repeated is not None]
    completions.sort(key=_completion_key)
    real = [completion for completion in completions if completion.at >= 0]
    later = [completion for completion in real if completion.at > cancelled_at] if cancelled_at >= 0 else []
    started = (later or real or completions)[0]
    united = OrderHistory(started, cancelled_at=cancelled_at)
    if real and real[-1].at > started.at:
        united.repeated = real[-1]
    for correction in united_corrections(histories[0].corrections, histories[1].corrections):
        keep(united.corrections, correction)
    lent = [history.borrowed or {} for history in histories]
    for key in sorted({*lent[0], *lent[1]}):
        if united.borrowed is None:
            united.borrowed = {}
        united.borrowed[key] = united_corrections(lent[0].get(key, []), lent[1].get(key, []))
    dates = (one.at, other.at)
    order = order_from(started, max(dates) if started.at < 0 or not (one.completed and other.completed) else started.at)
    order.fulfilled_at = max(one.fulfilled_at, other.fulfilled_at)
    order.history = united
    settle(order, min(dates))
    return order


def united_corrections(some: list[Correction], others: list[Correction]) -> list[Correction]:
    """Return the corrections of both lists, those in both once, in the order of their times."""
    united = list(some)
    left = list(some)
    for correction in others:
        if correction in left:
            left.remove(correction)
        else:
            united.append(correction)
    return sorted(united, key=_correction_key)


def _completion_key(completion: Completion) -> tuple[int, str, int, int]:
    return completion.at, completion.currency, -1 if completion.total is None else completion.total, completion.items


def _correction_key(correction: Correction) -> tuple[int, int, str, int]:
    return correction.at, correction.kind, correction.currency, -1 if correction.total is None else correction.total
