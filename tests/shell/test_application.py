"""The parts of a worker that need no broker: assignment, work loops, watchdog and end, with a fake context."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError, KafkaTimeoutError
from faust.types import TP

from streams import playbooks
from streams.core.event_time.inputs import ERASURES, REPARTITION, upstream_id
from streams.core.model.event import Source
from streams.core.model.sources import NOT_READ, Fetch, StoredProgress, StoredRepartition, StoredUpstream
from streams.errors import UserError
from streams.settings import Settings
from streams.shell.clock import ClockTrust
from streams.shell.commit.committer import Committer
from streams.shell.commit.guarantee import Offsets
from streams.shell.commit.metadata import CommitMarker, OffsetMetadata, encode
from streams.shell.faults import Defect, FetchingEnded
from streams.shell.monitoring import last_failure
from streams.shell.worker import start_offsets
from streams.shell.worker.assignment import Assignment, GroupStatus
from streams.shell.worker.factory import create_app
from streams.shell.worker.lifetime import EXIT_FORCED
from streams.shell.worker.loops import WorkLoops
from streams.shell.worker.watch import Watchdog
from streams.transport.driver import Polled
from tests.support.worker_context import FakeWorker

PLAYBOOK = playbooks.load(playbooks.DEFAULT)
CLICKS, ORDERS, REQUESTS = TP("clickstream", 0), TP("orders", 0), TP("lifecycle-erasures", 0)
ALL = frozenset({CLICKS, ORDERS, REQUESTS})
REPARTITIONED = TP("lifecycle-activity", 0)


async def test_a_broker_that_is_away_while_a_partition_is_paused_ends_nothing() -> None:
    """An exception in this loop would end the worker."""
    worker = FakeWorker()
    worker.consumer.highwaters_failure = KafkaTimeoutError()
    worker.context.tasks.paused = {ORDERS: Source.ORDERS}
    assert await Watchdog(worker.context, PLAYBOOK).lag_of_paused() == {}


# -- work loops


def loops_of(worker: FakeWorker, *, commit: Any = None, doubt: Any = None) -> WorkLoops:
    """Return the work loops of a worker without silent topics."""
    guarantee: Any = SimpleNamespace(doubt=doubt)
    committer: Any = SimpleNamespace(commit=commit)
    silence: Any = SimpleNamespace(silent=lambda now: frozenset())
    return WorkLoops(worker.context, guarantee, committer, silence)


async def test_a_client_that_has_ceased_to_read_ends_the_worker() -> None:
    """Otherwise heartbeats would go on, polls would bring nothing, and the lag would stand still."""
    worker = FakeWorker()
    worker.consumer.fetching_ended = KafkaError("no such thing")
    with pytest.raises(FetchingEnded, match=r"stopped reading .*no such thing"):
        await loops_of(worker).tick()


async def test_clock_jump_is_noticed_before_any_deadline_fires() -> None:
    wall, done, trust = 0, list[Any](), ClockTrust()
    trust.given = True
    worker = FakeWorker(clock=lambda: wall)

    async def flush() -> None:
        """Nothing to send."""

    task: Any = SimpleNamespace(
        trust=trust, read={0: CLICKS}, flush=flush, advance=lambda fetches, silent: done.append(fetches)
    )
    worker.context.tasks.partitions = {0: task}
    worker.consumer.fetches, worker.consumer.ahead = {CLICKS: Fetch(0, 5)}, {CLICKS: 1}
    loops = loops_of(worker, doubt=lambda: done.append("doubted"))
    await loops._advance([task])
    wall = 3 * 3_600_000
    await loops._advance([task])
    assert done == [{0: Fetch(0, 5)}, "doubted", {}]
    assert not trust.given
    assert worker.consumer.ahead == {}


class Full:
    """A worker with one task that must commit after its first chunk."""

    def __init__(self, commit: Any) -> None:
        self.done: list[str] = []
        self.worker = FakeWorker()
        task: Any = SimpleNamespace(process=self._process, must_pause=lambda source: False, flush=self._flush)
        task.must_commit = True
        task.unfinished = False
        self.task = task
        self.worker.context.tasks.partitions = {0: task}
        self.loops = loops_of(self.worker, commit=commit)

    def _process(self, source: Source, chunk: list[int]) -> None:
        self.done.append(f"process {chunk}")

    async def _flush(self) -> None:
        self.done.append("flush")

    async def process(self, chunks: Any, *, more: bool) -> None:
        """Process what a poll of clicks brought."""
        await self.loops.process(Source.CLICKSTREAM, SimpleNamespace(generation_id=1), Polled(chunks, more))


async def test_a_chunk_that_leaves_too_much_unwritten_is_followed_by_a_commit() -> None:
    async def commit(tasks: list[Any]) -> None:
        full.done.append(f"commit {tasks == [full.task]}")
        full.task.must_commit = False

    full = Full(commit)
    await full.process([(TP("clicks", 0), [1]), (TP("clicks", 0), [2])], more=False)
    assert full.done == ["process [1]", "commit True", "process [2]", "flush"]


async def test_outputs_of_all_topics_of_one_poll_are_flushed_together() -> None:
    full = Full(None)
    full.task.must_commit = False
    for number, more in enumerate((True, False)):
        await full.process([(TP("clicks", 0), [number])], more=more)
    assert full.done == ["process [0]", "process [1]", "flush"]


CUSTOMER = "c-17"


def poisoned(*handed_over: Any) -> None:
    raise KeyError(CUSTOMER)


def with_a_poisoned_task() -> Full:
    """Return a worker whose task raises an exception for every chunk."""
    full = Full(None)
    full.task.process = full.task.advance = poisoned
    full.task.read = {}
    full.task.next_offsets = lambda: {TP("clicks", 3): 40, TP("orders", 3): 9}
    full.worker.context.tasks.partitions = {3: full.task}
    return full


async def test_defect_names_the_records_and_no_customer(caplog: pytest.LogCaptureFixture) -> None:
    """Every later worker ends there as well, until an operator finds the record."""
    full = with_a_poisoned_task()
    await full.process([(TP("clicks", 3), SimpleNamespace(start=40, next=51))], more=False)
    defect: Any
    [defect] = full.worker.failed
    assert str(defect).startswith(
        "KeyError at clicks, partition 3, offsets 40 to 50, or at records that had waited (orders before offset 9): "
        "a defect of this program."
    )
    logging.getLogger().critical("%s", defect, exc_info=defect.behind)
    assert "in poisoned" in caplog.text
    assert CUSTOMER not in caplog.text


async def test_defect_in_a_deadline_names_the_offsets_read_so_far() -> None:
    full = with_a_poisoned_task()
    said = "KeyError as time passed in partition 3, or at records that had waited [(]clicks before offset 40"
    with pytest.raises(Defect, match=said):
        await full.loops._advance([full.task])


class Busy:
    """A task that needs a number of steps, and a commit before the third."""

    def __init__(self, number: int, steps: int, done: list[str]) -> None:
        self.number, self.done, self._left = number, done, steps
        self.must_commit = self.closed = False
        self.read: dict[int, TP] = {}

    @property
    def unfinished(self) -> bool:
        return self._left > 0

    def advance(self, fetches: Any, silent: Any) -> None:
        self.done.append(f"step of {self.number}")
        self._left -= 1
        self.must_commit = self.number == 0 and self._left == 1

    async def flush(self) -> None:
        """Nothing to send."""


class Stepping:
    """A worker whose tasks need the given numbers of steps."""

    def __init__(self, *steps: int) -> None:
        self.done: list[str] = []
        self.tasks: Any = [Busy(number, left, self.done) for number, left in enumerate(steps)]
        worker = FakeWorker()
        worker.context.tasks.partitions = dict(enumerate(self.tasks))
        self.loops = loops_of(worker, commit=self._commit)

    async def _commit(self, tasks: list[Busy]) -> None:
        self.done.append("commit")
        for task in tasks:
            task.must_commit = False


async def test_long_work_yields_between_steps_and_commits_in_time() -> None:
    stepping = Stepping(3, 1)

    async def other() -> None:
        while any(task.unfinished for task in stepping.tasks):
            stepping.done.append("another")
            await asyncio.sleep(0)

    others = asyncio.create_task(other())
    await stepping.loops._finish(stepping.tasks)
    await others
    assert stepping.done == [
        "another", "step of 0", "step of 1",
        "another", "step of 0", "commit",
        "another", "step of 0",
    ]  # fmt: skip


async def test_released_task_takes_no_further_steps() -> None:
    stepping = Stepping(3, 3)
    stepping.tasks[0].closed = True
    await stepping.loops._finish(stepping.tasks)
    assert stepping.done == ["step of 1"] * 3


# -- assignment


class StartedTask:
    """A task that only knows with which arguments it was made."""

    def __init__(self, arguments: Any) -> None:
        self.arguments = arguments


class Beginning:
    """A recovered worker. `done` records its calls."""

    def __init__(
        self,
        settings: Settings | None = None,
        committed: Mapping[TP, tuple[int, str]] | None = None,
    ) -> None:
        """`committed` gives the group's offsets; by default only that of the clicks."""
        settings = Settings(partitions=1) if settings is None else settings
        self.worker = FakeWorker(settings, committed={CLICKS: (5, "")} if committed is None else committed)
        self.context, self.consumer = self.worker.context, self.worker.consumer
        self.done = self.consumer.done
        self.made: list[int] = []
        self.guarantee: Any = SimpleNamespace(
            fenced=self.fenced, begin=lambda offsets, first: None, assigned=lambda names: None
        )
        committer: Any = SimpleNamespace(commit=self._commit)
        self.assignment = Assignment(
            self.context, self.worker.lifetime, self.guarantee, committer, factory=self.factory(),
            check_silence=self._check_silence,
        )  # fmt: skip

    def factory(self) -> Any:
        """Return a factory of tasks that records its calls."""

        def partition_task(number: int, positions: Mapping[int, int], metadata: Mapping[int, str]) -> Any:
            self.made.append(number)
            return StartedTask(dict(positions))

        def repartition_task(source: Source, tp: TP, position: int, metadata: str, taken: int) -> Any:
            return StartedTask((source, position, metadata, taken))

        return SimpleNamespace(partition_task=partition_task, repartition_task=repartition_task)

    def marker(self, number: int, repartition: StoredRepartition) -> None:
        """Give the state of a partition a commit marker."""
        self.worker.table.partition(number).marker = encode(CommitMarker(1, 0, {}, repartition))

    @property
    def tasks(self) -> dict[int, Any]:
        """Return the start offsets of the partition tasks at work."""
        tasks: Any = self.context.tasks.partitions
        return {number: task.arguments for number, task in tasks.items()}

    @property
    def repartition_tasks(self) -> dict[TP, Any]:
        """Return the arguments of the repartition tasks at work."""
        tasks: Any = self.context.tasks.repartition
        return {tp: task.arguments for tp, task in tasks.items()}

    async def fenced(self) -> None:
        self.done.append("fenced")

    async def _check_silence(self) -> None:
        self.done.append("silence checked")

    async def _commit(self, tasks: Any, *, leaving: bool = False) -> None:
        """Pretend that the commit succeeded."""


async def test_every_source_is_sought_also_one_without_a_committed_offset_and_only_once_predecessors_are_fenced() -> (
    None
):
    """A dropped fetch has moved the position. Faust leaves it there, and the records of that fetch would be lost."""
    beginning = Beginning()
    await beginning.assignment.recovered(ALL)
    assert beginning.done[:3] == ["silence checked", "fenced", "committed read"]
    assert sorted(beginning.done[3:]) == [(CLICKS, 5), (REQUESTS, 3), (ORDERS, 3)]
    assert beginning.tasks == {0: {Source.CLICKSTREAM: 5, Source.ORDERS: 3, ERASURES: 3}}
    assert beginning.worker.spawned == 1  # the first commit


@pytest.mark.parametrize("over", [False, True])
async def test_partitions_that_are_taken_away_while_it_begins_are_not_worked_on(over: bool) -> None:
    """A commit for them would be refused, and end the worker."""
    beginning = Beginning()
    assignment = beginning.assignment

    async def revoked() -> None:
        await assignment.revoked()
        if over:
            assignment.assigned(ALL)

    beginning.guarantee.fenced = revoked
    await assignment.recovered(ALL)
    assert beginning.tasks == {}
    assert beginning.made == []  # transactions of the predecessor may not be fenced yet
    beginning.guarantee.fenced = beginning.fenced
    assignment.assigned(ALL)
    await assignment.recovered(ALL)
    assert list(beginning.tasks) == [0]


async def test_worker_stopped_while_it_starts_starts_no_tasks() -> None:
    """The worker has made its last commit by then, and later work would not be committed."""
    beginning = Beginning()
    beginning.worker.lifetime.stopping = True
    await beginning.assignment.recovered(ALL)
    assert beginning.tasks == {}


@pytest.mark.parametrize(
    ("position", "committed", "start"),
    [
        (NOT_READ, 7, 7),  # the messages still on the topic are read
        (NOT_READ, 1, 3),  # expired messages are not waited for
        (NOT_READ, None, 3),
        (7, 7, 7),
        (7, 1, 1),  # records were lost, which is reported when they cannot be read
        (7, None, None),
    ],
)
async def test_identity_resolution_can_be_switched_on_again_after_any_time(
    position: int, committed: int | None, start: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`position` is that of the repartition topic at the last flush, `committed` its committed offset. It begins at
    offset 3."""
    monkeypatch.setattr(start_offsets, "OFFSET_ATTEMPTS", 1)
    offsets = {CLICKS: 5, ORDERS: 5, REQUESTS: 5} | ({} if committed is None else {REPARTITIONED: committed})
    settings = Settings(partitions=1, identity_resolution=True)
    beginning = Beginning(settings, {tp: (offset, "") for tp, offset in offsets.items()})
    beginning.marker(0, StoredRepartition(position, []))
    await beginning.assignment.recovered(ALL | {REPARTITIONED})
    assert beginning.worker.failures == ([] if start is not None else ["NoOffset"])
    sought: dict[TP, int] = dict([done for done in beginning.done if isinstance(done, tuple)])
    assert sought.get(REPARTITIONED) == start


OF_TASK = {TP("clickstream", 1): "", TP("lifecycle-erasures", 1): "", TP("lifecycle-activity", 1): ""}


def with_orders_not_co_partitioned(metadata: Mapping[TP, str], upstreams: list[StoredUpstream]) -> Beginning:
    """Return a worker with three partitions of orders for two tasks.

    `metadata` is that of the group's offsets, `upstreams` the upstream progress in the commit marker of task 1.
    """
    settings = Settings(partitions=2, orders_co_partitioned=False)
    beginning = Beginning(settings, {tp: (5, text) for tp, text in metadata.items()})
    topics = beginning.context.topics
    topics.not_co_partitioned = frozenset({Source.ORDERS})
    beginning.consumer.counts = {"clickstream": 2, "orders": 3}
    topics.partition_counts = {Source.CLICKSTREAM: 2, Source.ORDERS: 3}
    for number in range(3):
        beginning.marker(number, StoredRepartition(0, upstreams))
    return beginning


async def test_assigned_repartition_tasks_are_sought_and_started_with_the_tasks() -> None:
    upstreams = [
        StoredUpstream(upstream_id(Source.ORDERS, 0), 4, None),
        StoredUpstream(upstream_id(Source.CLICKSTREAM, 0), 9, None),
    ]
    beginning = with_orders_not_co_partitioned({**OF_TASK, TP("orders", 0): "stored"}, upstreams)
    begun: list[Any] = []
    beginning.guarantee.begin = lambda offsets, first: begun.append((set(offsets), set(first)))
    orders = {TP("orders", 0), TP("orders", 2)}
    await beginning.assignment.recovered(frozenset({*OF_TASK, *orders}))
    assert beginning.worker.failures == []
    assert beginning.tasks == {1: {Source.CLICKSTREAM: 5, REPARTITION: 5, ERASURES: 5}}
    assert beginning.repartition_tasks == {
        TP("orders", 0): (Source.ORDERS, 5, "stored", 4),
        TP("orders", 2): (Source.ORDERS, 3, "", -1),
    }
    assert orders < {done[0] for done in beginning.done if isinstance(done, tuple)}
    assert begun == [({*OF_TASK, TP("orders", 0)}, {TP("orders", 2)})]
    assert TP("orders", 1) in beginning.consumer.wanted  # the task may once have read it itself


@pytest.mark.parametrize(
    ("upstreams", "failed"),
    [
        ([], []),
        ([StoredUpstream(upstream_id(Source.ORDERS, 2), -1, None)], []),
        ([StoredUpstream(upstream_id(Source.ORDERS, 2), 7, None)], ["NoOffset"]),
        ([StoredUpstream(upstream_id(Source.ORDERS, 0), -1, 7)], ["NoOffset"]),
        ([StoredUpstream(upstream_id(Source.CLICKSTREAM, 0), 7, None)], []),
    ],
)
async def test_missing_offset_of_a_partition_that_a_task_has_applied_ends_the_worker(
    upstreams: list[StoredUpstream], failed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The offset was lost, or the topic is another one."""
    monkeypatch.setattr(start_offsets, "OFFSET_ATTEMPTS", 1)
    beginning = with_orders_not_co_partitioned(OF_TASK, upstreams)
    await beginning.assignment.recovered(frozenset({*OF_TASK, TP("orders", 2)}))
    assert beginning.worker.failures == failed


@pytest.mark.parametrize(
    ("counts", "failed"),
    [
        ({"clickstream": 2, "orders": 4}, []),
        ({"clickstream": 2, "orders": 2}, ["CoPartitioningChanged"]),
        ({"clickstream": 3, "orders": 3}, ["PartitionCountChanged"]),
    ],
)
async def test_topics_that_have_grown_are_counted_again(counts: dict[str, int], failed: list[str]) -> None:
    beginning = with_orders_not_co_partitioned({**OF_TASK, TP("orders", 0): ""}, [])
    beginning.consumer.counts = counts
    await beginning.assignment.recovered(frozenset({*OF_TASK, TP("orders", 0)}))
    assert beginning.worker.failures == failed
    assert beginning.context.topics.partition_counts[Source.ORDERS] == (4 if not failed else 3)


async def test_repartition_tasks_wait_for_the_slowest_progress_also_without_tasks_in_their_worker() -> None:
    """No task reports progress of co-partitioned clicks, and a worker without a task receives no reports."""
    progress = {TP("clickstream", 0): 7, TP("clickstream", 1): 3, **{TP("orders", n): 1 for n in range(3)}}
    stored = {tp: encode(OffsetMetadata(1, 0, StoredProgress(at))).decode() for tp, at in progress.items()}
    beginning = with_orders_not_co_partitioned(stored, [])
    watchdog = Watchdog(beginning.context, PLAYBOOK)
    reported: list[int | None] = [None]
    task: Any = SimpleNamespace(engine=SimpleNamespace(slowest_anywhere=lambda: reported[0]))
    beginning.context.tasks.partitions = {0: task}
    assert watchdog.slowest_anywhere() is None
    await watchdog.find_slowest()
    assert beginning.consumer.wanted == [TP("clickstream", 0), TP("clickstream", 1)]
    assert watchdog.slowest_anywhere() is None
    for reported[0], expected in ((2, 2), (9, 3)):
        assert watchdog.slowest_anywhere() == expected
    beginning.context.tasks.partitions = {}
    await watchdog.find_slowest()
    assert watchdog.slowest_anywhere() == 1


async def test_topic_that_was_not_co_partitioned_before_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """This holds also for a worker whose partition of the topic is new and has no offset."""
    monkeypatch.setattr(start_offsets, "OFFSET_ATTEMPTS", 1)
    of_repartition_task = encode(OffsetMetadata(0, 0, StoredProgress(), repartition_task=True)).decode()
    beginning = with_orders_not_co_partitioned({**OF_TASK, TP("orders", 0): of_repartition_task}, [])
    beginning.context.topics.not_co_partitioned = frozenset()
    beginning.consumer.counts = {"clickstream": 2, "orders": 2}
    await beginning.assignment.recovered(frozenset({*OF_TASK, TP("orders", 1)}))
    assert beginning.worker.failures == ["CoPartitioningChanged"]
    del beginning.consumer.committed[TP("orders", 0)]
    beginning.worker.failed.clear()
    await beginning.assignment.recovered(frozenset({*OF_TASK, TP("orders", 1)}))
    assert beginning.worker.failures == ["NoOffset"]


def test_assigned_partitions_are_fenced_by_name() -> None:
    beginning = with_orders_not_co_partitioned({}, [])
    assigned: list[Any] = []
    beginning.guarantee.assigned = assigned.append
    beginning.assignment.assigned(frozenset({*OF_TASK, TP("orders", 0), TP("orders", 2)}))
    assert assigned == [[1, "orders/0", "orders/2"]]


async def test_a_worker_that_cannot_be_sure_of_its_partitions_ends_and_reads_nothing() -> None:
    beginning = Beginning()

    async def refused() -> None:
        raise UserError("no transactions here")

    beginning.guarantee.fenced = refused
    reading = asyncio.create_task(beginning.assignment.recovered(ALL))
    for _ in range(10):
        await asyncio.sleep(0)
    assert [str(cause) for cause in beginning.worker.failed] == ["no transactions here"]
    assert beginning.done == ["silence checked"]
    reading.cancel()


async def test_assignment_is_settled_between_rebalances_until_the_worker_ends() -> None:
    """Only then the worker asks for partition counts: the answer may begin a rebalance, and needs an open client."""
    beginning = Beginning()
    assignment = beginning.assignment
    assert (assignment.status, assignment.settled) == (GroupStatus.JOINING, False)
    for _ in range(2):
        await assignment.revoked()
        assert (assignment.status, assignment.settled) == (GroupStatus.REBALANCING, False)
        assignment.assigned(ALL)
        assert (assignment.status, assignment.settled) == (GroupStatus.ASSIGNED, True)
    beginning.worker.lifetime.stopping = True
    assert not assignment.settled


async def test_a_worker_that_ends_takes_no_new_assignment() -> None:
    beginning = Beginning()
    assigned: list[Any] = []
    beginning.guarantee.assigned = assigned.append
    beginning.assignment.assigned(ALL)
    beginning.worker.lifetime.failure = "something"
    beginning.assignment.assigned(ALL)
    assert assigned == [[0]]


# -- the end


class Leaving:
    """A worker with a task whose last commit the test controls. It records how the worker ends."""

    def __init__(self, directory: Path, commit: Any = None) -> None:
        self.worker = FakeWorker(Settings(data_dir=directory))
        trust = SimpleNamespace(given=True)
        task: Any = SimpleNamespace(trust=trust, snapshot=lambda *, force: self, close=lambda: None)
        self.worker.context.tasks.partitions = {0: task}
        guarantee: Any = SimpleNamespace(confirm_ownership=commit, commit_offsets=self._commit_offsets)
        committer = Committer(guarantee, self.worker.context.metrics, self.worker)
        unused: Any = None
        self.lifetime = self.worker.lifetime
        self.assignment = Assignment(self.worker.context, self.lifetime, guarantee, committer, unused, unused)

    async def _commit_offsets(self, offsets: Any) -> None:
        """Accept all offsets."""

    async def write(self) -> Offsets:
        """Write the snapshot of the task, which is this object."""
        return {}


@pytest.fixture
def codes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the exit codes with which the exit timer would have ended the process."""
    found: list[int] = []
    monkeypatch.setattr(os, "_exit", found.append)
    monkeypatch.setattr(logging, "shutdown", lambda: None)
    return found


async def test_a_worker_that_is_ended_within_its_last_commit_has_not_committed(
    tmp_path: Path, codes: list[int]
) -> None:
    """Its partitions are released by then, and nothing has failed: the commit only takes too long."""

    async def commit(*, leaving: bool) -> None:
        worker.lifetime.force_exit()

    worker = Leaving(tmp_path, commit)
    worker.lifetime.force_exit()
    await worker.assignment.release(timeout=5)
    assert codes == [EXIT_FORCED, EXIT_FORCED]
    worker.lifetime.force_exit()
    assert codes[2:] == [0]  # it only has to leave the group
    assert last_failure.last(tmp_path) == last_failure.LastFailure("shutdown_forced", 0, {"shutdown_forced": 2})


async def test_stopping_worker_waits_for_the_commit_of_a_rebalance(tmp_path: Path, codes: list[int]) -> None:
    may_end = asyncio.Event()

    async def commit(*, leaving: bool) -> None:
        await may_end.wait()

    worker = Leaving(tmp_path, commit)
    rebalance = asyncio.create_task(worker.assignment.revoked())
    await asyncio.sleep(0.01)
    worker.lifetime.stopping = True
    stopping = asyncio.create_task(worker.assignment.release(timeout=5))
    await asyncio.sleep(0.01)
    worker.lifetime.force_exit()
    assert not stopping.done()
    may_end.set()
    await asyncio.gather(rebalance, stopping)
    worker.lifetime.force_exit()
    assert codes == [EXIT_FORCED, 0]
    assert worker.worker.failures == []


@pytest.mark.parametrize("cancelled", [False, True])
async def test_last_commit_that_does_not_end_is_logged(tmp_path: Path, codes: list[int], cancelled: bool) -> None:
    async def commit(*, leaving: bool) -> None:
        await asyncio.Event().wait()

    worker = Leaving(tmp_path, commit)
    leaving = asyncio.create_task(worker.assignment.release(timeout=5 if cancelled else 0.01))
    await asyncio.sleep(0.01)
    if cancelled:
        leaving.cancel()
    await asyncio.wait({leaving})
    assert leaving.cancelled() is cancelled
    assert worker.worker.failures == ["CommitLate"]
    worker.lifetime.force_exit()
    assert codes == [EXIT_FORCED]


async def test_a_queue_holds_one_poll(tmp_path: Path) -> None:
    """If Faust lost `maxsize`, thousands of polls would fit into the queue."""
    app = create_app(Settings(data_dir=tmp_path), playbook=PLAYBOOK)
    for agent in app.agents.values():
        channel: Any = agent.channel
        assert aiter(channel.clone()).queue.maxsize == 1
    assert len(app.agents) == len(app.context.topics.by_rank)
