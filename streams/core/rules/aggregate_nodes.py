"""Nodes that read the aggregates of `streams.core.lifecycle.aggregates`: windows, sums, purchases and views by name."""

from __future__ import annotations

from typing import Final

from streams.core.model.aggregates import Occurrences
from streams.core.profile.profile import Profile
from streams.core.rules.eval_context import EvalContext
from streams.core.rules.nodes import ABSENT, NEVER, Text, Whole
from streams.core.rules.requirements import Window

BOUGHT: Final = 0
"""Categories bought."""
PRODUCT: Final = 1
"""Products bought."""
VIEWED: Final = 2
"""Categories viewed."""
LEAST_PURCHASES: Final = 3
"""Least number of purchases from which an interval between purchases is computed."""


class WindowTotal(Whole):
    """Number of events in a rolling window, or the sum of their amounts."""

    def __init__(self, window: Window) -> None:
        super().__init__(True)
        self.window = window

    def get(self, context: EvalContext) -> int:
        aggregates = context.profile.aggregates
        if aggregates is None:
            return 0
        buckets: dict[int, int] | None = aggregates.windows.get(self.window.key)
        if buckets is None:
            return 0
        first = self.window.cutoff(context.at)
        total = 0
        for bucket, number in buckets.items():
            if bucket >= first:
                total += number
        return total

    def next_change_at(self, context: EvalContext) -> int:
        aggregates = context.profile.aggregates
        if aggregates is None:
            return NEVER
        window = self.window
        buckets: dict[int, int] = aggregates.windows.get(window.key, {})
        first = window.cutoff(context.at)
        earliest = NEVER
        for bucket in buckets:
            if first <= bucket < earliest:
                earliest = bucket
        return NEVER if earliest == NEVER else (earliest + 1) * window.width + window.length


class AmountTotal(Whole):
    """Sum of the amounts of all events of a type."""

    def __init__(self, type_: str) -> None:
        super().__init__()
        self.type = type_

    def get(self, context: EvalContext) -> int:
        aggregates = context.profile.aggregates
        if aggregates is None:
            return 0
        total: int = aggregates.sums.get(self.type, 0)
        return total


class StageEventCount(Whole):
    """Number of events of a type since the stage of a track was entered."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def get(self, context: EvalContext) -> int:
        aggregates = context.profile.aggregates
        if aggregates is None:
            return 0
        number: int = aggregates.in_stage.get(self.key, 0)
        return number


def occurrences_by_name(profile: Profile, which: int) -> dict[str, Occurrences]:
    """Return the purchases or views of a customer by name. `which` is BOUGHT, PRODUCT or VIEWED."""
    aggregates = profile.aggregates
    if aggregates is None:
        return {}
    if which == BOUGHT:
        found: dict[str, Occurrences] = aggregates.categories_bought
    elif which == PRODUCT:
        found = aggregates.products_bought
    else:
        found = aggregates.categories_viewed
    return found


class OccurrenceCount(Whole):
    """Number of times that any of the names was bought or viewed."""

    def __init__(self, which: int, names: list[Text]) -> None:
        super().__init__()
        self.which = which
        self.names = names

    def get(self, context: EvalContext) -> int:
        total = 0
        for occurrences in _occurrences_of(context, self.which, self.names):
            total += occurrences.times
        return total


class OccurrenceTime(Whole):
    """Time at which any of the names was first or last bought or viewed."""

    def __init__(self, which: int, names: list[Text], last: bool) -> None:
        super().__init__()
        self.which = which
        self.names = names
        self.last = last

    def get(self, context: EvalContext) -> int:
        at = ABSENT
        for occurrences in _occurrences_of(context, self.which, self.names):
            candidate: int = occurrences.last if self.last else occurrences.first
            if at == ABSENT or (candidate > at if self.last else candidate < at):
                at = candidate
        return at


class NextPurchaseDue(Whole):
    """The next time after now at which one of the names is due to be bought again; without names, any that is kept.

    It is due one average interval between purchases after the last purchase.
    """

    def __init__(self, which: int, names: list[Text]) -> None:
        super().__init__(True)
        self.which = which
        self.names = names

    def get(self, context: EvalContext) -> int:
        at = self.next_change_at(context)
        return ABSENT if at == NEVER else at

    def next_change_at(self, context: EvalContext) -> int:
        earliest = NEVER
        candidates = (
            _occurrences_of(context, self.which, self.names)
            if self.names
            else list(occurrences_by_name(context.profile, self.which).values())
        )
        for occurrences in candidates:
            due = next_purchase_due_at(occurrences)
            if context.at < due < earliest:
                earliest = due
        return earliest


class NameDueNow(Text):
    """Name of the category or product that is due to be bought again at exactly this time."""

    def __init__(self, which: int) -> None:
        self.which = which

    def get(self, context: EvalContext) -> str | None:
        for name, occurrences in occurrences_by_name(context.profile, self.which).items():
            if next_purchase_due_at(occurrences) == context.at:
                return name
        return None


def next_purchase_due_at(occurrences: Occurrences) -> int:
    """Return the time at which the next purchase is due; NEVER with fewer than LEAST_PURCHASES."""
    times: int = occurrences.times
    first: int = occurrences.first
    last: int = occurrences.last
    if times < LEAST_PURCHASES or last <= first:
        return NEVER
    return last + (last - first) // (times - 1)


def _occurrences_of(context: EvalContext, which: int, names: list[Text]) -> list[Occurrences]:
    by_name = occurrences_by_name(context.profile, which)
    if not by_name:
        return []
    wanted = dict.fromkeys([node.get(context) for node in names])
    return [occurrences for name in wanted if name is not None and (occurrences := by_name.get(name)) is not None]
