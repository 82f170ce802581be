"""Event-time ordering: how long events wait, which part of them is written, and recovery after crashes."""

from __future__ import annotations

import itertools

import pytest

from streams.core.engine.config import LastCommit
from streams.core.engine.partition_engine import PartitionEngine
from streams.core.event_time.inputs import FIRST_MESSAGES, MESSAGE_STREAMS, message_rank
from streams.core.event_time.offset_gaps import READ, complete_up_to, own_input_id
from streams.core.identity.aliases import parts_of
from streams.core.model.event import Event, Source
from streams.core.model.outputs import Output, StageChange
from streams.core.model.policy import DAY, HOUR, MINUTE, SECOND
from streams.core.model.sources import (
    Erasure,
    Fetch,
    InputId,
    ProgressReport,
    Rank,
    RepartitionedRecord,
    SourceSpec,
    rank_of,
)
from streams.core.processing.budget import Budget
from streams.core.profile.codec import pack, pack_to_move, peek, unpack
from streams.core.store.task_state import TaskState
from tests.core.engine_helpers import CLICKS, NOON, ORDERS, TAIL, click, forwarding_engine, order, stages
from tests.support.customer_history import run as story
from tests.support.partition_network import record
from tests.support.single_partition import SinglePartitionHarness, without_repeats

LATENESS = 10 * SECOND
CLICKS_RANK = rank_of(CLICKS)
CLICKS_INPUT = own_input_id(CLICKS_RANK)
STEPS = ("snapshot", "changelog", "disk", "outputs", "")


@pytest.fixture(autouse=True, params=["memory", "disk"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test with cold profiles in memory and on disk."""
    monkeypatch.setattr(SinglePartitionHarness, "on_disk", request.param == "disk")


def causes(outputs: list[Output]) -> list[str | None]:
    return [output.cause.event_id for output in outputs if isinstance(output, StageChange)]


def views(harness: SinglePartitionHarness) -> dict[str, int]:
    return {profile.customer: profile.product_views for _, profile in harness.engine.state.items()}


# -- how long events wait


def test_event_waits_until_no_earlier_one_can_arrive() -> None:
    harness = SinglePartitionHarness(NOON, event_time_ordering=True)
    harness.append(click(NOON), order(NOON - 9 * SECOND))
    harness.fetch()
    harness.pass_time(TAIL - 9 * SECOND)
    harness.fetch()
    assert harness.received == []  # another event of that time may arrive
    harness.pass_time(1)
    harness.fetch()
    assert stages(harness.received) == ["visitor", "customer"]
    harness.pass_time(9 * SECOND)
    harness.fetch()
    assert views(harness) == {"c": 1}


def test_event_in_a_backlog_waits_for_the_lateness_and_the_other_source() -> None:
    harness = SinglePartitionHarness(NOON, event_time_ordering=True)
    at = NOON - 5 * HOUR
    harness.append(click(at + 5 * SECOND, "page_viewed"), click(at), click(at + LATENESS), click(at + LATENESS + 1))
    harness.append(order(at + MINUTE), order(at + MINUTE + 1))
    harness.fetch(CLICKS)
    assert harness.received == []  # the orders of that time are not known
    harness.fetch(ORDERS, most=1)
    assert causes(harness.received) == [f"c{at}product_viewed"]
    assert harness.counts["late", "clickstream"] == 0


def test_events_of_equal_times_are_ordered_by_source_and_event_id() -> None:
    events = [click(NOON), order(NOON), click(NOON), click(NOON)]
    for event, id_ in zip(events, ("e-2", "e-0", "e-1", "e-3"), strict=True):
        event.event_id = id_
    for arrived in itertools.permutations(events):
        harness = SinglePartitionHarness(NOON, event_time_ordering=True)
        assert causes(harness.run(*arrived, until=NOON + 1)) == ["e-1", "e-3", "e-0"]  # three views, then the order


def test_event_later_than_the_lateness_is_applied_at_once_and_counted() -> None:
    harness = SinglePartitionHarness(NOON, event_time_ordering=True)
    harness.run(click(NOON), until=NOON + MINUTE)
    harness.append(click(NOON - MINUTE))
    harness.fetch()
    assert views(harness) == {"c": 2}
    assert (harness.counts["late", "clickstream"], harness.counts["out_of_order", "clickstream"]) == (1, 1)


def test_deadline_fires_after_earlier_waiting_events_and_before_later_ones() -> None:
    harness = SinglePartitionHarness(NOON, event_time_ordering=True)
    due = NOON + HOUR
    harness.run(click(NOON, "product_added"), until=NOON + MINUTE)
    harness.now = due - SECOND
    harness.append(click(due + SECOND, "page_viewed", customer="d"), click(due - 1, "page_viewed"))
    harness.fetch()
    harness.now = due + TAIL + 1
    harness.fetch()
    assert harness.deadlines == []  # the last one was in time
    harness.now += HOUR
    harness.fetch()
    assert harness.deadlines == [due - 1 + HOUR]


def test_topic_silent_beyond_its_limit_blocks_deadlines_and_no_event() -> None:
    harness = SinglePartitionHarness(NOON, event_time_ordering=True)
    harness.run(click(NOON, "product_added"), until=NOON + SECOND)
    fetches = {source: Fetch(NOON + 2 * HOUR, len(harness.logs[source])) for source in (CLICKS, ORDERS)}
    harness.engine.advance(NOON + 2 * HOUR, fetches, silent=frozenset({ORDERS}))
    harness.now = NOON + 2 * HOUR
    harness.append(click(harness.now, "page_viewed", customer="d"))
    harness.fetch(CLICKS)
    for seconds in (0, 16):
        now = harness.now + seconds * SECOND
        effects = harness.engine.advance(
            now, {CLICKS: Fetch(now, 2), ORDERS: Fetch(now, 0)}, silent=frozenset({ORDERS})
        )
    assert stages(effects.outputs) == ["visitor"]
    assert effects.deadlines == []


def test_untrusted_clock_completes_nothing() -> None:
    harness = SinglePartitionHarness(NOON, event_time_ordering=True)
    harness.append(click(NOON))
    harness.fetch()
    ends = {CLICKS: Fetch(NOON + HOUR, 1), ORDERS: Fetch(NOON + HOUR, 0)}
    assert harness.engine.advance(NOON + HOUR, ends, clock_trusted=False).outputs == []
    assert harness.engine.report(rank_of(CLICKS))[1] is None
    harness.pass_time(TAIL + 1)
    harness.fetch()
    assert stages(harness.received) == ["visitor"]


def test_source_is_not_paused_for_events_that_wait_for_it() -> None:
    """In a backlog, the source that is behind must be read on, however many of its events wait."""
    harness = SinglePartitionHarness(NOON, event_time_ordering=True)
    at = NOON - 5 * HOUR
    harness.append(*(click(at + n, customer=f"c{n}") for n in range(50)), *(order(at + 20 + n) for n in range(50)))
    harness.fetch(CLICKS, most=20)
    harness.fetch(ORDERS, most=5)
    assert harness.engine.buffered_bytes(CLICKS) == 20 * 200
    assert (harness.engine.waits_for_more(CLICKS), harness.engine.waits_for_more(ORDERS)) == (True, False)
    harness.fetch(CLICKS, most=20)
    assert (harness.engine.waits_for_more(CLICKS), harness.engine.waits_for_more(ORDERS)) == (False, True)


def test_ended_replay_lets_no_event_wait() -> None:
    harness = SinglePartitionHarness(NOON, event_time_ordering=True, spec=SourceSpec(delay=0))
    harness.append(click(NOON), click(NOON - SECOND, "page_viewed"))
    harness.fetch()
    assert harness.received == []
    harness.engine.complete(NOON)
    harness.tick()
    assert causes(harness.received) == [f"c{NOON - SECOND}page_viewed"]
    assert harness.engine.watermark == NOON - LATENESS


# -- crashes


def crossed(at: int) -> list[Event]:
    """Return views of two customers. Of each, the second view in the list is applied before the first."""
    return [click(at + 5 * SECOND, type_, customer) for customer in "cd" for type_ in ("page_viewed",)] + [
        event
        for customer in "cd"
        for event in (click(at + 5 * SECOND, customer=customer), click(at, customer=customer))
    ]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("by_time_after", [True, False])
def test_waiting_event_is_applied_once_whatever_is_read_again(step: str, by_time_after: bool) -> None:
    harness = SinglePartitionHarness(NOON, event_time_ordering=True)
    harness.append(*crossed(NOON))
    harness.fetch()
    harness.pass_time(TAIL + 1)
    harness.fetch()
    assert views(harness) == {"c": 1, "d": 1}
    assert harness.engine.positions()[CLICKS] == 0
    harness.commit(crash_after=step)
    harness.event_time_ordering = by_time_after
    harness.restart()
    harness.append(click(NOON + 7 * SECOND))
    harness.fetch()
    harness.commit()
    harness.restart()
    harness.pass_time(TAIL)
    harness.fetch()
    assert views(harness) == {"c": 3, "d": 2}
    if by_time_after or step != "snapshot":  # otherwise the state is empty, and another event is the first
        assert sorted(map(str, stages(without_repeats(harness.received)))) == ["prospect", "visitor", "visitor"]
    assert all(
        profile.offset_gaps is None or not any(profile.offset_gaps.values())
        for _, profile in harness.engine.state.items()
    )
    harness.commit()
    assert harness.engine.positions()[CLICKS] == 7


def test_no_event_is_applied_after_a_crash_before_the_waiting_ones_are_read_again() -> None:
    """The clicks were ahead of the orders. Orders must not overtake the clicks that wait."""
    harness = SinglePartitionHarness(NOON, event_time_ordering=True)
    at = NOON - 5 * HOUR
    harness.append(
        click(at), click(at + MINUTE), click(at + HOUR), order(at + 1), order(at + 3 * MINUTE), order(at + HOUR)
    )
    harness.fetch(CLICKS)
    harness.fetch(ORDERS, most=1)
    harness.commit()
    watermark = harness.engine.watermark
    harness.restart()
    harness.fetch(ORDERS)
    assert harness.counts["applied", "orders"] == 0
    assert harness.engine.watermark is not None
    assert watermark is not None
    assert harness.engine.watermark >= watermark
    harness.fetch(CLICKS)
    assert (harness.counts["applied", "clickstream"], harness.counts["late", "clickstream"]) == (2, 0)


def test_waiting_event_does_not_restore_a_customer_erased_meanwhile() -> None:
    harness = SinglePartitionHarness(NOON, event_time_ordering=True)
    harness.run(click(NOON), until=NOON + 1)
    harness.append(click(NOON + MINUTE))
    harness.fetch()
    harness.erase(Erasure("c", True, NOON + 2 * MINUTE, "r", True))
    harness.commit()
    harness.pass_time(HOUR)
    harness.fetch()
    assert views(harness) == {}
    assert harness.counts["erased", "clickstream"] == 1


# -- what is written


def test_offset_gaps_are_packed_and_cost_nothing_if_absent() -> None:
    profile = story([click(0)]).alive
    profile.offset_gaps = {}
    profile.applied = [8, -1, 12]
    plain = pack(profile)
    profile.offset_gaps = None
    assert pack(profile) == plain
    profile.offset_gaps = {CLICKS_INPUT: {5, 3}, InputId(16): {7}, READ: {9}}
    data = pack(profile)
    assert (unpack(data), peek(data).offset_gaps) == (profile, {READ: [9], -1: [3, 5], 16: [7]})
    assert peek(data).applied == (8, -1, 12)
    assert unpack(pack_to_move(profile)).offset_gaps is None


def test_record_with_fewer_offset_gaps_is_the_fresher() -> None:
    assert complete_up_to((8, -1), None) > complete_up_to((9, -1), {CLICKS_INPUT: [5]})
    assert complete_up_to((8, -1), None) == complete_up_to((8, -1, -1), None)
    assert complete_up_to((8, -1, 20), {READ: [3, 30]}) == complete_up_to((8, -1, 2), None)


def test_record_of_a_stale_owner_with_more_offset_gaps_is_ignored() -> None:
    owner, stale_owner = story([click(0)]).alive, story([click(0)]).alive
    owner.applied, owner.commit = [9, -1], 5
    stale_owner.applied, stale_owner.offset_gaps, stale_owner.commit = [10, -1], {CLICKS_INPUT: {7}}, 5
    state = TaskState()
    state.restore(b"cc-1", pack(owner))
    state.restore(b"cc-1", pack(stale_owner))
    kept = state.get(b"cc-1")
    assert kept is not None
    assert (kept.applied, kept.offset_gaps) == ([9, -1, -1][:2], None)
    assert state.has_changes({Rank(0): 100, Rank(1): 100})  # it is written again


# -- what others forward


def forwarded(offset: int, *times: int) -> RepartitionedRecord:
    events = [click(at) for at in times]
    for place, event in enumerate(events, offset):
        event.offset = place
    return RepartitionedRecord(CLICKS_RANK, 0, offset + len(times) - 1, offset - 1, events)


def start(last: LastCommit = LastCommit(), state: TaskState | None = None) -> PartitionEngine:
    return forwarding_engine(last, state=state, upstreams=[(CLICKS, 0)], event_time_ordering=True)


def test_forwarded_events_wait_for_upstream_progress_and_are_committed_from_the_first_waiting() -> None:
    task, now = start(), NOON + MINUTE
    ends = {ORDERS: Fetch(now, 0)}
    task.receive(
        [
            (0, forwarded(0, NOON + 5 * SECOND, NOON)),
            (1, ProgressReport(CLICKS_RANK, 0, 1, NOON + 5 * SECOND, None, None)),
        ],
        2,
        now,
    )
    assert task.advance(now, ends).counts["applied", "clickstream"] == 0
    task.receive([(2, ProgressReport(CLICKS_RANK, 0, 1, NOON + LATENESS + 1, None, None))], 3, now)
    snapshot = task.snapshot()
    assert snapshot is not None
    assert snapshot.repartition is not None
    assert snapshot.repartition.position == 0
    (upstream,) = snapshot.repartition.upstreams
    assert (upstream.taken, upstream.progress) == (-1, NOON + LATENESS + 1)  # so that the watermark does not go back
    ((_, value),) = snapshot.changes
    assert value is not None
    assert peek(value).offset_gaps == {READ: [0], 0: [0]}
    state = TaskState()
    state.restore(b"cc", value)
    again = start(LastCommit(repartition=snapshot.repartition, progress=snapshot.source_progress), state)
    effects = again.receive(
        [
            (0, forwarded(0, NOON + 5 * SECOND, NOON)),
            (3, ProgressReport(CLICKS_RANK, 0, 1, NOON + MINUTE, None, None)),
        ],
        4,
        now,
    )
    effects.counts.update(again.advance(now, ends).counts)
    assert (effects.counts["applied", "clickstream"], effects.counts["replayed", "clickstream"]) == (1, 1)
    assert [profile.product_views for _, profile in again.state.items()] == [2]


def test_progress_is_not_reported_beyond_deadlines_still_firing() -> None:
    """No event is applied until all due deadlines have fired, so the reported progress must not be beyond them."""
    step = Budget(records=99, deadlines=1, pending=9999)
    task = forwarding_engine(own=(CLICKS, ORDERS), upstreams=[], tasks=1, event_time_ordering=True, budget=step)

    def read(source: Source, at: int, *parts: Event) -> None:
        position = task.progress(source).position
        for offset, part in enumerate(parts, position):
            part.offset = offset
        task.ingest(source, list(parts), position + len(parts), at)

    def pass_time(now: int) -> None:
        ends = {source: Fetch(now, task.progress(source).position) for source in (CLICKS, ORDERS)}
        task.receive(
            [(0, ProgressReport(message_rank(n), 0, -1, now, None, None)) for n in range(MESSAGE_STREAMS)], 1, now
        )
        task.advance(now, ends)

    read(CLICKS, NOON, *(cart(NOON, f"k-{n}") for n in range(3)))
    pass_time(NOON + MINUTE)
    later = NOON + 40 * DAY
    pass_time(later)
    assert task.unfinished  # three ids are forgotten, one at a time
    read(CLICKS, later + MINUTE, cart(later - SECOND, "k-9"), cart(later + 20 * SECOND, "k-9"))
    read(ORDERS, later + MINUTE, cart(later + 20 * SECOND, "k-9"))
    assert task.report(FIRST_MESSAGES)[0] == later - SECOND


def cart(at: int, cart_id: str) -> Event:
    """Return an event of a device that shows the id of a cart."""
    return parts_of(record(at, "product_added", None, "d-1", cart_id=cart_id))[0]
