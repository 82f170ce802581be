"""What a replay and a backtest share: the input, read once, and engines to which its time is all time there is.

The roles are read in chunks, always from the one that the other waits for, so that memory is bounded by the customers
and not by the input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from streams.contracts.native import Decoder
from streams.contracts.rejected import Rejected
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.event import Event, Source
from streams.core.model.outputs import Effects, Output
from streams.core.model.sources import Fetch
from streams.replay.alone import Alone
from streams.replay.lines import Lines
from streams.replay.report import Tally

COMMIT_EVERY: Final = 64
"""Chunks. A commit packs the profiles that changed, and gives the outputs of deadlines."""
LINKING_COMMIT_EVERY: Final = 16
"""With linking customers wait for what devices pass on, which waits for a commit: more often, so that less waits."""

Refused = Callable[[Source, int, bytes, Rejected], None]
"""Told of each record that is not taken: role, offset, value, why."""


class Reader(Protocol):
    """The input. `time` is the largest event time read, ms; a source that has ended is no longer in `open`."""

    open: set[Source]
    time: int
    tally: Tally

    def read(self, source: Source) -> list[Event]:
        """The next activities of an open source, in the order of its log; there may be none in a chunk."""

    def position(self, source: Source) -> int:
        """The offset of what comes next."""


class FileReader:
    """Reads files: the lines of each role are one partition, their number is their offset."""

    def __init__(
        self,
        inputs: Mapping[Source, Lines],
        decoders: Mapping[Source, Decoder],
        refused: Refused,
        *,
        until: int | None,
        now: int,
    ) -> None:
        """Times in ms. Events after `until` are not read; clocks are checked against `now`."""
        self.open = set(Source)
        self.time = 0
        self.tally = Tally()
        self._inputs = inputs
        self._decoders = decoders
        self._refused = refused
        self._until = until
        self._now = now

    def read(self, source: Source) -> list[Event]:
        lines = self._inputs[source].chunk()
        if lines is None:
            self.open.discard(source)
            return []
        activities: list[Event] = []
        decode = self._decoders[source].decode
        for offset, line in lines:
            try:
                activity = decode(line, partition=0, offset=offset, timestamp=self._now)
            except Rejected as rejected:
                self.tally.rejected[rejected.reason] += 1
                self._refused(source, offset, line, rejected)
                continue
            if self._until is not None and activity.at > self._until:
                self.tally.after_until += 1
                continue
            activity.timestamp = activity.at  # no file is a backfill: what it holds is all there is
            activities.append(activity)
        self.tally.saw(activities)
        self.time = max([self.time, *(activity.at for activity in activities)])
        return activities

    def position(self, source: Source) -> int:
        return self._inputs[source].position


class Sink(Protocol):
    """Where what an engine did goes."""

    def take(self, effects: Effects) -> None:
        """What it did at once."""

    def made(self, outputs: list[Output]) -> None:
        """Outputs of deadlines."""


class Play:
    """One reading through one engine or several. `step` until it returns False, then `finish`.

    Time is the largest event time read: nothing else passes here. A source that has ended is drained as of that time,
    so that the other one does not wait for it.
    """

    def __init__(
        self,
        reader: Reader,
        parts: Sequence[tuple[Lifecycle, Sink]],
        *,
        until: int | None,
        identity_resolution: bool,
        event_time_ordering: bool,
    ) -> None:
        """`linking` and `by_time`: see `Alone`."""
        self._reader = reader
        self._until = until
        self._parts = [
            (
                Alone(lifecycle, identity_resolution=identity_resolution, event_time_ordering=event_time_ordering),
                sink,
                lifecycle,
            )
            for lifecycle, sink in parts
        ]
        self.engines = [alone.engine for alone, _, _ in self._parts]
        self._commit_every = LINKING_COMMIT_EVERY if identity_resolution else COMMIT_EVERY
        self._steps = 0

    def step(self) -> bool:
        """Read and process one chunk; False once everything is read."""
        reader = self._reader
        source = min(reader.open, key=self._need)
        activities = reader.read(source)
        for alone, sink, _ in self._parts:
            sink.take(alone.apply(source, activities, reader.position(source), reader.time))
        self._steps += 1
        self._pass_time(to_end=False, commit=self._steps % self._commit_every == 0)
        return bool(reader.open)

    def finish(self) -> None:
        """Let time pass to its end."""
        for alone, _, _ in self._parts:
            alone.complete()
        self._pass_time(to_end=True, commit=True)

    def _need(self, source: Source) -> tuple[bool, int, Source]:
        """What is read first: a source the other one waits for; of two such the one that has come less far."""
        engine = self.engines[0]  # the others have been given the same
        newest = engine.progress(source).newest
        return engine.buffered_bytes(source) > 0, -1 if newest is None else newest, source

    def _pass_time(self, *, to_end: bool, commit: bool) -> None:
        reader = self._reader
        for alone, sink, lifecycle in self._parts:
            now = reader.time
            if to_end and self._until is not None:
                now = self._until + lifecycle.policy.lateness
            ended = {
                source: Fetch(sent_at=now, end=reader.position(source))
                for source in Source
                if source not in reader.open
            }
            sink.take(alone.advance(now, ended))
            for effects, outputs in alone.commit(now, ended) if commit else ():
                sink.take(effects)
                sink.made(outputs)
