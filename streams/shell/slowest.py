"""How far the slowest partition of any source is, by what its group has committed: for a worker that has readers and no
task. Tasks are told by the others, and who has none of them looks here.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Final

from streams.core.sources import Mark

UNKNOWN_HERE: Final = sys.maxsize
"""The broker keeps no metadata of offsets, as the embedded one: then nobody is waited for."""


def slowest(marks: Collection[Mark | None]) -> int | None:
    """The least progress in the marks of all partitions of all sources, None for one that there is none of. None: not
    known yet."""
    if not any(marks):
        return UNKNOWN_HERE
    least: int | None = None
    for mark in marks:
        if mark is None or mark.progress is None:
            return None
        least = mark.progress if least is None else min(least, mark.progress)
    return least
