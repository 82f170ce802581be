"""Offset gaps: offsets of an input that are not yet applied to a profile although later ones are.

A profile keeps the last offset applied of each input, and records that are read again up to there are skipped. Where
records are applied in event-time order (`streams.core.engine.reorder_buffer`), some below may still wait. Their offsets
are written with the profile, so that after a crash these records are applied, and no others. Gaps count in any order of
application: nothing is lost when the setting changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from streams.core.event_time.inputs import REPARTITION, Input

OffsetGaps = dict[int, set[int]]
"""Offsets by cause (`cause_of`), and by `READ`."""

READ: Final = -1 - REPARTITION
"""Key of gaps in the repartition topic itself: its offsets, below the last applied one, at which records of any
upstream partition wait. Records of one profile are compared by these (`complete_up_to`): offsets of an upstream
partition do not show where in the topic its records lie."""


def cause_of(via: Input) -> int:
    """Return the number of an input as cause of a change: the id of an upstream partition, or -1 - rank of an own
    source."""
    return via.number if via.upstream is not None else -1 - via.rank


def is_gap(gaps: OffsetGaps, via: Input, offset: int) -> bool:
    """Return True if an offset, not later than the last one applied of its input, is not applied yet."""
    if offset in gaps.get(cause_of(via), ()):
        return True
    return via.formerly_own and offset in gaps.get(-1 - via.rank, ())


def fill(gaps: OffsetGaps, via: Input, offset: int) -> None:
    """Note that an offset of an input is applied now."""
    for cause in (cause_of(via), -1 - via.rank) if via.formerly_own else (cause_of(via),):
        if cause in gaps:
            gaps[cause].discard(offset)


def add(gaps: OffsetGaps, cause: int, offset: int) -> None:
    """Note that an offset of an input waits."""
    gaps.setdefault(cause, set()).add(offset)


def first_again(cause: int, committed: Mapping[int, int], taken: Mapping[int, int]) -> int:
    """Return the first offset of an input that may be read again. `committed` and `taken`: see `TaskState.changes`."""
    return committed.get(-1 - cause, 0) if cause < 0 else taken.get(cause, -1) + 1


def still_open(gaps: OffsetGaps, committed: Mapping[int, int], taken: Mapping[int, int]) -> OffsetGaps | None:
    """Return the gaps that may be read again; None if there are none."""
    found: OffsetGaps = {}
    for cause, offsets in gaps.items():
        least = first_again(cause, committed, taken)
        later = {offset for offset in offsets if offset >= least}
        if later:
            found[cause] = later
    return found or None


def complete_up_to(applied: Sequence[int], gaps: Mapping[int, Sequence[int]] | None) -> int:
    """Return how far a profile has come, for comparison with another record of it: the number of offsets applied
    without a gap from the beginning of each topic, added up."""
    if gaps is None:
        return sum(applied) + len(applied)
    return sum(
        [1 + min([last, *(offset - 1 for offset in gaps.get(-1 - rank, ()))]) for rank, last in enumerate(applied)]
    )
