"""What of an input is not applied yet to a profile, although later offsets are: its holes.

A profile keeps the last offset applied of each input, and what is read again up to there is passed over. Where records
are applied by time (`streams.core.engine.reorder_buffer`), some below may still wait. Those are written with the
profile, so that after a crash they are applied, and no other. They are honoured in any order of application: nothing
is lost when the setting changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from streams.core.event_time.inputs import REPARTITION, Input

OffsetGaps = dict[int, set[int]]
"""Offsets by input (`cause_of`), and by `READ`."""

READ: Final = -1 - REPARTITION
"""The activity topic itself: where in it those are that wait, of any origin, before what is applied. By these the
records of a profile are compared (`complete_up_to`): what an origin's offsets are there, they do not tell."""


def cause_of(one: Input) -> int:
    """The number of an input that a record came by: of origins theirs, of sources that are read here -1 and down."""
    return one.number if one.upstream is not None else -1 - one.rank


def is_gap(holes: OffsetGaps, one: Input, offset: int) -> bool:
    """Whether an offset of an input, not later than the last one applied, is not applied yet."""
    if offset in holes.get(cause_of(one), ()):
        return True
    return one.once_own and offset in holes.get(-1 - one.rank, ())


def fill(holes: OffsetGaps, one: Input, offset: int) -> None:
    """An offset of an input is applied now."""
    for cause in (cause_of(one), -1 - one.rank) if one.once_own else (cause_of(one),):
        if cause in holes:
            holes[cause].discard(offset)


def add(holes: OffsetGaps, cause: int, offset: int) -> None:
    """An offset of an input waits."""
    holes.setdefault(cause, set()).add(offset)


def first_again(cause: int, committed: Mapping[int, int], taken: Mapping[int, int]) -> int:
    """The first offset of an input that may be read again. `committed` and `taken`: see `TaskState.changes`."""
    return committed.get(-1 - cause, 0) if cause < 0 else taken.get(cause, -1) + 1


def still_open(holes: OffsetGaps, committed: Mapping[int, int], taken: Mapping[int, int]) -> OffsetGaps | None:
    """Those that may be read again."""
    found: OffsetGaps = {}
    for cause, offsets in holes.items():
        least = first_again(cause, committed, taken)
        later = {offset for offset in offsets if offset >= least}
        if later:
            found[cause] = later
    return found or None


def complete_up_to(applied: Sequence[int], holes: Mapping[int, Sequence[int]] | None) -> int:
    """How far a profile has come, to be compared with another record of it: how much is applied from the beginning of
    each topic on without a hole, added up."""
    if holes is None:
        return sum(applied) + len(applied)
    return sum(
        [1 + min([last, *(offset - 1 for offset in holes.get(-1 - rank, ()))]) for rank, last in enumerate(applied)]
    )
