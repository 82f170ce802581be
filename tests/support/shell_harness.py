"""The real tasks of several partitions, without Kafka: topics, changelogs and offsets are in memory.

Topics, changelogs, and committed offsets with their metadata survive a crash, as they do on a broker. The test can make
a send fail for good, as happens when a broker is away for too long.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import CommitFailedError

from streams import deployment
from streams.contracts.erasures import encode
from streams.contracts.profiles import profile_document
from streams.core.engine.config import EngineConfig, LastCommit
from streams.core.engine.partition_engine import PartitionEngine
from streams.core.event_time.inputs import ERASURES, REPARTITION
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.counters import EngineCounters
from streams.core.model.event import Source
from streams.core.model.policy import Policy
from streams.core.model.sources import NOT_READ, Fetch, SourceSpec, StoredProgress, StoredRepartition
from streams.core.profile.codec import pack, unpack
from streams.core.store.recent_commits import NO_COMMIT
from streams.settings import Settings
from streams.shell.commit.at_least_once import ImmediateOutput
from streams.shell.commit.guarantee import Offsets
from streams.shell.commit.metadata import MARKER_KEY, decode_marker, decode_metadata
from streams.shell.commit.outbox import Outbox
from streams.shell.tasks.partition_state import PartitionState
from streams.shell.tasks.partition_task import PartitionTask
from streams.shell.tasks.repartition_task import RepartitionTask
from streams.transport.chunks import Chunk
from tests.support.default_playbook import default_playbook
from tests.support.shell_fakes import ChangelogWriter, CountingMetrics, HarnessProducer, Sender, WorkerDied

DELAY = 5_000
LATENESS = 10_000
SPEC = SourceSpec(delay=DELAY, backfill_idle=0)


class ShellHarness:
    """All topics, a task for each partition, and a reader for each partition of a topic that is not co-partitioned."""

    def __init__(
        self,
        now: int,
        partitions: int,
        disabled_guard: str = "",
        not_co_partitioned: Mapping[Source, int] | None = None,
        **settings: Any,
    ) -> None:
        """`not_co_partitioned` gives the sources that are not co-partitioned, with their numbers of partitions.

        `disabled_guard` is for negative controls. It disables one mechanism that makes the outputs exact:

        - `previous`: each message names the previous one, so that a lost one is noticed
        - `taken`: a task remembers the messages that it has taken from each upstream partition
        - `of_upstreams`: a profile remembers the upstream offsets that were applied to it
        - `group`: a task asks the consumer group whether it still owns the partition
        """
        self.now = now
        self.disabled_guard = disabled_guard
        self.not_co_partitioned = dict(not_co_partitioned or {})
        badly_keyed = {"clickstream_co_partitioned": False, "orders_co_partitioned": False}
        self.settings = Settings(partitions=partitions, **(badly_keyed | settings))
        self.logs: dict[tuple[str, int], list[Any]] = defaultdict(list)
        self.changelogs: dict[int, list[tuple[bytes, bytes | None]]] = defaultdict(list)
        self.offsets: dict[tuple[str, int], tuple[int, str]] = {}
        self.counts: EngineCounters = Counter()
        self.tasks: dict[int, PartitionTask] = {}
        self.readers: dict[tuple[Source, int], RepartitionTask] = {}
        self._changelog_writers: dict[int, ChangelogWriter] = {}
        self.lifecycle = Lifecycle(default_playbook(policy=Policy(event_ids=0)))  # no event is dropped as a duplicate
        self.drops_next_batch: set[Sender] = set()
        """The tasks and readers whose next batch to the repartition topic is lost while later ones arrive."""
        for number in range(partitions):
            self.restart_task(number)
        for source, count in self.not_co_partitioned.items():
            for partition in range(count):
                self.restart_reader(source, partition)

    # -- the broker

    def append(self, source: Source, partition: int, event: dict[str, Any], at: int | None = None) -> None:
        """Append an event to a partition of its topic, whether or not its customer belongs to that partition.

        `at` is the timestamp of the record (default: the present).
        """
        self.append_record((self.settings.source_topics[source], partition), b"", json.dumps(event).encode(), [], at)

    def request_erasure(self, person: str, at: int, *, identified: bool = True) -> None:
        """Append an erasure request to every partition of its topic."""
        value = encode(person, identified, f"r-{at}", at)
        for partition in range(self.settings.partitions):
            self.append_record((self.settings.erasures_topic, partition), person.encode(), value, [])

    def append_record(
        self, to: tuple[str, int], key: bytes | None, value: bytes | None, headers: Any, at: int | None = None
    ) -> None:
        log = self.logs[to]
        timestamp = self.now if at is None else at
        log.append(SimpleNamespace(offset=len(log), timestamp=timestamp, key=key, value=value, headers=headers))

    def outputs(self) -> list[dict[str, Any]]:
        """Return all stage changes, abandonments and identity changes on their topics, with repeats."""
        settings = self.settings
        topics = (settings.stage_changes_topic, settings.abandonments_topic, settings.identities_topic)
        return [json.loads(record.value) for (topic, _), log in self.logs.items() if topic in topics for record in log]

    def profiles(self) -> dict[tuple[bool, str], dict[str, Any]]:
        """Return the profiles in the state of all tasks, as documents of the profiles topic."""
        found = {}
        for task in self.tasks.values():
            for _, profile in task.state.profiles.items():
                document = profile_document(profile, self.lifecycle.summary(profile))
                found[profile.identified, profile.customer] = document
        return found

    def profile_documents(self) -> dict[str, dict[str, Any] | None]:
        """Return the latest document of each id on the profiles topic; None if it was deleted."""
        log = self.logs[self.settings.profiles_topic, 0]
        return {record.key.decode(): None if record.value is None else json.loads(record.value) for record in log}

    def profiles_are_published(self) -> bool:
        """Return whether the profiles topic has exactly the profiles in the state.

        No device and customer may have the same id.
        """
        living = {name: document for name, document in self.profile_documents().items() if document is not None}
        return living == {customer: document for (_, customer), document in self.profiles().items()}

    # -- tasks and readers

    def restart_task(self, number: int, *, forwards: bool = True) -> None:
        """Start the task of a partition (again). Everything that it had in memory is lost."""
        state = PartitionState()
        changelog = self.changelogs[number]
        if self.disabled_guard == "of_upstreams":
            changelog = [
                (key, value if key == MARKER_KEY else _without_upstream_offsets(value)) for key, value in changelog
            ]
        state.restore(changelog, len(changelog) - 1)
        read = {r: topic for r, topic in self.settings.read_topics.items() if r not in self.not_co_partitioned}
        committed = {rank: self.offsets.get((topic, number), (0, "")) for rank, topic in read.items()}
        own = [source for source in Source if source in committed]
        counts = dict.fromkeys(Source, self.settings.partitions) | self.not_co_partitioned
        stored = {rank: metadata for rank, (_, text) in committed.items() if (metadata := decode_metadata(text))}
        marker = decode_marker(state.marker)
        commit = min((metadata.commit for metadata in stored.values()), default=0)
        state.profiles.commit = max(state.profiles.commit, 0 if marker is None else marker.commit)
        stray = NO_COMMIT if marker is None else marker.first - 1
        unsent = state.profiles.unsent_outputs(commit, stray)
        if self.settings.profiles:
            state.profiles.write_again(commit, stray)
        arrivals = None if marker is None else marker.repartition
        known = [] if arrivals is None or self.disabled_guard == "taken" else arrivals.upstreams
        engine = PartitionEngine(
            self.lifecycle,
            EngineConfig(
                partition=number,
                own=own,
                sources=dict.fromkeys(Source, SPEC),
                upstreams=[
                    (s, p)
                    for s in Source
                    for p in range(counts[s])
                    if forwards and (s in self.not_co_partitioned or p != number)
                ],
                tasks=self.settings.partitions if self.settings.identity_resolution else 0,
                event_time_ordering=self.settings.event_time_ordering,
            ),
            LastCommit(
                positions={source: committed[source][0] for source in own},
                progress={source: stored[source].progress for source in own if source in stored},
                commit=commit,
                erasures=committed[ERASURES][0],
                repartition=StoredRepartition(
                    committed[REPARTITION][0] if forwards else 0, known, [] if arrivals is None else arrivals.numbers
                ),
                flushed=0 if marker is None else marker.commit,
            ),
            state=state.profiles,
        )
        if arrivals is not None and NOT_READ < arrivals.position < committed.get(REPARTITION, (NOT_READ, ""))[0]:
            engine.repartition_records_lost()

        async def confirm_ownership() -> None:
            """Raise if a later task of this partition has started, as the consumer group would."""
            if self.disabled_guard != "group" and self.tasks[number] is not task:
                raise CommitFailedError

        writer: Any = ChangelogWriter(self, number)
        self._changelog_writers[number] = writer
        task = PartitionTask(
            number,
            engine,
            state,
            self.lifecycle,
            settings=self.settings,
            started_at=0,
            open_channel=lambda sent: ImmediateOutput(
                Outbox(lambda: HarnessProducer(self, number), sent), writer, confirm_ownership
            ),
            on_written=lambda offset: None,
            metrics=CountingMetrics(self.counts),
            clock=lambda: self.now,
            not_co_partitioned=self.not_co_partitioned,
        )
        task.trust.given = True
        task.send_again(unsent)
        self.tasks[number] = task

    def changelog_writer(self, number: int) -> ChangelogWriter:
        """Return the changelog writer of a task, which the test can make crash. A stale owner keeps its own."""
        return self._changelog_writers[number]

    def restart_reader(self, source: Source, partition: int) -> None:
        """Start the reader of a source's partition (again). It reads the progress of the tasks from task 0."""
        topic = self.settings.source_topics[source]
        offset, text = self.offsets.get((topic, partition), (0, ""))
        metadata = decode_metadata(text)
        reader = RepartitionTask(
            source,
            partition,
            decoder=deployment.decoders(self.settings, self.lifecycle.playbook)[source],
            settings=self.settings,
            spec=SPEC,
            position=offset,
            stored=StoredProgress() if metadata is None else metadata.progress,
            taken=-1,
            open_channel=lambda sent: ImmediateOutput(
                Outbox(lambda: HarnessProducer(self, (source, partition)), sent), None, _allow
            ),
            slowest_anywhere=lambda: self.tasks[0].engine.slowest_anywhere(),
            metrics=CountingMetrics(self.counts),
            clock=lambda: self.now,
            topic_ids={},
        )
        reader.trust.given = True
        self.readers[source, partition] = reader

    def read_source(self, source: Source, partition: int, most: int | None = None) -> None:
        """Let a reader read on, unless it has paused. `most` limits the records."""
        reader, log = self.readers[source, partition], self.logs[self.settings.source_topics[source], partition]
        position = reader.position(source)
        if reader.must_pause(source):
            return
        chunk = Chunk(log[position : None if most is None else position + most])
        chunk.start, chunk.next = position, position + len(chunk)
        reader.process(source, chunk)

    async def tick_reader(self, source: Source, partition: int) -> None:
        """Advance a reader to the present, with a fetch that has just shown the end of its topic, and send."""
        reader = self.readers[source, partition]
        end = len(self.logs[self.settings.source_topics[source], partition])
        reader.advance({source: Fetch(self.now, end)}, frozenset())
        await reader.flush()

    async def commit_reader(self, source: Source, partition: int, *, crash_before_offsets: bool = False) -> None:
        """Commit the offset of a reader, or crash before the offset is written."""
        reader = self.readers[source, partition]
        snapshot = reader.snapshot()
        if snapshot is None:
            return
        offsets: Offsets = {}
        try:
            offsets = await snapshot.write()
        except ConnectionError:
            crash_before_offsets = True
        if crash_before_offsets:
            self.restart_reader(source, partition)
        else:
            self.offsets |= offsets

    def fetch(self, number: int, rank: int, most: int | None = None) -> None:
        """Let a task read on in one of its topics, unless it has paused the topic. `most` limits the records."""
        task = self.tasks[number]
        engine, log = task.engine, self.logs[self.settings.read_topics[rank], number]
        if rank == REPARTITION:
            position = engine.repartition_position
        elif rank == ERASURES:
            position = engine.erasures_position
        else:
            position = engine.progress(Source(rank)).position
            if task.must_pause(Source(rank)):
                return
        chunk = Chunk(log[position : None if most is None else position + most])
        chunk.start, chunk.next = position, position + len(chunk)
        if rank == REPARTITION:
            task.receive(chunk)
        elif rank == ERASURES:
            task.erase(chunk)
        else:
            task.process(Source(rank), chunk)

    async def tick(self, number: int) -> None:
        """Advance a task to the present, with fetches that have just shown the ends of its topics, and send."""
        self.tasks[number].advance(
            {rank: Fetch(self.now, len(self.logs[tp])) for rank, tp in self.tasks[number].read.items()}, frozenset()
        )
        await self.tasks[number].flush()

    async def commit(self, number: int, *, crash_at: str = "") -> None:
        """Commit, or crash at a point: `flush` (before it), `in flush`, `flushed`, `offsets` (before them)."""
        task = self.tasks[number]
        snapshot = task.snapshot()
        if snapshot is None:
            return
        if crash_at == "flush":
            self.restart_task(number)
            return
        self._changelog_writers[number].crash_at = crash_at if crash_at in ("in flush", "flushed") else ""
        try:
            offsets = await snapshot.write()
        except (WorkerDied, ConnectionError):
            self.restart_task(number)
            return
        if crash_at:
            self.restart_task(number)
            return
        self.offsets |= offsets

    async def run_randomly(self, rng: random.Random, steps: int, most: int, *, crashes: bool = True) -> None:
        """Let tasks read (up to `most` records at a time), tick and commit, in random order.

        With `crashes`, tasks also crash at any point of a commit, and batches to the repartition topic are lost.
        """
        for _ in range(steps):
            number = rng.randrange(self.settings.partitions)
            match rng.randrange(10):
                case 0 | 1 | 2 | 3 | 4:
                    self.fetch(number, rng.choice([*Source, REPARTITION, REPARTITION]), rng.randrange(1, most))
                case 5 | 6:
                    self.now += rng.choice([0, 100, 2_000])
                    await self.tick(number)
                case 7:
                    await self.commit(number)
                case 8 if crashes:
                    await self.commit(number, crash_at=rng.choice(["flush", "in flush", "flushed", "offsets"]))
                case 9 if crashes and rng.random() < 0.3:
                    self.drops_next_batch.add(number)
        self.drops_next_batch.clear()

    async def run(self) -> None:
        """Let all tasks and readers read, tick and commit, until everything is applied and due deadlines have fired."""
        for _ in range(20):
            self.now += 1_000
            for source, partition in self.readers:
                self.read_source(source, partition)
                await self.tick_reader(source, partition)
            for number, task in self.tasks.items():
                for rank in task.read:
                    self.fetch(number, rank)
                await self.tick(number)
            for source, partition in self.readers:
                await self.commit_reader(source, partition)
            for number in self.tasks:
                await self.commit(number)


def _without_upstream_offsets(value: bytes | None) -> bytes | None:
    if value is None:
        return None
    profile = unpack(value)
    profile.of_upstreams = None
    return pack(profile)


async def _allow() -> None:
    """Confirm ownership: a repartition task sends nothing that needs it."""
