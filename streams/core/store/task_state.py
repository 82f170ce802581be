"""The profiles of one partition task: what the changelog holds, what is hot in memory, what is to be written.

Keys are the customer's name space and id (`record_key`). Two tiers: a profile that is worked on is an object (hot);
every profile is also there packed, as the changelog has it (cold), in memory or on disk. What was not touched for a
while is dropped from the hot ones, and unpacked again when it is touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from streams.core.event_time.inputs import ERASURES
from streams.core.event_time.offset_gaps import complete_up_to, still_open
from streams.core.model.alias import Alias
from streams.core.model.internal_messages import InternalMessage
from streams.core.model.outputs import Output
from streams.core.profile.codec import Header, pack, peek, unpack
from streams.core.profile.profile import Profile
from streams.core.store.backend import CHECKPOINT, Disk, DiskBackend, MemoryBackend
from streams.core.store.checkpoint import VERSION, DiskCheckpoint, decode, encode
from streams.core.store.erasure_markers import NEVER, ErasureMarkers, ErasureResidue, is_marker
from streams.core.store.timers import NEAREST, Timers, TimersOnDisk

HOT: Final = 10_000
"""Profiles of a partition that stay unpacked: some 2 KB each, and a partition is one of many."""
RECENT: Final = 20_000
NO_COMMIT: Final = -1
"""In the place of the number of a commit: none has it."""


def record_key(customer: str, identified: bool) -> bytes:
    """The changelog key: known customers and anonymous ids are separate name spaces."""
    return (b"c" if identified else b"a") + customer.encode()


class TaskState:
    """All profiles of one partition, their timers, and which of them the changelog does not have yet.

    Filled by recovery (`restore`), worked on by the engine, written by a commit (`changes`). A hot profile may change
    only if `touched` is told: one that the changelog has can be dropped at any commit.

    With a `disk`, the cold profiles are there: `keep` writes them, and a state made of the same disk later is as it was
    then, so that recovery need only go on from there. It may hold more than that: restoring a record again is harmless.
    """

    def __init__(self, hot: int = HOT, disk: Disk | None = None, nearest: int = NEAREST, salt: bytes = b"") -> None:
        """`hot`: how many profiles may stay unpacked over a commit. `nearest`: how many timers are in memory at least
        if all are on disk. `salt`: of the marks of who was erased, at most 64 bytes. Raises `ValueError` if what is on
        the disk cannot be read.
        """
        self.timers = Timers()
        self.population: Counter[str] = Counter()
        """Customers in each stage of the lifecycle."""
        self.places: Counter[tuple[str, str]] = Counter()
        """Customers in each stage of further tracks."""
        self.aliases = 0
        """Records that say whose an id is: not among the population, nor among `items`."""
        self.largest = 0
        """Bytes of the largest profile packed or restored so far."""
        self.commit = 0
        """The highest commit number seen."""
        self.applied = [-1] * (ERASURES + 1)
        """The highest offset applied and written, by rank of what is read; of erasure requests none is kept."""
        self.note = b""
        """What the owner had kept with the state that is on disk."""
        self._backend = MemoryBackend()
        self._hot: dict[bytes, Profile] = {}
        self._generation = max(1, hot // 2)
        self._young: dict[bytes, None] = {}
        self._old: dict[bytes, None] = {}
        """The hot keys, in two generations: what is touched is young; see `_evict`."""
        self._records = 0
        self._dirty: dict[bytes, None] = {}  # ordered sets: what is written has one order
        self._pending_tombstones: dict[bytes, None] = {}  # forgotten and written as such: their tombstones are owed
        self._repeated_tombstones: dict[bytes, None] = {}  # erased: their tombstones are owed again
        self._recent: dict[bytes, int] = {}
        """Of the latest records the commits, at least of all that are later than `_recent_since`: their outputs may not
        have been sent."""
        self._recent_since = 0
        self._on_disk: DiskBackend | None = None
        self._timers_on_disk: TimersOnDisk | None = None
        self._checkpoint: DiskCheckpoint | None = None
        """As of the last `changes`, until it is on disk."""
        checkpoint = None if disk is None else self._open(disk, nearest)
        self.markers = ErasureMarkers(self._backend, salt, 0 if checkpoint is None else checkpoint.marks)
        """Of who was erased."""
        self.residue = ErasureResidue(self.timers, self.markers, self._has_deadline)
        if checkpoint is not None:
            self.markers.owed.update(checkpoint.owed_marks)
            self.residue.marks.update(dict.fromkeys(checkpoint.traces))

    def __len__(self) -> int:
        return self._records

    def __iter__(self) -> Iterator[bytes]:
        cold = [key for key, _ in self._backend.items() if not is_marker(key)]
        return iter({**dict.fromkeys(cold), **dict.fromkeys(self._hot)})

    @property
    def hot(self) -> int:
        """How many profiles are unpacked."""
        return len(self._hot)

    @property
    def full(self) -> bool:
        """Whether so many profiles wait to be written that a commit should not be put off."""
        return len(self._dirty) >= self._generation

    # -- recovery

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take in one record of the changelog, in its order.

        A staler record that follows a fresher one was written by a worker that had lost the partition: it is passed
        over, and the fresher one will be written again.
        """
        if is_marker(key):
            self.markers.restore(key, value)
            return
        known = self._backend.get(key)
        have = None if known is None else peek(known)
        if value is None:
            if have is None:
                self._repeated_tombstones.pop(key, None)
                return
            if not have.forgotten:  # the tombstone of a zombie: its own forgetting went before
                self._dirty[key] = None
                return
            self._backend.delete(key)
            self._records -= 1
            self._dirty.pop(key, None)
            self._pending_tombstones.pop(key, None)
            self._recent.pop(key, None)
            self.residue.left_by(key)
            return
        header = peek(value)
        if have is None:
            if self.markers.number and self.markers.erased_at(key) > unpack(value).erased_at:
                self._repeated_tombstones[key] = None  # of a zombie, from before the erasure
                return
            self._repeated_tombstones.pop(key, None)
            self._records += 1
            self.timers.restored(key, None, header.next_deadline)
        else:
            if _age(header) < _age(have) or self._knows_no_erasure(key, known, have, value):
                self._dirty[key] = None
                return
            if have.stage is not None:
                self._leave_stage(have.stage)
            self.aliases -= have.is_alias
            self._recount(have.places, ())
            self.timers.restored(key, have.next_deadline, header.next_deadline)
        self._backend.put(key, value)
        self._dirty.pop(key, None)
        self._pending_tombstones.pop(key, None)
        if header.stage is not None:
            self.population[header.stage] += 1
        self.aliases += header.is_alias
        self._recount((), header.places)
        self.largest = max(self.largest, len(value))
        self.commit = max(self.commit, header.commit)
        self._note_applied(header.applied)
        if header.forgotten:
            self._pending_tombstones[key] = None
        self._recent[key] = header.commit  # also a zombie's, of a commit before
        if len(self._recent) > RECENT:
            self._forget_older()

    def unsent(self, committed: int, stray: int = NO_COMMIT) -> list[Output]:
        """The outputs that profiles keep from commits later than `committed`: they may never have been sent.

        `stray` is the number that the last task left out: who has it was written by its predecessor when that had lost
        the partition, and sent nothing any more.
        """
        later = self._later_than(committed, stray)
        return [one for _, profile in later for one in profile.pending if not isinstance(one, InternalMessage)]

    def write_again(self, committed: int, stray: int = NO_COMMIT) -> None:
        """The records of customers and devices that are of commits later than `committed`, or `stray` ones, go with the
        next commit once more, and under its number: what followed the changelog may never have been sent."""
        for key in self._keys_later_than(committed, stray):
            if key.startswith((b"a", b"c")):
                self.get(key)
                self._dirty[key] = None

    def unsent_items(
        self, committed: int, flushed: int
    ) -> tuple[list[InternalMessage], list[tuple[bytes, InternalMessage]]]:
        """What is passed on and may never have been: items of commits later than `committed`, in their order; and those
        of a flush later than `flushed`, the last whole one, or not numbered since: with the keys that keep them. These
        were never sent."""
        whole: list[InternalMessage] = []
        cut: list[tuple[bytes, InternalMessage]] = []
        for key, profile in self._later_than(min(committed, flushed - 1)):
            for one in profile.pending:
                if isinstance(one, InternalMessage):
                    if profile.commit > flushed or one.number < 0:
                        cut.append((key, one))
                    elif profile.commit > committed:
                        whole.append(one)
        return sorted(whole, key=_number), cut

    # -- work

    def get(self, key: bytes) -> Profile | None:
        """The profile, unpacked on first touch; None if there is none."""
        profile = self._hot.get(key)
        if profile is None:
            value = self._backend.get(key)
            if value is None:
                return None
            profile = unpack(value)
            profile.pending = []
            self._hot[key] = profile
            self._young[key] = None
            self.timers.loaded(key, profile.next_deadline)
        return profile

    def next_deadline(self, key: bytes) -> int | None:
        """The profile's next deadline, without unpacking it."""
        profile = self._hot.get(key)
        if profile is not None:
            return profile.next_deadline
        value = self._backend.get(key)
        return None if value is None else peek(value).next_deadline

    def put(self, key: bytes, profile: Profile) -> None:
        """Add a fresh profile where `get` found none, or replace a forgotten one that it found."""
        if key not in self._hot:
            self._records += 1
        self._hot[key] = profile
        self._young[key] = None

    def note_change(
        self,
        key: bytes,
        profile: Profile,
        stage_before: str | None,
        places_before: tuple[tuple[str, str], ...],
        deadline_before: int | None,
        came_up: bool = False,
    ) -> None:
        """The profile changed: it is written at the next commit, its timer armed, the population kept.

        `places_before` are `Profile.places` as they were. `came_up`: its timer did, so that none is armed.
        """
        if not profile.dirty:
            profile.dirty = True
            self._dirty[key] = None
            self._young[key] = None
        deadline = profile.next_deadline
        if deadline is None:
            if deadline_before is not None:
                self.timers.cancel(key)
        elif deadline_before is None or came_up or deadline < deadline_before:  # else it comes up early enough
            self.timers.schedule(key, deadline)
        if profile.stage != stage_before:
            if stage_before is not None:
                self._leave_stage(stage_before)
            if profile.stage is not None:
                self.population[profile.stage] += 1
        if places_before or profile.tracks is not None:
            self._recount(places_before, profile.places())

    def delete_again(self, key: bytes) -> None:
        """There is no record, but a zombie may have left one, or a document: a tombstone goes with the next commit."""
        self._repeated_tombstones[key] = None

    # -- commit

    def owes(self, committed: Mapping[int, int]) -> bool:
        """Whether a commit would write anything (see `changes`)."""
        return bool(self._dirty or self.markers.owed or self._repeated_tombstones or self.residue.found) or any(
            self._behind(key, committed) for key in self._pending_tombstones
        )

    def changes(
        self, commit: int, committed: Mapping[int, int], taken: Mapping[int, int] | None = None
    ) -> list[tuple[bytes, bytes | None]]:
        """Everything changed since the last call, as changelog records of commit number `commit`.

        `committed` are the positions that are known to be committed, by rank, and `taken`, by origin, what the state
        that is in the changelog already knows to be applied of it.

        Every profile is given with its outputs that wait for the commit (`Profile.pending`), which are taken from it.
        A forgotten profile is written once like any other, so that its last outputs are safe. It gets its tombstone
        when no event of it can be read again: when the positions that are known to be committed are behind them all.
        """
        self.commit = commit
        self._recent, self._recent_since = {}, commit - 1  # the commit before has gone through
        written: list[tuple[bytes, bytes | None]] = [(key, None) for key in self._repeated_tombstones]
        self._repeated_tombstones = {}
        for key in [key for key in self._pending_tombstones if self._behind(key, committed)]:
            del self._pending_tombstones[key]
            if key not in self._dirty:
                self._delete(key)
                written.append((key, None))
        dirty, self._dirty = self._dirty, {}
        for key in dirty:
            profile = self._hot.get(key)
            if profile is not None:
                profile.commit, profile.dirty = commit, False
                if profile.of_upstreams is not None:
                    profile.of_upstreams = _not_known(profile.of_upstreams, taken or {})
                if profile.offset_gaps is not None:
                    profile.offset_gaps = still_open(profile.offset_gaps, committed, taken or {})
                value = pack(profile)
                if profile.pending:
                    profile.pending = []
                    self._recent[key] = commit  # of the others all has left once this is on disk (`keep`)
                self.largest = max(self.largest, len(value))
                if profile.applied_forwarded >= 0:
                    self._note_applied(profile.applied)
                else:  # as it does, without a list
                    if profile.applied_clicks > self.applied[0]:
                        self.applied[0] = profile.applied_clicks
                    if profile.applied_orders > self.applied[1]:
                        self.applied[1] = profile.applied_orders
                forgotten = profile.stage is None and profile.alias is None
                self._backend.put(key, value)
            else:  # recovered, and a staler record of a zombie followed it
                recovered = self._backend.get(key)
                assert recovered is not None
                value, forgotten = recovered, peek(recovered).forgotten
            if forgotten:
                self._pending_tombstones[key] = None
            else:
                self._pending_tombstones.pop(key, None)
            written.append((key, value))
        written += self.markers.changes()
        if len(self._young) >= self._generation:
            self._evict()
        if self._timers_on_disk is not None:
            self._checkpoint = self._take_checkpoint()
        return written

    def to_be_written(self, key: bytes) -> Profile | None:
        """The profile, if the next call of `changes` gives it as it is then."""
        return self._hot.get(key) if key in self._dirty else None

    def keep(self, note: bytes) -> None:
        """Let disk have what was restored, or what `changes` gave last: the changelog has it.

        `note` is kept with it. Nothing happens without a disk. Raises what the disk raises.
        """
        if self._on_disk is None or self._timers_on_disk is None:
            return
        checkpoint = self._checkpoint
        if checkpoint is None:
            checkpoint = self._take_checkpoint()
        self._checkpoint = None
        checkpoint.note = self.note = note
        self._on_disk.flush(self._timers_on_disk.being_written, encode(checkpoint))
        self._timers_on_disk.written()
        self.residue.kept()

    def walk(self) -> Iterator[bytes]:
        """The keys of all records: see `MemoryBackend.walk`."""
        yield from list(self._hot)
        yield from self._backend.walk()

    def alias_of(self, key: bytes) -> Alias | None:
        """What is known of whose an id is, without unpacking it for good; not to be changed."""
        profile = self._hot.get(key)
        if profile is not None:
            return profile.alias
        value = self._backend.get(key)
        return unpack(value).alias if value is not None and peek(value).is_alias else None

    def written(self, key: bytes) -> bytes | None:
        """The record as the last call of `changes` left it, or recovery found it; None if there is none."""
        return self._backend.get(key)

    def items(self) -> Iterator[tuple[bytes, Profile]]:
        """Every living profile, unpacked (for tests: it touches all)."""
        for key in self:
            profile = self.get(key)
            if profile is not None and profile.stage is not None:
                yield key, profile

    # -- inside

    def _later_than(self, committed: int, stray: int = NO_COMMIT) -> list[tuple[bytes, Profile]]:
        """As written, the profiles of commits later than `committed`, or of `stray`, with their keys."""
        values = [(key, self._backend.get(key)) for key in self._keys_later_than(committed, stray)]
        return [(key, unpack(value)) for key, value in values if value is not None]

    def _keys_later_than(self, committed: int, stray: int) -> list[bytes]:
        """Of stray records those among the latest: where much was written behind them, they were as well."""
        keys: Iterable[bytes] = self._recent
        if committed < self._recent_since:
            keys = [key for key, _ in self._backend.items() if not is_marker(key)]
        found: list[bytes] = []
        for key in keys:
            value = self._backend.get(key)
            if value is not None and ((commit := peek(value).commit) > committed or commit == stray):
                found.append(key)
        return found

    def _knows_no_erasure(self, key: bytes, known: bytes | None, have: Header, value: bytes) -> bool:
        """Whether a record that follows the one that is known is from before an erasure, however much a zombie had
        applied to it that whoever erased did not read any more, or passed over."""
        erased_at = self.markers.erased_at(key)
        if have.forgotten and known is not None:  # its mark may follow
            erased_at = max(erased_at, unpack(known).erased_at)
        return erased_at != NEVER and unpack(value).erased_at < erased_at

    def _behind(self, key: bytes, committed: Mapping[int, int]) -> bool:
        """Whether all that was applied to the profile lies before the committed positions."""
        profile = self._hot.get(key)
        if profile is not None:
            applied: Iterable[int] = profile.applied
        else:
            value = self._backend.get(key)
            assert value is not None
            applied = peek(value).applied
        return all(offset < committed.get(rank, offset + 1) for rank, offset in enumerate(applied))

    def _delete(self, key: bytes) -> None:
        """Nothing of the record stays, but what `traces` knows of."""
        self._backend.delete(key)
        self._records -= 1
        if self._hot.pop(key, None) is not None:
            self.timers.evicted(key)
        self._young.pop(key, None)
        self._old.pop(key, None)
        self.residue.left_by(key)

    def _has_deadline(self, key: bytes) -> bool:
        return self.next_deadline(key) is not None

    def _evict(self) -> None:
        """Drop what was not touched since the last time, and of what was as much as is too much; nothing is dirty now.

        A backlog touches more between two commits than may stay: then those go that were touched first.
        """
        touched = list(self._young)
        stay = dict.fromkeys(touched[-self._generation :])
        for keys in (self._old, self._young):
            for key in keys:
                if key not in stay and self._hot.pop(key, None) is not None:
                    self.timers.evicted(key)
        self._old, self._young = stay, {}

    def _note_applied(self, applied: Iterable[int]) -> None:
        for source, offset in enumerate(applied):
            if offset > self.applied[source]:
                self.applied[source] = offset

    def _leave_stage(self, stage: str) -> None:
        self.population[stage] -= 1
        if not self.population[stage]:
            del self.population[stage]

    def _recount(self, before: tuple[tuple[str, str], ...], after: tuple[tuple[str, str], ...]) -> None:
        """A customer who was in these places of further tracks is in those."""
        if before == after:
            return
        for place in before:
            self.places[place] -= 1
            if not self.places[place]:
                del self.places[place]
        for place in after:
            self.places[place] += 1

    def _forget_older(self) -> None:
        """Keep the later half of the recent records. If even older ones are asked for, all have to be looked at."""
        commits = sorted(self._recent.values())
        self._recent_since = max(self._recent_since, commits[len(commits) // 2])
        self._recent = {key: commit for key, commit in self._recent.items() if commit > self._recent_since}

    def _open(self, disk: Disk, nearest: int) -> DiskCheckpoint | None:
        stored = disk.get(CHECKPOINT)
        self._on_disk = self._backend = DiskBackend(disk)
        checkpoint = None if stored is None else decode(stored)
        scheduled = 0
        if checkpoint is not None:
            self.note = checkpoint.note
            self.population.update(checkpoint.population)
            for track, stages in checkpoint.places.items():
                for stage, number in stages.items():
                    self.places[track, stage] = number
            self.largest, self.commit = checkpoint.largest, checkpoint.commit
            self.aliases = checkpoint.aliases
            self._note_applied(checkpoint.applied)
            self._records = checkpoint.records
            self._recent_since = checkpoint.recent_since
            self._recent = dict.fromkeys(checkpoint.recent, checkpoint.commit)
            self._dirty = dict.fromkeys(checkpoint.dirty)
            self._pending_tombstones = dict.fromkeys(checkpoint.graves)
            self._repeated_tombstones = dict.fromkeys(checkpoint.tombstones)
            scheduled = checkpoint.scheduled
        self.timers = self._timers_on_disk = TimersOnDisk(disk, scheduled, nearest)
        return checkpoint

    def _take_checkpoint(self) -> DiskCheckpoint:
        """What goes to disk next, with the timers that are taken for it."""
        assert self._timers_on_disk is not None
        self._timers_on_disk.take()
        self.residue.take()
        places: dict[str, dict[str, int]] = {}
        for (track, stage), number in self.places.items():
            places.setdefault(track, {})[stage] = number
        return DiskCheckpoint(
            VERSION,
            b"",
            self._records,
            len(self.timers),
            dict(self.population),
            self.largest,
            self.commit,
            list(self.applied),
            list(self._recent),
            self._recent_since,
            list(self._dirty),
            list(self._pending_tombstones),
            places,
            self.aliases,
            self.markers.number,
            dict(self.markers.owed),
            list(self._repeated_tombstones),
            list(self.residue.marks),
        )


def _number(item: InternalMessage) -> int:
    return item.number


def _not_known(of_origins: dict[int, int], taken: Mapping[int, int]) -> dict[int, int] | None:
    return {origin: offset for origin, offset in of_origins.items() if offset > taken.get(origin, -1)} or None


def _age(header: Header) -> tuple[int, int]:
    """Of two records, the fresher one's is higher. The number comes first, since a zombie's is lower: it may have had
    more of one source, and not what its heir had of another. Numbers are equal where neither had written before."""
    return header.commit, complete_up_to(header.applied, header.offset_gaps)
