"""A partition task without Kafka: topics are lists, the clock is in the test's hand, a crash is a method call.

After Kafka Streams' TopologyTestDriver. The engine is the real one; what a broker would keep (input topics, changelog,
committed offsets with their marks, what subscribers have received) outlives `crash`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import ClassVar

from streams.core.activity import Activity, Source
from streams.core.customer import Lifecycle
from streams.core.effects import Effects, Emission, Output, Snapshot
from streams.core.engine import PartitionEngine
from streams.core.playbook import Playbook
from streams.core.policy import Policy
from streams.core.sources import Erasure, Fetch, Mark, SourceSpec
from streams.core.state import TaskState
from tests.support.memory_disk import MemoryDisk

ALWAYS = Emission()


class SinglePartitionHarness:
    """One application on one partition."""

    on_disk: ClassVar = False
    """Whether cold profiles are on a disk, which outlives a crash, and as little as possible is in memory."""

    def __init__(
        self,
        now: int,
        policy: Policy | None = None,
        emission: Emission = ALWAYS,
        spec: SourceSpec | None = None,
        *,
        by_time: bool = False,
    ) -> None:
        self.now = now
        self.logs: dict[Source, list[Activity]] = {source: [] for source in Source}
        self.changelog: list[tuple[bytes, bytes | None]] = []
        self.disk = MemoryDisk() if self.on_disk else None
        self.restored = 0
        """Records of the changelog that the last start had to read."""
        self.committed: tuple[int, dict[Source, int], dict[Source, Mark]] = (0, {}, {})
        self.requests: list[Erasure] = []
        """The topic of erasure requests."""
        self.erasures = 0
        """Its committed offset."""
        self.received: list[Output] = []
        """What subscribers have, in order, repeats included."""
        self.counts: Counter[tuple[str, str]] = Counter()
        self.deadlines: list[int] = []
        self._lifecycle = Lifecycle(Playbook(policy=Policy() if policy is None else policy))
        self._emission = emission
        self._spec = SourceSpec() if spec is None else spec
        self.by_time = by_time
        self.start()

    def start(self) -> None:
        """Recover and begin, as a worker does that was assigned the partition."""
        commit, positions, marks = self.committed
        state = TaskState() if self.disk is None else TaskState(hot=0, disk=self.disk, nearest=1)
        first = int(state.note or b"0")
        for key, value in self.changelog[first:]:
            state.restore(key, value)
        self.restored = len(self.changelog) - first
        self._followed = len(self.changelog)
        state.keep(b"%d" % self._followed)
        self.received += state.unsent(commit)
        self.engine = PartitionEngine(
            self._lifecycle,
            sources=dict.fromkeys(Source, self._spec),
            emission=self._emission,
            state=state,
            positions=positions,
            marks=marks,
            commit=commit,
            erasures=self.erasures,
            by_time=self.by_time,
        )

    restart = start
    """After a crash: all that was not committed is forgotten."""

    # -- the world

    def put(self, *activities: Activity) -> None:
        """Records arrive on the topics, with the present as their timestamp unless they have one."""
        for activity in activities:
            log = self.logs[activity.source]
            activity.offset = len(log)
            activity.timestamp = activity.timestamp or self.now
            log.append(activity)

    def pass_time(self, ms: int) -> None:
        self.now += ms

    # -- the worker

    def fetch(self, *sources: Source, most: int | None = None, sent_at: int | None = None) -> None:
        """Fetch from sources (default: all) that can be reached: records are handed over, and the end is shown."""
        sent_at = self.now if sent_at is None else sent_at
        for source in sources or tuple(Source):
            position, log = self.engine.progress(source).position, self.logs[source]
            records = log[position : None if most is None else position + most]
            if records:
                self._take(self.engine.apply(source, records, position + len(records), self.now))
            self._take(self.engine.advance(self.now, {source: Fetch(sent_at, len(log))}))

    def erase(self, *requests: Erasure) -> None:
        """Requests arrive, and all are read that were not."""
        self.requests += requests
        position = self.engine.erasures_position
        self._take(self.engine.erase(self.requests[position:], len(self.requests)))

    def tick(self) -> None:
        """Time is looked at, nothing was fetched."""
        self._take(self.engine.advance(self.now))

    def commit(self, *, crash_after: str = "", meanwhile: Callable[[], None] = lambda: None) -> None:
        """Carry a commit through, or only its steps up to one of: snapshot, changelog, disk, outputs.

        `meanwhile` is what the worker does while the broker has not acknowledged anything yet.
        """
        snapshot = self.engine.snapshot()
        if snapshot is None or crash_after == "snapshot":
            return
        meanwhile()
        if self._followed == len(self.changelog):  # else a zombie has written in between: it is read at the next start
            self._followed += len(snapshot.changes)
        self.changelog += snapshot.changes
        if crash_after == "changelog":
            return
        self.engine.state.keep(b"%d" % self._followed)
        if crash_after == "disk":
            return
        self.received += snapshot.outputs
        if crash_after == "outputs":
            return
        self._committed(snapshot)

    def run(self, *activities: Activity, until: int | None = None) -> list[Output]:
        """Put, read everything, let time pass to `until` with all sources drained, commit; what was received since."""
        before = len(self.received)
        self.put(*activities)
        self.fetch()
        if until is not None:
            self.now = max(self.now, until + 15_000)
            self.fetch(sent_at=until + 15_000)
        self.commit()
        return self.received[before:]

    def _committed(self, snapshot: Snapshot) -> None:
        self.committed = (snapshot.commit, snapshot.positions, snapshot.marks)
        self.erasures = snapshot.erasures

    def _take(self, effects: Effects) -> None:
        self.received += effects.outputs
        self.counts += effects.counts
        self.deadlines += effects.deadlines


def without_repeats(outputs: Iterable[Output]) -> list[Output]:
    """As a subscriber that de-duplicates by id sees them."""
    return list({output.id: output for output in outputs}.values())
