"""Who fares differently under two playbooks, and by what first: compared while both play, in bounded memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streams.replay.collect import Collector, Customer, Moment, Series

DETAILED_CUSTOMERS: Final = 50_000
"""Of so many who differ it is known by what; the others are only counted."""
DETAILED_MOMENTS: Final = 40
"""Of one customer: so many unmatched outputs are told apart."""
EXAMPLES: Final = 3
"""Customers shown of each reason."""


class Reason(NamedTuple):
    """What first goes otherwise for a customer."""

    how: str
    """`earlier`, `later`, `gone` or `new`."""
    series: Series

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.series.label} {_HOW[self.how]}"


_HOW: Final = {
    "earlier": "comes earlier",
    "later": "comes later",
    "gone": "does not come any more",
    "new": "did not come before",
}


@dataclass
class Because:
    """Customers whose first difference is the same."""

    count: int = 0
    shifts: list[int] = field(default_factory=list)
    """Of `earlier` and `later`, by how much, ms."""
    examples: list[Customer] = field(default_factory=list)


@dataclass
class Differences:
    """What came of a comparison."""

    customers: int
    """How many differ."""
    because: dict[Reason, Because]
    """By first difference, the most frequent first."""
    untold: int
    """Who differ by what was not kept."""


class Comparison:
    """Told both sides' outputs as they are made. Equal outputs cancel out: what stays is what differs.

    An output is the same if the customer, what it says and the time at which it occurred are the same.
    """

    def __init__(self, new: Collector, old: Collector) -> None:
        self._sides = ((new, 1), (old, -1))
        self._sums: dict[Customer, int] = {}
        """Of hashes of outputs, those of the old side taken away; 0 is not kept."""
        self._unmatched: dict[Customer, Counter[Moment]] = {}
        """How often more on the new side (negative: the old)."""
        self._lost: set[Customer] = set()
        """Who had more unmatched outputs than are kept."""

    def update(self) -> None:
        """Called after each step of the play, when both sides have been given the same."""
        touched: dict[Customer, None] = {}
        for side, sign in self._sides:
            for customer, moment in side.new:
                self._note(customer, moment, sign)
                touched[customer] = None
            side.new.clear()
        if len(self._unmatched) > DETAILED_CUSTOMERS:
            for customer in touched:  # the newest go: what was found first is told in full
                if len(self._unmatched) > DETAILED_CUSTOMERS and customer in self._sums:
                    self._unmatched.pop(customer, None)
                    self._lost.add(customer)

    def finish(self) -> Differences:
        """Called once, at the end."""
        because: dict[Reason, Because] = {}
        for customer, unmatched in self._unmatched.items():
            reason, shift = _first(unmatched)
            found = because.setdefault(reason, Because())
            found.count += 1
            if shift:
                found.shifts.append(shift)
            if len(found.examples) < EXAMPLES:
                found.examples.append(customer)
        ordered = dict(sorted(because.items(), key=lambda pair: (-pair[1].count, pair[0])))
        return Differences(len(self._sums), ordered, len(self._sums) - len(self._unmatched))

    def _note(self, customer: Customer, moment: Moment, sign: int) -> None:
        total = self._sums.get(customer, 0) + sign * hash(moment)
        if total == 0:
            self._sums.pop(customer, None)
            self._unmatched.pop(customer, None)
            self._lost.discard(customer)
            return
        self._sums[customer] = total
        if customer in self._lost:
            return
        unmatched = self._unmatched.setdefault(customer, Counter())
        unmatched[moment] += sign
        if unmatched[moment] == 0:
            del unmatched[moment]
        elif len(unmatched) > DETAILED_MOMENTS:
            last = max(unmatched)  # what differs first is what is told
            del unmatched[last]


def _first(unmatched: Counter[Moment]) -> tuple[Reason, int]:
    """The earliest difference, and for what only moved, by how much (ms)."""
    first = min(unmatched)
    of_new = unmatched[first] > 0
    others = [moment for moment, count in unmatched.items() if moment.series == first.series and (count > 0) != of_new]
    if others:
        shift = min(others).at - first.at
        return Reason("earlier" if of_new else "later", first.series), shift
    return Reason("new" if of_new else "gone", first.series), 0
