"""How much one call of the engine may do, where something waits for it: health, heartbeats, a batch to hold it."""

from __future__ import annotations

from typing import Final

import msgspec


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What a call leaves undone at these bounds, `PartitionEngine.advance` goes on with: the outputs are the same."""

    records: int
    """Applied, and one customer's worth more."""
    deadlines: int
    """Customers whose deadlines fire because the watermark has reached them."""
    pending: int
    """Bytes of the outputs that a profile keeps for its commit. They are written in one record with it."""


UNLIMITED: Final = Budget(records=1 << 60, deadlines=1 << 60, pending=1 << 60)
"""For who waits for nothing else: the replay."""
