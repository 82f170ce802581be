"""The budget of one call of the engine. It bounds how long health checks and heartbeats wait for the call, and how
large the record of a profile gets, which has to fit into a batch."""

from __future__ import annotations

from typing import Final

import msgspec


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of one call. `PartitionEngine.advance` goes on with the rest, and the outputs are the same."""

    records: int
    """Records applied, each with the deadlines of its customer that go before it."""
    deadlines: int
    """Customers whose deadlines fire because the watermark has reached them."""
    pending: int
    """Bytes of the outputs that a profile keeps for its commit, since they are written in one record with it. One
    record that is applied, or one customer's deadlines, may exceed it."""


UNLIMITED: Final = Budget(records=1 << 60, deadlines=1 << 60, pending=1 << 60)
"""No bound: for the replay, where nothing else waits."""
