"""Engines of several partitions that forward and pass on to each other, without a shell: topics are lists.

What a broker keeps (topics, changelogs, committed offsets) outlives a crash. A flush can be cut in half, and items can
fail to arrive though later ones do, as a producer leaves them that gives up.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from streams.contracts.partitioning import Partitioner
from streams.core.activity import Activity, Source
from streams.core.customer import Lifecycle
from streams.core.effects import Effects, Emission, Output, Passed, Snapshot
from streams.core.engine import PartitionEngine
from streams.core.erasing import is_mark
from streams.core.identity import activity_of, home_of, parts_of, passed_key
from streams.core.inputs import STREAM, STREAMS
from streams.core.packing import VERSION, pack, unpack
from streams.core.playbook import Playbook
from streams.core.policy import Policy
from streams.core.profile import Profile
from streams.core.sources import Arrivals, Erasure, Fetch, Forwarded, Mark, Report, SourceSpec
from streams.core.state import TaskState

Message = Forwarded | Report | tuple[int, int, bytes]
"""What is on the activity topic; of an item what precedes it, its task, and the item packed."""
STEPS = ("before", "in flush", "flushed", "sending", "sent")
"""When in a commit a task may die."""


def record(at: int, type_: str, customer: str | None, device: str | None, **fields: Any) -> Activity:
    who = customer or device
    assert who is not None
    order = {"source": Source.ORDERS, "order_id": f"o-{at}", "total": 500} if type_ == "order_completed" else {}
    given: dict[str, Any] = {"source": Source.CLICKSTREAM, "currency": "EUR", "price": 100} | order | fields
    return Activity(
        offset=-1, timestamp=at, size=200, at=at, customer=who, identified=customer is not None, event_id=f"e-{at}",
        type=type_, other=device if customer else None, **given,
    )  # fmt: skip


def by_id(outputs: Iterable[Output]) -> dict[str, Output]:
    """As a subscriber that de-duplicates sees them; the same id must not have two contents."""
    found: dict[str, Output] = {}
    for output in outputs:
        assert found.setdefault(output.id, output) == output
    return found


class EngineTask:
    """What there is of a partition in a worker, and is gone with it."""

    def __init__(self, engine: PartitionEngine) -> None:
        self.engine = engine
        self.last: dict[tuple[int, int], int] = defaultdict(lambda: -1)
        """By rank and partition, what was sent there last."""


class PartitionNetwork:
    """As many as there are partitions, of each of which there is a task."""

    def __init__(
        self, now: int, partitions: int, without: str = "", policy: Policy = Policy(), *, by_time: bool = False
    ) -> None:
        """`without` leaves out a part of what makes it exact: `numbers`, `previous`, `pending`, `hold`, `cut` or
        `holes`."""
        self.now = now
        self.by_time = by_time
        self.partitions = partitions
        self.without = without
        self.logs: dict[tuple[Source, int], list[Activity]] = defaultdict(list)
        self.topic: list[list[Message]] = [[] for _ in range(partitions)]
        self.changelogs: list[list[tuple[bytes, bytes | None]]] = [[] for _ in range(partitions)]
        self.markers: list[tuple[int, Arrivals | None]] = [(0, None)] * partitions
        self.committed: list[tuple[int, dict[Source, int], dict[Source, Mark], int]] = [(0, {}, {}, 0)] * partitions
        self.requests: list[tuple[str, bool, int]] = []
        """To erase somebody: id, whether it is a customer's, and when; every partition has all of them."""
        self.done = [0] * partitions
        """How many of them, by partition, as of the last commit."""
        self.received: list[Output] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.largest = 0
        """Bytes of the largest record written."""
        self.lose: set[int] = set()
        """Tasks whose next item never arrives, while what follows it does, until they die of it."""
        self._dead: set[int] = set()
        self._cut = random.Random(partitions)
        self._lifecycle = Lifecycle(Playbook(policy=policy))
        self._partitioner = Partitioner(partitions)
        self.tasks = [EngineTask(self._begin(number)) for number in range(partitions)]
        for number in range(partitions):
            self._send_again(number)

    # -- the world

    def put(self, partition: int, *records: Activity) -> None:
        """Records arrive on a partition of their topic, wherever they belong."""
        for record in records:
            log = self.logs[record.source, partition]
            record.offset, record.timestamp = len(log), record.at
            log.append(record)

    # -- a worker's life

    def _begin(self, number: int) -> PartitionEngine:
        state = TaskState()
        for key, value in self.changelogs[number]:
            state.restore(key, _without_holes(value) if self.without == "holes" else value)
        commit, positions, marks, arrived = self.committed[number]
        flushed, arrivals = self.markers[number]
        self.received += state.unsent(commit)
        stored = arrivals or Arrivals(0, [])
        if self.without == "cut":
            flushed = state.commit
        engine = PartitionEngine(
            self._lifecycle,
            partition=number,
            sources=dict.fromkeys(Source, SourceSpec(backfill_idle=0)),
            emission=Emission(),
            state=state,
            positions=positions,
            marks=marks,
            commit=commit,
            origins=[(s, p) for s in Source for p in range(self.partitions) if p != number],
            arrivals=Arrivals(arrived, stored.origins, stored.numbers),
            tasks=self.partitions,
            flushed=flushed,
            erasures=self.done[number],
            by_time=self.by_time,
        )
        if self.without == "pending":
            engine.unsent = []
        return engine

    def start(self, number: int) -> None:
        """The task begins again: all that was in memory is gone."""
        self._dead.discard(number)
        self.tasks[number] = EngineTask(self._begin(number))
        self._send_again(number)

    def _send_again(self, number: int) -> None:
        engine = self.tasks[number].engine
        self._send(number, engine.unsent)
        engine.sent()

    def read(self, number: int, source: Source, most: int | None = None) -> None:
        """Read on in a source: what lives elsewhere is forwarded, parts of several records in one."""
        task = self.tasks[number]
        start = task.engine.progress(source).position
        records = self.logs[source, number][start : None if most is None else start + most]
        here: list[Activity] = []
        elsewhere: dict[int, list[Activity]] = defaultdict(list)
        for record in records:
            for part in (record, *parts_of(record)):
                home = self._partitioner.partition(home_of(part))
                (here if home == number else elsewhere[home]).append(part)
        for home, parts in elsewhere.items():
            previous, last = task.last[source, home], parts[-1].offset
            self.topic[home].append(Forwarded(source, number, last, previous, parts))
            task.last[source, home] = last
        task.engine.forwarded(source, records, self.now)
        self._take(task.engine.apply(source, here, start + len(records), self.now))

    def arrive(self, number: int, most: int | None = None) -> None:
        """Read on in the activity topic."""
        task = self.tasks[number]
        start = task.engine.arrived_position
        if self.without == "numbers":
            for one in task.engine._origins.values():
                if one.rank >= STREAM and one.origin is not None:
                    one.origin.taken = -1
        messages = self.topic[number][start : None if most is None else start + most]
        read: list[tuple[int, Forwarded | Report]] = []
        for offset, message in enumerate(messages, start):
            if isinstance(message, tuple):
                previous, of, packed = message
                item = msgspec.msgpack.decode(packed, type=Passed)
                activities = [activity_of(item, len(packed))]
                read.append((offset, Forwarded(STREAM + item.stream, of, item.number, previous, activities)))
            else:
                read.append((offset, message))
        self._take(task.engine.arrive(read, start + len(messages), self.now))

    def erase(self, number: int) -> None:
        """The task reads on in the topic of requests to erase somebody."""
        engine = self.tasks[number].engine
        read = [
            Erasure(id_, known, at, f"r-{at}", self._partitioner.partition(id_.encode()) == number)
            for id_, known, at in self.requests[engine.erasures_position :]
        ]
        self._take(engine.erase(read, len(self.requests)))

    def tick(self, number: int, *, fetches: bool = True) -> None:
        """Time is looked at, with fetches that have shown the ends; and the others are told."""
        task, engine = self.tasks[number], self.tasks[number].engine
        ends = {source: Fetch(self.now, len(self.logs[source, number])) for source in Source}
        self._take(engine.advance(self.now, ends if fetches else {}))
        slowest = engine.slowest()
        for other in range(self.partitions):
            for rank in (*([] if other == number else Source), *range(STREAM, STREAM + STREAMS)):
                progress, drained_at = engine.report(rank)
                if self.without == "hold" and rank >= STREAM:
                    progress, drained_at = engine._levels[rank - STREAM].frontier(self.now), self.now
                report = Report(rank, number, task.last[rank, other], progress, drained_at, slowest)
                self.topic[other].append(report)

    def commit(self, number: int, dies: str = "") -> None:
        """Carry a commit through, or die at one of `STEPS`."""
        snapshot = self.tasks[number].engine.snapshot()
        if snapshot is not None and not self._carried_through(number, snapshot, dies):
            self.start(number)

    def _carried_through(self, number: int, snapshot: Snapshot, dies: str) -> bool:
        if dies == "before" or number in self._dead:  # nothing is written before all that was sent has arrived
            return False
        log, changes = self.changelogs[number], snapshot.changes
        self.largest = max([self.largest, *(len(value or b"") for _, value in changes)])
        if dies == "in flush":
            log += changes[: int(len(changes) * self._cut.random()) + 1]
            return False
        log += changes
        self.markers[number] = snapshot.commit, snapshot.arrivals
        if dies == "flushed":
            return False
        self._send(number, snapshot.passed[: len(snapshot.passed) // 2] if dies == "sending" else snapshot.passed)
        self.received += snapshot.outputs
        if dies or number in self._dead:
            return False
        self.tasks[number].engine.sent()
        assert snapshot.arrivals is not None
        self.committed[number] = (snapshot.commit, snapshot.positions, snapshot.marks, snapshot.arrivals.position)
        self.done[number] = snapshot.erasures
        return True

    def _send(self, number: int, items: Iterable[Passed]) -> None:
        last = self.tasks[number].last
        for item in items:
            home, rank = self._partitioner.partition(passed_key(item)), STREAM + item.stream
            previous = -1 if self.without == "previous" else last[rank, home]
            last[rank, home] = item.number
            if number in self.lose:
                self.lose.discard(number)
                self._dead.add(number)
                continue
            self.topic[home].append((previous, number, msgspec.msgpack.encode(item)))

    def _take(self, effects: Effects) -> None:
        self.received += effects.outputs
        self.counts += effects.counts

    # -- the end

    def run(self, rounds: int = 12) -> None:
        """Go on until all is read, applied, passed on and told."""
        for _ in range(rounds):
            self.now += 1_000
            for number in range(self.partitions):
                for source in Source:
                    self.read(number, source)
                self.arrive(number)
                self.erase(number)
                self.tick(number)
            for number in range(self.partitions):
                self.commit(number)

    def crashing(self, rng: random.Random, steps: int) -> None:
        """Everything happens to every task, in any order."""
        for _ in range(steps):
            number = rng.randrange(self.partitions)
            match rng.randrange(32):
                case 0 | 1 | 2 | 3 | 4 | 5 | 31:
                    self.read(number, rng.choice(list(Source)), rng.randrange(1, 8))
                    if rng.random() < 0.2:
                        self.erase(number)
                case 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15 | 26 | 27 | 28 | 29 | 30:
                    self.arrive(number, rng.randrange(1, 60))
                case 16 | 17 | 18 | 19:
                    self.now += rng.choice([0, 100, 2_000])
                    self.tick(number)
                case 20:
                    self.commit(number, rng.choice((*STEPS, *["in flush"] * 4)))
                case 21 if rng.random() < 0.3:
                    self.lose.add(number)
                case _:
                    self.commit(number)
        self.lose.clear()

    def profiles(self) -> Mapping[tuple[bool, str], Profile]:
        """Everybody's."""
        return {
            (profile.identified, profile.customer): profile
            for task in self.tasks
            for _, profile in task.engine.state.items()
        }

    def aliases(self) -> dict[bytes, Profile]:
        """What is known of ids that are no customer's, as it was written."""
        return {
            key: profile
            for task in self.tasks
            for key, value in task.engine.state._cold.items()
            if not is_mark(key)
            if (profile := unpack(value)).alias is not None
        }


def _without_holes(value: bytes | None) -> bytes | None:
    if value is None or value[0] > VERSION:  # a mark
        return value
    profile = unpack(value)
    profile.holes = None
    return pack(profile)
