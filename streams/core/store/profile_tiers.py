"""The two tiers of the profiles of one partition.

A profile that is worked on is a live object. Every profile that was written is also kept packed, as the changelog has
it, in memory or on disk (`streams.core.store.backend`). Profiles that were not touched for a while are evicted: their
objects are dropped, and unpacked again when the profile is next touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from streams.core.model.alias import Alias
from streams.core.profile.codec import peek, unpack
from streams.core.profile.profile import Profile
from streams.core.store.backend import MemoryBackend
from streams.core.store.erasure_markers import is_marker
from streams.core.store.timers import Timers


class ProfileTiers:
    """Loads, keeps and evicts the profiles of a partition, and reports to the timers which profiles are live."""

    def __init__(self, packed: MemoryBackend, timers: Timers, number: int, limit: int) -> None:
        """`number`: records in `packed` that are no erasure markers. `limit`: profiles that may stay live over a
        commit."""
        self.packed = packed
        """All records as last written. Among them are the erasure markers."""
        self.live: dict[bytes, Profile] = {}
        self.number = number
        """Profiles and aliases in either tier."""
        self.generation = max(1, limit // 2)
        """Half the limit. See `evict`."""
        self._timers = timers
        self._young: dict[bytes, None] = {}
        """Live keys that were touched since the last eviction, in the order of their first touch."""
        self._old: dict[bytes, None] = {}
        """Live keys that the last eviction left."""

    def load(self, key: bytes) -> Profile | None:
        """Unpack a profile that is not live. Return None if there is none.

        The outputs that it was packed with were sent: its `pending` is empty.
        """
        value = self.packed.get(key)
        if value is None:
            return None
        profile = unpack(value)
        profile.pending = []
        self.live[key] = profile
        self._young[key] = None
        self._timers.loaded(key, profile.next_deadline)
        return profile

    def put(self, key: bytes, profile: Profile) -> None:
        """Add a profile, or replace the live one of this key."""
        if key not in self.live:
            self.number += 1
        self.live[key] = profile
        self._young[key] = None

    def touch(self, key: bytes) -> None:
        """Keep a live profile from the next eviction."""
        self._young[key] = None

    def delete(self, key: bytes) -> None:
        """Delete the record of this key from both tiers."""
        self.packed.delete(key)
        self.number -= 1
        if self.live.pop(key, None) is not None:
            self._timers.evicted(key)
        self._young.pop(key, None)
        self._old.pop(key, None)

    @property
    def eviction_due(self) -> bool:
        """True if so many profiles were touched since the last eviction that another one pays."""
        return len(self._young) >= self.generation

    def evict(self) -> None:
        """Evict the profiles that were not touched since the last call. All live profiles must have been written.

        Of the touched ones `generation` may stay. If a backlog has touched more between two commits, those that were
        touched first are evicted.
        """
        touched = list(self._young)
        stay = dict.fromkeys(touched[-self.generation :])
        for keys in (self._old, self._young):
            for key in keys:
                if key not in stay and self.live.pop(key, None) is not None:
                    self._timers.evicted(key)
        self._old, self._young = stay, {}

    # -- reading without loading

    def next_deadline(self, key: bytes) -> int | None:
        """Return the profile's next deadline, ms."""
        profile = self.live.get(key)
        if profile is not None:
            return profile.next_deadline
        value = self.packed.get(key)
        return None if value is None else peek(value).next_deadline

    def has_deadline(self, key: bytes) -> bool:
        """Return True if there is a profile with a deadline."""
        return self.next_deadline(key) is not None

    def applied(self, key: bytes) -> Iterable[int]:
        """Return `Profile.applied` of a record that exists."""
        profile = self.live.get(key)
        if profile is not None:
            return profile.applied
        value = self.packed.get(key)
        assert value is not None
        return peek(value).applied

    def alias_of(self, key: bytes) -> Alias | None:
        """Return the alias of an id, None if there is none. The caller must not change it."""
        profile = self.live.get(key)
        if profile is not None:
            return profile.alias
        value = self.packed.get(key)
        return unpack(value).alias if value is not None and peek(value).is_alias else None

    def packed_keys(self) -> list[bytes]:
        """Return the keys of all packed records but the erasure markers."""
        return [key for key, _ in self.packed.items() if not is_marker(key)]

    def keys(self) -> Iterator[bytes]:
        """Yield the keys of all profiles and aliases once."""
        return iter({**dict.fromkeys(self.packed_keys()), **dict.fromkeys(self.live)})

    def walk(self) -> Iterator[bytes]:
        """Yield the keys of all records, while anything may change. See `MemoryBackend.walk`."""
        yield from list(self.live)
        yield from self.packed.walk()
