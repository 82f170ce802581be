"""A partition task with a driven clock and a fake producer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.core.engine.partition_engine import PartitionEngine
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.lifecycle.playbook import Playbook
from streams.core.lifecycle.triggers import Trigger, TriggerStep
from streams.core.model.event import Source
from streams.core.model.sources import Fetch
from streams.observe.prometheus import Metrics
from streams.settings import Settings
from streams.shell.commit.at_least_once import ImmediateOutput
from streams.shell.commit.changelog import Flush
from streams.shell.commit.outbox import Outbox
from streams.shell.faults import RecordsMissing, Truncated
from streams.shell.tasks.partition_state import PartitionState
from streams.shell.tasks.partition_task import PartitionTask
from streams.transport.chunks import Chunk, LostBatch
from tests.support.default_playbook import default_playbook
from tests.support.fake_producer import FakeProducer

NOON = 1_763_719_200_000
MINUTE = 60_000
SETTINGS = Settings(partitions=1)


class Changelog:
    """A changelog that writes when the test lets it."""

    def __init__(self) -> None:
        self.may_write = asyncio.Event()
        self.skew = 0
        self.records: list[tuple[bytes, bytes | None]] = []

    async def write(self, changes: Iterable[tuple[bytes, bytes | None]], marker: bytes) -> Flush:
        await self.may_write.wait()
        first = len(self.records)
        self.records += changes
        return Flush(first, len(self.records), whole=True)


async def ours() -> None:
    """Confirm the ownership of the partition."""


class TaskHarness:
    def __init__(self, playbook: Playbook = default_playbook()) -> None:
        self.now = NOON
        self.producer, self.changelog = FakeProducer(), Changelog()
        lifecycle, state = Lifecycle(playbook), PartitionState()
        self.engine = PartitionEngine(lifecycle, state=state.profiles)
        self.offsets = dict.fromkeys(Source, 0)
        self.metrics = Metrics(version="0", ready=lambda: True, event_loop_lag=lambda: 0.0, strict=True)
        self.task = PartitionTask(
            0,
            self.engine,
            state,
            lifecycle,
            settings=SETTINGS,
            started_at=NOON,
            open_channel=lambda sent: ImmediateOutput(
                Outbox(lambda: self.producer, sent),
                self.changelog,  # type: ignore[arg-type]
                ours,
            ),
            on_written=lambda offset: None,
            metrics=self.metrics,
            clock=lambda: self.now,
        )
        self.task.trust.given = True

    def process(self, source: Source, **event: Any) -> None:
        offset = self.offsets[source]
        self.offsets[source] += 1
        value = json.dumps({"customer_id": "c", "occurred_at": self.now} | event).encode()
        chunk = Chunk([SimpleNamespace(offset=offset, timestamp=self.now, key=b"c", value=value, headers=[])])
        chunk.start, chunk.next = offset, offset + 1
        self.task.process(source, chunk)

    def sent(self, topic: str) -> list[Any]:
        return [json.loads(value or b"null") for to, _, _, value in self.producer.sent if to == topic]

    def advance(self) -> None:
        """Let time pass, with fetches that have just shown the ends of the topics."""
        self.task.advance({s: Fetch(self.now, self.offsets[s]) for s in Source}, frozenset())


async def test_a_customers_outputs_keep_their_order_also_while_a_commit_is_under_way() -> None:
    harness = TaskHarness()
    harness.process(Source.CLICKSTREAM, type="product_viewed", product_id="p")
    harness.now += 31 * MINUTE
    harness.advance()
    snapshot = harness.task.snapshot()
    assert snapshot is not None
    assert [output.occurred_at for output in snapshot.content.outputs] == [NOON + 30 * MINUTE]
    commit = asyncio.create_task(snapshot.write())
    await asyncio.sleep(0)
    harness.process(Source.ORDERS, type="order_completed", order_id="o")  # while the changelog is being written
    harness.advance()
    await harness.task.flush()
    assert harness.sent(SETTINGS.abandonments_topic) == []
    harness.changelog.may_write.set()
    await commit
    await harness.task.flush()
    assert [d["type"] for d in harness.sent(SETTINGS.abandonments_topic)] == ["abandoned", "recovered"]
    assert [d["to_stage"] for d in harness.sent(SETTINGS.stage_changes_topic)] == ["visitor", "customer"]


async def test_commit_begun_before_a_clock_jump_does_not_restore_trust_in_the_clock() -> None:
    """The commit may have measured the clock before the jump."""
    harness = TaskHarness()
    harness.process(Source.CLICKSTREAM, type="page_viewed")
    for jumps in (True, False):
        snapshot = harness.task.snapshot(force=True)
        assert snapshot is not None
        commit = asyncio.create_task(snapshot.write())
        await asyncio.sleep(0)
        if jumps:
            harness.task.trust.distrust()
        harness.changelog.may_write.set()
        await commit
        assert harness.task.trust.given is not jumps
        harness.changelog.may_write.clear()
    harness.changelog.skew = -31_000
    harness.changelog.may_write.set()
    snapshot = harness.task.snapshot(force=True)
    assert snapshot is not None
    await snapshot.write()
    assert not harness.task.trust.given


async def test_triggers_leave_as_other_outputs_do_on_a_topic_of_their_own() -> None:
    trigger = Trigger("hello", events=["page_viewed"], steps=(TriggerStep(), TriggerStep(30 * MINUTE)))
    harness = TaskHarness(default_playbook(triggers=(trigger,)))
    harness.process(Source.CLICKSTREAM, type="page_viewed")
    harness.advance()
    await harness.task.flush()
    assert [(d["trigger"], d["step"]) for d in harness.sent(SETTINGS.triggers_topic)] == [("hello", 1)]  # at once
    harness.now += 31 * MINUTE
    harness.advance()
    await harness.task.flush()
    assert len(harness.sent(SETTINGS.triggers_topic)) == 1
    harness.changelog.may_write.set()
    snapshot = harness.task.snapshot()
    assert snapshot is not None
    await snapshot.write()
    await harness.task.flush()
    assert [d["step"] for d in harness.sent(SETTINGS.triggers_topic)] == [1, 2]


async def test_outputs_of_deadlines_leave_only_once_the_changelog_has_them() -> None:
    harness = TaskHarness()
    harness.process(Source.CLICKSTREAM, type="product_viewed", product_id="p")
    harness.advance()
    await harness.task.flush()
    assert [d["to_stage"] for d in harness.sent(SETTINGS.stage_changes_topic)] == ["visitor"]  # at once
    harness.now += 31 * MINUTE
    harness.advance()
    await harness.task.flush()
    snapshot = harness.task.snapshot()
    assert snapshot is not None
    commit = asyncio.create_task(snapshot.write())
    await asyncio.sleep(0)
    assert harness.changelog.records == []
    assert harness.sent(SETTINGS.abandonments_topic) == []
    harness.changelog.may_write.set()
    await commit
    assert len(harness.changelog.records) == 1
    assert len(harness.sent(SETTINGS.abandonments_topic)) == 1


@pytest.mark.parametrize("owes", [True, False])
async def test_waiting_outputs_cause_a_commit_without_changes(owes: bool) -> None:
    harness = TaskHarness()
    assert harness.task.snapshot() is None
    cut: list[bool] = []
    channel: Any = SimpleNamespace(owes=owes, cut=lambda *, outputs: cut.append(outputs))
    harness.task._channel = channel
    assert (harness.task.snapshot() is not None) is owes
    assert cut == ([False] if owes else [])


async def test_chunk_from_before_a_seek_is_ignored_and_one_behind_a_gap_ends_the_worker() -> None:
    harness = TaskHarness()
    harness.process(Source.CLICKSTREAM, type="page_viewed")
    harness.offsets[Source.CLICKSTREAM] = 0
    harness.process(Source.CLICKSTREAM, type="page_viewed", event_id="again")
    assert harness.engine.positions()[Source.CLICKSTREAM] <= 1
    harness.offsets[Source.CLICKSTREAM] = 5
    with pytest.raises(RecordsMissing, match="offset 1 is next, but the topic begins at 5"):
        harness.process(Source.CLICKSTREAM, type="page_viewed")


async def test_next_offsets_include_records_that_wait() -> None:
    harness = TaskHarness()
    for _ in range(2):
        harness.process(Source.CLICKSTREAM, type="page_viewed")
    assert harness.engine.positions()[Source.CLICKSTREAM] < 2  # orders may be earlier
    assert harness.task.next_offsets() == {TP("clickstream", 0): 2, TP("orders", 0): 0, TP("lifecycle-erasures", 0): 0}


async def test_state_that_is_ahead_of_its_topic_ends_the_worker() -> None:
    harness = TaskHarness()
    harness.engine.state.applied[Source.ORDERS] = 7
    orders = harness.engine.progress(Source.ORDERS)
    harness.task.advance({Source.ORDERS: Fetch(NOON, 3)}, frozenset())
    harness.task.advance({Source.ORDERS: Fetch(NOON + 39_000, 3)}, frozenset())
    assert orders.fetch is None  # a leader that was just elected may show that for a moment: it proves nothing
    harness.task.advance({Source.ORDERS: Fetch(NOON + 41_000, 8)}, frozenset())
    assert orders.fetch is not None
    harness.task.advance({Source.ORDERS: Fetch(NOON + 42_000, 3)}, frozenset())
    with pytest.raises(Truncated, match="ends at offset 3, but the state contains the record at 7"):
        harness.task.advance({Source.ORDERS: Fetch(NOON + 82_000, 3)}, frozenset())


async def test_lost_batch_is_a_dead_letter_that_names_it_and_the_partition_goes_on() -> None:
    harness = TaskHarness()
    harness.process(Source.CLICKSTREAM, type="page_viewed")
    lost = Chunk()
    lost.start, lost.next, lost.lost = 1, 4, LostBatch(1, 4, "the checksum is wrong")
    harness.task.process(Source.CLICKSTREAM, lost)
    harness.offsets[Source.CLICKSTREAM] = 4
    harness.process(Source.CLICKSTREAM, type="page_viewed", customer_id="c-2")
    harness.advance()
    assert harness.engine.positions()[Source.CLICKSTREAM] == 5
    await harness.task.flush()
    assert [sent[3] for sent in harness.producer.sent if sent[0] == SETTINGS.dead_letters_topic] == [None]
    shown = harness.metrics.exposition()[0].decode()
    assert 'lifecycle_dead_letters_total{reason="corrupt_batch",topic="clickstream"} 1.0' in shown


async def test_released_task_does_nothing() -> None:
    """A tick or an agent may still refer to it: its outputs would be in the state and never be sent."""
    harness = TaskHarness()
    harness.process(Source.CLICKSTREAM, type="product_viewed", product_id="p")
    harness.advance()
    harness.task.close()
    harness.now += 31 * MINUTE
    harness.advance()
    harness.process(Source.ORDERS, type="order_completed", order_id="o")
    snapshot = harness.task.snapshot()
    assert snapshot is not None
    assert snapshot.content.outputs == []
    assert snapshot.content.positions == {Source.CLICKSTREAM: 1, Source.ORDERS: 0}
