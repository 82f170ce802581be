"""The state of a task: live and evicted profiles give the same results."""

from __future__ import annotations

import pytest

from streams.core.engine.partition_engine import PartitionEngine
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.event import Source
from streams.core.model.policy import DAY, HOUR
from streams.core.model.sources import Fetch, rank_of
from streams.core.profile.codec import pack, peek
from streams.core.profile.profile import Profile
from streams.core.store.backend import CHECKPOINT
from streams.core.store.recent_commits import RECENT
from streams.core.store.task_state import TaskState, record_key
from tests.support.default_playbook import default_playbook
from tests.support.memory_disk import MemoryDisk
from tests.support.task_states import NOON, contents, play_views, view


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("hot", [0, 2, 10, 50])
def test_number_of_live_profiles_does_not_change_outputs_or_changelog(hot: int, on_disk: bool) -> None:
    kept, kept_outputs, kept_log = play_views(10_000)
    evicted, evicted_outputs, evicted_log = play_views(hot, MemoryDisk() if on_disk else None)
    assert evicted_outputs == kept_outputs
    assert evicted_log == kept_log
    assert evicted.state.population == kept.state.population
    assert len(evicted.state.timers) == len(kept.state.timers)
    assert kept.state.live == 54
    assert {k: p.product_views for k, p in evicted.state.items()} == {k: p.product_views for k, p in kept.state.items()}


@pytest.mark.parametrize("disk", [None, MemoryDisk()])
def test_recovery_loads_no_profile(disk: MemoryDisk | None) -> None:
    engine, _, log = play_views(10_000)
    state = TaskState(disk=disk)
    for key, value in log:
        state.restore(key, value)
    assert (len(state), state.live) == (len(engine.state), 0)
    assert contents(state) == contents(engine.state)


def test_state_opened_from_disk_is_complete_without_reading_a_profile() -> None:
    disk = MemoryDisk()
    engine, _, log = play_views(10, disk)
    reads = disk.reads
    state = TaskState(disk=disk)
    assert disk.reads == reads + 1  # the checkpoint
    assert state.note == b"%d" % len(log)
    assert (len(state), state.live) == (len(engine.state), 0)
    assert contents(state) == contents(engine.state)
    assert dict(state.items()).keys() == dict(engine.state.items()).keys()


def test_profiles_on_disk_are_not_in_memory() -> None:
    _, _, log = play_views(10)
    disk = MemoryDisk()
    state = TaskState(disk=disk)
    for key, value in log:
        state.restore(key, value)
    for written in (0, 1):
        reads = disk.reads
        assert state.next_deadline(log[0][0]) is not None
        assert disk.reads - reads == written
        state.write_to_disk(b"")


def test_checkpoint_of_another_version_is_not_read() -> None:
    disk = MemoryDisk()
    TaskState(disk=disk).write_to_disk(b"")
    written = disk.get(CHECKPOINT)
    assert written is not None
    disk.write([(CHECKPOINT, written.replace(b"\xdc\x00\x12\x01", b"\xdc\x00\x12\x02", 1))])
    with pytest.raises(ValueError, match="its format is 2, not 1"):
        TaskState(disk=disk)


@pytest.mark.parametrize("disk", [None, MemoryDisk()])
def test_record_overwritten_by_a_stale_owner_is_written_again_also_from_disk(disk: MemoryDisk | None) -> None:
    _, _, log = play_views(10_000)
    key = record_key("c0", True)
    records = [value for k, value in log if k == key]
    state = TaskState(disk=disk)
    for value in (records[-1], records[0]):
        state.restore(key, value)
    state.write_to_disk(b"")
    if disk is not None:
        state = TaskState(disk=disk)
    assert state.has_changes({})
    assert state.changes(1_000, {}) == [(key, records[-1])]


def forgotten(commit: int, applied: int) -> bytes:
    profile = Profile("c", True)
    profile.sequence, profile.commit, profile.applied = 3, commit, [applied, -1]
    return pack(profile)


@pytest.mark.parametrize("disk", [None, MemoryDisk()])
def test_pending_tombstone_is_not_lost(disk: MemoryDisk | None) -> None:
    key = record_key("c", True)
    state = TaskState(disk=disk)
    state.restore(key, forgotten(5, 7))
    state.write_to_disk(b"")
    if disk is not None:
        state = TaskState(disk=disk)
    assert not state.has_changes({rank_of(Source.CLICKSTREAM): 7, rank_of(Source.ORDERS): 0})
    assert state.changes(6, {rank_of(Source.CLICKSTREAM): 8, rank_of(Source.ORDERS): 0}) == [(key, None)]
    for _ in range(2):
        assert state.get(key) is None  # also before the disk has it
        assert (len(state), list(state)) == (0, [])
        state.write_to_disk(b"")


@pytest.mark.parametrize("disk", [None, MemoryDisk()])
def test_outputs_that_may_not_have_left_are_found_among_the_latest_and_among_all(disk: MemoryDisk | None) -> None:
    _, outputs, _ = play_views(10_000)
    profile = Profile("c", True)
    profile.stage, profile.pending = "visitor", [*outputs[-1:]]
    state = TaskState(disk=disk)
    for commit in range(1, RECENT + 10):
        profile.commit, profile.applied = commit, [commit, -1]
        state.restore(b"%d" % commit, pack(profile))
    state.write_to_disk(b"")
    if disk is not None:
        state = TaskState(disk=disk)
    assert state.unsent_outputs(RECENT + 9) == []
    assert state.unsent_outputs(RECENT + 7) == 2 * outputs[-1:]
    assert (
        state.unsent_outputs(3) == (RECENT + 6) * outputs[-1:]
    )  # older than the recent commits kept: all records are read
    state.changes(RECENT + 10, {})
    assert state.unsent_outputs(RECENT + 9) == []


@pytest.mark.parametrize("disk", [None, MemoryDisk()])
def test_record_written_only_by_a_stale_owner_is_found_after_records_of_its_successor(disk: MemoryDisk | None) -> None:
    _, outputs, _ = play_views(10_000)
    profile = Profile("d-1", False)
    profile.stage = "visitor"
    state = TaskState(disk=disk)
    for commit in range(1, 11):
        profile.commit, profile.applied = commit, [commit, -1]
        state.restore(b"ad-0", pack(profile))
    state.commit = 11
    state.write_again(9)
    assert [key for key, _ in state.changes(12, {})] == [b"ad-0"]
    state.write_to_disk(b"")
    written = state.written(b"ad-0")
    assert written is not None
    if disk is None:
        state = TaskState()
        state.restore(b"ad-0", written)
    else:
        state = TaskState(disk=disk)
    profile.commit, profile.pending = 11, [*outputs[-1:]]
    state.restore(b"ad-1", pack(profile))
    assert state.unsent_outputs(12, 11) == outputs[-1:]
    assert state.unsent_outputs(12, 10) == []
    state.write_again(12, 11)
    ((key, again),) = state.changes(14, {})
    assert again is not None
    assert (key, peek(again).commit) == (b"ad-1", 14)  # so the tombstone is still pending if that commit fails


def test_deadline_that_moved_later_loads_no_profile() -> None:
    engine, _, _ = play_views(0)
    before = engine.state.live
    engine.advance(NOON + 2 * DAY + HOUR, {s: Fetch(NOON + 2 * DAY + HOUR, 600) for s in Source})
    assert engine.state.live == before


def test_commit_is_due_when_half_of_the_profiles_that_may_stay_live_are_unwritten() -> None:
    engine = PartitionEngine(Lifecycle(default_playbook()), state=TaskState(live_limit=6))
    now = {Source.ORDERS: Fetch(NOON, 0)}
    for n in range(3):
        assert not engine.state.full
        engine.advance(NOON, now)
        engine.ingest(Source.CLICKSTREAM, [view(n, f"c{n}")], n + 1, NOON)
    assert engine.state.full
    assert engine.snapshot() is not None
    assert not engine.state.full
