"""Engines of several partitions that send each other repartitioned events and internal messages, without the shell.

Topics are lists. Topics, changelogs and committed offsets survive a crash, as they do on a broker. A flush can be cut
in half, and an internal message can be lost although later ones arrive, as happens when a producer gives up.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from streams.contracts.partitioning import Partitioner
from streams.core.engine.config import EngineConfig, LastCommit
from streams.core.engine.partition_engine import PartitionEngine
from streams.core.event_time.inputs import FIRST_MESSAGES, MESSAGE_STREAMS, message_rank
from streams.core.identity.aliases import event_of_message, home_key, message_key, parts_of
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.counters import EngineCounters
from streams.core.model.currencies import PRICE_UNIT
from streams.core.model.event import Event, Source
from streams.core.model.internal_messages import InternalMessage
from streams.core.model.outputs import Effects, EmissionPolicy, Output, Snapshot
from streams.core.model.policy import Policy
from streams.core.model.sources import (
    Erasure,
    Fetch,
    ProgressReport,
    RepartitionedRecord,
    SourceSpec,
    StoredProgress,
    StoredRepartition,
    rank_of,
)
from streams.core.profile.codec import NEWEST_FORMAT, pack, unpack
from streams.core.profile.profile import Profile
from streams.core.store.erasure_markers import is_marker
from streams.core.store.task_state import TaskState
from tests.support.default_playbook import default_playbook

Message = RepartitionedRecord | ProgressReport | tuple[int, int, bytes]
"""A message on the repartition topic. A tuple is an internal message: the number of the previous message from the same
task, the number of that task, and the packed content."""
COMMIT_STEPS = ("before", "in flush", "flushed", "sending", "sent")
"""The points of a commit at which a task can crash."""


def record(at: int, type_: str, customer: str | None, device: str | None, **fields: Any) -> Event:
    """Return an event of a customer, of a device, or of a customer on a device."""
    who = customer or device
    assert who is not None
    order = {"source": Source.ORDERS, "order_id": f"o-{at}", "total": 500} if type_ == "order_completed" else {}
    given: dict[str, Any] = (
        {"source": Source.CLICKSTREAM, "currency": "EUR", "price": 100 * PRICE_UNIT} | order | fields
    )
    return Event(
        offset=-1, timestamp=at, size=200, at=at, customer=who, identified=customer is not None, event_id=f"e-{at}",
        type=type_, other=device if customer else None, **given,
    )  # fmt: skip


def by_id(outputs: Iterable[Output]) -> dict[str, Output]:
    """Return the outputs as a subscriber sees them that deduplicates by id.

    Fail if two outputs with the same id differ.
    """
    found: dict[str, Output] = {}
    for output in outputs:
        assert found.setdefault(output.id, output) == output
    return found


class EngineTask:
    """The part of a partition that is in the memory of a worker. A crash loses it."""

    def __init__(self, engine: PartitionEngine) -> None:
        self.engine = engine
        self.last_sent: dict[tuple[int, int], int] = defaultdict(lambda: -1)
        """The number of the last message sent, by rank and target partition."""


class PartitionNetwork:
    """A task for each of some partitions, with the topics between them."""

    def __init__(
        self,
        now: int,
        partitions: int,
        disabled_guard: str = "",
        policy: Policy = Policy(),
        *,
        event_time_ordering: bool = False,
    ) -> None:
        """`disabled_guard` is for negative controls. It disables one mechanism that makes the outputs exact:

        - `numbers`: a task remembers the numbers of the internal messages that it has taken
        - `previous`: each message names the previous one, so that a lost one is noticed
        - `pending`: a task resends the messages of an unfinished commit
        - `hold`: a task reports no progress beyond the messages that it still has to send
        - `cut`: a task knows the last commit that it flushed completely
        - `offset_gaps`: a profile remembers offsets that it skipped
        """
        self.now = now
        self.event_time_ordering = event_time_ordering
        self.partitions = partitions
        self.disabled_guard = disabled_guard
        self.logs: dict[tuple[Source, int], list[Event]] = defaultdict(list)
        self.topic: list[list[Message]] = [[] for _ in range(partitions)]
        self.changelogs: list[list[tuple[bytes, bytes | None]]] = [[] for _ in range(partitions)]
        self.commit_markers: list[tuple[int, StoredRepartition | None]] = [(0, None)] * partitions
        self.committed: list[tuple[int, dict[Source, int], dict[Source, StoredProgress], int]] = [
            (0, {}, {}, 0)
        ] * partitions
        self.erasure_requests: list[tuple[str, bool, int]] = []
        """Erasure requests (id, whether it is the id of a customer, time). Every partition reads all of them."""
        self.erasures_done = [0] * partitions
        """The committed offset of the erasure requests, by partition."""
        self.received: list[Output] = []
        self.counts: EngineCounters = Counter()
        self.largest_record = 0
        """Size of the largest changelog record, in bytes."""
        self.drops_next_item: set[int] = set()
        """Tasks whose next internal message is lost while later ones arrive. The task crashes at its next commit."""
        self._failed: set[int] = set()
        self._cut = random.Random(partitions)
        self._lifecycle = Lifecycle(default_playbook(policy=policy))
        self._partitioner = Partitioner(partitions)
        self.tasks = [EngineTask(self._recover(number)) for number in range(partitions)]
        for number in range(partitions):
            self._resend(number)

    # -- topics

    def append(self, partition: int, *records: Event) -> None:
        """Append records to a partition of their topic, whether or not their customers belong to that partition."""
        for record in records:
            log = self.logs[record.source, partition]
            record.offset, record.timestamp = len(log), record.at
            log.append(record)

    # -- the tasks

    def _recover(self, number: int) -> PartitionEngine:
        state = TaskState()
        for key, value in self.changelogs[number]:
            state.restore(key, _without_offset_gaps(value) if self.disabled_guard == "offset_gaps" else value)
        commit, positions, marks, arrived = self.committed[number]
        flushed, arrivals = self.commit_markers[number]
        self.received += state.unsent_outputs(commit)
        stored = arrivals or StoredRepartition(0, [])
        if self.disabled_guard == "cut":
            flushed = state.commit
        engine = PartitionEngine(
            self._lifecycle,
            EngineConfig(
                partition=number,
                sources=dict.fromkeys(Source, SourceSpec(backfill_idle=0)),
                emission=EmissionPolicy(),
                upstreams=[(s, p) for s in Source for p in range(self.partitions) if p != number],
                tasks=self.partitions,
                event_time_ordering=self.event_time_ordering,
            ),
            LastCommit(
                positions=positions,
                progress=marks,
                commit=commit,
                repartition=StoredRepartition(arrived, stored.upstreams, stored.numbers),
                flushed=flushed,
                erasures=self.erasures_done[number],
            ),
            state=state,
        )
        if self.disabled_guard == "pending":
            engine.unsent = []
        return engine

    def restart(self, number: int) -> None:
        """Start the task again. Everything that it had in memory is lost."""
        self._failed.discard(number)
        self.tasks[number] = EngineTask(self._recover(number))
        self._resend(number)

    def _resend(self, number: int) -> None:
        engine = self.tasks[number].engine
        self._send(number, engine.unsent)
        engine.messages_sent()

    def read_source(self, number: int, source: Source, most: int | None = None) -> None:
        """Read on in a source. Events of other partitions are forwarded, several of them in one message."""
        task = self.tasks[number]
        start = task.engine.progress(source).position
        records = self.logs[source, number][start : None if most is None else start + most]
        here: list[Event] = []
        elsewhere: dict[int, list[Event]] = defaultdict(list)
        for record in records:
            for part in (record, *parts_of(record)):
                home = self._partitioner.partition(home_key(part))
                (here if home == number else elsewhere[home]).append(part)
        for home, parts in elsewhere.items():
            previous, last = task.last_sent[source, home], parts[-1].offset
            self.topic[home].append(RepartitionedRecord(rank_of(source), number, last, previous, parts))
            task.last_sent[source, home] = last
        task.engine.observe_forwarded(source, records, self.now)
        self._take(task.engine.ingest(source, here, start + len(records), self.now))

    def read_repartitioned(self, number: int, most: int | None = None) -> None:
        """Read on in the repartition topic."""
        task = self.tasks[number]
        start = task.engine.repartition_position
        if self.disabled_guard == "numbers":
            for one in task.engine._inputs.upstreams.values():
                if one.rank >= FIRST_MESSAGES and one.upstream is not None:
                    one.upstream.taken = -1
        messages = self.topic[number][start : None if most is None else start + most]
        read: list[tuple[int, RepartitionedRecord | ProgressReport]] = []
        for offset, message in enumerate(messages, start):
            if isinstance(message, tuple):
                previous, of, packed = message
                item = msgspec.msgpack.decode(packed, type=InternalMessage)
                activities = [event_of_message(item, len(packed))]
                read.append(
                    (offset, RepartitionedRecord(message_rank(item.stream), of, item.number, previous, activities))
                )
            else:
                read.append((offset, message))
        self._take(task.engine.receive(read, start + len(messages), self.now))

    def erase(self, number: int) -> None:
        """Read on in the topic of erasure requests."""
        engine = self.tasks[number].engine
        read = [
            Erasure(id_, known, at, f"r-{at}", self._partitioner.partition(id_.encode()) == number)
            for id_, known, at in self.erasure_requests[engine.erasures_position :]
        ]
        self._take(engine.erase(read, len(self.erasure_requests)))

    def tick(self, number: int, *, fetches: bool = True) -> None:
        """Advance the task to the present, and report its progress to all tasks.

        With `fetches`, fetches have just shown the ends of its topics.
        """
        task, engine = self.tasks[number], self.tasks[number].engine
        ends = {source: Fetch(self.now, len(self.logs[source, number])) for source in Source}
        self._take(engine.advance(self.now, ends if fetches else {}))
        slowest = engine.slowest()
        for other in range(self.partitions):
            for rank in (
                *([] if other == number else Source),
                *range(FIRST_MESSAGES, FIRST_MESSAGES + MESSAGE_STREAMS),
            ):
                progress, drained_at = engine.report(rank)
                if self.disabled_guard == "hold" and rank >= FIRST_MESSAGES:
                    progress, drained_at = engine._inputs.stages[rank - FIRST_MESSAGES].frontier(self.now), self.now
                report = ProgressReport(rank, number, task.last_sent[rank, other], progress, drained_at, slowest)
                self.topic[other].append(report)

    def commit(self, number: int, crash_at: str = "") -> None:
        """Commit, or crash at one of `COMMIT_STEPS`."""
        snapshot = self.tasks[number].engine.snapshot()
        if snapshot is not None and not self._carry_out(number, snapshot, crash_at):
            self.restart(number)

    def _carry_out(self, number: int, snapshot: Snapshot, crash_at: str) -> bool:
        if crash_at == "before" or number in self._failed:  # the flush waits for all messages sent before
            return False
        log, changes = self.changelogs[number], snapshot.changes
        self.largest_record = max([self.largest_record, *(len(value or b"") for _, value in changes)])
        if crash_at == "in flush":
            log += changes[: int(len(changes) * self._cut.random()) + 1]
            return False
        log += changes
        self.commit_markers[number] = snapshot.commit, snapshot.repartition
        if crash_at == "flushed":
            return False
        self._send(
            number, snapshot.messages[: len(snapshot.messages) // 2] if crash_at == "sending" else snapshot.messages
        )
        self.received += snapshot.outputs
        if crash_at or number in self._failed:
            return False
        self.tasks[number].engine.messages_sent()
        assert snapshot.repartition is not None
        self.committed[number] = (
            snapshot.commit,
            snapshot.positions,
            snapshot.source_progress,
            snapshot.repartition.position,
        )
        self.erasures_done[number] = snapshot.erasures
        return True

    def _send(self, number: int, items: Iterable[InternalMessage]) -> None:
        last = self.tasks[number].last_sent
        for item in items:
            home, rank = self._partitioner.partition(message_key(item)), FIRST_MESSAGES + item.stream
            previous = -1 if self.disabled_guard == "previous" else last[rank, home]
            last[rank, home] = item.number
            if number in self.drops_next_item:
                self.drops_next_item.discard(number)
                self._failed.add(number)
                continue
            self.topic[home].append((previous, number, msgspec.msgpack.encode(item)))

    def _take(self, effects: Effects) -> None:
        self.received += effects.outputs
        self.counts += effects.counts

    # -- several steps

    def run(self, rounds: int = 12) -> None:
        """Let all tasks read, tick and commit, for enough rounds that everything is applied and reported."""
        for _ in range(rounds):
            self.now += 1_000
            for number in range(self.partitions):
                for source in Source:
                    self.read_source(number, source)
                self.read_repartitioned(number)
                self.erase(number)
                self.tick(number)
            for number in range(self.partitions):
                self.commit(number)

    def run_with_crashes(self, rng: random.Random, steps: int) -> None:
        """Take steps of any kind, of any task, in random order, crashes included."""
        for _ in range(steps):
            number = rng.randrange(self.partitions)
            match rng.randrange(32):
                case 0 | 1 | 2 | 3 | 4 | 5 | 31:
                    self.read_source(number, rng.choice(list(Source)), rng.randrange(1, 8))
                    if rng.random() < 0.2:
                        self.erase(number)
                case 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15 | 26 | 27 | 28 | 29 | 30:
                    self.read_repartitioned(number, rng.randrange(1, 60))
                case 16 | 17 | 18 | 19:
                    self.now += rng.choice([0, 100, 2_000])
                    self.tick(number)
                case 20:
                    self.commit(number, rng.choice((*COMMIT_STEPS, *["in flush"] * 4)))
                case 21 if rng.random() < 0.3:
                    self.drops_next_item.add(number)
                case _:
                    self.commit(number)
        self.drops_next_item.clear()

    def profiles(self) -> Mapping[tuple[bool, str], Profile]:
        """Return the profiles of all tasks, by whether they are identified, and id."""
        return {
            (profile.identified, profile.customer): profile
            for task in self.tasks
            for _, profile in task.engine.state.items()
        }

    def aliases(self) -> dict[bytes, Profile]:
        """Return the stored records of devices and carts, by key."""
        return {
            key: profile
            for task in self.tasks
            for key, value in task.engine.state._tiers.packed.items()
            if not is_marker(key)
            if (profile := unpack(value)).alias is not None
        }


def _without_offset_gaps(value: bytes | None) -> bytes | None:
    if value is None or value[0] > NEWEST_FORMAT:  # an erasure marker
        return value
    profile = unpack(value)
    profile.offset_gaps = None
    return pack(profile)
