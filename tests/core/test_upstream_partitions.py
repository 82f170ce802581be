"""An engine that gets a source only as forwarded events."""

from __future__ import annotations

from streams.core.engine.config import LastCommit
from streams.core.event_time.inputs import MESSAGE_STREAMS, message_rank
from streams.core.model.event import Source
from streams.core.model.policy import MINUTE, SECOND
from streams.core.model.sources import (
    Fetch,
    ProgressReport,
    RepartitionedRecord,
    StoredProgress,
    StoredRepartition,
    rank_of,
)
from streams.core.store.task_state import TaskState
from tests.core.engine_helpers import forwarding_engine
from tests.support.customer_history import T0
from tests.support.customer_history import click as activity

CLICKS, ORDERS = Source.CLICKSTREAM, Source.ORDERS


def forwarded(partition: int, offset: int, at: int) -> RepartitionedRecord:
    record = activity(at - T0, "product_viewed", "p", customer="c")
    record.offset = offset
    return RepartitionedRecord(rank_of(CLICKS), partition, offset, -1, [record])


def test_watermark_waits_for_every_upstream_partition() -> None:
    task, now = forwarding_engine(), T0 + 10 * MINUTE
    for n in range(3):
        assert task.watermark is None
        assert task.slowest_anywhere() is None
        task.receive([(n, ProgressReport(rank_of(CLICKS), n, -1, now - 5 * SECOND, now, now - n * SECOND))], n + 1, now)
        task.advance(now, {ORDERS: Fetch(now, 0)})
    assert task.watermark == now - 15 * SECOND
    assert task.slowest_anywhere() == now - 5 * SECOND
    task.advance(now + MINUTE, {ORDERS: Fetch(now + MINUTE, 0)})
    assert task.watermark_blocked_by() == (rank_of(CLICKS), 0)
    assert task.slowest_anywhere() == now - 2 * SECOND
    snapshot = task.snapshot()
    assert snapshot is not None
    assert (snapshot.positions, list(snapshot.source_progress)) == ({ORDERS: 0}, [ORDERS])


def test_task_may_read_no_source_itself() -> None:
    task = forwarding_engine(own=(), upstreams=[(source, n) for source in Source for n in range(2)])
    reports = [ProgressReport(rank_of(source), n, -1, T0, T0, T0 + n) for source in Source for n in range(2)]
    task.receive(list(enumerate([*reports, forwarded(0, 7, T0)])), 5, T0)
    task.advance(T0)
    assert task.watermark == T0 - 10 * SECOND
    assert task.slowest_anywhere() == T0
    snapshot = task.snapshot()
    assert snapshot is not None
    assert snapshot.positions == {}
    assert len(snapshot.changes) == 1


def test_records_read_before_a_topic_was_grown_are_not_applied_again_when_forwarded() -> None:
    """The topic had as many partitions as there are tasks, and was grown. The last commit did not complete."""
    before = forwarding_engine(own=(CLICKS, ORDERS), upstreams=())
    records = [forwarded(1, offset, T0 + offset).events[0] for offset in range(5)]
    before.ingest(CLICKS, records, 5, T0)
    before.advance(T0 + MINUTE, {source: Fetch(T0 + MINUTE, 0 if source else 5) for source in Source})
    snapshot = before.snapshot()
    assert snapshot is not None
    state = TaskState()
    for key, value in snapshot.changes:
        state.restore(key, value)
    after = forwarding_engine(
        LastCommit(progress={ORDERS: StoredProgress()}, repartition=StoredRepartition(0, [])), state=state
    )
    reports = [ProgressReport(rank_of(CLICKS), n, -1, T0 + MINUTE, T0 + MINUTE, T0) for n in range(3)]
    again = [forwarded(1, offset, T0 + offset) for offset in range(2, 7)]
    again += [forwarded(0, offset, T0 + 10 + offset) for offset in range(2)]
    effects = after.receive(list(enumerate([*again, *reports])), 10, T0 + MINUTE)
    effects.counts.update(after.advance(T0 + MINUTE, {ORDERS: Fetch(T0 + MINUTE, 0)}).counts)
    assert (effects.counts["replayed", "clickstream"], effects.counts["applied", "clickstream"]) == (3, 4)
    assert [profile.product_views for _, profile in after.state.items()] == [9]


def test_stream_blocks_the_watermark_only_if_it_is_behind_its_sources() -> None:
    now = T0 + 10 * MINUTE
    for behind, blocked_by in ((0, (CLICKS, None)), (15 * SECOND, (CLICKS, None)), (MINUTE, (message_rank(1), 0))):
        task = forwarding_engine(own=(CLICKS, ORDERS), upstreams=[(source, 0) for source in Source], tasks=2)
        reports = [ProgressReport(rank_of(source), 0, -1, now, now, now) for source in Source]
        streams = [(message_rank(n), number) for n in range(MESSAGE_STREAMS) for number in range(2)]
        late = (message_rank(1), 0)
        reports += [ProgressReport(*one, -1, now - (behind if one == late else 0), now, now) for one in streams]
        task.receive(list(enumerate(reports)), len(reports), now)
        task.advance(now, {source: Fetch(now, 0) for source in Source})
        assert task.watermark_blocked_by() == blocked_by  # own sources are 5 s behind
