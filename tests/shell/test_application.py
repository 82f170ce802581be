"""Parts of the application that need no broker."""

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
from aiokafka.structs import OffsetAndMetadata
from faust.types import TP

from streams import playbooks
from streams.core.event_time.inputs import ERASURES, REPARTITION, upstream_number
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.event import Source
from streams.core.model.sources import NOT_READ, Fetch, StoredProgress, StoredRepartition, StoredUpstream
from streams.errors import UserError
from streams.settings import Settings
from streams.shell.clock import ClockTrust, ClockWatch
from streams.shell.commit.committer import Committer
from streams.shell.commit.metadata import CommitMarker, OffsetMetadata, encode
from streams.shell.faults import Defect, FetchingEnded
from streams.shell.monitoring import last_failure
from streams.shell.worker import task_startup
from streams.shell.worker.application import EXIT_FORCED, App
from streams.shell.worker.factory import create_app
from streams.shell.worker.task_startup import TaskStarter
from streams.shell.worker.watch import Watchdog
from streams.transport.driver import Polled

PLAYBOOK = playbooks.load(playbooks.DEFAULT)


class Away(App):
    """An application whose broker does not answer."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.tasks, self.repartition_tasks, self.not_co_partitioned = {}, {}, frozenset()
        self.paused = {TP("orders", 0): Source.ORDERS}

    @property
    def kafka(self) -> Any:
        async def highwaters(*tps: TP) -> dict[TP, int]:
            raise KafkaTimeoutError

        return SimpleNamespace(highwaters=highwaters)


async def test_a_broker_that_is_away_while_a_partition_is_paused_ends_nothing() -> None:
    """An exception in this loop would end the worker."""
    assert await Watchdog(Away(), PLAYBOOK).lag_of_paused() == {}


class Deaf(App):
    """An application whose client no longer reads."""

    should_stop = False

    def __init__(self) -> None:
        self.tasks, self.repartition_tasks = {}, {}  # as in a rebalance that does not end

    @property
    def kafka(self) -> Any:
        return SimpleNamespace(flow_active=True, fetching_ended=KafkaError("no such thing"))


async def test_a_client_that_has_ceased_to_read_ends_the_worker() -> None:
    """Otherwise heartbeats would go on, polls would bring nothing, and the lag would stand still."""
    with pytest.raises(FetchingEnded, match=r"stopped reading .*no such thing"):
        await Deaf()._tick()


class Jumping(App):
    """An application whose clock jumps when the test says so. `done` records its calls."""

    def __init__(self) -> None:
        self.wall, self.done, self.trust = 0, list[Any](), ClockTrust()
        self.trust.given = True

        async def flush() -> None:
            """Nothing to send."""

        task = SimpleNamespace(
            trust=self.trust, read={0: CLICKS}, flush=flush, advance=lambda fetches, silent: self.done.append(fetches)
        )
        self.tasks, self.repartition_tasks = {0: task}, {}  # type: ignore[dict-item]
        self.fetches, self.ahead = {CLICKS: Fetch(0, 5)}, {CLICKS: 1}
        self._clock_watch = ClockWatch(lambda: self.wall, lambda: 0.0)
        self._guarantee: Any = SimpleNamespace(doubt=lambda: self.done.append("doubted"))
        self.watch: Any = SimpleNamespace(silence=SimpleNamespace(silent=lambda now: frozenset()))
        self.clock = lambda: self.wall

    @property
    def kafka(self) -> Any:
        return SimpleNamespace(fetches=self.fetches, ahead=self.ahead)


async def test_clock_jump_is_noticed_before_any_deadline_fires() -> None:
    app = Jumping()
    await app._advance(app.working())
    app.wall = 3 * 3_600_000
    await app._advance(app.working())
    assert app.done == [{0: Fetch(0, 5)}, "doubted", {}]
    assert not app.trust.given
    assert app.ahead == {}


class Starting(TaskStarter):
    """A starter that makes no tasks and readers, but records their arguments."""

    def new_task(self, number: int, positions: Mapping[int, int], metadata: Mapping[int, str]) -> Any:
        self._app.made.append(number)  # type: ignore[attr-defined]
        return dict(positions)

    def new_repartition_task(self, source: Source, tp: TP, position: int, metadata: str, taken: int) -> Any:
        return source, position, metadata, taken


class Beginning(App):
    """A recovered application in a group that has committed the offset of one of its two sources. `done` records its
    calls."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.made: list[int] = []
        self.settings = Settings(partitions=1)
        self.source_topics, self.read_topics = self.settings.source_topics, self.settings.read_topics
        self.tasks, self.repartition_tasks, self.not_co_partitioned = {}, {}, frozenset()
        self.paused = {}
        self.failure = None
        state = SimpleNamespace(marker=None)
        self.table = SimpleNamespace(data=SimpleNamespace(partition=lambda number: state))
        self._guarantee: Any = SimpleNamespace(fenced=self._fenced, begin=lambda offsets, first: None)
        self.committer: Any = SimpleNamespace(commit=self._written)
        self.metrics: Any = SimpleNamespace(assigned=lambda numbers, readers=(): None)
        self.health: Any = SimpleNamespace(recovered=lambda: None)
        self.watch: Any = SimpleNamespace(look_for_silence=self._looked)
        self.starter = Starting(self, Lifecycle(PLAYBOOK), self._guarantee)

    @property
    def kafka(self) -> Any:
        return SimpleNamespace(
            fetches={}, committed_offsets=self._committed, earliest_offsets=self._earliest, seek_source=self._seek
        )

    async def _looked(self) -> None:
        self.done.append("looked for silence")

    async def _fenced(self) -> None:
        self.done.append("fenced")

    async def _committed(self, sources: frozenset[TP]) -> dict[TP, OffsetAndMetadata]:
        self.done.append("committed read")
        return {CLICKS: OffsetAndMetadata(5, "")}

    async def _earliest(self, *tps: TP) -> dict[TP, int]:
        return dict.fromkeys(tps, 3)

    async def _seek(self, tp: TP, offset: int) -> None:
        self.done.append((tp, offset))

    async def check_topic_ids(self) -> None:
        """Accept all topics."""

    async def count_partitions(self) -> None:
        """Accept all numbers of partitions."""

    async def _written(self, tasks: Any, *, leaving: bool = False) -> None:
        """Pretend that the commit succeeded."""

    def add_future(self, coro: Any) -> Any:
        coro.close()


CLICKS, ORDERS, REQUESTS = TP("clickstream", 0), TP("orders", 0), TP("lifecycle-erasures", 0)
ALL = frozenset({CLICKS, ORDERS, REQUESTS})


async def test_every_source_is_sought_also_one_without_a_committed_offset_and_only_once_predecessors_are_fenced() -> (
    None
):
    """A dropped fetch has moved the position. Faust leaves it there, and the records of that fetch would be lost."""
    app = Beginning()
    await app.on_sources_assigned(ALL)
    assert app.done[:3] == ["looked for silence", "fenced", "committed read"]
    assert sorted(app.done[3:]) == [(CLICKS, 5), (REQUESTS, 3), (ORDERS, 3)]
    tasks: Any = app.tasks
    assert tasks == {0: {Source.CLICKSTREAM: 5, Source.ORDERS: 3, ERASURES: 3}}


@pytest.mark.parametrize("over", [False, True])
async def test_partitions_that_are_taken_away_while_it_begins_are_not_worked_on(over: bool) -> None:
    """A commit for them would be refused, and end the worker."""
    app = Beginning()
    app.health.consumer_rests = lambda: None
    app._guarantee.assigned = lambda numbers: None

    async def taken() -> None:
        await app.on_sources_revoked()
        if over:
            app.on_assigned(ALL)

    app._guarantee.fenced = taken
    await app.on_sources_assigned(ALL)
    assert app.tasks == {}
    assert app.made == []  # transactions of the predecessor may not be fenced yet
    app._guarantee.fenced = app._fenced
    app.on_assigned(ALL)
    await app.on_sources_assigned(ALL)
    assert list(app.tasks) == [0]


async def test_worker_told_to_stop_while_it_starts_starts_no_tasks() -> None:
    """The worker has made its last commit by then, and later work would not be committed."""
    app = Beginning()
    app._stopping = True
    await app.on_sources_assigned(ALL)
    assert app.tasks == {}


class Apart(Beginning):
    """An application with orders that are not co-partitioned: three partitions for two tasks."""

    def __init__(self, committed: Mapping[TP, str], origins: list[StoredUpstream]) -> None:
        """`committed` gives the metadata of the group's offsets, `origins` the upstream progress in the task's commit
        marker."""
        super().__init__()
        self.settings = Settings(partitions=2, orders_co_partitioned=False)
        self.read_topics = self.settings.read_topics
        self.not_co_partitioned = frozenset({Source.ORDERS})
        self.counts = {"clickstream": 2, "orders": 3}
        self.partition_counts = {Source.CLICKSTREAM: 2, Source.ORDERS: 3}
        self.committed = committed
        self.failed: list[str] = []
        self.asked: Any = frozenset()
        marker = encode(CommitMarker(1, 0, {}, StoredRepartition(0, origins)))
        state = SimpleNamespace(marker=marker)
        self.table = SimpleNamespace(data=SimpleNamespace(partition=lambda number: state))

    @property
    def kafka(self) -> Any:
        async def partition_counts(topics: Any) -> dict[str, int]:
            return self.counts

        return SimpleNamespace(**vars(super().kafka), partition_counts=partition_counts)

    async def count_partitions(self) -> None:
        await App.count_partitions(self)

    async def _committed(self, sources: frozenset[TP]) -> dict[TP, OffsetAndMetadata]:
        self.asked = sources
        return {tp: OffsetAndMetadata(5, metadata) for tp, metadata in self.committed.items() if tp in sources}

    def fail(self, cause: BaseException) -> None:
        self.failed.append(type(cause).__name__)


ACTIVITY = TP("lifecycle-activity", 0)


class Relinking(Beginning):
    """An application with identity resolution switched on again. The repartition topic begins at offset 3."""

    def __init__(self, position: int, committed: int | None) -> None:
        """`position` is that of the repartition topic at the last flush, `committed` its committed offset."""
        super().__init__()
        self.settings = Settings(partitions=1, identity_resolution=True)
        self.read_topics = self.settings.read_topics
        self.failed: list[str] = []
        state = SimpleNamespace(marker=encode(CommitMarker(1, 0, {}, StoredRepartition(position, []))))
        self.table = SimpleNamespace(data=SimpleNamespace(partition=lambda number: state))
        self.offsets = {CLICKS: 5, ORDERS: 5, REQUESTS: 5} | ({} if committed is None else {ACTIVITY: committed})

    async def _committed(self, sources: frozenset[TP]) -> dict[TP, OffsetAndMetadata]:
        return {tp: OffsetAndMetadata(offset, "") for tp, offset in self.offsets.items()}

    def fail(self, cause: BaseException) -> None:
        self.failed.append(type(cause).__name__)


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
    monkeypatch.setattr(task_startup, "OFFSET_ATTEMPTS", 1)
    app = Relinking(position, committed)
    await app.on_sources_assigned(ALL | {ACTIVITY})
    assert app.failed == ([] if start is not None else ["NoOffset"])
    sought: dict[TP, int] = dict([done for done in app.done if isinstance(done, tuple)])
    assert sought.get(ACTIVITY) == start


OF_TASK = {TP("clickstream", 1): "", TP("lifecycle-erasures", 1): "", TP("lifecycle-activity", 1): ""}


async def test_assigned_source_readers_are_sought_and_started_with_the_tasks() -> None:
    origins = [
        StoredUpstream(upstream_number(Source.ORDERS, 0), 4, None),
        StoredUpstream(upstream_number(Source.CLICKSTREAM, 0), 9, None),
    ]
    app = Apart({**OF_TASK, TP("orders", 0): "mark"}, origins)
    begun: list[Any] = []
    app._guarantee.begin = lambda offsets, first: begun.append((set(offsets), set(first)))
    readers = {TP("orders", 0), TP("orders", 2)}
    await app.on_sources_assigned(frozenset({*OF_TASK, *readers}))
    assert app.failed == []
    tasks: Any = app.tasks
    assert tasks == {1: {Source.CLICKSTREAM: 5, REPARTITION: 5, ERASURES: 5}}
    readers_made: Any = app.repartition_tasks
    assert readers_made == {
        TP("orders", 0): (Source.ORDERS, 5, "mark", 4),
        TP("orders", 2): (Source.ORDERS, 3, "", -1),
    }
    assert readers < {done[0] for done in app.done if isinstance(done, tuple)}
    assert begun == [({*OF_TASK, TP("orders", 0)}, {TP("orders", 2)})]
    assert TP("orders", 1) in app.asked  # the task may once have read it itself


@pytest.mark.parametrize(
    ("marks", "failed"),
    [
        ([], []),
        ([StoredUpstream(upstream_number(Source.ORDERS, 2), -1, None)], []),
        ([StoredUpstream(upstream_number(Source.ORDERS, 2), 7, None)], ["NoOffset"]),
        ([StoredUpstream(upstream_number(Source.ORDERS, 0), -1, 7)], ["NoOffset"]),
        ([StoredUpstream(upstream_number(Source.CLICKSTREAM, 0), 7, None)], []),
    ],
)
async def test_missing_offset_of_a_partition_that_a_task_has_applied_ends_the_worker(
    marks: list[StoredUpstream], failed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The offset was lost, or the topic is another one."""
    monkeypatch.setattr(task_startup, "OFFSET_ATTEMPTS", 1)
    app = Apart(OF_TASK, marks)
    await app.on_sources_assigned(frozenset({*OF_TASK, TP("orders", 2)}))
    assert app.failed == failed


@pytest.mark.parametrize(
    ("counts", "failed"),
    [
        ({"clickstream": 2, "orders": 4}, []),
        ({"clickstream": 2, "orders": 2}, ["CoPartitioningChanged"]),
        ({"clickstream": 3, "orders": 3}, ["PartitionCountChanged"]),
    ],
)
async def test_topics_that_were_grown_are_counted_anew(counts: dict[str, int], failed: list[str]) -> None:
    app = Apart({**OF_TASK, TP("orders", 0): ""}, [])
    app.counts = counts
    await app.on_sources_assigned(frozenset({*OF_TASK, TP("orders", 0)}))
    assert app.failed == failed
    assert app.partition_counts[Source.ORDERS] == (4 if not failed else 3)


async def test_source_readers_wait_for_the_slowest_progress_also_without_tasks_in_their_worker() -> None:
    """No task reports progress of co-partitioned clicks, and a worker without a task receives no reports."""
    marks = {TP("clickstream", 0): 7, TP("clickstream", 1): 3, **{TP("orders", n): 1 for n in range(3)}}
    app = Apart({tp: encode(OffsetMetadata(1, 0, StoredProgress(at))).decode() for tp, at in marks.items()}, [])
    watch = Watchdog(app, PLAYBOOK)
    heard: list[int | None] = [None]
    task: Any = SimpleNamespace(engine=SimpleNamespace(slowest_anywhere=lambda: heard[0]))
    app.tasks = {0: task}
    assert watch.slowest_anywhere() is None
    await watch.look_for_slowest()
    assert app.asked == [TP("clickstream", 0), TP("clickstream", 1)]
    assert watch.slowest_anywhere() is None
    for heard[0], expected in ((2, 2), (9, 3)):
        assert watch.slowest_anywhere() == expected
    app.tasks = {}
    await watch.look_for_slowest()
    assert watch.slowest_anywhere() == 1


async def test_topic_that_was_not_co_partitioned_before_ends_the_worker() -> None:
    """This holds also for a worker whose partition of the topic is new and has no offset."""
    app = Apart({**OF_TASK, TP("orders", 0): encode(OffsetMetadata(0, 0, StoredProgress(), reader=True)).decode()}, [])
    app.not_co_partitioned, app.counts = frozenset(), {"clickstream": 2, "orders": 2}
    await app.on_sources_assigned(frozenset({*OF_TASK, TP("orders", 1)}))
    assert app.failed == ["CoPartitioningChanged"]
    app.committed = OF_TASK
    app.failed.clear()
    await app.on_sources_assigned(frozenset({*OF_TASK, TP("orders", 1)}))
    assert app.failed == ["NoOffset"]


def test_assigned_partitions_are_fenced_by_name() -> None:
    app = Apart({}, [])
    assigned: list[Any] = []
    app._guarantee.assigned = assigned.append
    app.on_assigned(frozenset({*OF_TASK, TP("orders", 0), TP("orders", 2)}))
    assert assigned == [[1, "orders/0", "orders/2"]]


async def test_a_worker_that_cannot_be_sure_of_its_partitions_ends_and_reads_nothing() -> None:
    app = Beginning()
    failed: list[str] = []

    async def refused() -> None:
        raise UserError("no transactions here")

    app._guarantee.fenced = refused
    app.fail = lambda cause: failed.append(str(cause))  # type: ignore[method-assign]
    reading = asyncio.create_task(app.on_sources_assigned(ALL))
    for _ in range(10):
        await asyncio.sleep(0)
    assert failed == ["no transactions here"]
    assert app.done == ["looked for silence"]
    reading.cancel()


async def test_a_worker_that_ends_takes_no_new_assignment() -> None:
    app = Beginning()
    assigned: list[Any] = []
    app._guarantee.assigned = assigned.append
    app.on_assigned(ALL)
    app.failure = "something"
    app.on_assigned(ALL)
    assert assigned == [[0]]


class Full(App):
    """An application with one task that must commit after its first chunk."""

    def __init__(self, commit: Any) -> None:
        self.done: list[str] = []
        task: Any = SimpleNamespace(process=self._process, must_pause=lambda source: False, flush=self._flush)
        task.must_commit = True
        task.unfinished = False
        self.loaded = task
        self.tasks, self.repartition_tasks, self.not_co_partitioned = {0: task}, {}, frozenset()
        self.failure = None
        self.consumer_generation_id = 1
        self.committer: Any = SimpleNamespace(commit=commit)

    def _process(self, source: Source, chunk: list[int]) -> None:
        self.done.append(f"process {chunk}")

    async def _flush(self) -> None:
        self.done.append("flush")


async def test_a_chunk_that_leaves_too_much_unwritten_is_followed_by_a_commit() -> None:
    async def commit(working: list[Any]) -> None:
        app.done.append(f"commit {working == [app.loaded]}")
        app.loaded.must_commit = False

    app = Full(commit)
    chunks: Any = [(TP("clicks", 0), [1]), (TP("clicks", 0), [2])]
    await app.process(Source.CLICKSTREAM, SimpleNamespace(generation_id=1), Polled(chunks, more=False))
    assert app.done == ["process [1]", "commit True", "process [2]", "flush"]


async def test_outputs_of_all_topics_of_one_poll_are_flushed_together() -> None:
    async def commit(working: list[Any]) -> None:
        """Nothing is unwritten."""

    app = Full(commit)
    app.loaded.must_commit = False
    for number, more in enumerate((True, False)):
        chunks: Any = [(TP("clicks", 0), [number])]
        await app.process(Source.CLICKSTREAM, SimpleNamespace(generation_id=1), Polled(chunks, more))
    assert app.done == ["process [0]", "process [1]", "flush"]


CUSTOMER = "c-17"


def poisoned(*handed_over: Any) -> None:
    raise KeyError(CUSTOMER)


class Poisoned(Full):
    """An application whose task raises an exception for every chunk."""

    def __init__(self) -> None:
        super().__init__(None)
        self.failed: list[Any] = []
        self.loaded.process = self.loaded.advance = poisoned
        self.loaded.read = {}
        self.loaded.next_offsets = lambda: {TP("clicks", 3): 40, TP("orders", 3): 9}
        self._clock_watch: Any = SimpleNamespace(jumped=lambda: False)
        self.watch: Any = SimpleNamespace(silence=SimpleNamespace(silent=lambda now: frozenset()))
        self.clock = lambda: 0

    @property
    def kafka(self) -> Any:
        return SimpleNamespace(fetches={}, flow_active=True)

    def fail(self, cause: BaseException) -> None:
        self.failed.append(cause)


async def test_defect_names_the_records_and_no_customer(caplog: pytest.LogCaptureFixture) -> None:
    """Every later worker ends there as well, until somebody finds the record."""
    app = Poisoned()
    app.tasks = {3: app.loaded}
    chunks: Any = [(TP("clicks", 3), SimpleNamespace(start=40, next=51))]
    await app.process(Source.CLICKSTREAM, SimpleNamespace(generation_id=1), Polled(chunks, more=False))
    [defect] = app.failed
    assert str(defect).startswith(
        "KeyError at clicks, partition 3, offsets 40 to 50, or at records that had waited of orders before offset 9: "
        "a defect of this program."
    )
    logging.getLogger().critical("%s", defect, exc_info=defect.behind)
    assert "in poisoned" in caplog.text
    assert CUSTOMER not in caplog.text


async def test_defect_in_a_deadline_names_the_offsets_read_so_far() -> None:
    app = Poisoned()
    said = "KeyError as time passed in partition 3, or at records that had waited of clicks before offset 40, orders"
    with pytest.raises(Defect, match=said):
        await app._advance([app.loaded])


class Leaving(App):
    """An application with a task whose last commit the test controls. It records how the worker ends."""

    def __init__(self, directory: Path, commit: Any = None) -> None:
        self.settings = Settings(data_dir=directory)
        self.failure = None
        self.failed: list[str] = []
        self.clock = lambda: 0
        trust = SimpleNamespace(given=True)
        written: Any = SimpleNamespace(closed=False, trust=trust, snapshot=lambda *, force: "all", write=print)
        self.tasks, self.repartition_tasks = {0: written}, {}
        self.metrics: Any = SimpleNamespace(assigned=lambda numbers: None, committed=lambda seconds: None)
        self.health: Any = SimpleNamespace(consumer_rests=lambda: None)
        guarantee: Any = SimpleNamespace(write=commit)
        self.committer = Committer(self, guarantee)

    def fail(self, cause: BaseException) -> None:
        self.failed.append(type(cause).__name__)


@pytest.fixture
def codes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the exit codes with which the watchdog would have ended the process."""
    found: list[int] = []
    monkeypatch.setattr(os, "_exit", found.append)
    monkeypatch.setattr(logging, "shutdown", lambda: None)
    return found


async def test_a_worker_that_is_ended_within_its_last_commit_has_not_committed(
    tmp_path: Path, codes: list[int]
) -> None:
    """Its partitions are released by then, and nothing has failed: the commit only takes too long."""

    async def commit(writes: Any, *, leaving: bool) -> None:
        app._leave()

    app = Leaving(tmp_path, commit)
    app._leave()
    await app._release(timeout=5)
    assert codes == [EXIT_FORCED, EXIT_FORCED]
    app._leave()
    assert codes[2:] == [0]  # it only has to leave the group
    assert last_failure.last(tmp_path) == last_failure.LastFailure("shutdown_forced", 0, {"shutdown_forced": 2})


async def test_stopping_worker_waits_for_the_commit_of_a_rebalance(tmp_path: Path, codes: list[int]) -> None:
    may_end = asyncio.Event()

    async def commit(writes: Any, *, leaving: bool) -> None:
        await may_end.wait()

    app = Leaving(tmp_path, commit)
    rebalance = asyncio.create_task(app.on_sources_revoked())
    await asyncio.sleep(0.01)
    app._stopping = True
    stopping = asyncio.create_task(app._release(timeout=5))
    await asyncio.sleep(0.01)
    app._leave()
    assert not stopping.done()
    may_end.set()
    await asyncio.gather(rebalance, stopping)
    app._leave()
    assert codes == [EXIT_FORCED, 0]
    assert app.failed == []


@pytest.mark.parametrize("cancelled", [False, True])
async def test_last_commit_that_does_not_end_is_logged(tmp_path: Path, codes: list[int], cancelled: bool) -> None:
    async def commit(writes: Any, *, leaving: bool) -> None:
        await asyncio.Event().wait()

    app = Leaving(tmp_path, commit)
    leaving = asyncio.create_task(app._release(timeout=5 if cancelled else 0.01))
    await asyncio.sleep(0.01)
    if cancelled:
        leaving.cancel()
    await asyncio.wait({leaving})
    assert leaving.cancelled() is cancelled
    assert app.failed == ["CommitLate"]
    app._leave()
    assert codes == [EXIT_FORCED]


class Busy:
    """A task that needs a number of steps, and a commit before the third."""

    def __init__(self, number: int, steps: int, said: list[str]) -> None:
        self.number, self.said, self._left = number, said, steps
        self.must_commit = self.closed = False
        self.read: dict[int, TP] = {}

    @property
    def unfinished(self) -> bool:
        return self._left > 0

    def advance(self, fetches: Any, silent: Any) -> None:
        self.said.append(f"step of {self.number}")
        self._left -= 1
        self.must_commit = self.number == 0 and self._left == 1

    async def flush(self) -> None:
        """As if it had been sent."""


class Stepping(App):
    def __init__(self, *steps: int) -> None:
        self.done: list[str] = []
        tasks: Any = {number: Busy(number, left, self.done) for number, left in enumerate(steps)}
        self.tasks, self.repartition_tasks = tasks, {}
        self.clock = lambda: 0
        self._clock_watch = ClockWatch(lambda: 0, lambda: 0.0)
        self.failure = None
        self.committer: Any = SimpleNamespace(commit=self._commit_all)
        self.watch: Any = SimpleNamespace(silence=SimpleNamespace(silent=lambda now: frozenset()))

    @property
    def kafka(self) -> Any:
        return SimpleNamespace(fetches={})

    async def _commit_all(self, working: list[Busy]) -> None:
        self.done.append("commit")
        for task in working:
            task.must_commit = False


async def test_long_work_yields_between_steps_and_commits_in_time() -> None:
    app = Stepping(3, 1)

    async def other() -> None:
        while any(task.unfinished for task in app.tasks.values()):
            app.done.append("another")
            await asyncio.sleep(0)

    others = asyncio.create_task(other())
    await app._go_on(list(app.tasks.values()))
    await others
    assert app.done == [
        "another", "step of 0", "step of 1",
        "another", "step of 0", "commit",
        "another", "step of 0",
    ]  # fmt: skip


async def test_released_task_takes_no_further_steps() -> None:
    app = Stepping(3, 3)
    tasks = list(app.tasks.values())
    tasks[0].closed = True
    await app._go_on(tasks)
    assert app.done == ["step of 1"] * 3


async def test_a_queue_holds_one_poll(tmp_path: Path) -> None:
    """If Faust lost `maxsize`, thousands of polls would fit into the queue."""
    app = create_app(Settings(data_dir=tmp_path), playbook=PLAYBOOK)
    for agent in app.agents.values():
        channel: Any = agent.channel
        assert aiter(channel.clone()).queue.maxsize == 1
    assert len(app.agents) == len(app.read_topics)
