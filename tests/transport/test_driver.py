"""The consumer in a rebalance: no record is lost."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import CommitFailedError, ConsumerStoppedError, KafkaError
from faust.tables.recovery import Recovery as FaustRecovery
from faust.transport.drivers.aiokafka import Consumer as FaustConsumer
from faust.types import TP
from mode.utils.locks import Event

from streams.transport import driver
from streams.transport.chunks import Chunk
from streams.transport.driver import Consumer, ConsumerThread
from streams.transport.handover import Handover
from streams.transport.recovery import Recovery

CLICKS = TP("clicks", 0)
VISITS = TP("visits", 0)


class Driven(Consumer):
    """A consumer without Faust. The test ends its polls and changes its generation."""

    should_stop = False
    flow_active = True

    def __init__(self) -> None:
        self.generation = 1
        self.events: list[str] = []
        self.active = {CLICKS}
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.between_polls = asyncio.Lock()
        self.app = self
        self.loop = asyncio.get_running_loop()
        self._stopped, self._crashed = Event(), Event()

    # its app
    health: Any = SimpleNamespace(consumer_heartbeat=lambda: None)
    tables: Any = SimpleNamespace(changelog_topics=frozenset())
    rebalancing = False

    @property
    def consumer_generation_id(self) -> int:
        return self.generation

    async def on_sources_assigned(self, sources: frozenset[TP]) -> None:
        self.events.append("sought")

    async def on_sources_revoked(self) -> None:
        self.events.append("released")

    # Faust's consumer
    def assignment(self) -> set[TP]:
        return {CLICKS}

    def sources(self) -> frozenset[TP]:
        return frozenset({CLICKS})

    def _get_active_partitions(self) -> set[TP]:
        return self.active

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        records = await self.answer
        self.events.append("polled")
        return records


async def of_task(by: BaseException | None) -> asyncio.Task[None]:
    """Return a task that has ended in this way."""

    async def work() -> None:
        if by is not None:
            raise by

    task = asyncio.create_task(work())
    await asyncio.wait({task})
    return task


async def ended(
    fetching: BaseException | None = None,
    coordinating: BaseException | None = None,
    pending: BaseException | None = None,
) -> BaseException | None:
    thread = object.__new__(ConsumerThread)
    thread._consumer = SimpleNamespace(
        _fetcher=SimpleNamespace(_fetch_task=await of_task(fetching)),
        _coordinator=SimpleNamespace(_coordination_task=await of_task(coordinating), _pending_exception=pending),
    )
    return thread.fetching_ended


async def test_error_that_ended_fetching_is_kept() -> None:
    """The error would reach only callers that wait on the consumer's thread at that moment."""
    fault = KafkaError("no such thing")
    assert await ended(fetching=fault) is fault
    assert await ended(coordinating=fault) is fault
    assert await ended(pending=fault) is fault
    assert await ended() is None  # it was closed
    thread = object.__new__(ConsumerThread)
    thread._consumer = None
    assert thread.fetching_ended is None  # it has not begun
    thread._consumer = SimpleNamespace(_fetcher=None, _coordinator=None)
    assert thread.fetching_ended is None


def one_chunk() -> Chunk:
    chunk = Chunk()
    chunk.start, chunk.next = 5, 6
    return chunk


async def taken(consumer: Driven) -> list[TP]:
    return [tp async for tp, _ in consumer.getmany(1.0)]


async def test_polled_records_are_handed_over() -> None:
    consumer = Driven()
    consumer.answer.set_result({CLICKS: one_chunk()})
    assert await taken(consumer) == [CLICKS]


async def test_poll_gives_one_message_per_topic_and_one_per_changelog_partition() -> None:
    consumer = Driven()
    consumer.tables = SimpleNamespace(changelog_topics=frozenset({"state"}))
    polled = {tp: one_chunk() for tp in (CLICKS, TP("clicks", 1), TP("state", 0), TP("state", 1), TP("orders", 1))}
    consumer.active = set(polled)
    consumer.answer.set_result(polled)
    handed = [(tp, message.value) async for tp, message in consumer.getmany(1.0)]
    assert {(tp, tuple(value)) for tp, value in handed if tp.topic == "state"} == {
        (TP("state", n), tuple(polled[TP("state", n)])) for n in range(2)
    }
    assert [value for tp, value in handed if tp.topic != "state"] == [
        ([(tp, polled[tp]) for tp in (CLICKS, TP("clicks", 1))], True),
        ([(TP("orders", 1), polled[TP("orders", 1)])], False),
    ]


async def test_seek_waits_for_a_poll_from_before_the_rebalance_whose_records_are_dropped() -> None:
    """Otherwise the poll could return records after the seek, which are lost when Faust empties its queues."""
    consumer = Driven()
    poll = asyncio.create_task(taken(consumer))
    await asyncio.sleep(0)
    consumer.generation = 2
    seek = asyncio.create_task(consumer.perform_seek())
    for _ in range(5):
        await asyncio.sleep(0)
    assert consumer.events == []
    consumer.answer.set_result({CLICKS: one_chunk()})
    assert await poll == []
    await seek
    assert consumer.events == ["polled", "sought"]


async def test_seek_of_recovery_waits_for_a_poll_from_before_the_rebalance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise changelog records of that poll are dropped, and a standby lacks them, or recovery never ends."""
    consumer = Driven()

    async def seek(recovery: Any, consumer: Driven, tps: set[TP], offsets: Any, title: str) -> None:
        consumer.events.append("sought")

    monkeypatch.setattr(FaustRecovery, "_seek_offsets", seek)
    poll = asyncio.create_task(taken(consumer))
    await asyncio.sleep(0)
    consumer.generation = 2
    recovery = object.__new__(Recovery)
    sought = asyncio.create_task(recovery._seek_offsets(consumer, {CLICKS}, {CLICKS: 5}, "standby"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert consumer.events == []
    consumer.answer.set_result({CLICKS: one_chunk()})
    assert await poll == []
    await sought
    assert consumer.events == ["polled", "sought"]


async def put(queue: asyncio.Queue[int], item: int) -> str:
    await queue.put(item)
    return "put"


async def test_a_chunk_for_which_there_is_room_is_handed_over_without_a_task() -> None:
    consumer, queue, never = Driven(), asyncio.Queue[int](), asyncio.Event()
    tasks = asyncio.all_tasks()
    before = asyncio.current_task()
    handed: list[Any] = []

    async def hand_over() -> None:
        handed.append(asyncio.current_task())
        await queue.put(1)

    done = await consumer.wait_first(hand_over(), never.wait())
    assert (handed, queue.qsize(), done.stopped) == ([before], 1, False)
    assert asyncio.all_tasks() == tasks


async def test_a_chunk_for_which_there_is_no_room_waits_for_it() -> None:
    consumer, queue, never = Driven(), asyncio.Queue[int](1), asyncio.Event()
    await queue.put(1)
    waiting = asyncio.create_task(consumer.wait_first(put(queue, 2), never.wait()))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    assert queue.get_nowait() == 1
    assert (await waiting).results == ["put"]
    assert queue.get_nowait() == 2


async def test_consumer_that_waits_for_room_is_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits as long as a commit does, which waits for the broker: no reason to restart the worker."""
    monkeypatch.setattr(driver, "HEARTBEAT_S", 0.001)
    consumer, queue = Driven(), asyncio.Queue[int](1)
    stepped = asyncio.Event()
    consumer.health = SimpleNamespace(consumer_heartbeat=stepped.set)
    await queue.put(1)
    waiting = asyncio.create_task(consumer.wait_first(put(queue, 2), asyncio.Event().wait()))
    await stepped.wait()
    assert not waiting.done()
    queue.get_nowait()
    assert (await waiting).results == ["put"]


async def test_cancelled_consumer_without_room_hands_nothing_over() -> None:
    consumer, queue = Driven(), asyncio.Queue[int](1)
    await queue.put(1)
    waiting = asyncio.create_task(consumer.wait_first(put(queue, 2), asyncio.Event().wait()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    queue.get_nowait()
    for _ in range(5):
        await asyncio.sleep(0)
    assert queue.empty()


async def test_a_full_queue_keeps_no_topic_from_being_fetched() -> None:
    """Faust fetches a partition again as soon as there is room, even if the application has paused it."""
    consumer = Driven()
    consumer.on_buffer_full(CLICKS)
    assert consumer.active == {CLICKS}


async def test_a_rebalance_or_the_end_does_not_wait_for_room() -> None:
    consumer, queue, suspended = Driven(), asyncio.Queue[int](1), asyncio.Event()
    await queue.put(1)
    waiting = asyncio.create_task(consumer.wait_first(put(queue, 2), suspended.wait()))
    await asyncio.sleep(0)
    suspended.set()
    assert (await waiting).results == [True]
    waiting = asyncio.create_task(consumer.wait_first(put(queue, 2), asyncio.Event().wait()))
    await asyncio.sleep(0)
    consumer._stopped.set()
    assert (await waiting).stopped
    assert queue.qsize() == 1


async def test_error_of_handing_over_is_raised() -> None:
    async def fail() -> None:
        raise KeyError("no such channel")

    with pytest.raises(KeyError):
        await Driven().wait_first(fail(), asyncio.Event().wait())


async def test_removed_member_of_the_group_commits_nothing() -> None:
    """A commit without a generation would be accepted by an empty group, with stale offsets."""
    thread = object.__new__(ConsumerThread)
    client = SimpleNamespace(_coordinator=SimpleNamespace(generation=-1), commit=None)
    thread._consumer = client
    with pytest.raises(CommitFailedError, match="no longer a member of its group"):
        await thread.commit_offsets({CLICKS: (7, "")})


class Fencing:
    """An owner whose partitions the test fences."""

    def __init__(self) -> None:
        self.may_read: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def fenced(self) -> None:
        await self.may_read


async def test_recovery_reads_nothing_before_the_predecessors_are_fenced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def build(self: Any, consumer: Any, tps: set[TP], destination: Any, title: str) -> None:
        asked.append(title)

    monkeypatch.setattr(FaustRecovery, "_build_highwaters", build)
    recovery = object.__new__(Recovery)
    owner: Any = Fencing()
    recovery.app = owner
    reading = asyncio.create_task(recovery._build_highwaters(None, set(), {}, "active"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert asked == []
    owner.may_read.set_result(None)
    await reading
    assert asked == ["active"]


async def test_new_assignment_is_announced_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Driven()
    told: list[frozenset[TP]] = []
    consumer.on_assigned = told.append  # type: ignore[attr-defined]
    consumer.tables = SimpleNamespace(changelog_topics=frozenset({"state"}))

    async def assigned(self: Any, tps: set[TP], generation_id: int = 0) -> None:
        assert told, "Faust's own part comes second"

    monkeypatch.setattr(FaustConsumer, "on_partitions_assigned", assigned)
    await consumer.on_partitions_assigned({CLICKS, TP("orders", 0), TP("state", 0)}, 7)
    assert told == [frozenset({CLICKS, TP("orders", 0)})]


async def test_recovery_has_no_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust treats a step that is slower than its timeout as the end of the service."""
    given: list[Any] = []

    async def wait(self: Any, coro: Any, timeout: Any = None) -> None:
        given.append(timeout)

    monkeypatch.setattr(FaustRecovery, "_wait", wait)
    await object.__new__(Recovery)._wait(None, timeout=40.0)
    assert given == [None]


@pytest.mark.parametrize(
    ("assignment", "generation", "told"),
    [(set(), 7, ["recovered", "nothing is ours"]), ({CLICKS}, 7, ["recovered"]), (set(), 8, ["recovered"])],
    ids=["nothing", "something, which the consumer tells of", "nothing, and a rebalance since"],
)
async def test_worker_without_partitions_is_notified_of_the_end_of_recovery(
    monkeypatch: pytest.MonkeyPatch, assignment: set[TP], generation: int, told: list[str]
) -> None:
    """Otherwise a spare worker would never be ready."""
    events: list[str] = []

    async def completed(self: Any, generation_id: int = 0) -> None:
        events.append("recovered")

    async def on_sources_assigned(sources: frozenset[TP]) -> None:
        assert sources == frozenset()
        events.append("nothing is ours")

    monkeypatch.setattr(FaustRecovery, "on_recovery_completed", completed)
    recovery: Any = object.__new__(Recovery)
    recovery.app = SimpleNamespace(
        consumer_generation_id=generation,
        consumer=SimpleNamespace(assignment=lambda: assignment),
        on_sources_assigned=on_sources_assigned,
    )
    await recovery.on_recovery_completed(7)
    assert events == told


async def test_worker_without_partitions_stays_in_the_group() -> None:
    """The client leaves the group if it is not polled for `broker_max_poll_interval`."""
    consumer, subscription = Driven(), SubscriptionState()
    subscription._last_fetch_ended -= 1000
    assert subscription.fetcher_idle_time >= 1000
    consumer.active = set()
    consumer._thread = object.__new__(ConsumerThread)
    consumer._thread._consumer = SimpleNamespace(_subscription=subscription)
    assert await taken(consumer) == []
    assert subscription.fetcher_idle_time < 100


class Polling(ConsumerThread):
    """The consumer's thread without a thread, with or without an assignment."""

    _records: dict[Any, Any]
    consumer: Any

    def __init__(self, *, assigned: bool = True) -> None:
        self.consumer = SimpleNamespace(flow_active=True)
        self._handover = Handover()
        self._records = {}
        self._subscribed = SubscriptionState()
        self._subscribed.subscribe(topics={"clicks"})
        if assigned:
            self._subscribed.assign_from_subscribed(set())
        self._consumer = SimpleNamespace(
            _fetcher=SimpleNamespace(_records=self._records),
            _subscription=self._subscribed,
            _max_poll_records=None,
            _closed=False,
        )

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: Any = None, max_records: Any = None
    ) -> Any:
        assert timeout == 0, "it would wait on the consumer's thread"
        assert not self._subscribed.reassignment_in_progress, "so it would for the end of the rebalance"
        return {tp: self._records.pop(tp) for tp in list(self._records) if tp in active_partitions}


async def test_poll_waits_for_active_partitions_and_its_time_is_noted() -> None:
    """Records of partitions that were paused since may stay with the fetcher for long."""
    thread = Polling()
    thread._records[VISITS] = ["of a partition that is paused"]
    thread._subscribed._last_fetch_ended -= 1000
    poll = asyncio.create_task(thread.getmany({CLICKS}, 60.0))
    await asyncio.sleep(0)
    assert thread._subscribed.fetcher_idle_time < 100
    thread._records[CLICKS] = ["a chunk"]
    thread._handover.arrived(thread._take)
    assert await poll == {CLICKS: ["a chunk"]}
    assert thread._records.keys() == {VISITS}


async def test_poll_does_not_wait_while_the_flow_is_stopped_and_raises_for_a_closed_client() -> None:
    thread = Polling()
    thread.consumer.flow_active = False
    assert await thread.getmany({CLICKS}, 60.0) == {}
    thread.consumer.flow_active = True
    thread._ensure_consumer()._closed = True
    with pytest.raises(ConsumerStoppedError):
        await thread.getmany({CLICKS}, 60.0)


async def test_a_poll_takes_nothing_in_a_rebalance() -> None:
    thread = Polling(assigned=False)
    poll = asyncio.create_task(thread.getmany({CLICKS}, 60.0))
    await asyncio.sleep(0)
    thread._records[CLICKS] = ["of before"]
    thread._handover.arrived(thread._take)
    assert await poll == {}
    assert thread._records.keys() == {CLICKS}
