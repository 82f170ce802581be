"""Timers in memory, and on disk with only the nearest in memory: none is missed."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.core.store.backend import DiskBackend
from streams.core.store.timers import Timers, TimersOnDisk
from tests.support.memory_disk import MemoryDisk


class Profiles:
    """Profiles with deadlines, live or not, with the engine's calls to their timers."""

    def __init__(self, on_disk: bool = True, scale: int = 1) -> None:
        """`scale` is the unit of time in ms."""
        self.on_disk = on_disk
        self.scale = scale
        self.disk = MemoryDisk()
        self.deadlines: dict[bytes, int | None] = {}
        self.written: dict[bytes, int | None] = {}
        self.being_written: dict[bytes, int | None] = {}
        self.dirty: set[bytes] = set()
        self.live: set[bytes] = set()
        self.start()

    def start(self) -> None:
        """Start again after a crash with only the written records."""
        self.deadlines, self.dirty, self.live = dict(self.written), set(), set()
        if self.on_disk:
            self.timers: Timers = TimersOnDisk(self.disk, self.count(), nearest=2)
            return
        self.timers = Timers()
        for key, deadline in self.written.items():
            self.timers.restored(key, None, None if deadline is None else deadline * self.scale)

    def count(self) -> int:
        return sum(deadline is not None for deadline in self.deadlines.values())

    def touch(self, key: bytes, deadline: int | None) -> None:
        self.load(key)
        self.dirty.add(key)
        self.deadlines[key] = deadline
        if deadline is None:
            self.timers.cancel(key)
        else:
            self.timers.schedule(key, deadline * self.scale)

    def load(self, key: bytes) -> None:
        if key not in self.live:
            deadline = self.deadlines.get(key)
            self.timers.loaded(key, None if deadline is None else deadline * self.scale)
            self.live.add(key)

    def snapshot(self) -> None:
        if isinstance(self.timers, TimersOnDisk):
            self.timers.take()
        self.being_written = dict(self.deadlines)
        self.dirty.clear()

    def flush(self) -> None:
        """Write the snapshot."""
        if isinstance(self.timers, TimersOnDisk):
            DiskBackend(self.disk).flush(self.timers.being_written, b"")
            self.timers.written()
        self.written = self.being_written

    def evict(self, key: bytes) -> None:
        if key in self.live and key not in self.dirty:
            self.live.remove(key)
            self.timers.evicted(key)

    def pass_time(self, until: int, next_after: int | None) -> list[int]:
        """Return the deadlines that fire. `next_after`: time to the next deadline of a fired profile."""
        fired = []
        while (key := self.timers.due(until * self.scale)) is not None:
            deadline = self.deadlines.get(key)
            if deadline is None:
                continue
            if deadline > until:
                self.timers.schedule(key, deadline * self.scale)
                continue
            self.load(key)
            fired.append(deadline)
            self.touch(key, None if next_after is None else until + 1 + next_after)
        return fired


keys = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
actions = st.lists(
    st.one_of(
        st.tuples(st.just("touch"), keys, st.integers(0, 40)),
        st.tuples(st.just("touch"), keys, st.integers(0, 40)),
        st.tuples(st.just("cancel"), keys, st.just(0)),
        st.tuples(st.just("evict"), keys, st.just(0)),
        st.tuples(st.just("time"), st.none() | st.integers(0, 20), st.integers(0, 10)),
        st.tuples(st.just("snapshot"), st.none(), st.just(0)),
        st.tuples(st.just("flush"), st.none(), st.just(0)),
        st.tuples(st.just("commit"), st.none(), st.just(0)),
        st.tuples(st.just("crash"), st.none(), st.just(0)),
    ),
    max_size=30,
)


@given(actions)
def test_no_deadline_is_missed_on_disk_whatever_is_live_written_or_lost(actions: list[tuple[str, Any, int]]) -> None:
    check_no_deadline_is_missed(Profiles(), actions)


@given(actions, st.sampled_from([1, 1 << 18]))
def test_no_deadline_is_missed_in_memory_whatever_is_live(actions: list[tuple[str, Any, int]], scale: int) -> None:
    check_no_deadline_is_missed(Profiles(on_disk=False, scale=scale), actions)


def check_no_deadline_is_missed(profiles: Profiles, actions: list[tuple[str, Any, int]]) -> None:
    now, taken = 0, False
    for action, argument, number in [*actions, ("time", None, 100)]:
        match action:
            case "touch":
                profiles.touch(argument, now + 1 + number)
            case "cancel":
                profiles.touch(argument, None)
            case "evict":
                profiles.evict(argument)
            case "time":
                now += number
                due = sorted(d for d in profiles.deadlines.values() if d is not None and d <= now)
                assert sorted(profiles.pass_time(now, argument)) == due
            case "snapshot" if not taken:
                profiles.snapshot()
                taken = True
            case "flush" if taken:
                profiles.flush()
                taken = False
            case "commit" if not taken:
                profiles.snapshot()
                profiles.flush()
            case "crash":
                profiles.start()
                taken = False
        assert len(profiles.timers) == profiles.count()


def test_disk_timers_keep_only_the_nearest_in_memory_and_a_later_deadline_writes_nothing() -> None:
    profiles = Profiles()
    for n in range(100):
        profiles.touch(b"%03d" % n, 1_000 + n)
    profiles.snapshot()
    profiles.flush()
    assert len(profiles.timers._near) <= 4
    profiles.touch(b"050", 5_000)
    profiles.snapshot()
    assert isinstance(profiles.timers, TimersOnDisk)
    assert profiles.timers.being_written == {}
    profiles.flush()
    assert profiles.pass_time(1_000 + 99, None) == [1_000 + n for n in range(100) if n != 50]
    assert profiles.pass_time(5_000, None) == [5_000]


def test_evicted_profile_that_comes_up_too_early_on_disk_is_not_loaded() -> None:
    profiles = Profiles()
    profiles.touch(b"a", 10)
    profiles.touch(b"a", 30)
    profiles.snapshot()
    profiles.flush()
    profiles.evict(b"a")
    assert profiles.pass_time(15, None) == []
    assert len(profiles.timers) == 1
    profiles.touch(b"a", 20)
    assert profiles.pass_time(30, None) == [20]
    assert len(profiles.timers) == 0
