"""What a profile has to keep for rules, beside what it always keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from streams.core.model.policy import DAY, HOUR, MINUTE, SECOND
from streams.core.rules.types import Type

EVERYTHING: Final = "*"
"""Among categories or products: all of them, as far as they fit."""
MOST_BUCKETS: Final = 128
_WIDTHS: Final = (
    SECOND, 5 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE,
    HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 3 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 365 * DAY,
)  # fmt: skip


def bucket_width(window: int) -> int:
    """The resolution of a rolling window, ms: the finest that makes at most 128 buckets of it."""
    for width in _WIDTHS:
        if window <= width * MOST_BUCKETS:
            return width
    return _WIDTHS[-1]


class Window:
    """A rolling window of the number of events of a type, or of what they come to (`amounts`)."""

    def __init__(self, type_: str, length: int, amounts: bool) -> None:
        self.type = type_
        self.length = length
        """ms"""
        self.amounts = amounts
        self.width = bucket_width(length)
        self.key = f"{'sum' if amounts else 'count'} {type_} {length}"
        """In `Aggregates.windows`."""

    def cutoff(self, at: int) -> int:
        """The first bucket of the window that ends at `at`: an event stays until its whole bucket has left."""
        return (at - self.length) // self.width


def stage_key(track: str, type_: str) -> str:
    """In `Aggregates.in_stage`."""
    return f"{track}/{type_}"


class KeptProperty:
    """A property that is kept from events: the latest value told by one of these types (None: by any)."""

    def __init__(self, name: str, type_: Type, property_: str, event_types: Iterable[str] | None = None) -> None:
        self.name = name
        self.type = type_
        self.money = type_ is Type.MONEY
        self.property = property_
        self.event_types = None if event_types is None else frozenset(event_types)


class Requirements:
    """Of one rule, or of all rules of a playbook (`together`). Immutable."""

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
        """Tracks, and event types to count since their stage was entered."""
        self.categories_bought = frozenset(categories_bought)
        self.products_bought = frozenset(products_bought)
        self.categories_viewed = frozenset(categories_viewed)
        self.properties = dict(properties or {})
        """Of events: to be decoded."""
        self.kept = dict(kept or {})
        self.credits = credits


def together(all_needs: Iterable[Requirements]) -> Requirements:
    """What all of them need."""
    needs = list(all_needs)
    windows: dict[str, Window] = {}
    properties: dict[str, Type] = {}
    kept: dict[str, KeptProperty] = {}
    for one in needs:
        windows.update(one.windows)
        properties.update(one.properties)
        kept.update(one.kept)
    return Requirements(
        counted_types=[type_ for one in needs for type_ in one.counted_types],
        windows=windows,
        sums=[type_ for one in needs for type_ in one.sums],
        in_stage=[pair for one in needs for pair in one.in_stage],
        categories_bought=[category for one in needs for category in one.categories_bought],
        products_bought=[product for one in needs for product in one.products_bought],
        categories_viewed=[category for one in needs for category in one.categories_viewed],
        properties=properties,
        kept=kept,
        credits=True in [one.credits for one in needs],
    )
