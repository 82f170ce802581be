"""Pacing of fetches: how long a fetch may wait on the broker. A poll costs the same however many records it returns.

While nothing happens, a fetch asks for one byte, and is answered as soon as a record comes. While records flow, each
such fetch would return one or two. So a fetch then asks for many bytes, and is answered after some milliseconds with
the records that are there. The fewer records, the longer the wait, because polls then cost more than records.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class FetchTerms(NamedTuple):
    """Terms of a fetch: the broker answers when it has `min_bytes`, or after `max_wait_ms`."""

    max_wait_ms: int
    min_bytes: int


IDLE: Final = FetchTerms(500, 1)
TRICKLING: Final = FetchTerms(80, 100_000)
FLOWING: Final = FetchTerms(40, 100_000)
POURING: Final = FetchTerms(15, 100_000)

FEW: Final = 16
"""With fewer records per fetch, they trickle: up to some 200 a second."""
MANY: Final = 60
"""With so many records per fetch, they pour: from some 4,000 a second, with any of the waits."""


class Pacing:
    """Policy object, one per consumer and broker.

    It adds at most the wait of a fetch to the latency of a record, and nothing to the first one.
    """

    def __init__(self) -> None:
        self.terms = IDLE

    def fetched(self, records: int) -> None:
        """Set `terms`, the terms of the next fetch, after a fetch that returned so many records."""
        if not records:
            self.terms = IDLE
        elif records < FEW:
            self.terms = TRICKLING
        else:
            self.terms = FLOWING if records < MANY else POURING
