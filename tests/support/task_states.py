"""Make contents of a task's state: records of devices, and a log of many customers' views."""

from __future__ import annotations

from streams.core.engine.partition_engine import PartitionEngine
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.alias import Alias
from streams.core.model.event import Event, Source
from streams.core.model.outputs import Output
from streams.core.model.policy import DAY
from streams.core.model.sources import Fetch
from streams.core.profile.codec import pack
from streams.core.profile.profile import Profile
from streams.core.store.backend import Disk
from streams.core.store.task_state import TaskState
from tests.support.default_playbook import default_playbook


def alias_record(key: bytes, owners: list[tuple[str, int]], devices: list[tuple[str, int]] | None = None) -> bytes:
    """Return the packed record of a device or a cart with these owners and devices."""
    profile = Profile(key[1:].decode(), False)
    profile.alias = Alias(owners, NOON, devices or [])
    profile.next_deadline = NOON + 400 * DAY
    return pack(profile)


NOON = 1_763_719_200_000


def view(n: int, customer: str) -> Event:
    return Event(
        source=Source.CLICKSTREAM, offset=n, timestamp=NOON + n, size=1, at=NOON + n, customer=customer,
        identified=True, event_id=str(n), type="product_viewed", product_id=f"p{n % 3}", currency="EUR",
    )  # fmt: skip


Log = list[tuple[bytes, bytes | None]]


def play_views(hot: int, disk: Disk | None = None) -> tuple[PartitionEngine, list[Output], Log]:
    """Play 600 views of 100 customers, some of whom come often, with a commit after every 20.

    Return the engine, the outputs and the changelog. `hot` limits the profiles in memory.
    """
    engine = PartitionEngine(Lifecycle(default_playbook()), state=TaskState(hot, disk, nearest=3))
    outputs: list[Output] = []
    log: Log = []
    for first in range(0, 600, 20):
        records = [view(n, f"c{n % 100 if n % 2 else n % 7}") for n in range(first, first + 20)]
        outputs += engine.ingest(Source.CLICKSTREAM, records, first + 20, NOON + first).outputs
        now = NOON + first if first < 580 else NOON + 2 * DAY
        outputs += engine.advance(
            now, {s: Fetch(now, first + 20 if s is Source.CLICKSTREAM else 0) for s in Source}
        ).outputs
        snapshot = engine.snapshot()
        assert snapshot is not None
        outputs += snapshot.outputs
        log += snapshot.changes
        engine.state.write_to_disk(b"%d" % len(log))
        if first < 580:  # the last round loads every profile
            assert engine.state.live <= max(hot, 1)  # also if a commit touched more profiles
    return engine, outputs, log


def contents(state: TaskState) -> tuple[object, ...]:
    """Return what two states have to have in common to be equal."""
    return state.population, len(state.timers), state.largest, state.commit, state.applied, sorted(state)
