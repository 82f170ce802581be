"""Read a log once, and pass it through one engine or several. Shared by replay and backtest.

The sources are read in chunks, always from the source that the other one waits for. So memory depends on the number of
customers, not on the size of the input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from streams.contracts.native import Decoder
from streams.contracts.rejected import Rejected
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.event import Event, Source
from streams.core.model.outputs import Effects, Output
from streams.core.model.sources import Fetch
from streams.errors import UserError
from streams.replay.file_layout import Chunk
from streams.replay.single_engine import SingleEngine
from streams.replay.summary import Tally

COMMIT_EVERY: Final = 64
"""Chunks between commits. A commit packs the changed profiles and returns the outputs of deadlines."""
RESOLVING_COMMIT_EVERY: Final = 16
"""Chunks between commits with identity resolution. Customers wait for internal messages, which wait for a commit."""

GIVE_UP_AFTER: Final = 1_000
"""Records of a source, all rejected, after which it is not read on."""

OnRejected = Callable[[Source, int, bytes, Rejected], None]
"""Called with each rejected record: source, offset, value, and the rejection with its reason."""


class Reader(Protocol):
    """The input. `time` is the latest event time read, ms. `open` holds the sources that have not ended."""

    open: set[Source]
    time: int
    tally: Tally

    def read(self, source: Source) -> list[Event]:
        """Return the next events of an open source, in the order of its log. A chunk may hold none."""

    def position(self, source: Source) -> int:
        """Return the offset of the next record."""


class Records(Protocol):
    """The records of one source: `Lines`, or `SortedRecords`."""

    position: int
    """The offset of the next record."""

    @property
    def size(self) -> int:
        """Bytes of all files."""

    @property
    def read(self) -> int:
        """Bytes read so far."""

    @property
    def notes(self) -> list[str]:
        """The formats of the files read so far, where they are not JSON Lines."""

    def chunk(self) -> Chunk | None:
        """Return the next records with their offsets; None after the last one."""


class FileReader:
    """Reads files. The lines of a source are one partition, and their number is their offset."""

    def __init__(
        self,
        inputs: Mapping[Source, Records],
        decoders: Mapping[Source, Decoder],
        on_rejected: OnRejected,
        *,
        until: int | None,
        now: int,
        lateness: int = 0,
        gives_up: bool = False,
    ) -> None:
        """`until` and `now` in ms. Events after `until` are left out. Events too far after `now` are rejected.
        `lateness`: see `InputReport`. `gives_up`: if the first `GIVE_UP_AFTER` records of a source are rejected, `read`
        raises `UserError`.
        """
        self.open = set(Source)
        self.time = 0
        self.tally = Tally(decoded=[decoder.counts for decoder in decoders.values()])
        self._inputs = inputs
        self._decoders = decoders
        self._on_rejected = on_rejected
        self._until = until
        self._now = now
        self._lateness = lateness
        self._gives_up = gives_up
        self._rejected: Counter[Source] = Counter()
        self._has_events: set[Source] = set()
        """Sources of which a valid event was read."""

    def read(self, source: Source) -> list[Event]:
        lines = self._inputs[source].chunk()
        if lines is None:
            self.open.discard(source)
            return []
        events: list[Event] = []
        decode = self._decoders[source].decode
        for offset, line in lines:
            try:
                event = decode(line, partition=0, offset=offset, timestamp=self._now)
            except Rejected as rejected:
                self.tally.rejected[rejected.reason] += 1
                self._rejected[source] += 1
                self._on_rejected(source, offset, line, rejected)
                if self._gives_up and self._rejected[source] >= GIVE_UP_AFTER and source not in self._has_events:
                    raise _no_events(source, rejected) from None
                continue
            self._has_events.add(source)
            if self._until is not None and event.at > self._until:
                self.tally.after_until += 1
                continue
            event.timestamp = event.at  # a file is never a backfill: it holds the whole history
            events.append(event)
        self.tally.count_events(source, events, self._lateness)
        self.time = max([self.time, *(event.at for event in events)])
        return events

    def position(self, source: Source) -> int:
        return self._inputs[source].position


def _no_events(source: Source, last: Rejected) -> UserError:
    return UserError(
        f"the first {GIVE_UP_AFTER:,} records of {source.name.lower()} are all rejected, the last of them for "
        f"{last.reason} ({last.detail}), so this is another format than the native one (docs/contract.md). To see them "
        "all as dead letters, set --max-rejected 100."
    )


class Sink(Protocol):
    """Receives the results of an engine."""

    def take(self, effects: Effects) -> None:
        """Take the effects of a call."""

    def take_outputs(self, outputs: list[Output]) -> None:
        """Take outputs that waited for a commit, once it is made."""


class LogRun:
    """One pass through a log. Call `step` until it returns False, then `finish`.

    The time is the latest event time read. A source that has ended counts as caught up at that time, so that the other
    one does not wait for it.
    """

    def __init__(
        self,
        reader: Reader,
        runs: Sequence[tuple[Lifecycle, Sink]],
        *,
        until: int | None,
        identity_resolution: bool,
        event_time_ordering: bool,
    ) -> None:
        self._reader = reader
        self._until = until
        self._runs = [
            (
                SingleEngine(
                    lifecycle, identity_resolution=identity_resolution, event_time_ordering=event_time_ordering
                ),
                sink,
                lifecycle,
            )
            for lifecycle, sink in runs
        ]
        self.engines = [single.engine for single, _, _ in self._runs]
        self._commit_every = RESOLVING_COMMIT_EVERY if identity_resolution else COMMIT_EVERY
        self._steps = 0

    def step(self) -> bool:
        """Read and process one chunk. Return False once everything is read."""
        reader = self._reader
        source = min(reader.open, key=self._read_order)
        events = reader.read(source)
        for single, sink, _ in self._runs:
            sink.take(single.ingest(source, events, reader.position(source), reader.time))
        self._steps += 1
        self._pass_time(to_end=False, commit=self._steps % self._commit_every == 0)
        return bool(reader.open)

    def finish(self) -> None:
        """Let time pass to the end of the log, or to `until`."""
        for single, _, _ in self._runs:
            single.complete()
        self._pass_time(to_end=True, commit=True)

    def _read_order(self, source: Source) -> tuple[bool, int, Source]:
        """Return the sort key by which the next source to read comes first.

        A source without buffered events comes first; then the one whose newest event is older.
        """
        engine = self.engines[0]  # all engines have been given the same
        newest = engine.progress(source).newest
        return engine.buffered_bytes(source) > 0, -1 if newest is None else newest, source

    def _pass_time(self, *, to_end: bool, commit: bool) -> None:
        reader = self._reader
        for single, sink, lifecycle in self._runs:
            now = reader.time
            if to_end and self._until is not None:
                now = self._until + lifecycle.policy.lateness
            ended = {
                source: Fetch(sent_at=now, end=reader.position(source))
                for source in Source
                if source not in reader.open
            }
            sink.take(single.advance(now, ended))
            for effects, outputs in single.commit(now, ended) if commit else ():
                sink.take(effects)
                sink.take_outputs(outputs)
