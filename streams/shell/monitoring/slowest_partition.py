"""Progress of the slowest partition of any source, by the group's committed offset metadata.

Repartition tasks use it for sources whose progress no task reports to their worker.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Final

from streams.core.model.sources import StoredProgress

NONE_TO_WAIT_FOR: Final = sys.maxsize
"""No partition has to be waited for. Also with a broker that keeps no offset metadata, as the embedded one."""


def slowest(stored: Collection[StoredProgress | None]) -> int | None:
    """Return the least of the stored progress of these partitions; None if it is not known yet.

    An element is None if nothing is stored for its partition.
    """
    if not any(stored):
        return NONE_TO_WAIT_FOR
    least: int | None = None
    for partition in stored:
        if partition is None or partition.progress is None:
            return None
        least = partition.progress if least is None else min(least, partition.progress)
    return least
