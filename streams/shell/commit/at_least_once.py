"""At least once: outputs leave as they are made, those of deadlines once the changelog has them, then come the offsets.

What follows a crash may repeat outputs, with the same ids; state is exact.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

from aiokafka.errors import CommitFailedError
from faust.types import TP

from streams.errors import Fault
from streams.settings import Settings
from streams.shell.admin.topics import changelog_topic
from streams.shell.commit.changelog import Changelog, Flush
from streams.shell.commit.guarantee import PATIENCE_S, Commit, Guarantee, OnSent, OutputChannel, Write
from streams.shell.commit.outbox import Outbox, Producer, Record
from streams.shell.faults import MembershipLost
from streams.transport.transactions import Name


class ImmediateOutput(OutputChannel):
    """Sends at the next flush, what was put before a commit is through behind that."""

    full = False
    owes = False

    def __init__(self, outbox: Outbox, changelog: Changelog | None, still_ours: Callable[[], Awaitable[None]]) -> None:
        """A reader has no changelog. `still_ours` raises if the partition may be somebody else's by now."""
        self._changelog = changelog
        self._outbox = outbox
        self._still_ours = still_ours
        self._behind: list[Record] | None = None
        """Put since a snapshot whose own outputs are not on their way yet."""

    @property
    def skew(self) -> int | None:
        """As `OutputChannel`."""
        return self._outbox.skew if self._changelog is None else self._changelog.skew

    def put(self, record: Record) -> None:
        """As `OutputChannel`."""
        if self._behind is None:
            self._outbox.put(record)
        else:
            self._behind.append(record)

    async def flush(self) -> None:
        """As `OutputChannel`."""
        await self._outbox.flush()

    def cut(self, *, outputs: bool) -> None:
        """As `OutputChannel`. Each customer's outputs are sent in the order made, also if a commit lies between."""
        if outputs:
            self._behind = []

    async def write(self, commit: Commit) -> Flush | None:
        """Outputs, changelog, outputs of deadlines, each acknowledged. The offsets are not committed here.

        What takes the place of what others have sent leaves only if nobody can have taken over before the changelog had
        the flush: then whoever does finds it there, and sends the same: items under the same numbers, and the profiles
        as they are then. Outputs leave in any case: their ids say what they are.
        """
        await self._outbox.settled()
        flush = None if self._changelog is None else await self._changelog.write(commit.changes, commit.marker)
        for record in commit.records:
            self._outbox.put(record)
        if commit.latest is not None:
            await self._outbox.flush()
            await self._still_ours()
            for record in commit.latest:
                self._outbox.put(record)
        behind, self._behind = self._behind or [], None
        for record in behind:
            self._outbox.put(record)
        await self._outbox.settled()
        return flush


class GroupMember(Protocol):
    """The worker as a member of its consumer group."""

    @property
    def group_generation(self) -> int:
        """Generation of the group that this member knows."""

    async def commit_offsets(self, offsets: Mapping[TP, tuple[int, str]]) -> None:
        """Commit offsets with their metadata. Raise `CommitFailedError` if the group has given the member up."""


class AtLeastOnce(Guarantee):
    """All offsets are committed together, as a member of the group."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], int],
        *,
        group: Callable[[], GroupMember],
        producer: Callable[[], Producer],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`group` and `producer` return the clients of the worker, which exist once it has started."""
        self._changelog_topic = changelog_topic(settings)
        self._clock = clock
        self._group = group
        self._producer = producer
        self._unheard_s = min(settings.session_timeout, settings.rebalance_timeout) / 2000
        """Seconds without an answer after which ownership is in doubt."""
        self._monotonic = monotonic
        self._offsets: dict[TP, tuple[int, str]] = {}
        self._confirmed_at = -math.inf
        """When the broker was last asked whether this worker is a member, and said yes: when it was asked, since
        however long its answer took to be read, somebody may have taken over meanwhile."""
        self._doubts = 0
        self._asking = asyncio.Lock()
        self._leaving = False
        """Whether the commit under way is the last one of its tasks."""
        self._generation = -1
        """Of the group, in which the partitions were dealt to this worker."""

    def delivery(self, name: Name, sent: OnSent) -> OutputChannel:
        """As `Guarantee`."""
        changelog = None
        if isinstance(name, int):
            changelog = Changelog(self._producer, self._changelog_topic, name, clock=self._clock)
        outbox = Outbox(self._producer, sent, self._clock if changelog is None else None)
        return ImmediateOutput(outbox, changelog, self._still_ours)

    def assigned(self, names: Collection[Name]) -> None:
        """Nothing is done: a worker that lost partitions is found out when it commits."""

    def doubt(self) -> None:
        """The broker is asked before the next flush: a clock that does not tell how long a machine was suspended has
        not seen that nothing was heard of it."""
        self._confirmed_at, self._doubts = -math.inf, self._doubts + 1

    async def fenced(self) -> None:
        """As `assigned`."""

    def begin(self, offsets: Mapping[TP, tuple[int, str]], first: Mapping[TP, tuple[int, str]]) -> None:
        """The first offsets are committed before any state: state without offsets shows that they were lost."""
        self._offsets = {**offsets, **first}
        self._generation = self._group().group_generation
        self._confirmed_at = -math.inf

    async def write(self, writes: Sequence[Write], *, leaving: bool) -> None:
        """As `Guarantee`."""
        self._leaving = leaving
        await self._check_membership(leaving)
        written = await asyncio.gather(*(write() for write in writes))
        offsets = {TP(*at): offset for of_one in written for at, offset in of_one.items()}
        await self._commit(offsets)
        self._offsets |= offsets

    async def _still_ours(self) -> None:
        """Asked behind a flush: was the partition ours when the changelog had it? Else as `_check_membership`."""
        await self._check_membership(self._leaving)

    async def _check_membership(self, leaving: bool) -> None:
        """Raises if the group may have dealt our partitions to somebody else: the changelog is theirs to write then.

        The broker refuses the offsets of a member it gave up. It is asked if nothing was heard of it for a while, in
        which it may have done so: it gives up who is silent for the session, or for long in a rebalance.
        """
        came_at = self._monotonic()
        async with self._asking:
            if self._group().group_generation != self._generation:
                raise CommitFailedError("the group has dealt its partitions anew")
            if not self._offsets:
                return
            unheard = self._monotonic() - self._confirmed_at
            asks = leaving and self._confirmed_at <= came_at  # else it was asked for another partition meanwhile
            if asks or unheard > self._unheard_s:
                await self._commit(self._offsets)

    async def _commit(self, offsets: Mapping[TP, tuple[int, str]]) -> None:
        """aiokafka would ask a coordinator that does not answer for ever."""
        asked_at, doubts = self._monotonic(), self._doubts
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._group().commit_offsets(offsets)
        except TimeoutError:
            raise TimeoutError(f"the group's coordinator has not taken the offsets for {PATIENCE_S:g} s") from None
        if doubts == self._doubts:
            self._confirmed_at = asked_at

    def explain(self, error: Exception) -> Fault | None:
        """As `Guarantee`."""
        return MembershipLost() if isinstance(error, CommitFailedError) else None

    async def close(self) -> None:
        """Nothing is held."""
