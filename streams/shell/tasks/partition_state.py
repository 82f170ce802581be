"""The state of one partition in a worker: its profiles, the marker of its last flush, and the offset up to which the
changelog is on disk.

The disk has the changelog up to that offset, and may have newer records: reading a record again is harmless.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from streams import deployment
from streams.core.model.policy import HOUR
from streams.core.store.task_state import TaskState
from streams.errors import Fault
from streams.settings import Settings
from streams.shell.admin.topic_configs import DELETES_KEPT, changelog_topic
from streams.shell.commit.changelog import Flush
from streams.shell.commit.metadata import MARKER_KEY, decode_marker

if TYPE_CHECKING:
    from streams.transport.rocks import Database

log = logging.getLogger(__name__)

STATE_DIRECTORY = "state"
TIMERS_PER_STEP = 10_000
"""Timers that a step of `PartitionState.tidy` inspects: some 10 ms."""
REWRITE_MS = HOUR
"""Least time between two rewrites of a partition's files after erasures: each rewrites all of them."""


class DiskNote(msgspec.Struct, array_like=True):
    """Stored on disk with the profiles."""

    offset: int
    """Last changelog offset that the profiles contain."""
    marker: bytes | None
    at: int
    """Time of writing, ms by the worker's clock."""


class ChangelogRecreated(Fault):
    """The changelog is not the one whose copy is on disk."""

    reason = "changelog_recreated"
    passes = True

    def __init__(self, number: int) -> None:
        super().__init__(
            f"The state of partition {number} on disk is of a changelog that no longer exists: its topic was created "
            "again. The next start deletes the files and reads the whole changelog."
        )


class PartitionState:
    """Used by recovery (as `streams.transport.table.RestorableState`), then by the partition's task."""

    def __init__(
        self,
        number: int = 0,
        *,
        clock: Callable[[], int] = lambda: 0,
        database: Database | None = None,
        delete: Callable[[], None] = lambda: None,
        distrust: Callable[[], None] = lambda: None,
        salt: bytes = b"",
    ) -> None:
        """`delete` deletes the files of the database once it is closed, `distrust` has those of all partitions deleted
        at the next start. `salt`: see `streams.deployment.marker_salt`. Raises `ValueError` if the files cannot be
        read.
        """
        self.profiles = TaskState(disk=database, salt=salt)
        self.worked_on = False
        """True once a task works on it: the disk is then written only at the task's commits."""
        self.marker: bytes | None = None
        """The last commit marker, None before the first flush."""
        self.offset: int | None = None
        """Last changelog offset that the disk has; None if it has none. Without a disk, the last one that was read."""
        self._number = number
        self._clock = clock
        self._database = database
        self._delete = delete
        self._distrust = distrust
        self._written_at = 0
        self._rewritten_at: int | None = None
        self._stored_marker: bytes | None = None
        self._flushed = -1
        """Number of the commit of `marker`."""
        if self.profiles.note:
            note = msgspec.msgpack.decode(self.profiles.note, type=DiskNote)
            self.offset, self._written_at = note.offset, note.at
            self.marker = self._stored_marker = note.marker
            if (marker := decode_marker(note.marker)) is not None:
                self._flushed = marker.commit

    def __len__(self) -> int:
        return len(self.profiles)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.profiles)

    # -- used by recovery

    def reason_to_discard(self, first: int, end: int) -> str | None:
        """Return why recovery cannot go on from what is on disk, given the changelog's offsets; None if it can.

        The changelog keeps a tombstone for some time only. A copy that has not read it by then would keep a deleted
        profile.
        """
        if self.offset is None:
            return None
        if self.offset >= end:
            return f"it goes up to offset {self.offset}, but the changelog ends at {end}"
        if self.offset + 1 < first:
            return f"it goes up to offset {self.offset}, but the changelog begins at {first}"
        if self.offset + 1 < end and self._clock() - self._written_at > DELETES_KEPT // 2:
            return "it is too old: the changelog may no longer show what was deleted since"
        return None

    def restore(self, records: Iterable[tuple[bytes, bytes | None]], offset: int) -> None:
        """Apply records of the changelog, in its order, up to `offset`."""
        profiles = self.profiles
        for key, value in records:
            if key == MARKER_KEY:
                self._observe_marker(value)
            else:
                profiles.restore(key, value)
        self.offset = offset
        self._write_to_disk()

    def close(self) -> None:
        """Release the state. Files on disk stay."""
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def discard(self) -> None:
        """Release the state, and delete its files."""
        self.close()
        self._delete()

    # -- used by the loops of the worker

    def tidy(self) -> bool:
        """Take a step in removing erasure residue: timers, and data in files.

        Return True if there is more to do now. Called every second or so, for copies too, and again at once while it
        returns True. Raises what the disk raises.
        """
        residue = self.profiles.residue
        if residue.searching:
            now = self._clock()
            if self._rewritten_at is not None and 0 <= now - self._rewritten_at < REWRITE_MS:
                return False
            residue.search(TIMERS_PER_STEP)
            if self._database is None:
                if residue.found:
                    residue.note_removed()
                return residue.searching
            if not residue.found:
                return True
            if not self.worked_on:
                self._write_to_disk()
        if residue.written and self._database is not None and self._database.rewritten():
            self._rewritten_at = self._clock()
            residue.note_removed()
        return False

    # -- used by the task

    def flushed(self, marker: bytes, flush: Flush) -> None:
        """Note that the changes of a snapshot are in the changelog, with the marker behind them.

        The offset does not advance if another writer has written to the changelog: its records have to be read once.
        """
        self.marker = marker
        before = -1 if self.offset is None else self.offset
        if flush.first == before + 1 and flush.whole:
            self.offset = flush.last
        self._write_to_disk()

    # -- inside

    def _observe_marker(self, marker: bytes | None) -> None:
        stored, read = decode_marker(self._stored_marker), decode_marker(marker)
        if stored is not None and read is not None and stored.started_at != read.started_at:
            self._distrust()
            raise ChangelogRecreated(self._number)
        if read is not None and read.commit >= self._flushed:  # else a stale owner wrote it
            self.marker, self._flushed = marker, read.commit

    def _write_to_disk(self) -> None:
        self._written_at = self._clock()
        if self._database is not None and self.offset is not None:
            note = DiskNote(self.offset, self.marker, self._written_at)
            self.profiles.write_to_disk(msgspec.msgpack.encode(note))


def states(settings: Settings, clock: Callable[[], int]) -> Callable[[int], PartitionState]:
    """Return the function that creates the state of a partition: from disk if the settings say so, else empty.

    Raises `UserError` if the directory is another worker's. The returned function raises one if the disk fails.
    """
    salt = deployment.marker_salt(settings)
    if settings.state_store == "memory":
        return lambda number: PartitionState(number, clock=clock, salt=salt)
    from streams.transport.rocks import Databases  # 8 MB that only this state store needs

    databases, topic = Databases(settings.data_dir / STATE_DIRECTORY), changelog_topic(settings)

    def stored(number: int) -> PartitionState:
        delete, distrust = partial(databases.delete, topic, number), partial(databases.distrust, topic)
        database = databases.open(topic, number)
        try:
            return PartitionState(number, clock=clock, database=database, delete=delete, distrust=distrust, salt=salt)
        except ValueError as error:
            log.warning("The state of partition %d on disk cannot be read (%s): its files are deleted", number, error)
            database.close()
            delete()
            return stored(number)

    return stored
