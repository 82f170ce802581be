"""Recovery of a partition's state from the changelog, in which stale owners may have written too."""

from __future__ import annotations

from streams.core.event_time.offset_gaps import complete_up_to
from streams.core.profile.codec import Header, peek, unpack
from streams.core.store.census import Census
from streams.core.store.erasure_markers import NEVER, ErasureMarkers, ErasureResidue, is_marker
from streams.core.store.pending_changes import PendingChanges
from streams.core.store.profile_tiers import ProfileTiers
from streams.core.store.recent_commits import RecentCommits
from streams.core.store.timers import Timers


class Recovery:
    """Restores records of the changelog one by one, before the state is worked on.

    A record that is older than the one before it was written by a stale owner. It is skipped, and the newer record is
    written to the changelog again.
    """

    def __init__(
        self,
        tiers: ProfileTiers,
        timers: Timers,
        census: Census,
        changes: PendingChanges,
        recent: RecentCommits,
        markers: ErasureMarkers,
        residue: ErasureResidue,
    ) -> None:
        self._tiers = tiers
        self._timers = timers
        self._census = census
        self._changes = changes
        self._recent = recent
        self._markers = markers
        self._residue = residue

    def restore(self, key: bytes, value: bytes | None) -> Header | None:
        """Restore the next record. Return its header if it becomes the record of a profile or an alias, else None."""
        if is_marker(key):
            self._markers.restore(key, value)
            return None
        if value is None:
            self._restore_tombstone(key)
            return None
        changes = self._changes
        known = self._tiers.packed.get(key)
        header = peek(value)
        if known is None:
            if self._markers.number and self._markers.erased_at(key) > unpack(value).erased_at:
                changes.repeated_tombstones[key] = None  # a stale owner's, from before the erasure
                return None
            changes.repeated_tombstones.pop(key, None)
            self._tiers.number += 1
            self._timers.restored(key, None, header.next_deadline)
        else:
            before = peek(known)
            if _age(header) < _age(before) or self._misses_erasure(key, known, before, value):
                changes.changed[key] = None
                return None
            self._census.remove(before)
            self._timers.restored(key, before.next_deadline, header.next_deadline)
        self._tiers.packed.put(key, value)
        changes.changed.pop(key, None)
        changes.pending_tombstones.pop(key, None)
        self._census.add(header, len(value))
        if header.forgotten:
            changes.pending_tombstones[key] = None
        self._recent.note(key, header.commit)  # also a stale owner's, of an earlier commit
        return header

    def _restore_tombstone(self, key: bytes) -> None:
        changes = self._changes
        known = self._tiers.packed.get(key)
        if known is None:
            changes.repeated_tombstones.pop(key, None)
            return
        if not peek(known).forgotten:  # a stale owner's: the owner writes a forgotten profile before its tombstone
            changes.changed[key] = None
            return
        self._tiers.packed.delete(key)
        self._tiers.number -= 1
        changes.changed.pop(key, None)
        changes.pending_tombstones.pop(key, None)
        self._recent.forget(key)
        self._residue.left_by(key)

    def _misses_erasure(self, key: bytes, known: bytes, before: Header, value: bytes) -> bool:
        """Return True if `value`, which follows the record `known`, is from before an erasure of its customer.

        A stale owner may have applied to it what the worker that erased the customer did not read or skipped, so that
        it is not older by its header.
        """
        erased_at = self._markers.erased_at(key)
        if before.forgotten:  # its erasure marker may still follow
            erased_at = max(erased_at, unpack(known).erased_at)
        return erased_at != NEVER and unpack(value).erased_at < erased_at


def _age(header: Header) -> tuple[int, int]:
    """Return the pair by which records of one key compare: the newer record's is higher.

    The commit comes first, since a stale owner's is lower: that owner may have applied more of one source, and less
    than its successor of another. Commits are equal where neither had written before.
    """
    return header.commit, complete_up_to(header.applied, header.offset_gaps)
