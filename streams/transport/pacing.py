"""How long a fetch may wait on the broker: the cost of a poll is per poll, whatever it brings.

Idle, a fetch asks for one byte and answers at once when it comes. While records flow, each such fetch would bring one
or two, so it asks for many bytes and is answered after some milliseconds with what there is: the longer, the fewer they
are, for the polls then cost more than the records. A policy object: told what each fetch brought, it says how the next
one asks.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Ask(NamedTuple):
    """The terms of a fetch: answered when so many bytes are there, or after so long."""

    max_wait_ms: int
    min_bytes: int


IDLE: Final = Ask(500, 1)
TRICKLING: Final = Ask(80, 100_000)
FLOWING: Final = Ask(40, 100_000)
POURING: Final = Ask(15, 100_000)

FEW: Final = 16
"""Fewer records to a fetch are a trickle: up to some 200 a second."""
MANY: Final = 60
"""So many and more pour: from some 4,000 a second, whichever wait they had."""


class Pacing:
    """One per consumer and broker. Adds at most the wait asked for to the latency of a record, nothing to the first."""

    def __init__(self) -> None:
        self.ask = IDLE

    def fetched(self, records: int) -> None:
        """A fetch came back, with so many records: the next one asks as `ask` says."""
        if not records:
            self.ask = IDLE
        elif records < FEW:
            self.ask = TRICKLING
        else:
            self.ask = FLOWING if records < MANY else POURING
