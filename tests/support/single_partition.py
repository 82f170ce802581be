"""One engine on one partition, without Kafka: topics are lists, the test sets the clock, and a crash is a method call.

It follows Kafka Streams' TopologyTestDriver. The engine is the real one. The harness keeps what a broker would keep:
input topics, changelog, committed offsets with their metadata, and the outputs that subscribers received. All of it
survives `restart`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import ClassVar

from streams.core.engine.config import EngineConfig, LastCommit
from streams.core.engine.partition_engine import PartitionEngine
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.counters import EngineCounters
from streams.core.model.event import Event, Source
from streams.core.model.outputs import Effects, EmissionPolicy, Output, Snapshot
from streams.core.model.policy import Policy
from streams.core.model.sources import Erasure, Fetch, SourceSpec, StoredProgress
from streams.core.store.task_state import TaskState
from tests.support.default_playbook import default_playbook
from tests.support.memory_disk import MemoryDisk

ALWAYS = EmissionPolicy()


class SinglePartitionHarness:
    """An engine on one partition, with the topics and the committed offsets that it depends on."""

    on_disk: ClassVar = False
    """True if cold profiles are on a disk that survives a crash. If so, no profile stays hot in memory."""

    def __init__(
        self,
        now: int,
        policy: Policy | None = None,
        emission: EmissionPolicy = ALWAYS,
        spec: SourceSpec | None = None,
        *,
        event_time_ordering: bool = False,
    ) -> None:
        self.now = now
        self.logs: dict[Source, list[Event]] = {source: [] for source in Source}
        self.changelog: list[tuple[bytes, bytes | None]] = []
        self.disk = MemoryDisk() if self.on_disk else None
        self.restored_records = 0
        """Number of changelog records that the last start had to read."""
        self.committed: tuple[int, dict[Source, int], dict[Source, StoredProgress]] = (0, {}, {})
        self.requests: list[Erasure] = []
        """The topic of erasure requests."""
        self.erasures_position = 0
        """The committed offset of `requests`."""
        self.received: list[Output] = []
        """The outputs that subscribers received, in order, with repeats."""
        self.counts: EngineCounters = Counter()
        self.deadlines: list[int] = []
        self._lifecycle = Lifecycle(default_playbook(policy=Policy() if policy is None else policy))
        self._emission = emission
        self._spec = SourceSpec() if spec is None else spec
        self.event_time_ordering = event_time_ordering
        self.start()

    def start(self) -> None:
        """Recover the state and start the engine, as a worker does when it is assigned the partition."""
        commit, positions, marks = self.committed
        state = TaskState() if self.disk is None else TaskState(live_limit=0, disk=self.disk, nearest=1)
        first = int(state.note or b"0")
        for key, value in self.changelog[first:]:
            state.restore(key, value)
        self.restored_records = len(self.changelog) - first
        self._followed = len(self.changelog)
        state.write_to_disk(b"%d" % self._followed)
        self.received += state.unsent_outputs(commit)
        self.engine = PartitionEngine(
            self._lifecycle,
            EngineConfig(
                sources=dict.fromkeys(Source, self._spec),
                emission=self._emission,
                event_time_ordering=self.event_time_ordering,
            ),
            LastCommit(
                positions=positions,
                progress=marks,
                commit=commit,
                erasures=self.erasures_position,
            ),
            state=state,
        )

    restart = start
    """Start again after a crash. Everything that was not committed is lost."""

    # -- topics and time

    def append(self, *activities: Event) -> None:
        """Append events to their topics. An event without a timestamp gets the present one."""
        for activity in activities:
            log = self.logs[activity.source]
            activity.offset = len(log)
            activity.timestamp = activity.timestamp or self.now
            log.append(activity)

    def pass_time(self, ms: int) -> None:
        self.now += ms

    # -- the worker that runs the engine

    def fetch(self, *sources: Source, most: int | None = None, sent_at: int | None = None) -> None:
        """Fetch from the sources (default: all), pass the records to the engine, and report the ends of the logs.

        `most` limits the records per source; `sent_at` is the time of the fetch request (default: the present).
        """
        sent_at = self.now if sent_at is None else sent_at
        for source in sources or tuple(Source):
            position, log = self.engine.progress(source).position, self.logs[source]
            records = log[position : None if most is None else position + most]
            if records:
                self._take(self.engine.ingest(source, records, position + len(records), self.now))
            self._take(self.engine.advance(self.now, {source: Fetch(sent_at, len(log))}))

    def erase(self, *requests: Erasure) -> None:
        """Append erasure requests, and pass all unread ones to the engine."""
        self.requests += requests
        position = self.engine.erasures_position
        self._take(self.engine.erase(self.requests[position:], len(self.requests)))

    def tick(self) -> None:
        """Advance the engine to the present without a fetch."""
        self._take(self.engine.advance(self.now))

    def commit(self, *, crash_after: str = "", meanwhile: Callable[[], None] = lambda: None) -> None:
        """Commit, or stop after one of the steps `snapshot`, `changelog`, `disk`, `outputs`, as a crash would.

        `meanwhile` runs after the snapshot, before the broker acknowledges anything.
        """
        snapshot = self.engine.snapshot()
        if snapshot is None or crash_after == "snapshot":
            return
        meanwhile()
        if self._followed == len(self.changelog):  # else a stale owner wrote in between: the next start reads it
            self._followed += len(snapshot.changes)
        self.changelog += snapshot.changes
        if crash_after == "changelog":
            return
        self.engine.state.write_to_disk(b"%d" % self._followed)
        if crash_after == "disk":
            return
        self.received += snapshot.outputs
        if crash_after == "outputs":
            return
        self._committed(snapshot)

    def run(self, *activities: Event, until: int | None = None) -> list[Output]:
        """Append events, read all topics, pass the time to `until` with all sources caught up, and commit.

        Return the outputs that subscribers received since the call.
        """
        before = len(self.received)
        self.append(*activities)
        self.fetch()
        if until is not None:
            self.now = max(self.now, until + 15_000)
            self.fetch(sent_at=until + 15_000)
        self.commit()
        return self.received[before:]

    def _committed(self, snapshot: Snapshot) -> None:
        self.committed = (snapshot.commit, snapshot.positions, snapshot.source_progress)
        self.erasures_position = snapshot.erasures

    def _take(self, effects: Effects) -> None:
        self.received += effects.outputs
        self.counts += effects.counts
        self.deadlines += effects.deadlines


def without_repeats(outputs: Iterable[Output]) -> list[Output]:
    """Return the outputs as a subscriber sees them that deduplicates by id."""
    return list({output.id: output for output in outputs}.values())
