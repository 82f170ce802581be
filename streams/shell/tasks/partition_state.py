"""The state of one partition as the worker has it: its profiles, the marker of its last flush, and how much of the
changelog is on disk.

On disk lies a copy of the changelog up to an offset, or what is newer than that: reading records again is harmless.
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
from streams.shell.admin.topics import DELETES_KEPT, changelog_topic
from streams.shell.commit.changelog import Flush
from streams.shell.commit.metadata import MARKER_KEY, decode_marker

if TYPE_CHECKING:
    from streams.transport.rocks import Database

log = logging.getLogger(__name__)

STATE_DIRECTORY = "state"
LOOK = 10_000
"""Timers looked at in a step of `State.tidy`: some 10 ms."""
REWRITE_MS = HOUR
"""How often files are rewritten at most because somebody was erased: each time that is all of a partition's."""


class DiskNote(msgspec.Struct, array_like=True):
    """What is kept on disk with the profiles."""

    offset: int
    """The last of the changelog that they contain."""
    marker: bytes | None
    at: int
    """When it was written, ms by the worker's clock."""


class ChangelogRecreated(Fault):
    """What follows in the changelog is not what followed what is on disk."""

    reason = "changelog_recreated"
    passes = True

    def __init__(self, number: int) -> None:
        super().__init__(
            f"The state of partition {number} on disk is of a changelog that is there no more: its topic was made "
            "anew. The next start deletes the files and reads the whole changelog."
        )


class PartitionState:
    """Used by recovery (as `streams.transport.table.PartitionState`), then by the partition's task."""

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
        """`delete` deletes the files of the database once it is closed, `distrust` those of all partitions at the next
        start. `salt`: see `streams.deployment.marker_salt`. Raises `ValueError` if they cannot be read.
        """
        self.profiles = TaskState(disk=database, salt=salt)
        self.worked_on = False
        """Whether a task works on it: then disk is written at its commits only."""
        self.marker: bytes | None = None
        """The last one, None before the first flush."""
        self.offset: int | None = None
        """The last offset of the changelog that disk has, None if it has nothing. Without a disk, the last known."""
        self._number = number
        self._clock = clock
        self._database = database
        self._delete = delete
        self._distrust = distrust
        self._written_at = 0
        self._rewritten_at: int | None = None
        self._stored_marker: bytes | None = None
        self._flushed = -1
        """The commit of `marker`."""
        if self.profiles.note:
            note = msgspec.msgpack.decode(self.profiles.note, type=DiskNote)
            self.offset, self._written_at = note.offset, note.at
            self.marker = self._stored_marker = note.marker
            if (mark := decode_marker(note.marker)) is not None:
                self._flushed = mark.commit

    def __len__(self) -> int:
        return len(self.profiles)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.profiles)

    # -- used by recovery

    def reason_to_discard(self, first: int, end: int) -> str | None:
        """Why recovery cannot go on from what is on disk, given the offsets of the changelog; None: it can.

        A tombstone is kept in the changelog for some time only. Who has not read it by then keeps who was forgotten.
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
        """Take in records of the changelog, in its order, up to `offset`."""
        profiles = self.profiles
        for key, value in records:
            if key == MARKER_KEY:
                self._see(value)
            else:
                profiles.restore(key, value)
        self.offset = offset
        self._keep()

    def close(self) -> None:
        """The state is used no more. What is on disk stays there."""
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def discard(self) -> None:
        """The state is used no more, and nothing of it may be used again."""
        self.close()
        self._delete()

    # -- used by the application

    def tidy(self) -> bool:
        """Take a step in removing what is left of who was erased beside their records: timers, and what files hold.

        Called every second or so, of copies too, and at once again while it says that there is more to do now. Raises
        what the disk raises.
        """
        traces = self.profiles.residue
        if traces.looking:
            now = self._clock()
            if self._rewritten_at is not None and 0 <= now - self._rewritten_at < REWRITE_MS:
                return False
            traces.look(LOOK)
            if self._database is None:
                if traces.found:
                    traces.removed()
                return traces.looking
            if not traces.found:
                return True
            if not self.worked_on:
                self._keep()
        if traces.written and self._database is not None and self._database.rewritten():
            self._rewritten_at = self._clock()
            traces.removed()
        return False

    # -- used by the task

    def flushed(self, marker: bytes, flush: Flush) -> None:
        """What `profiles.changes` gave is in the changelog, with the marker behind it.

        The offset stays where it is if somebody else has written to the changelog: that has to be read once.
        """
        self.marker = marker
        before = -1 if self.offset is None else self.offset
        if flush.first == before + 1 and flush.whole:
            self.offset = flush.last
        self._keep()

    # -- inside

    def _see(self, marker: bytes | None) -> None:
        stored, read = decode_marker(self._stored_marker), decode_marker(marker)
        if stored is not None and read is not None and stored.started_at != read.started_at:
            self._distrust()
            raise ChangelogRecreated(self._number)
        if read is not None and read.commit >= self._flushed:  # else it is a zombie's
            self.marker, self._flushed = marker, read.commit

    def _keep(self) -> None:
        self._written_at = self._clock()
        if self._database is not None and self.offset is not None:
            note = DiskNote(self.offset, self.marker, self._written_at)
            self.profiles.keep(msgspec.msgpack.encode(note))


def states(settings: Settings, clock: Callable[[], int]) -> Callable[[int], PartitionState]:
    """What makes the state of a partition: from disk if the settings say so, else empty.

    Raises `UserError` if the directory is another worker's; what it returns raises one if the disk fails.
    """
    salt = deployment.marker_salt(settings)
    if settings.state_store == "memory":
        return lambda number: PartitionState(number, clock=clock, salt=salt)
    from streams.transport.rocks import Databases  # 8 MB that nobody else needs

    databases, topic = Databases(settings.data_dir / STATE_DIRECTORY), changelog_topic(settings)

    def stored(number: int) -> PartitionState:
        delete, distrust = partial(databases.delete, topic, number), partial(databases.distrust, topic)
        database = databases.open(topic, number)
        try:
            return PartitionState(number, clock=clock, database=database, delete=delete, distrust=distrust, salt=salt)
        except ValueError as error:
            log.warning("The state of partition %d on disk cannot be read (%s): deleted", number, error)
            database.close()
            delete()
            return stored(number)

    return stored
