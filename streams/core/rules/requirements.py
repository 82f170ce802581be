"""The data that profiles have to keep for rules, in addition to the data that they always keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from streams.core.model.policy import DAY, HOUR, MINUTE, SECOND
from streams.core.rules.types import Type

EVERYTHING: Final = "*"
"""Stands for all categories or products, up to the number that a profile keeps."""
MOST_BUCKETS: Final = 128
_WIDTHS: Final = (
    SECOND, 5 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE,
    HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 3 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 365 * DAY,
)  # fmt: skip


def bucket_width(window: int) -> int:
    """Return the width of a bucket of a rolling window, ms: the smallest with which the window has at most 128."""
    for width in _WIDTHS:
        if window <= width * MOST_BUCKETS:
            return width
    return _WIDTHS[-1]


class Window:
    """A rolling window of the number of events of a type or, with `amounts`, of the sum of their amounts."""

    def __init__(self, type_: str, length: int, amounts: bool) -> None:
        self.type = type_
        self.length = length
        """In ms."""
        self.amounts = amounts
        self.width = bucket_width(length)
        self.key = f"{'sum' if amounts else 'count'} {type_} {length}"
        """Key in `Aggregates.windows`."""

    def cutoff(self, at: int) -> int:
        """Return the first bucket of the window that ends at `at`: an event counts until its whole bucket has left."""
        return (at - self.length) // self.width


def stage_key(track: str, type_: str) -> str:
    """Return the key in `Aggregates.in_stage`."""
    return f"{track}/{type_}"


class KeptProperty:
    """A property that profiles keep: its latest value in events of `event_types` (None: of any type)."""

    def __init__(self, name: str, type_: Type, property_: str, event_types: Iterable[str] | None = None) -> None:
        self.name = name
        self.type = type_
        self.money = type_ is Type.MONEY
        self.property = property_
        self.event_types = None if event_types is None else frozenset(event_types)


class Requirements:
    """The requirements of one rule, or of all rules of a playbook (`combine_requirements`). Immutable."""

    def __init__(
        self,
        *,
        counted_types: Iterable[str] = (),
        windows: Mapping[str, Window] | None = None,
        sums: Iterable[str] = (),
        in_stage: Iterable[tuple[str, str]] = (),
        categories_bought: Iterable[str] = (),
        products_bought: Iterable[str] = (),
        categories_viewed: Iterable[str] = (),
        properties: Mapping[str, Type] | None = None,
        kept: Mapping[str, KeptProperty] | None = None,
        credits: bool = False,
    ) -> None:
        self.counted_types = frozenset(counted_types)
        """For `Playbook.counted_types`."""
        self.windows = dict(windows or {})
        self.sums = frozenset(sums)
        """Event types whose amounts are added up."""
        self.in_stage = frozenset(in_stage)
        """Pairs of a track and an event type: its events are counted since the stage of the track was entered."""
        self.categories_bought = frozenset(categories_bought)
        self.products_bought = frozenset(products_bought)
        self.categories_viewed = frozenset(categories_viewed)
        self.properties = dict(properties or {})
        """Properties of events that have to be decoded."""
        self.kept = dict(kept or {})
        self.credits = credits


def combine_requirements(all_needs: Iterable[Requirements]) -> Requirements:
    """Return the union of the requirements."""
    needs = list(all_needs)
    windows: dict[str, Window] = {}
    properties: dict[str, Type] = {}
    kept: dict[str, KeptProperty] = {}
    for of_rule in needs:
        windows.update(of_rule.windows)
        properties.update(of_rule.properties)
        kept.update(of_rule.kept)
    return Requirements(
        counted_types=[type_ for of_rule in needs for type_ in of_rule.counted_types],
        windows=windows,
        sums=[type_ for of_rule in needs for type_ in of_rule.sums],
        in_stage=[pair for of_rule in needs for pair in of_rule.in_stage],
        categories_bought=[category for of_rule in needs for category in of_rule.categories_bought],
        products_bought=[product for of_rule in needs for product in of_rule.products_bought],
        categories_viewed=[category for of_rule in needs for category in of_rule.categories_viewed],
        properties=properties,
        kept=kept,
        credits=True in [of_rule.credits for of_rule in needs],
    )
