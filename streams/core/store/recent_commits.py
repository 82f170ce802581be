"""The records of recent commits, whose outputs may not have been sent.

A commit writes the changelog before the outputs that wait for it are sent. So after a crash, the records of the last
commits are searched for outputs and internal messages that were kept in them.
"""

from __future__ import annotations

from typing import Final

from streams.core.model.internal_messages import InternalMessage
from streams.core.model.outputs import Output
from streams.core.profile.codec import peek, unpack
from streams.core.profile.profile import Profile
from streams.core.store.profile_tiers import ProfileTiers

RECENT: Final = 20_000
"""Keys that are remembered at most."""
NO_COMMIT: Final = -1
"""In place of a commit number: no commit has it."""


class RecentCommits:
    """Remembers the keys of the latest records, and finds what those of commits after a given one have kept."""

    def __init__(self, tiers: ProfileTiers, recent: list[bytes], commit: int, since: int) -> None:
        """`recent`: keys of records of commits up to `commit`. `since`: see the attribute."""
        self.since = since
        """The keys of all records of commits later than this number are remembered."""
        self.commits: dict[bytes, int] = dict.fromkeys(recent, commit)
        """The commit of each record that is remembered, or a later one."""
        self._tiers = tiers

    def begin(self, commit: int) -> None:
        """Forget the records of all commits before `commit`: they were completed."""
        self.commits, self.since = {}, commit - 1

    def note(self, key: bytes, commit: int) -> None:
        """Remember a restored record."""
        self.commits[key] = commit
        if len(self.commits) > RECENT:
            self._forget_older()

    def forget(self, key: bytes) -> None:
        """Forget the record of this key, if it is remembered."""
        self.commits.pop(key, None)

    def outputs(self, committed: int, stale: int) -> list[Output]:
        """Return the outputs in records of commits later than `committed`, or of commit `stale`."""
        later = self._records_later_than(committed, stale)
        return [kept for _, profile in later for kept in profile.pending if not isinstance(kept, InternalMessage)]

    def messages(
        self, committed: int, flushed: int
    ) -> tuple[list[InternalMessage], list[tuple[bytes, InternalMessage]]]:
        """Return the internal messages of commits later than `committed`: see `TaskState.unsent_messages`."""
        whole: list[InternalMessage] = []
        cut: list[tuple[bytes, InternalMessage]] = []
        for key, profile in self._records_later_than(min(committed, flushed - 1), NO_COMMIT):
            for kept in profile.pending:
                if isinstance(kept, InternalMessage):
                    if profile.commit > flushed or kept.number < 0:
                        cut.append((key, kept))
                    elif profile.commit > committed:
                        whole.append(kept)
        return sorted(whole, key=_number), cut

    def keys_later_than(self, committed: int, stale: int) -> list[bytes]:
        """Return the keys of records of commits later than `committed`, or of commit `stale`.

        If `committed` is before `since`, all records are read. Else records of `stale` are found only among those that
        are remembered.
        """
        keys = self._tiers.packed_keys() if committed < self.since else list(self.commits)
        found: list[bytes] = []
        for key in keys:
            value = self._tiers.packed.get(key)
            if value is not None and ((commit := peek(value).commit) > committed or commit == stale):
                found.append(key)
        return found

    def _records_later_than(self, committed: int, stale: int) -> list[tuple[bytes, Profile]]:
        values = [(key, self._tiers.packed.get(key)) for key in self.keys_later_than(committed, stale)]
        return [(key, unpack(value)) for key, value in values if value is not None]

    def _forget_older(self) -> None:
        """Forget the earlier half of the commits."""
        commits = sorted(self.commits.values())
        self.since = max(self.since, commits[len(commits) // 2])
        self.commits = {key: commit for key, commit in self.commits.items() if commit > self.since}


def _number(message: InternalMessage) -> int:
    return message.number
