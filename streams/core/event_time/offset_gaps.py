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
from streams.core.model.sources import InputId, Rank, UpstreamId

OffsetGaps = dict[InputId, set[int]]
"""Offsets by input (`input_id`), and by `READ`."""


def own_input_id(rank: Rank) -> InputId:
    """Return the id of a topic that the task reads itself: negative, unlike that of an upstream partition."""
    return InputId(-1 - rank)


def input_id(via: Input) -> InputId:
    """Return the id of an own source or of an upstream partition."""
    return InputId(via.number) if via.upstream is not None else own_input_id(via.rank)


READ: Final = own_input_id(REPARTITION)
"""Key of gaps in the repartition topic itself: its offsets, below the last applied one, at which records of any
upstream partition wait. Records of one profile are compared by these (`complete_up_to`): offsets of an upstream
partition do not show where in the topic its records lie."""


def is_gap(gaps: OffsetGaps, via: Input, offset: int) -> bool:
    """Return True if an offset, not later than the last one applied of its input, is not applied yet."""
    if offset in gaps.get(input_id(via), ()):
        return True
    return via.formerly_own and offset in gaps.get(own_input_id(via.rank), ())


def fill(gaps: OffsetGaps, via: Input, offset: int) -> None:
    """Note that an offset of an input is applied now."""
    for input_ in (input_id(via), own_input_id(via.rank)) if via.formerly_own else (input_id(via),):
        if input_ in gaps:
            gaps[input_].discard(offset)


def add(gaps: OffsetGaps, input_: InputId, offset: int) -> None:
    """Note that an offset of an input waits."""
    gaps.setdefault(input_, set()).add(offset)


def first_again(input_: InputId, committed: Mapping[Rank, int], taken: Mapping[UpstreamId, int]) -> int:
    """Return the first offset of an input that may be read again. `committed` and `taken`: see `TaskState.changes`."""
    if input_ < 0:
        return committed.get(Rank(-1 - input_), 0)
    return taken.get(UpstreamId(input_), -1) + 1


def still_open(gaps: OffsetGaps, committed: Mapping[Rank, int], taken: Mapping[UpstreamId, int]) -> OffsetGaps | None:
    """Return the gaps that may be read again; None if there are none."""
    found: OffsetGaps = {}
    for input_, offsets in gaps.items():
        least = first_again(input_, committed, taken)
        later = {offset for offset in offsets if offset >= least}
        if later:
            found[input_] = later
    return found or None


def complete_up_to(applied: Sequence[int], gaps: Mapping[InputId, Sequence[int]] | None) -> int:
    """Return how far a profile has come, for comparison with another record of it: the number of offsets applied
    without a gap from the beginning of each topic, added up."""
    if gaps is None:
        return sum(applied) + len(applied)
    return sum(
        [
            1 + min([last, *(offset - 1 for offset in gaps.get(own_input_id(Rank(rank)), ()))])
            for rank, last in enumerate(applied)
        ]
    )
