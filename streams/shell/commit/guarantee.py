"""The interface between what is committed and how: what the two processing guarantees have in common.

A worker has one `Guarantee`, each of its tasks one `OutputChannel`. They are implemented in
`streams.shell.commit.at_least_once` and `streams.shell.commit.exactly_once`; `streams.shell.commit.checkpoint` has the
order of the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from faust.types import TP

from streams.errors import Fault
from streams.shell.commit.changelog import Change, Flush
from streams.shell.commit.outbox import OutgoingRecord
from streams.transport.transactions import Name

PATIENCE_S = 120.0
"""Seconds that a commit may take, also while brokers are away: as long as Faust's producer would try."""

Offsets = Mapping[tuple[str, int], tuple[int, str]]
"""The next offset and its metadata, by topic and partition."""

OnSent = Callable[[Sequence[OutgoingRecord]], None]
"""Called with records of one topic once subscribers can read them."""


class Commit(NamedTuple):
    """The content of one task's part of a checkpoint."""

    offsets: Offsets
    changes: Iterable[Change] = ()
    marker: bytes = b""
    """Commit marker, which a partition task writes to its changelog behind the changes."""
    records: Iterable[OutgoingRecord] = ()
    """Outputs of deadlines: they leave with the commit, and not before the changelog has it."""
    latest: Iterable[OutgoingRecord] | None = None
    """Profile documents and internal messages, behind `records`; None if there are none. They take the place of what
    others have sent, and receivers know messages by their numbers alone. So only the owner of the partition may send
    them."""


class OutputChannel(Protocol):
    """The way out for everything that one task puts out."""

    @property
    def skew(self) -> int | None:
        """The worker's clock less the broker's, ms. A partition task measures it with its changelog, a repartition task
        with what it sends. None where it is not known.
        """

    @property
    def full(self) -> bool:
        """True if so much waits for the commit that it should not be put off."""

    @property
    def owes(self) -> bool:
        """True if something waits that only a commit sends."""

    def put(self, record: OutgoingRecord) -> None:
        """Add a record. Does not wait: safe in the same step as the state change it belongs to."""

    async def flush(self) -> None:
        """Send what need not wait for the commit. Does not wait for acknowledgements."""

    def cut(self, *, outputs: bool) -> None:
        """Count what is put from now on towards the next commit. Called in the same step as the snapshot of the task.

        `outputs`: the snapshot holds outputs, which go before those that are put from now on. These wait until the
        snapshot is written.
        """

    async def write(self, commit: Commit) -> Flush | None:
        """Carry out step 3 of a checkpoint for the task. Return where the flush lies in its changelog, if it has one.

        Raises what a step failed with: then nothing more may be committed.
        """


class Guarantee(Protocol):
    """A processing guarantee. Used on the event loop of the worker."""

    def open_channel(self, name: Name, sent: OnSent) -> OutputChannel:
        """Return the output channel of a new task, whose partition is fenced."""

    def assigned(self, names: Collection[Name]) -> None:
        """Note that these tasks, and no others, are the worker's from now on. Does not wait: no heartbeats go out."""

    def doubt(self) -> None:
        """Note that the wall clock has jumped: it was set, or the machine stood still, and the group may have given up
        this worker meanwhile.
        """

    async def fenced(self) -> None:
        """Return once no other worker can commit for what is assigned: what is read from now on is final.

        Called before anything is read. Raises `UserError` where the broker cannot do it.
        """

    def begin(self, offsets: Mapping[TP, tuple[int, str]], first: Mapping[TP, tuple[int, str]]) -> None:
        """Begin with the committed `offsets`, and with the `first` offsets of partitions that have no committed one."""

    async def confirm_ownership(self, *, leaving: bool) -> None:
        """Carry out step 2 of a checkpoint. Raise if the group may have given the partitions to others.

        `leaving`: the tasks were released, and will not be used again.
        """

    async def commit_offsets(self, offsets: Mapping[TP, tuple[int, str]]) -> None:
        """Carry out step 4 of a checkpoint, with the offsets of all its tasks."""

    def explain(self, error: Exception) -> Fault | None:
        """Return the fault, if an error of a checkpoint means that partitions belong to others now."""

    async def close(self) -> None:
        """Release all resources at the end of the worker."""
