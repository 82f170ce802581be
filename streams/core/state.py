"""The profiles of one partition task: what the changelog holds, what is in memory, what is to be written.

Keys are the customer's name space and id (`record_key`); values are packed profiles. A profile is packed (cold) until
it is touched, and again when it has not been touched for a while: recovery reads headers only, and memory holds few
hundred bytes for most customers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from streams.core.activity import Source
from streams.core.effects import Output
from streams.core.packing import Header, pack, peek, unpack
from streams.core.profile import Profile
from streams.core.timers import Timers

HOT: Final = 20_000


def record_key(customer: str, identified: bool) -> bytes:
    """The changelog key: known customers and anonymous ids are separate name spaces."""
    return (b"c" if identified else b"a") + customer.encode()


class TaskState:
    """All profiles of one partition, their timers, and which of them the changelog does not have yet.

    Filled by recovery (`restore`), worked on by the engine, written by a commit (`changes`).
    """

    def __init__(self, hot: int = HOT) -> None:
        """`hot`: how many profiles may stay unpacked over a commit."""
        self.timers = Timers()
        self.population: Counter[str] = Counter()
        """Customers in each stage."""
        self.largest = 0
        """Bytes of the largest profile packed or restored so far."""
        self.commit = 0
        """The highest commit number seen."""
        self.applied = [-1] * len(Source)
        """The highest offset applied, per source."""
        self._records: dict[bytes, Profile | bytes] = {}
        self._generation = max(1, hot // 2)
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()
        """The hot keys, in two generations: what is touched is young; see `_cool`."""
        self._dirty: dict[bytes, None] = {}  # ordered sets: what is written has one order
        self._graves: dict[bytes, None] = {}  # forgotten and written as such: their tombstones are owed

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._records)

    @property
    def hot(self) -> int:
        """How many profiles are unpacked."""
        return len(self._young | self._old)

    # -- recovery

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take in one record of the changelog, in its order.

        A staler record that follows a fresher one was written by a worker that had lost the partition: it is passed
        over, and the fresher one will be written again.
        """
        known = self._records.get(key)
        if value is None:
            if isinstance(known, bytes) and peek(known).forgotten:
                del self._records[key]
                self._dirty.pop(key, None)
                self._graves.pop(key, None)
            elif known is not None:  # the tombstone of a zombie: its own forgetting went before
                self._dirty[key] = None
            return
        header = peek(value)
        if isinstance(known, bytes):
            have = peek(known)
            if _age(header) < _age(have):
                self._dirty[key] = None
                return
            self._forget_header(have)
        self._records[key] = value
        self._dirty.pop(key, None)
        self._graves.pop(key, None)
        if header.stage is not None:
            self.population[header.stage] += 1
        if header.next_deadline is not None:
            self.timers.arm(key, header.next_deadline)
        self.largest = max(self.largest, len(value))
        self.commit = max(self.commit, header.commit)
        for source, offset in enumerate(header.applied):
            self.applied[source] = max(self.applied[source], offset)
        if header.forgotten:
            self._graves[key] = None

    def unsent(self, committed: int) -> list[Output]:
        """The outputs that profiles keep from commits later than `committed`: they may never have been sent."""
        outputs: list[Output] = []
        for value in self._records.values():
            if isinstance(value, bytes) and peek(value).commit > committed:
                outputs += unpack(value).pending
        return outputs

    # -- work

    def get(self, key: bytes) -> Profile | None:
        """The profile, unpacked on first touch; None if there is none."""
        value = self._records.get(key)
        if isinstance(value, bytes):
            value = unpack(value)
            value.pending = []
            self._records[key] = value
            self._young.add(key)
        return value

    def next_deadline(self, key: bytes) -> int | None:
        """The profile's next deadline, without unpacking it."""
        value = self._records.get(key)
        if value is None:
            return None
        return peek(value).next_deadline if isinstance(value, bytes) else value.next_deadline

    def put(self, key: bytes, profile: Profile) -> None:
        """Add a fresh profile, or replace a forgotten one."""
        self._records[key] = profile
        self._young.add(key)

    def touched(self, key: bytes, profile: Profile, stage_before: str | None) -> None:
        """The profile changed: it is written at the next commit, its timer armed, the population kept."""
        self._dirty[key] = None
        if key in self._old:
            self._young.add(key)
        if profile.next_deadline is not None:
            self.timers.arm(key, profile.next_deadline)
        if profile.stage != stage_before:
            if stage_before is not None:
                self._leave(stage_before)
            if profile.stage is not None:
                self.population[profile.stage] += 1

    # -- commit

    def owes(self, committed: Mapping[Source, int]) -> bool:
        """Whether a commit would write anything (see `changes`)."""
        return bool(self._dirty) or any(self._behind(key, committed) for key in self._graves)

    def changes(self, commit: int, committed: Mapping[Source, int]) -> list[tuple[bytes, bytes | None]]:
        """Everything changed since the last call, as changelog records of commit number `commit`.

        Every profile is given with its outputs that wait for the commit (`Profile.pending`), which are taken from it.
        A forgotten profile is written once like any other, so that its last outputs are safe. It gets its tombstone
        when no event of it can be read again: when the positions that are known to be committed are behind them all.
        """
        self.commit = commit
        written: list[tuple[bytes, bytes | None]] = []
        for key in [key for key in self._graves if self._behind(key, committed)]:
            del self._graves[key]
            if key not in self._dirty:
                del self._records[key]
                written.append((key, None))
        dirty, self._dirty = self._dirty, {}
        for key in dirty:
            value = self._records[key]
            if not isinstance(value, bytes):
                value.commit = commit
                packed = pack(value)
                value.pending = []
                self.largest = max(self.largest, len(packed))
                forgotten = value.stage is None
                value = packed
            else:  # recovered, and a staler record of a zombie followed it
                forgotten = peek(value).forgotten
            if forgotten:
                self._graves[key] = None
            else:
                self._graves.pop(key, None)
            written.append((key, value))
        if len(self._young) >= self._generation:
            self._cool()
        return written

    def _behind(self, key: bytes, committed: Mapping[Source, int]) -> bool:
        """Whether all that was applied to the profile lies before the committed positions."""
        value = self._records[key]
        applied = peek(value).applied if isinstance(value, bytes) else value.applied
        return all(offset < committed[Source(source)] for source, offset in enumerate(applied))

    def items(self) -> Iterator[tuple[bytes, Profile]]:
        """Every living profile, unpacked (for tests: it touches all)."""
        for key in list(self._records):
            profile = self.get(key)
            if profile is not None and profile.stage is not None:
                yield key, profile

    def _cool(self) -> None:
        """Pack what was not touched since the last time; everything is clean now."""
        for key in self._old - self._young:
            value = self._records.get(key)
            if value is not None and not isinstance(value, bytes):
                self._records[key] = pack(value)
        self._old, self._young = self._young, set()

    def _forget_header(self, header: Header) -> None:
        if header.stage is not None:
            self._leave(header.stage)

    def _leave(self, stage: str) -> None:
        self.population[stage] -= 1
        if not self.population[stage]:
            del self.population[stage]


def _age(header: Header) -> tuple[int, int]:
    return sum(header.applied), header.commit
