"""The state of a partition on disk: how much of the changelog it has, and when it is not used."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.core.model.policy import DAY, HOUR
from streams.core.profile.codec import pack
from streams.core.profile.profile import Profile
from streams.core.store.backend import CHECKPOINT, MemoryBackend
from streams.core.store.erasure_markers import ErasureMarkers
from streams.settings import Settings
from streams.shell.admin.topic_configs import changelog_topic
from streams.shell.commit.changelog import Flush
from streams.shell.commit.metadata import MARKER_KEY, CommitMarker, encode
from streams.shell.tasks.partition_state import ChangelogRecreated, PartitionState, states
from streams.transport.rocks import Databases, DiskFailed
from tests.support.patched_database import PatchedDatabase

NOON = 1_763_719_200_000


def marker(commit: int, started_at: int = NOON) -> bytes:
    return encode(CommitMarker(commit, started_at, {}))


def record(customer: str, commit: int) -> tuple[bytes, bytes]:
    profile = Profile(customer, True)
    profile.stage, profile.commit, profile.applied, profile.next_deadline = "visitor", commit, [commit, -1], NOON
    return b"c" + customer.encode(), pack(profile)


class Machine:
    """A machine on which one worker starts again and again."""

    def __init__(self, directory: Path) -> None:
        self.now = NOON
        self._settings = Settings(state_store="rocksdb", data_dir=directory)
        self._new = states(self._settings, lambda: self.now)
        self._state: PartitionState | None = None

    def start(self) -> PartitionState:
        if self._state is not None:
            self._state.close()
        self._state = self._new(3)
        return self._state


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_restored_and_flushed_records_survive_a_restart(machine: Machine) -> None:
    state = machine.start()
    assert (state.offset, state.marker, len(state)) == (None, None, 0)
    state.restore([record("a", 1), (MARKER_KEY, marker(1))], 7)
    state = machine.start()
    assert (state.offset, state.marker, list(state)) == (7, marker(1), [b"ca"])
    state.profiles.restore(*record("b", 2))
    state.flushed(marker(2), Flush(8, 9, whole=True))
    state = machine.start()
    assert (state.offset, state.marker, sorted(state)) == (9, marker(2), [b"ca", b"cb"])
    assert state.profiles.population == {"visitor": 2}


@pytest.mark.parametrize("flush", [Flush(9, 10, whole=True), Flush(8, 10, whole=False)])
def test_foreign_changelog_records_are_read_at_the_next_start(machine: Machine, flush: Flush) -> None:
    state = machine.start()
    state.restore([record("a", 1), (MARKER_KEY, marker(1))], 7)
    state.profiles.restore(*record("b", 2))
    state.flushed(marker(2), flush)
    state.flushed(marker(3), Flush(11, 11, whole=True))
    state = machine.start()
    assert (state.offset, sorted(state)) == (7, [b"ca", b"cb"])


def test_commit_marker_of_a_stale_owner_is_ignored_also_after_a_restart(machine: Machine) -> None:
    """The stale owner numbered its flush before its successor did, and wrote it later."""
    state = machine.start()
    state.restore([(MARKER_KEY, marker(4)), (MARKER_KEY, marker(6)), (MARKER_KEY, marker(5))], 7)
    assert state.marker == marker(6)
    state = machine.start()
    state.restore([(MARKER_KEY, marker(5))], 8)
    assert state.marker == marker(6)
    state.restore([(MARKER_KEY, marker(7))], 9)
    assert state.marker == marker(7)


def test_first_flush_of_an_empty_changelog_advances_the_offset(machine: Machine) -> None:
    state = machine.start()
    state.flushed(marker(1), Flush(0, 0, whole=True))
    assert machine.start().offset == 0


@pytest.mark.parametrize(
    ("first", "end", "later", "doubt"),
    [
        (0, 8, 0, None),
        (8, 20, 0, None),
        (0, 8, 30 * DAY, None),  # nothing has been written since
        (0, 20, 12 * HOUR, None),
        (0, 7, 0, "goes up to offset 7, but the changelog ends at 7"),
        (9, 20, 0, "goes up to offset 7, but the changelog begins at 9"),
        (0, 20, 12 * HOUR + 1, "may no longer show what was deleted"),
    ],
)
def test_recovery_continues_from_disk_only_if_the_files_fit_the_changelog(
    machine: Machine, first: int, end: int, later: int, doubt: str | None
) -> None:
    machine.start().restore([record("a", 1)], 7)
    state = machine.start()
    machine.now += later
    found = state.reason_to_discard(first, end)
    assert found is None if doubt is None else doubt in str(found)


def test_discarded_state_is_empty_after_a_restart(machine: Machine) -> None:
    state = machine.start()
    state.restore([record("a", 1)], 7)
    state.discard()
    state = machine.start()
    assert (state.offset, len(state)) == (None, 0)


def test_commit_marker_of_another_first_start_shows_that_the_changelog_was_recreated(machine: Machine) -> None:
    machine.start().restore([record("a", 1), (MARKER_KEY, marker(1))], 7)
    state = machine.start()
    state.restore([(MARKER_KEY, marker(2))], 8)
    with pytest.raises(ChangelogRecreated, match="partition 3 on disk is of a changelog that no longer exists"):
        state.restore([(MARKER_KEY, marker(9, NOON + 1))], 9)
    assert machine.start().offset is None


def test_unreadable_checkpoint_on_disk_is_deleted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(state_store="rocksdb", data_dir=tmp_path)
    databases = Databases(tmp_path / "state")
    database = databases.open(changelog_topic(settings), 3)
    database.write([(CHECKPOINT, b"\xff")])
    database.close()
    databases.close()
    assert Machine(tmp_path).start().offset is None
    assert "cannot be read" in caplog.text


def test_memory_state_is_empty_after_a_restart() -> None:
    new: Callable[[int], PartitionState] = states(Settings(), lambda: NOON)
    state = new(3)
    state.restore([record("a", 1)], 7)
    assert (state.offset, len(state)) == (7, 1)
    assert (new(3).offset, len(new(3))) == (None, 0)


# -- erasure residue


def erased(state: PartitionState, customer: str, at: int) -> list[tuple[bytes, bytes | None]]:
    """Return the changelog records of an erasure that another worker wrote."""
    profile = Profile(customer, True)
    profile.sequence, profile.commit, profile.applied, profile.erased_at = 2, 2, [2, -1], at
    key, marks = b"c" + customer.encode(), ErasureMarkers(MemoryBackend(), state.profiles.markers._salt, 0)
    marks.set(key, at)
    return [(key, pack(profile)), *marks.changes(), (key, None)]


def until_tidy(state: PartitionState) -> None:
    deadline = time.monotonic() + 60
    while state.profiles.residue.markers:
        assert time.monotonic() < deadline
        state.tidy()
        time.sleep(0.01)


def in_files(directory: Path, what: bytes) -> list[Path]:
    return [file for file in directory.rglob("*") if file.is_file() and what in file.read_bytes()]


def test_standby_copy_also_loses_an_erased_customer(machine: Machine, tmp_path: Path) -> None:
    state = machine.start()
    state.restore([record("somebody", 1), record("b", 1)], 7)
    state = machine.start()  # what was restored is in files
    assert in_files(tmp_path, b"somebody")
    state.restore(erased(state, "somebody", NOON), 10)
    assert len(state.profiles.residue.markers) == 1
    state = machine.start()  # what is still to be done is known after a restart
    until_tidy(state)
    assert in_files(tmp_path, b"somebody") == []
    state = machine.start()
    assert (list(state), state.profiles.markers.number) == ([b"cb"], 1)


def test_files_are_rewritten_once_an_hour_at_most(machine: Machine) -> None:
    state = machine.start()
    state.restore([record("a", 1), record("b", 1)], 7)
    state.restore(erased(state, "a", NOON), 10)
    until_tidy(state)
    state.restore(erased(state, "b", NOON), 13)
    for _ in range(20):
        machine.now += 60_000
        assert not state.tidy()
    assert len(state.profiles.residue.markers) == 1
    machine.now += HOUR
    until_tidy(state)


def test_failed_rewrite_of_files_is_tried_again(machine: Machine, tmp_path: Path) -> None:
    state = machine.start()
    state.restore([record("somebody", 1), record("b", 1)], 7)
    state = machine.start()
    state.restore(erased(state, "somebody", NOON), 10)
    assert state._database is not None
    PatchedDatabase(state._database, compact_range=lambda *_, **__: None)
    with pytest.raises(DiskFailed, match="could not be rewritten"):
        until_tidy(state)
    assert len(state.profiles.residue.markers) == 1
    assert in_files(tmp_path, b"somebody")
    state = machine.start()
    until_tidy(state)
    assert in_files(tmp_path, b"somebody") == []


def test_timers_in_memory_are_purged_at_once() -> None:
    state = PartitionState()
    state.restore([record("somebody", 1)], 7)
    state.restore(erased(state, "somebody", NOON), 10)
    assert not state.tidy()
    assert not state.profiles.residue.markers
    assert state.profiles.timers.due(1 << 60) is None
