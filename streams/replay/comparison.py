"""The customers whose outputs differ under two playbooks, by their first difference. Memory is bounded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streams.replay.output_collector import Collector, Customer, DatedSeries, Series

DETAILED_CUSTOMERS: Final = 50_000
"""Number of customers whose differences are kept. Further ones are only counted."""
DETAILED_OUTPUTS: Final = 40
"""Number of unmatched outputs that are kept of one customer."""
EXAMPLES: Final = 3
"""Number of customers shown for each reason."""


class Reason(NamedTuple):
    """The first difference of a customer."""

    how: str
    """`earlier`, `later`, `gone` or `new`."""
    series: Series

    @property
    def label(self) -> str:
        """Text for people."""
        return f"{self.series.label} {_HOW[self.how]}"


_HOW: Final = {
    "earlier": "comes earlier",
    "later": "comes later",
    "gone": "does not come any more",
    "new": "did not come before",
}


@dataclass
class ReasonGroup:
    """Customers whose first difference is the same."""

    count: int = 0
    shifts: list[int] = field(default_factory=list)
    """Time differences of `earlier` and `later`, ms."""
    examples: list[Customer] = field(default_factory=list)


@dataclass
class Differences:
    """Result of a comparison."""

    customers: int
    """Number of customers who differ."""
    by_reason: dict[Reason, ReasonGroup]
    """Customers by first difference, the most frequent one first."""
    not_kept: int
    """Number of customers whose difference was not kept."""


class Comparison:
    """Compares the outputs of both sides as they are made. Equal outputs cancel out, and the differences remain.

    Two outputs are equal if they have the same customer, series and time.
    """

    def __init__(self, new: Collector, old: Collector) -> None:
        self._sides = ((new, 1), (old, -1))
        self._sums: dict[Customer, int] = {}
        """Sum of the hashes of the new outputs, less those of the old ones. A sum of 0 is not kept."""
        self._unmatched: dict[Customer, Counter[DatedSeries]] = {}
        """Count of each output under the new playbook, less that under the old one."""
        self._dropped: set[Customer] = set()
        """Customers whose unmatched outputs are no longer kept."""

    def update(self) -> None:
        """Compare the outputs since the last call. Called after each step, when both sides have read the same."""
        changed: dict[Customer, None] = {}
        for side, sign in self._sides:
            for customer, dated in side.new:
                self._note(customer, dated, sign)
                changed[customer] = None
            side.new.clear()
        if len(self._unmatched) > DETAILED_CUSTOMERS:
            for customer in changed:  # drop the latest: the first differences are shown in full
                if len(self._unmatched) > DETAILED_CUSTOMERS and customer in self._sums:
                    self._unmatched.pop(customer, None)
                    self._dropped.add(customer)

    def finish(self) -> Differences:
        """Return the result. Called once, at the end."""
        by_reason: dict[Reason, ReasonGroup] = {}
        for customer, unmatched in self._unmatched.items():
            reason, shift = _first(unmatched)
            found = by_reason.setdefault(reason, ReasonGroup())
            found.count += 1
            if shift:
                found.shifts.append(shift)
            if len(found.examples) < EXAMPLES:
                found.examples.append(customer)
        ordered = dict(sorted(by_reason.items(), key=lambda pair: (-pair[1].count, pair[0])))
        return Differences(len(self._sums), ordered, len(self._sums) - len(self._unmatched))

    def _note(self, customer: Customer, dated: DatedSeries, sign: int) -> None:
        total = self._sums.get(customer, 0) + sign * hash(dated)
        if total == 0:
            self._sums.pop(customer, None)
            self._unmatched.pop(customer, None)
            self._dropped.discard(customer)
            return
        self._sums[customer] = total
        if customer in self._dropped:
            return
        unmatched = self._unmatched.setdefault(customer, Counter())
        unmatched[dated] += sign
        if unmatched[dated] == 0:
            del unmatched[dated]
        elif len(unmatched) > DETAILED_OUTPUTS:
            last = max(unmatched)  # the first difference is the one shown
            del unmatched[last]


def _first(unmatched: Counter[DatedSeries]) -> tuple[Reason, int]:
    """Return the earliest difference, and the time by which an output moved (ms), else 0."""
    first = min(unmatched)
    of_new = unmatched[first] > 0
    others = [dated for dated, count in unmatched.items() if dated.series == first.series and (count > 0) != of_new]
    if others:
        shift = min(others).at - first.at
        return Reason("earlier" if of_new else "later", first.series), shift
    return Reason("new" if of_new else "gone", first.series), 0
