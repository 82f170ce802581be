"""How far the slowest partition of any source is, by what its group has committed: for readers, as far as no task of
their worker tells them.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Final

from streams.core.model.sources import StoredProgress

NOBODY: Final = sys.maxsize
"""Nobody is to be waited for. Also where a broker keeps no metadata of offsets, as the embedded one."""


def slowest(marks: Collection[StoredProgress | None]) -> int | None:
    """The least progress in the marks of these partitions, None for one that there is none of. None: not known yet."""
    if not any(marks):
        return NOBODY
    least: int | None = None
    for mark in marks:
        if mark is None or mark.progress is None:
            return None
        least = mark.progress if least is None else min(least, mark.progress)
    return least
