"""Keeping what the rules of a playbook ask for: rolling windows, sums, what was bought and viewed, properties, credits.

`customer.Lifecycle` calls `note` for each event that was applied, and `entered` when a stage was, where the playbook
has a plan; without one, nothing is kept and nothing is asked. Times in ms, amounts in minor units of the playbook's
currency (those of others are left out).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, TypeVar

from streams.core.model.aggregates import Aggregates, Credit, Occurrences
from streams.core.model.event import Event, Source
from streams.core.model.orders import Order
from streams.core.profile.profile import Profile
from streams.core.rules.requirements import EVERYTHING, KeptProperty, Requirements, Window, stage_key

LARGEST: Final = 2**62
"""Sums beyond it are no longer told apart."""
MOST_NAMES: Final = 100
"""Categories or products kept of a customer, beside those that rules name: the latest."""
MOST_CREDITS: Final = 20
CREDIT_GRANTED: Final = "credit_granted"
CREDIT_SPENT: Final = "credit_spent"
_CLICKSTREAM: Final = Source.CLICKSTREAM
_COMPLETED: Final = "order_completed"
Key = TypeVar("Key")


class AggregatePlan:
    """What to keep, by event type. Made once of the needs of all rules; immutable."""

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
        """What an event can add to a packed profile, beside its own texts."""
        self.empty = self.bytes_per_event == 0 and not (
            self.categories_bought or self.products_bought or self.categories_viewed
        )


def note(
    profile: Profile, plan: AggregatePlan, activity: Event, bought: bool, counts: Counter[tuple[str, str]]
) -> None:
    """The event was applied; `bought` if it is the completion of an order that is new and counts."""
    type_ = activity.type
    facts = profile.facts
    if facts is None:
        profile.facts = facts = Aggregates()
    windows = plan.windows.get(type_)
    summed = type_ in plan.sums
    amount = 0
    if (windows is not None or summed) and (bought or type_ != "order_completed"):
        amount = _amount(activity, plan.currency)
    if windows is not None:
        for window in windows:
            _add(facts, window, activity.at, amount if window.amounts else 1, profile.last_seen_at)
    if summed and amount:
        facts.sums[type_] = min(LARGEST, facts.sums.get(type_, 0) + amount)
    for key in plan.in_stage.get(type_, ()):
        facts.in_stage[key] = facts.in_stage.get(key, 0) + 1
    if bought:
        _note_bought(facts, plan, activity, counts)
    elif type_ == "product_viewed" and activity.category is not None and activity.source is _CLICKSTREAM:
        _repeat(
            facts.categories_viewed,
            plan.categories_viewed,
            [activity.category],
            activity.at,
            "categories_viewed",
            counts,
        )
    if plan.kept and activity.properties:
        _keep(facts, plan.kept, plan.currency, activity)
    if plan.credits and type_ in (CREDIT_GRANTED, CREDIT_SPENT):
        _credit(facts, plan, activity, counts)


def unite(
    profile: Profile,
    moved: Profile,
    plan: AggregatePlan,
    copies: list[tuple[int, str]],
    orders: list[Order],
    counts: Counter[tuple[str, str]],
) -> None:
    """Make what is kept of `moved` the profile's: numbers add, times widen, what is latest stays. Uses it up.

    Of events that both had (time and type of the `copies`) and completions of an order that both had, numbers and
    amounts count once; but how often something was bought or viewed counts both, and so do amounts of other events.
    Credits that were spent apart from where they were granted are not.
    """
    if moved.facts is None:
        return
    if profile.facts is None:
        profile.facts = moved.facts
        return
    facts, others = profile.facts, moved.facts
    for key, buckets in others.windows.items():
        known = facts.windows.setdefault(key, {})
        for bucket, number in buckets.items():
            known[bucket] = min(LARGEST, known.get(bucket, 0) + number)
    _add_up(facts.sums, others.sums)
    _add_up(facts.in_stage, others.in_stage)
    for at, type_ in copies:
        for window in plan.windows.get(type_, ()):
            if not window.amounts:
                _take(facts.windows.get(window.key, {}), at // window.width, 1)
        for name in plan.in_stage.get(type_, ()):
            _take(facts.in_stage, name, 1)
    for order in orders:
        if order.total is not None and order.currency == plan.currency:
            for window in plan.windows.get(_COMPLETED, ()):
                if window.amounts:
                    _take(facts.windows.get(window.key, {}), order.at // window.width, order.total)
            _take(facts.sums, _COMPLETED, order.total)
    for windows in plan.windows.values():
        for window in windows:
            first, kept = window.cutoff(profile.last_seen_at), facts.windows.get(window.key, {})
            for bucket in [bucket for bucket in kept if bucket < first]:
                del kept[bucket]
    _unite_repeated(
        facts.categories_bought, others.categories_bought, plan.categories_bought, "categories_bought", counts
    )
    _unite_repeated(facts.products_bought, others.products_bought, plan.products_bought, "products_bought", counts)
    _unite_repeated(
        facts.categories_viewed, others.categories_viewed, plan.categories_viewed, "categories_viewed", counts
    )
    for name, said in others.kept.items():
        before = facts.kept.get(name)
        if before is None or (said[1], str(said[0])) > (before[1], str(before[0])):
            facts.kept[name] = said
    facts.credits = sorted([*facts.credits, *others.credits], key=_credit_rank)
    if (excess := len(facts.credits) - MOST_CREDITS) > 0:
        del facts.credits[:excess]
        counts["trimmed", "credits"] += excess


def _add_up(numbers: dict[str, int], more: dict[str, int]) -> None:
    for name, number in more.items():
        numbers[name] = min(LARGEST, numbers.get(name, 0) + number)


def _take(numbers: dict[Key, int], key: Key, number: int) -> None:
    """Not below nothing, and what is nothing is not kept."""
    left = numbers.get(key, 0) - number
    if left > 0:
        numbers[key] = left
    else:
        numbers.pop(key, None)


def _unite_repeated(
    known: dict[str, Occurrences],
    more: dict[str, Occurrences],
    wanted: frozenset[str],
    what: str,
    counts: Counter[tuple[str, str]],
) -> None:
    for name, new in more.items():
        old = known.get(name)
        if old is None:
            known[name] = new
        else:
            old.times += new.times
            old.first, old.last = min(old.first, new.first), max(old.last, new.last)
    _limit(known, wanted, what, counts)


def _credit_rank(credit: Credit) -> tuple[int, int, str]:
    return credit.expires_at, credit.amount, credit.id or ""


def entered(profile: Profile, plan: AggregatePlan, track: str) -> None:
    """A stage of the track was entered: what is counted since then starts again."""
    facts = profile.facts
    if facts is None or not plan.in_stage:
        return
    prefix = stage_key(track, "")
    for key in [key for key in facts.in_stage if key.startswith(prefix)]:
        del facts.in_stage[key]


def _amount(activity: Event, currency: str) -> int:
    """What the event is about: an order's total, or price times quantity; 0 if unknown or of another currency."""
    if activity.currency != currency:
        return 0
    if activity.total is not None:
        return activity.total
    return 0 if activity.price is None else activity.price * activity.quantity


def _add(facts: Aggregates, window: Window, at: int, number: int, newest: int) -> None:
    if not number:
        return
    bucket, first = at // window.width, window.cutoff(newest)
    buckets = facts.windows.get(window.key)
    if bucket < first:
        return
    if buckets is None:
        facts.windows[window.key] = {bucket: number}
        return
    if bucket in buckets:
        buckets[bucket] = min(LARGEST, buckets[bucket] + number)
        return
    for old in [old for old in buckets if old < first]:
        del buckets[old]
    buckets[bucket] = number


def _note_bought(facts: Aggregates, plan: AggregatePlan, activity: Event, counts: Counter[tuple[str, str]]) -> None:
    items = activity.items or ()
    if plan.categories_bought:
        names: list[str | None] = [item.category for item in items]
        _repeat(facts.categories_bought, plan.categories_bought, names, activity.at, "categories_bought", counts)
    if plan.products_bought:
        names = [item.product_id for item in items]
        _repeat(facts.products_bought, plan.products_bought, names, activity.at, "products_bought", counts)


def _repeat(
    known: dict[str, Occurrences],
    wanted: frozenset[str],
    names: Iterable[str | None],
    at: int,
    what: str,
    counts: Counter[tuple[str, str]],
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
    _limit(known, wanted, what, counts)


def _limit(known: dict[str, Occurrences], wanted: frozenset[str], what: str, counts: Counter[tuple[str, str]]) -> None:
    """Of what no rule names, only the latest are kept."""
    if EVERYTHING in wanted and len(known) > MOST_NAMES:
        others = [name for name in known if name not in wanted]
        others.sort(key=lambda name: known[name].last)
        for name in others[: max(0, len(others) - MOST_NAMES)]:
            del known[name]
            counts["trimmed", what] += 1


def _keep(facts: Aggregates, wanted: list[KeptProperty], currency: str, activity: Event) -> None:
    properties = activity.properties
    assert properties is not None
    for kept in wanted:
        value = properties.get(kept.property)
        if value is None or (kept.event_types is not None and activity.type not in kept.event_types):
            continue
        if kept.money and activity.currency != currency:
            continue
        before = facts.kept.get(kept.name)
        if before is None or activity.at >= before[1]:
            facts.kept[kept.name] = (value, activity.at)


def _credit(facts: Aggregates, plan: AggregatePlan, activity: Event, counts: Counter[tuple[str, str]]) -> None:
    """Granted: `amount`, `expires_at`, and `credit_id` if it has one. Spent: `amount`, of that `credit_id` or of what
    expires first; without an amount, all of it."""
    properties = activity.properties or {}
    amount, id_, expires_at = properties.get("amount"), properties.get("credit_id"), properties.get("expires_at")
    known = id_ if isinstance(id_, str) else None
    credits = facts.credits
    if amount is not None and (not isinstance(amount, int) or activity.currency != plan.currency):
        return
    if activity.type == CREDIT_GRANTED:
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
        if left > 0 and credit.expires_at > activity.at and (known is None or credit.id == known):
            used = min(left, credit.amount)
            left -= used
            credit.amount -= used
        if credit.amount > 0 and credit.expires_at > activity.at:
            remaining.append(credit)
    facts.credits = remaining
