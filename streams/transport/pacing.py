"""How long a fetch may wait on the broker: the cost of a poll is per poll, whatever it brings.

Idle, a fetch asks for one byte and answers at once when it comes. While records flow, each such fetch would bring one
or two, so it asks for many bytes and is answered after some milliseconds with what there is: longer while they are so
few that the polls cost more than the records. A policy object: told what each fetch brought, it says how the next one
asks.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Ask(NamedTuple):
    """The terms of a fetch: answered when so many bytes are there, or after so long."""

    max_wait_ms: int
    min_bytes: int


IDLE: Final = Ask(500, 1)
TRICKLING: Final = Ask(50, 100_000)
FLOWING: Final = Ask(30, 100_000)
FEW: Final = 16
"""Records of a fetch: less is a trickle, up to some 300 records a second."""


class Pacing:
    """One per consumer. Adds at most the wait asked for to the latency of a record, and nothing to the first."""

    def __init__(self) -> None:
        self.ask = IDLE

    def fetched(self, records: int) -> Ask:
        """A fetch came back, with so many records."""
        self.ask = FLOWING if records >= FEW else TRICKLING if records else IDLE
        return self.ask
