"""A few partition tasks that forward to each other, without Kafka: topics are lists, and so are the broker's promises.

The tasks are the real ones. What a broker keeps (topics, changelogs, committed offsets with their metadata) outlives a
crash; a send can be made to fail for good, as a broker that is away for long makes it.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import CommitFailedError

from streams.contracts.erasures import encode
from streams.contracts.forwarding import ITEM, ORIGIN, PARTS
from streams.contracts.profiles import profile_document
from streams.core.activity import Source
from streams.core.customer import Lifecycle
from streams.core.engine import PartitionEngine
from streams.core.inputs import ERASURES, FORWARDED
from streams.core.packing import pack, unpack
from streams.core.playbook import Playbook
from streams.core.policy import Policy
from streams.core.sources import NOT_READ, Arrivals, Fetch, Mark, SourceSpec
from streams.core.state import NO_COMMIT
from streams.observe.prometheus import Metrics
from streams.settings import Settings
from streams.shell.at_least_once import AtOnce
from streams.shell.changelog import Flush
from streams.shell.marks import MARKER_KEY, decode_marker, decode_metadata
from streams.shell.outbox import Outbox
from streams.shell.reader import SourceReader
from streams.shell.state import State
from streams.shell.task import PartitionTask
from streams.transport.chunks import Chunk
from tests.support.fake_producer import Batch

DELAY = 5_000
LATENESS = 10_000
SPEC = SourceSpec(delay=DELAY, backfill_idle=0)


Unit = int | tuple[Source, int]
"""The task of a partition, or the reader of a source's."""


class ShellHarness:
    """The log of everything, and a task for each partition."""

    def __init__(
        self,
        now: int,
        partitions: int,
        without: str = "",
        independent: Mapping[Source, int] | None = None,
        **settings: Any,
    ) -> None:
        """`without` leaves out a part of what makes it exact: `previous`, `taken`, `of_origins`, or that the `group` is
        asked. `independent`: sources that readers read, with their partitions.
        """
        self.now = now
        self.without = without
        self.independent = dict(independent or {})
        badly_keyed = {"clickstream_well_keyed": False, "orders_well_keyed": False}
        self.settings = Settings(partitions=partitions, **(badly_keyed | settings))
        self.logs: dict[tuple[str, int], list[Any]] = defaultdict(list)
        self.changelogs: dict[int, list[tuple[bytes, bytes | None]]] = defaultdict(list)
        self.offsets: dict[tuple[str, int], tuple[int, str]] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.tasks: dict[int, PartitionTask] = {}
        self.readers: dict[tuple[Source, int], SourceReader] = {}
        self._writers: dict[int, _Changelog] = {}
        self.lifecycle = Lifecycle(Playbook(policy=Policy(event_ids=0)))  # no event is passed over for its id
        self.lose: set[Unit] = set()
        """Those whose next batch to the activity topic never arrives, while what follows it does."""
        for number in range(partitions):
            self.start(number)
        for source, count in self.independent.items():
            for partition in range(count):
                self.start_reader(source, partition)

    # -- the broker

    def put(self, source: Source, partition: int, event: dict[str, Any], at: int | None = None) -> None:
        """A record comes to be on a partition, whatever its customer."""
        self._append((self.settings.source_topics[source], partition), b"", json.dumps(event).encode(), [], at)

    def erase(self, person: str, at: int, *, identified: bool = True) -> None:
        """Somebody is to be erased: every partition is told."""
        value = encode(person, identified, f"r-{at}", at)
        for partition in range(self.settings.partitions):
            self._append((self.settings.erasures_topic, partition), person.encode(), value, [])

    def _append(
        self, to: tuple[str, int], key: bytes | None, value: bytes | None, headers: Any, at: int | None = None
    ) -> None:
        log = self.logs[to]
        timestamp = self.now if at is None else at
        log.append(SimpleNamespace(offset=len(log), timestamp=timestamp, key=key, value=value, headers=headers))

    def outputs(self) -> list[dict[str, Any]]:
        settings = self.settings
        topics = (settings.stage_changes_topic, settings.abandonments_topic, settings.identities_topic)
        return [json.loads(record.value) for (topic, _), log in self.logs.items() if topic in topics for record in log]

    def profiles(self) -> dict[tuple[bool, str], dict[str, Any]]:
        """What the profile of each is, as the profiles topic shows it."""
        found = {}
        for task in self.tasks.values():
            for _, profile in task.state.profiles.items():
                document = profile_document(profile, self.lifecycle.summary(profile))
                found[profile.identified, profile.customer] = document
        return found

    def documents(self) -> dict[str, dict[str, Any] | None]:
        """What is on the profiles topic once it is compacted."""
        log = self.logs[self.settings.profiles_topic, 0]
        return {record.key.decode(): None if record.value is None else json.loads(record.value) for record in log}

    def published(self) -> bool:
        """Whether these are the profiles, and no others. (No device may be called as a customer is.)"""
        of_who_lives = {name: document for name, document in self.documents().items() if document is not None}
        return of_who_lives == {customer: document for (_, customer), document in self.profiles().items()}

    # -- a worker's life

    def start(self, number: int, *, forwards: bool = True) -> None:
        """The task of a partition begins (again): what it had in memory is gone."""
        state = State()
        changelog = self.changelogs[number]
        if self.without == "of_origins":
            changelog = [(key, value if key == MARKER_KEY else _without_origins(value)) for key, value in changelog]
        state.restore(changelog, len(changelog) - 1)
        read = {r: topic for r, topic in self.settings.read_topics.items() if r not in self.independent}
        committed = {rank: self.offsets.get((topic, number), (0, "")) for rank, topic in read.items()}
        own = [source for source in Source if source in committed]
        counts = dict.fromkeys(Source, self.settings.partitions) | self.independent
        marks = {rank: mark for rank, (_, text) in committed.items() if (mark := decode_metadata(text))}
        marker = decode_marker(state.marker)
        commit = min((mark.commit for mark in marks.values()), default=0)
        state.profiles.commit = max(state.profiles.commit, 0 if marker is None else marker.commit)
        stray = NO_COMMIT if marker is None else marker.first - 1
        unsent = state.profiles.unsent(commit, stray)
        if self.settings.profiles:
            state.profiles.write_again(commit, stray)
        arrivals = None if marker is None else marker.arrivals
        known = [] if arrivals is None or self.without == "taken" else arrivals.origins
        engine = PartitionEngine(
            self.lifecycle,
            partition=number,
            own=own,
            sources=dict.fromkeys(Source, SPEC),
            state=state.profiles,
            positions={source: committed[source][0] for source in own},
            marks={source: marks[source].mark for source in own if source in marks},
            commit=commit,
            origins=[
                (s, p) for s in Source for p in range(counts[s]) if forwards and (s in self.independent or p != number)
            ],
            erasures=committed[ERASURES][0],
            arrivals=Arrivals(
                committed[FORWARDED][0] if forwards else 0, known, [] if arrivals is None else arrivals.numbers
            ),
            tasks=self.settings.partitions if self.settings.linking else 0,
            flushed=0 if marker is None else marker.commit,
            by_time=self.settings.by_time,
        )
        if arrivals is not None and NOT_READ < arrivals.position < committed.get(FORWARDED, (NOT_READ, ""))[0]:
            engine.lost()

        async def still_ours() -> None:
            """As the group says, which knows who has begun last."""
            if self.without != "group" and self.tasks[number] is not task:
                raise CommitFailedError

        writer: Any = _Changelog(self, number)
        self._writers[number] = writer
        task = PartitionTask(
            number,
            engine,
            state,
            self.lifecycle,
            settings=self.settings,
            started_at=0,
            deliver=lambda sent: AtOnce(Outbox(lambda: _Producer(self, number), sent), writer, still_ours),
            on_written=lambda offset: None,
            metrics=_Counting(self.counts),
            clock=lambda: self.now,
            independent=self.independent,
        )
        task.trust.given = True
        task.send_again(unsent)
        self.tasks[number] = task

    def writer(self, number: int) -> _Changelog:
        """What the task writes its changelog with: it may die then, also later."""
        return self._writers[number]

    def start_reader(self, source: Source, partition: int) -> None:
        """As `start`, of the reader of a partition. It knows what its tasks do, as one on a worker with tasks."""
        topic = self.settings.source_topics[source]
        offset, metadata = self.offsets.get((topic, partition), (0, ""))
        mark = decode_metadata(metadata)
        reader = SourceReader(
            source,
            partition,
            decoder=self.settings.decoders("EUR", {})[source],
            settings=self.settings,
            spec=SPEC,
            position=offset,
            mark=Mark() if mark is None else mark.mark,
            taken=-1,
            deliver=lambda sent: AtOnce(Outbox(lambda: _Producer(self, (source, partition)), sent), None, _always),
            slowest_anywhere=lambda: self.tasks[0].engine.slowest_anywhere(),
            metrics=_Counting(self.counts),
            clock=lambda: self.now,
            topic_ids={},
        )
        reader.trust.given = True
        self.readers[source, partition] = reader

    def read(self, source: Source, partition: int, most: int | None = None) -> None:
        """A reader reads on, unless it has paused."""
        reader, log = self.readers[source, partition], self.logs[self.settings.source_topics[source], partition]
        position = reader.position(source)
        if reader.full(source):
            return
        chunk = Chunk(log[position : None if most is None else position + most])
        chunk.start, chunk.next = position, position + len(chunk)
        reader.process(source, chunk)

    async def tick_reader(self, source: Source, partition: int) -> None:
        """As `tick`."""
        reader = self.readers[source, partition]
        end = len(self.logs[self.settings.source_topics[source], partition])
        reader.advance({source: Fetch(self.now, end)}, frozenset())
        await reader.flush()

    async def commit_reader(self, source: Source, partition: int, *, dies: bool = False) -> None:
        """As `commit`; or die before its offset."""
        reader = self.readers[source, partition]
        offsets = reader.snapshot()
        if offsets is None:
            return
        try:
            await reader.write(offsets)
        except ConnectionError:
            dies = True
        if dies:
            self.start_reader(source, partition)
        else:
            self.offsets |= offsets

    def fetch(self, number: int, rank: int, most: int | None = None) -> None:
        """The task reads on in one of its topics, unless it has paused it."""
        task = self.tasks[number]
        engine, log = task.engine, self.logs[self.settings.read_topics[rank], number]
        if rank == FORWARDED:
            position = engine.arrived_position
        elif rank == ERASURES:
            position = engine.erasures_position
        else:
            position = engine.progress(Source(rank)).position
            if task.full(Source(rank)):
                return
        chunk = Chunk(log[position : None if most is None else position + most])
        chunk.start, chunk.next = position, position + len(chunk)
        if rank == FORWARDED:
            task.arrive(chunk)
        elif rank == ERASURES:
            task.erase(chunk)
        else:
            task.process(Source(rank), chunk)

    async def tick(self, number: int) -> None:
        """Time is looked at, with fetches that have shown the ends."""
        self.tasks[number].advance(
            {rank: Fetch(self.now, len(self.logs[tp])) for rank, tp in self.tasks[number].read.items()}, frozenset()
        )
        await self.tasks[number].flush()

    async def commit(self, number: int, *, dies: str = "") -> None:
        """Carry a commit through; or die before its flush, in it, or before its offsets."""
        task = self.tasks[number]
        snapshot = task.snapshot()
        if snapshot is None:
            return
        if dies == "flush":
            self.start(number)
            return
        self._writers[number].dies = dies if dies in ("in flush", "flushed") else ""
        try:
            offsets = await task.write(snapshot)
        except (WorkerDied, ConnectionError):
            self.start(number)
            return
        if dies:
            self.start(number)
            return
        self.offsets |= offsets

    async def live(self, rng: random.Random, steps: int, most: int, *, crashes: bool = True) -> None:
        """The tasks read (up to `most` records at a time), tick and commit at random; with `crashes` they die in
        between, at any step of a commit, and what they send is lost."""
        for _ in range(steps):
            number = rng.randrange(self.settings.partitions)
            match rng.randrange(10):
                case 0 | 1 | 2 | 3 | 4:
                    self.fetch(number, rng.choice([*Source, FORWARDED, FORWARDED]), rng.randrange(1, most))
                case 5 | 6:
                    self.now += rng.choice([0, 100, 2_000])
                    await self.tick(number)
                case 7:
                    await self.commit(number)
                case 8 if crashes:
                    await self.commit(number, dies=rng.choice(["flush", "in flush", "flushed", "offsets"]))
                case 9 if crashes and rng.random() < 0.3:
                    self.lose.add(number)
        self.lose.clear()

    async def run(self) -> None:
        """Go on until everything is read, applied and told, and all deadlines up to the present have fired."""
        for _ in range(20):
            self.now += 1_000
            for source, partition in self.readers:
                self.read(source, partition)
                await self.tick_reader(source, partition)
            for number, task in self.tasks.items():
                for rank in task.read:
                    self.fetch(number, rank)
                await self.tick(number)
            for source, partition in self.readers:
                await self.commit_reader(source, partition)
            for number in self.tasks:
                await self.commit(number)


def _without_origins(value: bytes | None) -> bytes | None:
    if value is None:
        return None
    profile = unpack(value)
    profile.of_origins = None
    return pack(profile)


async def _always() -> None:
    """Of a reader, which passes nothing on."""


class WorkerDied(Exception):
    """The process is gone."""


class _Changelog:
    def __init__(self, harness: ShellHarness, number: int) -> None:
        self._log = harness.changelogs[number]
        self.skew = 0
        self.dies = ""

    async def write(self, changes: Iterable[tuple[bytes, bytes | None]], marker: bytes) -> Flush:
        first = len(self._log)
        changes = list(changes)
        self._log += changes[: len(changes) // 2] if self.dies == "in flush" else changes
        if self.dies == "in flush":
            raise WorkerDied
        self._log.append((MARKER_KEY, marker))
        if self.dies:
            raise WorkerDied
        return Flush(first, len(self._log) - 1, whole=True)


class _Batch(Batch):
    def append(self, *, timestamp: Any, key: Any, value: Any, headers: Any = ()) -> object | None:
        added = super().append(timestamp=timestamp, key=key, value=value)
        if added is not None:
            self.all_headers = [*getattr(self, "all_headers", []), headers]
        return added


class _Producer:
    def __init__(self, harness: ShellHarness, unit: Unit) -> None:
        self._world = harness
        self._unit = unit

    async def partitions_for(self, topic: str) -> set[int]:
        return {0} if topic != self._world.settings.activity_topic else set(range(self._world.settings.partitions))

    def create_batch(self) -> _Batch:
        return _Batch(5)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[object]:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if topic == self._world.settings.activity_topic and self._unit in self._world.lose:
            self._world.lose.discard(self._unit)
            future.set_exception(ConnectionError("the broker was away for too long"))
            return future
        for (key, value), headers in zip(batch.records, batch.all_headers, strict=True):
            if self._world.without == "previous" and headers and headers[-1][0] in (ORIGIN, PARTS, ITEM):
                name, origin = headers[-1][0], json.loads(headers[-1][1])
                headers = [(name, json.dumps([*origin[:3], -1, origin[4]]).encode())]
            self._world._append((topic, partition), key, value, headers)
        future.set_result(None)
        return future


class _Counting(Metrics):
    def __init__(self, counts: Counter[tuple[str, str]]) -> None:
        super().__init__(version="0", ready=lambda: True, event_loop_lag=lambda: 0.0, strict=True)
        self._into = counts

    def engine_counts(self, counts: Any) -> None:
        self._into.update(counts)
        super().engine_counts(counts)
