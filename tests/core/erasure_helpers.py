"""Request the erasure of a customer, and search a state for what still names them."""

from __future__ import annotations

import gc
from collections.abc import Iterator

from streams.core.model.event import Event
from streams.core.model.sources import Erasure
from streams.core.store.task_state import record_key
from tests.core.engine_helpers import NOON, click
from tests.support.single_partition import SinglePartitionHarness

PERSON = "somebody@example.org"
KEY = record_key(PERSON, True)


def request(at: int = NOON, customer: str = PERSON, identified: bool = True, home: bool = True) -> Erasure:
    return Erasure(customer, identified, at, f"r-{at}", home)


def added(at: int, customer: str = PERSON) -> Event:
    return click(at, "product_added", customer)


def settle(harness: SinglePartitionHarness) -> None:
    """Commit until no tombstone is pending, and remove the residue of the erasure."""
    for _ in range(3):
        harness.commit()
    traces = harness.engine.state.residue
    while traces.searching:
        traces.search(2)
    harness.commit()
    if traces.found or traces.written:
        traces.note_removed()
    harness.commit()


def everything_in(thing: object) -> Iterator[object]:
    """Yield all objects that can be reached from this one, also through compiled objects."""
    seen: set[int] = set()
    queue = [thing]
    while queue:
        found = queue.pop()
        if id(found) in seen or isinstance(found, type) or type(found).__name__ in ("module", "function"):
            continue
        seen.add(id(found))
        yield found
        queue += gc.get_referents(found)


def names(harness: SinglePartitionHarness) -> list[object]:
    """Return the objects of the state, in memory and on disk, that contain the id of the person."""
    if harness.disk is not None:
        harness.disk.writes.clear()  # forget the history of the disk
    return [
        found
        for found in everything_in(harness.engine.state)
        if (isinstance(found, str) and PERSON in found)
        or (isinstance(found, bytes | bytearray) and PERSON.encode() in bytes(found))
    ]
