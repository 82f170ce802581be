"""The state of one partition task: its profiles, their timers, and what the changelog does not have yet.

A record's key is the name space and the id (`record_key`). `TaskState` is made of parts with one job each:

- `ProfileTiers`: live and packed profiles;
- `Timers`: deadlines;
- `Census`: counts for metrics;
- `PendingChanges`: what the next commit writes;
- `RecentCommits`: outputs that may not have been sent;
- `Recovery`: restoring the changelog;
- `ErasureMarkers` and `ErasureResidue`: customers who were erased;
- `DiskWriter`: all of it on disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from streams.core.event_time.inputs import ERASURES
from streams.core.model.alias import Alias
from streams.core.model.internal_messages import InternalMessage
from streams.core.model.outputs import Output
from streams.core.model.sources import Rank, UpstreamId
from streams.core.profile.profile import Profile
from streams.core.store.backend import Disk, MemoryBackend
from streams.core.store.census import Census
from streams.core.store.checkpoint import VERSION, DiskCheckpoint, empty
from streams.core.store.disk_writer import DiskWriter, read_checkpoint
from streams.core.store.erasure_markers import ErasureMarkers, ErasureResidue
from streams.core.store.pending_changes import PendingChanges, raise_applied
from streams.core.store.profile_tiers import ProfileTiers
from streams.core.store.recent_commits import NO_COMMIT, RecentCommits
from streams.core.store.recovery import Recovery
from streams.core.store.timers import NEAREST, NEVER, Timers

LIVE_LIMIT: Final = 10_000
"""Profiles of a partition that stay unpacked: some 2 KB each, and a partition is one of many."""
CAME_UP: Final = NEVER
"""In place of a deadline before a change: the timer came up, so that any next deadline has to be scheduled."""


def record_key(customer: str, identified: bool) -> bytes:
    """Return the changelog key. Known customers and anonymous ids are separate name spaces."""
    return (b"c" if identified else b"a") + customer.encode()


class TaskState:
    """The profiles of one partition, as recovery, the engine and the commit use them.

    Recovery fills it (`restore`), the engine works on it (`get`, `put`, `note_change`), a commit writes it (`changes`).
    Every change of a profile must be followed by `note_change`: a commit may evict a profile that the changelog has.

    With a `disk`, packed profiles and timers are on disk, where `write_to_disk` writes them. A state that is made from
    the same disk later is as of the last `write_to_disk`, so recovery goes on from there. The disk may hold more than
    the owner knows: restoring a record twice is harmless.
    """

    def __init__(
        self, live_limit: int = LIVE_LIMIT, disk: Disk | None = None, nearest: int = NEAREST, salt: bytes = b""
    ) -> None:
        """`live_limit`: profiles that may stay unpacked over a commit. `nearest`: timers in memory at least, if all are
        on disk. `salt`: of the erasure markers, at most 64 bytes. Raises `ValueError` if the disk cannot be read.
        """
        # The checkpoint is not kept: it names customers, who may be erased.
        stored = empty() if disk is None else read_checkpoint(disk)
        self._disk = None if disk is None else DiskWriter(disk, stored.scheduled, nearest)
        self.note = stored.note
        """The owner's note, as `write_to_disk` last wrote it."""
        self.commit = stored.commit
        """The highest commit number seen."""
        self.applied = [-1] * (ERASURES + 1)
        """The highest offset applied and written, by rank of the input; always -1 for erasure requests."""
        raise_applied(self.applied, stored.applied)
        packed = MemoryBackend() if self._disk is None else self._disk.packed
        self.timers = Timers() if self._disk is None else self._disk.timers
        self.markers = ErasureMarkers(packed, salt, stored.markers)
        self._tiers = ProfileTiers(packed, self.timers, stored.records, live_limit)
        self.residue = ErasureResidue(self.timers, self.markers, self._tiers.has_deadline)
        self._census = Census()
        self._recent = RecentCommits(self._tiers, stored.recent, stored.commit, stored.recent_since)
        self._changes = PendingChanges(
            self._tiers, self._census, self._recent, self.markers, self.residue, self.applied
        )
        self._recovery = Recovery(
            self._tiers, self.timers, self._census, self._changes, self._recent, self.markers, self.residue
        )
        self._live = self._tiers.live  # `get` is on the path of every event
        self.markers.unwritten.update(stored.owed_markers)
        self.residue.markers.update(dict.fromkeys(stored.residue))
        self._census.load(stored.population, stored.places, stored.aliases, stored.largest)
        self._changes.load(stored.changed, stored.pending_tombstones, stored.repeated_tombstones)

    def __len__(self) -> int:
        return self._tiers.number

    def __iter__(self) -> Iterator[bytes]:
        return self._tiers.keys()

    @property
    def live(self) -> int:
        """Number of profiles that are unpacked."""
        return len(self._live)

    @property
    def full(self) -> bool:
        """True if so many profiles have changed that the next commit should not be put off."""
        return len(self._changes.changed) >= self._tiers.generation

    @property
    def population(self) -> Counter[str]:
        """See `Census.population`."""
        return self._census.population

    @property
    def places(self) -> Counter[tuple[str, str]]:
        """See `Census.places`."""
        return self._census.places

    @property
    def aliases(self) -> int:
        """Number of aliases. Callers that make or end one count it here."""
        return self._census.aliases

    @aliases.setter
    def aliases(self, number: int) -> None:
        self._census.aliases = number

    @property
    def largest(self) -> int:
        """See `Census.largest`."""
        return self._census.largest

    # -- recovery

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Restore the next record of the changelog: see `Recovery`."""
        header = self._recovery.restore(key, value)
        if header is not None:
            self.commit = max(self.commit, header.commit)
            raise_applied(self.applied, header.applied)

    def unsent_outputs(self, committed: int, stale: int = NO_COMMIT) -> list[Output]:
        """Return the outputs in records of commits later than `committed`. They may never have been sent.

        `stale` is the commit number that the previous task skipped. A record with this number was written by that
        task's predecessor, which had lost the partition and sent nothing any more.
        """
        return self._recent.outputs(committed, stale)

    def write_again(self, committed: int, stale: int = NO_COMMIT) -> None:
        """Have the next commit write the profiles of commits later than `committed`, or of `stale`, once more.

        They get the number of that commit. Records that were to follow them may never have been written.
        """
        for key in self._recent.keys_later_than(committed, stale):
            if key.startswith((b"a", b"c")):
                self.get(key)
                self._changes.changed[key] = None

    def unsent_messages(
        self, committed: int, flushed: int
    ) -> tuple[list[InternalMessage], list[tuple[bytes, InternalMessage]]]:
        """Return the internal messages that may never have been sent, and those that never were.

        The former are of commits later than `committed`, in the order of their numbers. The latter are of commits later
        than `flushed`, which is the last whole flush, or have no number yet; each comes with the key of its profile.
        """
        return self._recent.messages(committed, flushed)

    # -- work

    def get(self, key: bytes) -> Profile | None:
        """Return the profile, None if there is none. Loads it if it is not live."""
        profile = self._live.get(key)
        if profile is None:
            return self._tiers.load(key)
        return profile

    def next_deadline(self, key: bytes) -> int | None:
        """Return the profile's next deadline, ms, without loading the profile."""
        return self._tiers.next_deadline(key)

    def put(self, key: bytes, profile: Profile) -> None:
        """Add a new profile where `get` found none, or replace the one that it found."""
        self._tiers.put(key, profile)

    def note_change(
        self,
        key: bytes,
        profile: Profile,
        stage_before: str | None,
        places_before: tuple[tuple[str, str], ...],
        deadline_before: int | None,
    ) -> None:
        """Have the next commit write a profile that changed. Schedules its timer, and keeps the census right.

        The arguments `…_before` are the stage, `Profile.places` and the next deadline before the change. If the
        profile's timer came up, `deadline_before` is `CAME_UP`.
        """
        if not profile.dirty:
            profile.dirty = True
            self._changes.changed[key] = None
            self._tiers.touch(key)
        deadline = profile.next_deadline
        if deadline is None:
            if deadline_before is not None:
                self.timers.cancel(key)
        elif deadline_before is None or deadline < deadline_before:  # else it comes up early enough
            self.timers.schedule(key, deadline)
        if profile.stage != stage_before:
            self._census.move_stage(stage_before, profile.stage)
        if places_before or profile.tracks is not None:
            self._census.move_places(places_before, profile.places())

    def repeat_tombstone(self, key: bytes) -> None:
        """Have the next commit write a tombstone for a key without a record.

        A stale owner may have left a record of it in the changelog, or its profile may still be in the topic of
        profiles.
        """
        self._changes.repeated_tombstones[key] = None

    def changed_profile(self, key: bytes) -> Profile | None:
        """Return the profile if it is live and the next call of `changes` writes it, else None."""
        return self._live.get(key) if key in self._changes.changed else None

    def alias_of(self, key: bytes) -> Alias | None:
        """Return the alias of an id, None if there is none, without loading it. The caller must not change it."""
        return self._tiers.alias_of(key)

    def walk_keys(self) -> Iterator[bytes]:
        """Yield the keys of all records, while anything may change. See `MemoryBackend.walk`."""
        return self._tiers.walk()

    # -- commit

    def has_changes(self, committed: Mapping[Rank, int]) -> bool:
        """Return True if a commit would write something. `committed`: see `changes`."""
        return self._changes.any(committed)

    def changes(
        self, commit: int, committed: Mapping[Rank, int], taken: Mapping[UpstreamId, int] | None = None
    ) -> list[tuple[bytes, bytes | None]]:
        """Return the changelog records of commit number `commit`: everything that changed since the last call.

        `committed`: the positions that are known to be committed, by rank. `taken`: by upstream partition, the last
        offset that the state in the changelog is known to have applied.

        Each profile is written with the outputs that wait for the commit (`Profile.pending`), and they are removed from
        the live profile. A forgotten profile is written once like any other, so that its last outputs are safe. Its
        tombstone follows when no event of it can be read again: when all committed positions are beyond its events.
        """
        self.commit = commit
        self._recent.begin(commit)  # the commit before was completed
        records = self._changes.collect(commit, committed, {} if taken is None else taken)
        if self._tiers.eviction_due:
            self._tiers.evict()
        if self._disk is not None:
            self._disk.take(self._checkpoint(), self.residue)
        return records

    def write_to_disk(self, note: bytes) -> None:
        """Write to disk what was restored, or the last result of `changes`, once the changelog has it.

        `note` is kept with it. Does nothing without a disk. Raises the errors of the disk.
        """
        if self._disk is None:
            return
        if not self._disk.has_taken:
            self._disk.take(self._checkpoint(), self.residue)
        self.note = note
        self._disk.write(note, self.residue)

    # -- for tests

    def written(self, key: bytes) -> bytes | None:
        """Return the record as `changes` last wrote it, or as recovery found it; None if there is none."""
        return self._tiers.packed.get(key)

    def items(self) -> Iterator[tuple[bytes, Profile]]:
        """Yield every profile that is in a stage, with its key. Loads all of them."""
        for key in self:
            profile = self.get(key)
            if profile is not None and profile.stage is not None:
                yield key, profile

    # -- inside

    def _checkpoint(self) -> DiskCheckpoint:
        return DiskCheckpoint(
            VERSION,
            b"",
            self._tiers.number,
            len(self.timers),
            dict(self._census.population),
            self._census.largest,
            self.commit,
            list(self.applied),
            list(self._recent.commits),
            self._recent.since,
            list(self._changes.changed),
            list(self._changes.pending_tombstones),
            self._census.places_by_track(),
            self._census.aliases,
            self.markers.number,
            dict(self.markers.unwritten),
            list(self._changes.repeated_tombstones),
            list(self.residue.markers),
        )
