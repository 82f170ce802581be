"""Aggregates that the rules of a playbook read: rolling windows, sums, purchases, views, properties and credits.

If the playbook has a plan, `Lifecycle` calls `note_event` for each event that was applied, and `Stages` calls
`reset_stage_counts` for each stage that was entered. Without a plan nothing is kept. Times are in ms, amounts in minor
units of the playbook's currency; amounts in other currencies are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from streams.core.model.aggregates import Aggregates, Credit, Occurrences
from streams.core.model.counters import EngineCounters
from streams.core.model.currencies import minor_units, rounded_amount
from streams.core.model.event import Event, Source
from streams.core.model.orders import Order
from streams.core.profile.profile import Profile
from streams.core.rules.requirements import EVERYTHING, KeptProperty, Requirements, Window, stage_key

LARGEST: Final = 2**62
"""Sums beyond it are cut to it."""
MOST_NAMES: Final = 100
"""Number of categories or products, the latest, that are kept of a customer beside those that rules name."""
MOST_CREDITS: Final = 20
CREDIT_GRANTED: Final = "credit_granted"
CREDIT_SPENT: Final = "credit_spent"
_CLICKSTREAM: Final = Source.CLICKSTREAM
_COMPLETED: Final = "order_completed"
Key = TypeVar("Key")


class AggregatePlan:
    """The aggregates to keep, by event type. Built once from the requirements of all rules; immutable."""

    def __init__(self, needs: Requirements, currency: str) -> None:
        self.currency = currency
        self.windows: dict[str, list[Window]] = {}
        for window in needs.windows.values():
            self.windows.setdefault(window.type, []).append(window)
        self.sums = needs.sums
        self.in_stage: dict[str, list[str]] = {}
        for track, type_ in sorted(needs.in_stage):
            self.in_stage.setdefault(type_, []).append(stage_key(track, type_))
        self.categories_bought = needs.categories_bought
        self.products_bought = needs.products_bought
        self.categories_viewed = needs.categories_viewed
        self.kept: list[KeptProperty] = list(needs.kept.values())
        self.credits = needs.credits
        keys = [len(key) for keys in self.in_stage.values() for key in keys]
        self.bytes_per_event = sum(
            [len(window.key) + 32 for window in needs.windows.values()]
            + [length + 16 for length in keys]
            + [len(type_) + 16 for type_ in self.sums]
            + [len(kept.name) + 32 for kept in self.kept]
            + [300 if self.credits else 0]
        )
        """Most bytes that an event can add to a packed profile, beside its own texts."""
        self.empty = self.bytes_per_event == 0 and not (
            self.categories_bought or self.products_bought or self.categories_viewed
        )


def note_event(
    profile: Profile, plan: AggregatePlan, event: Event, sold: Order | None, new: bool, counts: EngineCounters
) -> None:
    """Update the aggregates after an event was applied.

    `sold`: the order that it completed, or of which it is the fulfilment, if that counts. `new`: it did not count
    before.
    """
    type_ = event.type
    aggregates = profile.aggregates
    if aggregates is None:
        profile.aggregates = aggregates = Aggregates()
    windows = plan.windows.get(type_)
    summed = type_ in plan.sums
    amount = 0
    if (windows is not None or summed) and (sold is not None or type_ != _COMPLETED):
        amount = _amount(event, plan.currency)
    if windows is not None:
        for window in windows:
            _add_to_window(aggregates, window, event.at, amount if window.amounts else 1, profile.last_seen_at)
    if summed and amount:
        aggregates.sums[type_] = min(LARGEST, aggregates.sums.get(type_, 0) + amount)
    for key in plan.in_stage.get(type_, ()):
        aggregates.in_stage[key] = aggregates.in_stage.get(key, 0) + 1
    if sold is not None and new:
        _note_bought(aggregates, plan, event, counts)
    elif type_ == "product_viewed" and event.category is not None and event.source is _CLICKSTREAM:
        _count_occurrences(
            aggregates.categories_viewed,
            plan.categories_viewed,
            [event.category],
            event.at,
            "categories_viewed",
            counts,
        )
    if plan.kept and event.properties:
        _keep_properties(aggregates, plan.kept, plan.currency, event)
    if plan.credits and type_ in (CREDIT_GRANTED, CREDIT_SPENT):
        _apply_credit(aggregates, plan, event, counts)


def merge(
    profile: Profile,
    moved: Profile,
    plan: AggregatePlan,
    copies: list[tuple[int, str]],
    orders: list[Order],
    counts: EngineCounters,
) -> None:
    """Merge the aggregates of `moved` into the profile's: add numbers, widen time spans, keep the latest. Consume them.

    Events that both profiles had (`copies`: time and type) count once in numbers, and completions of orders that both
    had (`orders`) count once in amounts. Both copies count in the numbers of purchases and views, and in the amounts of
    other events. A credit that was granted in one profile and spent in the other is not reduced.
    """
    if moved.aggregates is None:
        return
    if profile.aggregates is None:
        profile.aggregates = moved.aggregates
        return
    aggregates, other = profile.aggregates, moved.aggregates
    for key, buckets in other.windows.items():
        known = aggregates.windows.setdefault(key, {})
        for bucket, number in buckets.items():
            known[bucket] = min(LARGEST, known.get(bucket, 0) + number)
    _add_all(aggregates.sums, other.sums)
    _add_all(aggregates.in_stage, other.in_stage)
    for at, type_ in copies:
        for window in plan.windows.get(type_, ()):
            if not window.amounts:
                _subtract(aggregates.windows.get(window.key, {}), at // window.width, 1)
        for name in plan.in_stage.get(type_, ()):
            _subtract(aggregates.in_stage, name, 1)
    for order in orders:
        if order.total is not None and order.currency == plan.currency:
            for window in plan.windows.get(_COMPLETED, ()):
                if window.amounts:
                    _subtract(aggregates.windows.get(window.key, {}), order.at // window.width, order.total)
            _subtract(aggregates.sums, _COMPLETED, order.total)
    for windows in plan.windows.values():
        for window in windows:
            first, kept = window.cutoff(profile.last_seen_at), aggregates.windows.get(window.key, {})
            for bucket in [bucket for bucket in kept if bucket < first]:
                del kept[bucket]
    _merge_occurrences(
        aggregates.categories_bought, other.categories_bought, plan.categories_bought, "categories_bought", counts
    )
    _merge_occurrences(
        aggregates.products_bought, other.products_bought, plan.products_bought, "products_bought", counts
    )
    _merge_occurrences(
        aggregates.categories_viewed, other.categories_viewed, plan.categories_viewed, "categories_viewed", counts
    )
    for name, new_value in other.kept.items():
        before = aggregates.kept.get(name)
        if before is None or (new_value[1], str(new_value[0])) > (before[1], str(before[0])):
            aggregates.kept[name] = new_value
    aggregates.credits = sorted([*aggregates.credits, *other.credits], key=_credit_key)
    if (excess := len(aggregates.credits) - MOST_CREDITS) > 0:
        del aggregates.credits[:excess]
        counts["trimmed", "credits"] += excess


def _add_all(numbers: dict[str, int], more: dict[str, int]) -> None:
    for name, number in more.items():
        numbers[name] = min(LARGEST, numbers.get(name, 0) + number)


def _subtract(numbers: dict[Key, int], key: Key, number: int) -> None:
    """Subtract from an entry. An entry that falls to 0 or below is removed."""
    left = numbers.get(key, 0) - number
    if left > 0:
        numbers[key] = left
    else:
        numbers.pop(key, None)


def _merge_occurrences(
    known: dict[str, Occurrences],
    more: dict[str, Occurrences],
    wanted: frozenset[str],
    counter_label: str,
    counts: EngineCounters,
) -> None:
    for name, new in more.items():
        old = known.get(name)
        if old is None:
            known[name] = new
        else:
            old.times += new.times
            old.first, old.last = min(old.first, new.first), max(old.last, new.last)
    _limit(known, wanted, counter_label, counts)


def _credit_key(credit: Credit) -> tuple[int, int, str]:
    return credit.expires_at, credit.amount, credit.id or ""


def reset_stage_counts(profile: Profile, plan: AggregatePlan, track: str) -> None:
    """Reset the numbers that are counted since a stage of the track was entered. Called when one is entered."""
    aggregates = profile.aggregates
    if aggregates is None or not plan.in_stage:
        return
    prefix = stage_key(track, "")
    for key in [key for key in aggregates.in_stage if key.startswith(prefix)]:
        del aggregates.in_stage[key]


def _amount(event: Event, currency: str) -> int:
    """Return the order's total, or price times quantity, rounded; 0 if unknown or in another currency."""
    if event.currency != currency:
        if event.currency == "" and event.total is not None:  # a correction that names no currency: most often this one
            return minor_units(event.total, currency)
        return 0
    if event.total is not None:
        return event.total
    return 0 if event.price is None else rounded_amount(event.price * event.quantity)


def _add_to_window(aggregates: Aggregates, window: Window, at: int, number: int, newest: int) -> None:
    if not number:
        return
    bucket, first = at // window.width, window.cutoff(newest)
    buckets = aggregates.windows.get(window.key)
    if bucket < first:
        return
    if buckets is None:
        aggregates.windows[window.key] = {bucket: number}
        return
    if bucket in buckets:
        buckets[bucket] = min(LARGEST, buckets[bucket] + number)
        return
    for old in [old for old in buckets if old < first]:
        del buckets[old]
    buckets[bucket] = number


def _note_bought(aggregates: Aggregates, plan: AggregatePlan, event: Event, counts: EngineCounters) -> None:
    items = event.items or ()
    if plan.categories_bought:
        names: list[str | None] = [item.category for item in items]
        _count_occurrences(
            aggregates.categories_bought, plan.categories_bought, names, event.at, "categories_bought", counts
        )
    if plan.products_bought:
        names = [item.product_id for item in items]
        _count_occurrences(aggregates.products_bought, plan.products_bought, names, event.at, "products_bought", counts)


def _count_occurrences(
    known: dict[str, Occurrences],
    wanted: frozenset[str],
    names: Iterable[str | None],
    at: int,
    counter_label: str,
    counts: EngineCounters,
) -> None:
    every = EVERYTHING in wanted
    for name in dict.fromkeys(names):
        if name is None or not (every or name in wanted):
            continue
        before = known.get(name)
        if before is None:
            known[name] = Occurrences(1, at, at)
        else:
            before.times += 1
            before.first = min(before.first, at)
            before.last = max(before.last, at)
    _limit(known, wanted, counter_label, counts)


def _limit(known: dict[str, Occurrences], wanted: frozenset[str], counter_label: str, counts: EngineCounters) -> None:
    """Drop all but the latest `MOST_NAMES` of the names that are kept only because a rule asks for every name."""
    if EVERYTHING in wanted and len(known) > MOST_NAMES:
        unnamed = [name for name in known if name not in wanted]
        unnamed.sort(key=lambda name: known[name].last)
        for name in unnamed[: max(0, len(unnamed) - MOST_NAMES)]:
            del known[name]
            counts["trimmed", counter_label] += 1


def _keep_properties(aggregates: Aggregates, wanted: list[KeptProperty], currency: str, event: Event) -> None:
    properties = event.properties
    assert properties is not None
    for kept in wanted:
        value = properties.get(kept.property)
        if value is None or (kept.event_types is not None and event.type not in kept.event_types):
            continue
        if kept.money and event.currency != currency:
            continue
        before = aggregates.kept.get(kept.name)
        if before is None or event.at >= before[1]:
            aggregates.kept[kept.name] = (value, event.at)


def _apply_credit(aggregates: Aggregates, plan: AggregatePlan, event: Event, counts: EngineCounters) -> None:
    """Grant or spend a store credit, by the properties of the event.

    `credit_granted` has `amount` and `expires_at`, and may have `credit_id`. `credit_spent` takes `amount` from the
    credits with that `credit_id`, or without one from those that expire first; without an amount it takes all of them.
    """
    properties = event.properties or {}
    amount, id_, expires_at = properties.get("amount"), properties.get("credit_id"), properties.get("expires_at")
    known = id_ if isinstance(id_, str) else None
    credits = aggregates.credits
    if amount is not None and (not isinstance(amount, int) or event.currency != plan.currency):
        return
    if event.type == CREDIT_GRANTED:
        if not isinstance(amount, int) or not isinstance(expires_at, int) or amount <= 0:
            return
        credits.append(Credit(known, amount, expires_at))
        credits.sort(key=lambda credit: credit.expires_at)
        if len(credits) > MOST_CREDITS:
            del credits[0]
            counts["trimmed", "credits"] += 1
        return
    left = LARGEST if amount is None else int(amount)
    remaining: list[Credit] = []
    for credit in credits:
        if left > 0 and credit.expires_at > event.at and (known is None or credit.id == known):
            used = min(left, credit.amount)
            left -= used
            credit.amount -= used
        if credit.amount > 0 and credit.expires_at > event.at:
            remaining.append(credit)
    aggregates.credits = remaining
