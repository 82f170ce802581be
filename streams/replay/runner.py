"""`lifecycle replay`: the engine of the worker over files, without Kafka, Faust or a wall clock.

Both roles are read in chunks, always from the one that the other waits for, so that memory is bounded by the customers
and not by the files. The same input gives the same files, byte for byte; what is in them is what a worker would send.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import orjson
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from streams.contracts.native import Decoder
from streams.contracts.outputs import Encoder
from streams.contracts.profiles import profile_document
from streams.contracts.rejected import Rejected
from streams.core.activity import Activity, Source
from streams.core.customer import Lifecycle
from streams.core.effects import Effects, Output, StageChange
from streams.core.engine import PartitionEngine
from streams.core.sources import Fetch, SourceSpec
from streams.replay.lines import Lines
from streams.replay.report import Tally, report
from streams.replay.results import ABANDONMENTS, DEAD_LETTERS, PROFILES, STAGE_CHANGES, Results, dead_letter
from streams.settings import Settings

SNAPSHOT_EVERY: Final = 64
"""Chunks. A snapshot packs the profiles that changed, and gives the outputs of deadlines."""


def run(
    settings: Settings,
    *,
    clickstream: Sequence[Path],
    orders: Sequence[Path],
    out: Path,
    until: int | None = None,
    now: int | None = None,
) -> int:
    """Called by the command line; returns its exit code. Times in ms; `now` is what clocks are checked against."""
    now = time.time_ns() // 1_000_000 if now is None else now
    started = time.perf_counter()
    with Lines(clickstream) as clicks, Lines(orders) as sales, Results(out) as results:
        replay = Replay(settings, {Source.CLICKSTREAM: clicks, Source.ORDERS: sales}, results, until=until, now=now)
        total = clicks.size + sales.size
        with _progress() as progress:
            task = progress.add_task("replay", total=total or None)
            while replay.step():
                progress.update(task, completed=clicks.read + sales.read)
            replay.finish()
        results.publish()
    print(report(replay.tally, out, time.perf_counter() - started))
    return 0


class Replay:
    """One run. `step` until it returns False, then `finish`.

    Time is the largest event time seen: nothing else passes here. A source that has ended is drained as of that time,
    so that the other one does not wait for it.
    """

    def __init__(
        self, settings: Settings, inputs: Mapping[Source, Lines], results: Results, *, until: int | None, now: int
    ) -> None:
        self.tally = Tally()
        self._settings = settings
        self._inputs = inputs
        self._results = results
        self._until = until
        self._now = now
        self._topics = settings.source_topics
        self._decoders = {
            source: Decoder(source, topic, default_currency=settings.currency, max_future_skew=settings.max_future_skew)
            for source, topic in self._topics.items()
        }
        self._encoder = Encoder(settings.ce_source)
        at_once = SourceSpec(delay=0)
        self._lifecycle = Lifecycle(settings.playbook, settings.id_namespace)
        self._engine = PartitionEngine(self._lifecycle, sources=dict.fromkeys(Source, at_once))
        self._open = set(Source)
        self._time = 0
        self._steps = 0

    def step(self) -> bool:
        """Read and process one chunk; False once everything is read."""
        source = min(self._open, key=self._need)
        lines = self._inputs[source].chunk()
        if lines is None:
            self._open.discard(source)
        activities = [] if lines is None else self._decode(source, lines)
        self._time = max([self._time, *(activity.at for activity in activities)])
        self._count(self._engine.apply(source, activities, self._inputs[source].position, self._time))
        self._pass_time(self._time)
        self._steps += 1
        if self._steps % SNAPSHOT_EVERY == 0:
            self._snapshot()
        return bool(self._open)

    def finish(self) -> None:
        """Let time pass to its end, and write the profiles as they are then."""
        self._pass_time(self._time if self._until is None else self._until + self._settings.lateness)
        self._snapshot()
        state = self._engine.state
        for key in sorted(state):
            profile = state.get(key)
            if profile is not None and profile.stage is not None:
                document = profile_document(profile, self._lifecycle.summary(profile))
                self._results.write(PROFILES, [orjson.dumps(document)])
        self.tally.population = dict(state.population)

    def _need(self, source: Source) -> tuple[bool, int, Source]:
        """What is read first: a source the other one waits for; of two such the one that has come less far."""
        newest = self._engine.progress(source).newest
        return self._engine.buffered_bytes(source) > 0, -1 if newest is None else newest, source

    def _decode(self, source: Source, lines: list[tuple[int, bytes]]) -> list[Activity]:
        activities: list[Activity] = []
        topic, decode = self._topics[source], self._decoders[source].decode
        for offset, line in lines:
            try:
                activity = decode(line, partition=0, offset=offset, timestamp=self._now)
            except Rejected as rejected:
                self.tally.rejected[rejected.reason] += 1
                self._results.write(DEAD_LETTERS, [dead_letter(topic, offset, line, _timeless(rejected))])
                continue
            if self._until is not None and activity.at > self._until:
                self.tally.after_until += 1
                continue
            activity.timestamp = activity.at  # no file is a backfill: what it holds is all there is
            activities.append(activity)
        self.tally.saw(activities)
        return activities

    def _pass_time(self, now: int) -> None:
        ended = {
            source: Fetch(sent_at=now, end=self._inputs[source].position)
            for source in Source
            if source not in self._open
        }
        self._count(self._engine.advance(now, ended))

    def _snapshot(self) -> None:
        if (snapshot := self._engine.snapshot()) is not None:
            self._write(snapshot.outputs)

    def _count(self, effects: Effects) -> None:
        self.tally.counts.update(effects.counts)
        self._write(effects.outputs)

    def _write(self, made: list[Output]) -> None:
        for output in made:
            name = STAGE_CHANGES if isinstance(output, StageChange) else ABANDONMENTS
            self._results.write(name, [self._encoder.encode(output).value])
        self.tally.made(made)


def _timeless(rejected: Rejected) -> Rejected:
    """By how much a clock was ahead depends on the present, and the output must not."""
    return Rejected("clock_skew", "occurred_at: ahead of --now") if rejected.reason == "clock_skew" else rejected


def _progress() -> Progress:
    """A bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty())
