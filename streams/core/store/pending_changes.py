"""The records that the next commit of a partition has to write to the changelog."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streams.core.event_time.offset_gaps import still_open
from streams.core.model.sources import Rank, UpstreamId
from streams.core.profile.codec import pack, peek
from streams.core.store.census import Census
from streams.core.store.erasure_markers import ErasureMarkers, ErasureResidue
from streams.core.store.profile_tiers import ProfileTiers
from streams.core.store.recent_commits import RecentCommits


class PendingChanges:
    """Collects the keys that changed, and makes the changelog records of a commit of them.

    Keys are kept in dicts, whose order is that of the records.
    """

    def __init__(
        self,
        tiers: ProfileTiers,
        census: Census,
        recent: RecentCommits,
        markers: ErasureMarkers,
        residue: ErasureResidue,
        applied: list[int],
    ) -> None:
        """`applied`: see `TaskState.applied`. It is updated in place."""
        self.changed: dict[bytes, None] = {}
        """Keys whose record has to be written."""
        self.pending_tombstones: dict[bytes, None] = {}
        """Keys of forgotten profiles that were written as such. Their tombstones follow."""
        self.repeated_tombstones: dict[bytes, None] = {}
        """Keys without a record whose tombstone has to be written again."""
        self._tiers = tiers
        self._census = census
        self._recent = recent
        self._markers = markers
        self._residue = residue
        self._applied = applied

    def load(self, changed: list[bytes], pending_tombstones: list[bytes], repeated_tombstones: list[bytes]) -> None:
        """Set the keys to those of a disk checkpoint."""
        self.changed = dict.fromkeys(changed)
        self.pending_tombstones = dict.fromkeys(pending_tombstones)
        self.repeated_tombstones = dict.fromkeys(repeated_tombstones)

    def any(self, committed: Mapping[Rank, int]) -> bool:
        """Return True if a commit would write something. `committed`: see `TaskState.changes`."""
        return bool(self.changed or self._markers.unwritten or self.repeated_tombstones or self._residue.found) or any(
            self._is_behind(key, committed) for key in self.pending_tombstones
        )

    def collect(
        self, commit: int, committed: Mapping[Rank, int], taken: Mapping[UpstreamId, int]
    ) -> list[tuple[bytes, bytes | None]]:
        """Return the changelog records of a commit, which are taken to be written: see `TaskState.changes`."""
        tiers = self._tiers
        records: list[tuple[bytes, bytes | None]] = [(key, None) for key in self.repeated_tombstones]
        self.repeated_tombstones = {}
        for key in [key for key in self.pending_tombstones if self._is_behind(key, committed)]:
            del self.pending_tombstones[key]
            if key not in self.changed:
                tiers.delete(key)
                self._residue.left_by(key)
                records.append((key, None))
        changed, self.changed = self.changed, {}
        for key in changed:
            profile = tiers.live.get(key)
            if profile is not None:
                profile.commit, profile.dirty = commit, False
                if profile.of_upstreams is not None:
                    profile.of_upstreams = _not_known(profile.of_upstreams, taken)
                if profile.offset_gaps is not None:
                    profile.offset_gaps = still_open(profile.offset_gaps, committed, taken)
                value = pack(profile)
                if profile.pending:
                    profile.pending = []
                    # The outputs of all other records are sent by the time that this commit is on disk.
                    self._recent.commits[key] = commit
                self._census.largest = max(self._census.largest, len(value))
                if profile.applied_forwarded >= 0:
                    raise_applied(self._applied, profile.applied)
                else:  # the same without a list
                    if profile.applied_clicks > self._applied[0]:
                        self._applied[0] = profile.applied_clicks
                    if profile.applied_orders > self._applied[1]:
                        self._applied[1] = profile.applied_orders
                forgotten = profile.stage is None and profile.alias is None
                tiers.packed.put(key, value)
            else:  # restored, and followed by a stale owner's record
                restored = tiers.packed.get(key)
                assert restored is not None
                value, forgotten = restored, peek(restored).forgotten
            if forgotten:
                self.pending_tombstones[key] = None
            else:
                self.pending_tombstones.pop(key, None)
            records.append((key, value))
        records += self._markers.changes()
        return records

    def _is_behind(self, key: bytes, committed: Mapping[Rank, int]) -> bool:
        """Return True if every offset applied to the profile is before the committed position."""
        return all(
            offset < committed.get(Rank(rank), offset + 1) for rank, offset in enumerate(self._tiers.applied(key))
        )


def raise_applied(applied: list[int], offsets: Iterable[int]) -> None:
    """Raise each offset in `applied` to the one of the same rank in `offsets`, where that is higher."""
    for rank, offset in enumerate(offsets):
        if offset > applied[rank]:
            applied[rank] = offset


def _not_known(of_upstreams: dict[UpstreamId, int], taken: Mapping[UpstreamId, int]) -> dict[UpstreamId, int] | None:
    """Return the offsets beyond those in `taken`, None if there are none."""
    return {upstream: offset for upstream, offset in of_upstreams.items() if offset > taken.get(upstream, -1)} or None
