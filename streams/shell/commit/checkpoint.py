"""One commit of a worker, step by step, for both processing guarantees.

Theory of operation
===================

A checkpoint is everything that the tasks of a worker write at once: outputs, changed state, and offsets. The order of
the steps decides what a crash can lose or repeat. Recovery starts from the changelog and from the committed offsets, so
each step below explains what these two, and the output topics, hold if the worker dies after it.

At least once
-------------

1.  **Snapshot** of each task, in a step that does not await. What the task puts out from now on belongs to the next
    checkpoint. A crash here leaves the last checkpoint. Records behind its offsets are read again; outputs of records
    that were sent at once come again with the same ids, since ids are a function of the content.
2.  **Ownership.** If the group may have given the partitions to others, nothing more is written. A stale owner ends
    here.
3.  For each task, concurrently:

    a.  **Outputs of records are acknowledged**, before the changelog has the state that contains their cause. In the
        other order a crash in between would lose them: recovery skips records that the state contains.
    b.  **Changelog and commit marker.** Each profile carries the offsets that were applied to it, so after a crash
        within the flush or after it, records that are read again change no profile twice. A profile also carries its
        pending outputs of deadlines, and the number of its commit.
    c.  **Outputs of deadlines**, which are in the changelog by now: no abandonment is sent without the state that led
        to it. After a crash before they are acknowledged, or before step 4, the committed offsets name an earlier
        commit than the profiles. Recovery then sends the pending outputs of the later commit again, with the same ids.
    d.  **Profile documents and internal messages**, after another ownership check. They take the place of what others
        have sent, so only the owner may send them: a successor that took over before the flush would not know of them.
        If it took over later, it finds the flush and sends the same. Outputs need no check, since their ids say what
        they are.
    e.  **Outputs of records that were processed since the snapshot**, which waited so that the outputs of each customer
        keep their order.

4.  **Offsets with their metadata**, which names the commit. It is the authority on what was committed (ADR 0006). From
    here on nothing of this checkpoint is sent again.

A repartition task has neither state nor deadlines: its offset is committed once everything that it forwarded before is
acknowledged. After a crash it forwards records again, and partition tasks skip those that they have taken.

Exactly once
------------

1.  **Snapshot**, as above. Before it nothing has left at all.
2.  **Ownership** needs no check: the successor of a partition has fenced the producer of its predecessor before it
    reads (ADR 0018), so the transaction of a stale owner fails.
3.  For each task, concurrently, one Kafka transaction:

    a.  the records that waited for the commit, outputs of deadlines, documents and messages are put together;
    b.  the transaction begins;
    c.  changelog, records and offsets are sent, and each acknowledgement is awaited, because aiokafka commits a
        transaction although a batch of it has failed;
    d.  the transaction is committed.

    A crash before the broker has the end of the transaction leaves an aborted one, of which neither recovery nor a
    reader of committed records sees anything. A crash after it leaves all of it.
4.  **Offsets** are in the transaction.

In both modes, memory follows last: once a task's flush is in the changelog, it is written to the state store on disk,
so disk never holds what the changelog does not. A step that fails ends the worker (ADR 0007), because memory and
changelog would disagree from then on; nothing is tried again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import chain
from typing import Final, Protocol

from faust.types import TP

from streams.shell.clock import ClockTrust
from streams.shell.commit.changelog import Changelog, Flush
from streams.shell.commit.guarantee import Commit, Guarantee, Offsets
from streams.shell.commit.outbox import Outbox, OutgoingRecord
from streams.transport.transactions import TransactionalProducer

SHORT_S: Final = 0.001
"""A snapshot that takes less does not hold up events."""
LONGEST_PAUSE_S: Final = 0.005
"""The longest pause after a snapshot: a commit of hundreds of partitions has to end."""


class TaskSnapshot(Protocol):
    """A task's part of a checkpoint. What the task puts out later waits for it, so it must be written, or the worker
    must end.
    """

    async def write(self) -> Offsets:
        """Carry out step 3 for the task. Return its offsets, for step 4."""


class Participant(Protocol):
    """A task, as far as commits are concerned."""

    trust: ClockTrust
    """Trust in the worker's clock, which a commit verifies."""

    @property
    def closed(self) -> bool:
        """True once the task was released."""

    @property
    def forwards(self) -> bool:
        """True if other tasks may ever wait for records that only a commit sends."""

    @property
    def awaited(self) -> bool:
        """True if other tasks wait for records that only a commit sends."""

    def snapshot(self, *, force: bool = False) -> TaskSnapshot | None:
        """Return the task's part of a checkpoint; None if nothing has changed, unless `force`."""


class Checkpoint:
    """One commit. `take` is called once for the snapshots, then `commit`."""

    def __init__(self, guarantee: Guarantee, *, leaving: bool) -> None:
        """`leaving`: the tasks were released, and will not be used again."""
        self._guarantee = guarantee
        self._leaving = leaving
        self._snapshots: list[TaskSnapshot] = []

    async def take(self, participants: Iterable[Participant]) -> bool:
        """Carry out step 1. Events are processed between two snapshots. Return False if there is nothing to write."""
        for participant in participants:
            began = time.perf_counter()
            snapshot = participant.snapshot(force=not participant.trust.given)
            if snapshot is not None:
                self._snapshots.append(snapshot)
                await asyncio.sleep(_pause(time.perf_counter() - began))
        return bool(self._snapshots)

    async def commit(self) -> None:
        """Carry out steps 2 to 4. Raise what a step failed with: nothing more may be committed then."""
        # 2. Nothing is written for partitions that may belong to others.
        await self._guarantee.confirm_ownership(leaving=self._leaving)
        # 3. Each task writes its part: `write_at_least_once` or `write_exactly_once`.
        written = await asyncio.gather(*(snapshot.write() for snapshot in self._snapshots))
        # 4. The offsets of all tasks, in one request.
        await self._guarantee.commit_offsets({TP(*at): offset for of_task in written for at, offset in of_task.items()})


async def write_at_least_once(
    commit: Commit,
    outbox: Outbox,
    changelog: Changelog | None,
    *,
    confirm_ownership: Callable[[], Awaitable[None]],
    take_postponed: Callable[[], Iterable[OutgoingRecord]],
) -> Flush | None:
    """Carry out step 3 of a task for at least once. Return where the flush lies, if the task has a changelog.

    `take_postponed` returns what was put since the snapshot; from then on records go to the outbox at once.
    """
    # a. Outputs of records.
    await outbox.settled()
    # b. State.
    flush = await write_changelog(commit, changelog)
    # c. Outputs of deadlines.
    for record in commit.records:
        outbox.put(record)
    # d. Documents and internal messages.
    if commit.latest is not None:
        await outbox.flush()
        await confirm_ownership()
        for record in commit.latest:
            outbox.put(record)
    # e. Outputs since the snapshot.
    for record in take_postponed():
        outbox.put(record)
    await outbox.settled()
    return flush


async def write_exactly_once(
    commit: Commit, outbox: Outbox, changelog: Changelog | None, *, producer: TransactionalProducer, group: str
) -> Flush | None:
    """Carry out step 3 of a task for exactly once. Return where the flush lies, if the task has a changelog.

    The outbox has what waited for the commit.
    """
    # a. One transaction for everything.
    for record in chain(commit.records, commit.latest or ()):
        outbox.put(record)
    # b. Begin.
    await producer.begin_transaction()
    # c. Each acknowledgement is awaited.
    flush, *_ = await asyncio.gather(
        write_changelog(commit, changelog), outbox.settled(), producer.send_offsets(commit.offsets, group)
    )
    # d. End.
    await producer.commit_transaction()
    return flush


async def write_changelog(commit: Commit, changelog: Changelog | None) -> Flush | None:
    """Write changes and marker, if the task has a changelog."""
    return None if changelog is None else await changelog.write(commit.changes, commit.marker)


def _pause(took: float) -> float:
    """Return the seconds for which events have the loop to themselves after a snapshot that took `took` seconds.

    The records of a poll go through the loop in half a dozen steps before their outputs are sent. With one step between
    two snapshots, they would wait for half a dozen snapshots.
    """
    return 0.0 if took < SHORT_S else min(took, LONGEST_PAUSE_S)
