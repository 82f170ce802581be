"""How long a fetch may wait on the broker: the cost of a poll is per poll, whatever it brings.

Idle, a fetch asks for one byte and answers at once when it comes. While a trickle flows, each such fetch would bring a
record or two, so it asks for many bytes and is answered after a few milliseconds with what there is. A policy object:
told what each fetch brought, it says how the next one asks.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Ask(NamedTuple):
    """The terms of a fetch: answered when so many bytes are there, or after so long."""

    max_wait_ms: int
    min_bytes: int


IDLE: Final = Ask(500, 1)
FLOWING: Final = Ask(20, 100_000)


class Pacing:
    """One per consumer. Adds at most `FLOWING.max_wait_ms` to the latency of a record, and nothing to the first."""

    def __init__(self) -> None:
        self.ask = IDLE

    def fetched(self, brought: bool) -> Ask:
        """A fetch came back, with records or without."""
        self.ask = FLOWING if brought else IDLE
        return self.ask
