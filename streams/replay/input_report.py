"""Signs that a history is not what it was taken for: unsorted, on the wrong clock, in the wrong file, or misnamed.

The readers of a replay and a backtest note every valid event. The summary prints what was found.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from streams.core.model.event import CLICKSTREAM_TYPES, ORDER_TYPES, Event, Source
from streams.core.model.policy import DAY, HOUR, MINUTE
from streams.values import show_time

FAR_AHEAD: Final = DAY
"""An event that is further ahead of all that follow it comes from a wrong clock, ms."""
MOST_TYPES: Final = 1_000
"""Most types of events that are counted one by one."""
MOST_SHOWN: Final = 5
_OTHERS: Final = "(other types)"
_FILES: Final = {Source.CLICKSTREAM: "clickstream", Source.ORDERS: "orders"}
_TYPES: Final = {Source.CLICKSTREAM: CLICKSTREAM_TYPES, Source.ORDERS: ORDER_TYPES}


class InputReport:
    """Report on the events of one source. They are noted in the order of its log."""

    def __init__(self, source: Source, lateness: int = 0) -> None:
        """`lateness`: ms by which an event may be older than one before it without being reported."""
        self.source = source
        self._lateness = lateness
        self._newest = 0
        self.late = 0
        """Events that are older by more than the lateness than one before them."""
        self.furthest_back = 0
        """The most by which one is older, ms."""
        self._types: Counter[str] = Counter()
        self._ahead: list[tuple[int, int]] = []
        """Times and offsets of events that are far ahead of all that followed so far; and of the last event."""

    def note(self, events: Iterable[Event]) -> None:
        """Note events that were read."""
        types, ahead = self._types, self._ahead
        for event in events:
            at, type_ = event.at, event.type
            types[type_ if type_ in types or len(types) < MOST_TYPES else _OTHERS] += 1
            behind = self._newest - at
            if behind <= 0:
                self._newest = at
            elif behind > self._lateness:
                self.late += 1
                self.furthest_back = max(self.furthest_back, behind)
            while ahead and ahead[-1][0] <= at + FAR_AHEAD:
                ahead.pop()
            ahead.append((at, event.offset))

    @property
    def far_ahead(self) -> list[tuple[int, int]]:
        """Times (ms) and offsets of the events that are far ahead of all that follow them."""
        return self._ahead[:-1]

    def unknown(self, known: Collection[str]) -> Counter[str]:
        """Return the types that neither the product nor the playbook (`known`) knows, with their counts."""
        return Counter(
            {
                type_: count
                for type_, count in self._types.items()
                if type_ not in CLICKSTREAM_TYPES and type_ not in ORDER_TYPES and type_ not in known
            }
        )

    def misplaced(self) -> Counter[str]:
        """Return the types that belong to the other source, with their counts."""
        own, other = _TYPES[self.source], CLICKSTREAM_TYPES | ORDER_TYPES
        return Counter({type_: count for type_, count in self._types.items() if type_ in other and type_ not in own})


def lines(reports: Collection[InputReport], known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the lines of the summary, as name and text: for a history without such signs only that none is late."""
    late = sum(report.late for report in reports)
    back = max((report.furthest_back for report in reports), default=0)
    yield (
        "late",
        f"{late:,}{f' (up to {_duration(back)} older than one before; --sort puts them in order)' if late else ''}",
    )
    for report in reports:
        yield from _lines(report, known)


def _lines(report: InputReport, known: Collection[str]) -> Iterator[tuple[str, str]]:
    source = report.source
    file = _FILES[source]
    if ahead := report.far_ahead:
        at, offset = max(ahead)
        yield (
            "wrong clock",
            f"{len(ahead):,} in {file}, over {_duration(FAR_AHEAD)} ahead of all that follows and is late by that; the "
            f"furthest is number {offset + 1:,}, {show_time(at)}",
        )
    if misplaced := report.misplaced():
        other = _FILES[Source.ORDERS if source is Source.CLICKSTREAM else Source.CLICKSTREAM]
        yield "wrong file", f"{_shown(misplaced)} in {file}; belongs to {other}"
    if unknown := report.unknown(known):
        names = [*_TYPES[source], *known]
        yield "unknown types", _shown(unknown, {type_: meant(type_, names) for type_ in unknown})


def meant(type_: str, known: Iterable[str]) -> str | None:
    """Return the known type that an unknown one may stand for, as `Product Added` stands for `product_added`."""
    spelled = re.sub(r"[\s\-.:/]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type_.strip())).lower()
    close = difflib.get_close_matches(spelled, known, n=1, cutoff=0.8)
    return close[0] if close else None


def _shown(types: Counter[str], suggestions: dict[str, str | None] | None = None) -> str:
    """Return the most frequent types with their counts, and with the types that they may stand for."""
    parts = []
    for type_, count in sorted(types.items(), key=lambda item: (-item[1], item[0]))[:MOST_SHOWN]:
        suggested = (suggestions or {}).get(type_)
        parts.append(f"{type_} {count:,}{f', perhaps {suggested}' if suggested else ''}")
    more = len(types) - MOST_SHOWN
    return f"{types.total():,} ({'; '.join(parts)}{f'; {more:,} more' if more > 0 else ''})"


def _duration(ms: int) -> str:
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if ms >= unit:
            return f"{ms / unit:.0f} {name}"
    return f"{ms / 1000:.0f} s"
