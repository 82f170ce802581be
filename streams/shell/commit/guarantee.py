"""What the two processing guarantees have in common: the seam between what is committed and how.

A worker has one `Guarantee`, each of its partition tasks and readers one `OutputChannel`:
`streams.shell.commit.at_least_once` or `streams.shell.commit.exactly_once`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from faust.types import TP

from streams.errors import Fault
from streams.shell.commit.changelog import Change, Flush
from streams.shell.commit.outbox import Record
from streams.transport.transactions import Name

PATIENCE_S = 120.0
"""How long a commit may take, brokers that are away included: as long as Faust's producer would try."""

Offsets = Mapping[tuple[str, int], tuple[int, str]]
"""By topic and partition: the next offset, and metadata."""

Write = Callable[[], Awaitable[Offsets]]
"""Carries the commit of one task or reader through, as far as its `OutputChannel` does. What it gives are its
offsets."""

OnSent = Callable[[Sequence[Record]], None]
"""Told of records of one topic once subscribers can read them."""


class Commit(NamedTuple):
    """What a task, or a reader, has to write at a commit."""

    offsets: Offsets
    changes: Iterable[Change] = ()
    marker: bytes = b""
    """Of a task, with the changes for the changelog."""
    records: Iterable[Record] = ()
    """What leaves with the commit, and not before the changelog has it: outputs of deadlines."""
    latest: Iterable[Record] | None = None
    """Likewise, behind `records`, if there are any: what takes the place of what others have sent, so that it may come
    only from who has the partition: profiles, and items, which those who take them know by their numbers alone."""


class OutputChannel(Protocol):
    """The way out for what a partition task, or a reader, puts out."""

    @property
    def skew(self) -> int | None:
        """The worker's clock less the broker's, ms: of a task by its changelog, of a reader by what it sends."""

    @property
    def full(self) -> bool:
        """Whether so much waits for the commit that it should not be put off."""

    @property
    def owes(self) -> bool:
        """Whether something waits that only a commit sends."""

    def put(self, record: Record) -> None:
        """Add a record. Does not wait: safe in the same step as the state change it belongs to."""

    async def flush(self) -> None:
        """Send what need not wait for the commit. Does not wait for acknowledgements."""

    def cut(self, *, outputs: bool) -> None:
        """A snapshot was taken, in the same step: what is put from now on belongs to the next commit.

        `outputs`: it holds outputs, which go before those that are put from now on. `write` must follow.
        """

    async def write(self, commit: Commit) -> Flush | None:
        """Carry the commit through; where it lies in the changelog of a task. Raises what a step failed with: then
        nothing more may be committed."""


class Guarantee(Protocol):
    """What a worker promises, and all that it takes. Used by the app and its committer, on the event loop."""

    def delivery(self, name: Name, sent: OnSent) -> OutputChannel:
        """For a new task, or a new reader, whose partition is fenced."""

    def assigned(self, names: Collection[Name]) -> None:
        """These tasks and readers are the worker's from now on, and no others. Does not wait: no heartbeats go out."""

    def doubt(self) -> None:
        """The wall clock has jumped: it was set, or the machine stood still, and the group may have given us up."""

    async def fenced(self) -> None:
        """Return once nobody else can commit for what is assigned: what is read from now on is final.

        Asked before anything is read. Raises `UserError` where the broker cannot do it.
        """

    def begin(self, offsets: Mapping[TP, tuple[int, str]], first: Mapping[TP, tuple[int, str]]) -> None:
        """Processing begins, with what is committed, and where the partitions begin for which nothing is."""

    async def write(self, writes: Sequence[Write], *, leaving: bool) -> None:
        """Carry a commit through for tasks and readers. `leaving`: they will not be used again."""

    def explain(self, error: Exception) -> Fault | None:
        """The fault, if an error of `write` means that partitions are somebody else's."""

    async def close(self) -> None:
        """The worker ends."""
