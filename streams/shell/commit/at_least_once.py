"""At least once: outputs of records leave at once, outputs of deadlines once the changelog has them, offsets last.

After a crash outputs may be repeated, with the same ids; state is exact. `streams.shell.commit.checkpoint` explains the
steps of a commit.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol

from aiokafka.errors import CommitFailedError
from faust.types import TP

from streams.errors import Fault
from streams.settings import Settings
from streams.shell.admin.topic_configs import changelog_topic
from streams.shell.commit.changelog import Changelog, Flush
from streams.shell.commit.checkpoint import write_at_least_once
from streams.shell.commit.guarantee import PATIENCE_S, Commit, Guarantee, OnSent, OutputChannel
from streams.shell.commit.outbox import BatchProducer, Outbox, OutgoingRecord
from streams.shell.faults import MembershipLost
from streams.transport.transactions import Name


class ImmediateOutput(OutputChannel):
    """Sends at the next flush. While a commit with outputs is under way, records wait behind its outputs."""

    full = False
    owes = False

    def __init__(
        self, outbox: Outbox, changelog: Changelog | None, confirm_ownership: Callable[[], Awaitable[None]]
    ) -> None:
        """A repartition task has no changelog. `confirm_ownership` raises if the partition may belong to others."""
        self._changelog = changelog
        self._outbox = outbox
        self._confirm_ownership = confirm_ownership
        self._postponed: list[OutgoingRecord] | None = None
        """Records put since a snapshot whose own outputs are not in the outbox yet."""

    @property
    def skew(self) -> int | None:
        return self._outbox.skew if self._changelog is None else self._changelog.skew

    def put(self, record: OutgoingRecord) -> None:
        if self._postponed is None:
            self._outbox.put(record)
        else:
            self._postponed.append(record)

    async def flush(self) -> None:
        await self._outbox.flush()

    def cut(self, *, outputs: bool) -> None:
        if outputs:
            self._postponed = []

    async def write(self, commit: Commit) -> Flush | None:
        """Write outputs, changelog and outputs of deadlines, each acknowledged. The offsets are committed later."""
        return await write_at_least_once(
            commit,
            self._outbox,
            self._changelog,
            confirm_ownership=self._confirm_ownership,
            take_postponed=self._take_postponed,
        )

    def _take_postponed(self) -> list[OutgoingRecord]:
        postponed, self._postponed = self._postponed or [], None
        return postponed


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
        producer: Callable[[], BatchProducer],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`group` and `producer` return the clients of the worker, which exist once it has started."""
        self._changelog_topic = changelog_topic(settings)
        self._clock = clock
        self._group = group
        self._producer = producer
        self._valid_s = min(settings.session_timeout, settings.rebalance_timeout) / 2000
        """Seconds for which a confirmed membership is taken to last."""
        self._monotonic = monotonic
        self._offsets: dict[TP, tuple[int, str]] = {}
        """The committed offsets: committing them again shows whether the worker is a member."""
        self._confirmed_at = -math.inf
        """Time at which the broker was last asked whether this worker is a member, and confirmed it. The time of the
        question counts: however long the answer took to be read, another worker may have taken over meanwhile."""
        self._doubts = 0
        self._asking = asyncio.Lock()
        self._leaving = False
        """True if the commit under way is the last one of its tasks."""
        self._generation = -1
        """Generation of the group in which the partitions were assigned to this worker."""

    def open_channel(self, name: Name, sent: OnSent) -> OutputChannel:
        changelog = None
        if isinstance(name, int):
            changelog = Changelog(self._producer, self._changelog_topic, name, clock=self._clock)
        outbox = Outbox(self._producer, sent, self._clock if changelog is None else None)
        return ImmediateOutput(outbox, changelog, self._confirm_after_flush)

    def assigned(self, names: Collection[Name]) -> None:
        """Do nothing: a worker that has lost partitions finds out when it commits."""

    def doubt(self) -> None:
        """Have the broker asked before the next flush. If the machine was suspended, and its monotonic clock with it,
        that clock does not show how long the broker was silent.
        """
        self._confirmed_at, self._doubts = -math.inf, self._doubts + 1

    async def fenced(self) -> None:
        """Do nothing, see `assigned`."""

    def begin(self, offsets: Mapping[TP, tuple[int, str]], first: Mapping[TP, tuple[int, str]]) -> None:
        """Begin with these offsets. The first ones are committed before any state, so that state without offsets shows
        that they were lost.
        """
        self._offsets = {**offsets, **first}
        self._generation = self._group().group_generation
        self._confirmed_at = -math.inf

    async def confirm_ownership(self, *, leaving: bool) -> None:
        self._leaving = leaving
        await self._check_membership(leaving)

    async def commit_offsets(self, offsets: Mapping[TP, tuple[int, str]]) -> None:
        await self._commit(offsets)
        self._offsets.update(offsets)

    async def _confirm_after_flush(self) -> None:
        """Raise if the partition may not have been the worker's when the changelog had the flush."""
        await self._check_membership(self._leaving)

    async def _check_membership(self, leaving: bool) -> None:
        """Raise if the group may have given the partitions to others, who write the changelog then.

        The broker refuses the offsets of a member that it has given up. It is asked if it has not answered for so
        long that it may have given up this worker, as it does with a member that is silent for the session timeout, or,
        in a rebalance, for the rebalance timeout.
        """
        came_at = self._monotonic()
        async with self._asking:
            if self._group().group_generation != self._generation:
                raise CommitFailedError("the group has begun a new generation")
            if not self._offsets:
                return
            unconfirmed = self._monotonic() - self._confirmed_at
            asks = leaving and self._confirmed_at <= came_at  # else another partition's check has asked meanwhile
            if asks or unconfirmed > self._valid_s:
                await self._commit(self._offsets)

    async def _commit(self, offsets: Mapping[TP, tuple[int, str]]) -> None:
        """Commit offsets. aiokafka would ask a coordinator that does not answer forever, so this gives up in time."""
        asked_at, doubts = self._monotonic(), self._doubts
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._group().commit_offsets(offsets)
        except TimeoutError:
            raise TimeoutError(f"the group's coordinator has not taken the offsets for {PATIENCE_S:g} s") from None
        if doubts == self._doubts:
            self._confirmed_at = asked_at

    def explain(self, error: Exception) -> Fault | None:
        return MembershipLost() if isinstance(error, CommitFailedError) else None

    async def close(self) -> None:
        """Do nothing: no resources are held."""
