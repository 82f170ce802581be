"""`lifecycle replay`: the engine of the worker over files, without Kafka, Faust or a wall clock.

The same input gives the same files, byte for byte. They hold what a worker would send.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from streams import deployment
from streams.contracts.outputs import Encoder
from streams.contracts.profiles import profile_document
from streams.contracts.rejected import Rejected
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.event import Source
from streams.core.model.outputs import Effects, Output
from streams.replay.input_files import Lines
from streams.replay.log_run import FileReader, LogRun
from streams.replay.result_files import DEAD_LETTERS, PROFILES, Results, dead_letter, file_of
from streams.replay.summary import report
from streams.settings import Settings


def run(
    settings: Settings,
    *,
    clickstream: Sequence[Path],
    orders: Sequence[Path],
    out: Path,
    until: int | None = None,
    now: int | None = None,
) -> int:
    """Run a replay. Return the exit code. `until` and `now` in ms; events too far after `now` are rejected."""
    now = time.time_ns() // 1_000_000 if now is None else now
    started = time.perf_counter()
    with Lines(clickstream) as clicks, Lines(orders) as sales, Results(out) as results:
        replay = Replay(settings, {Source.CLICKSTREAM: clicks, Source.ORDERS: sales}, results, until=until, now=now)
        total = clicks.size + sales.size
        with progress_bar() as progress:
            task = progress.add_task("replay", total=total or None)
            while replay.step():
                progress.update(task, completed=clicks.read + sales.read)
            replay.finish()
        results.publish()
    print(report(replay.tally, out, time.perf_counter() - started))
    return 0


class Replay:
    """One run. Call `step` until it returns False, then `finish`."""

    def __init__(
        self, settings: Settings, inputs: Mapping[Source, Lines], results: Results, *, until: int | None, now: int
    ) -> None:
        self._results = results
        self._topics = settings.source_topics
        playbook = deployment.load_playbook(settings)
        decoders = deployment.decoders(settings, playbook)
        self._encoder = Encoder(settings.ce_source)
        self._lifecycle = Lifecycle(playbook, settings.id_namespace)
        reader = FileReader(inputs, decoders, self._write_dead_letter, until=until, now=now)
        self._play = LogRun(
            reader,
            [(self._lifecycle, self)],
            until=until,
            identity_resolution=settings.identity_resolution,
            event_time_ordering=settings.event_time_ordering,
        )
        self.tally = reader.tally
        self.step = self._play.step
        self.state = self._play.engines[0].state

    def finish(self) -> None:
        """Let time pass to the end, and write the final profiles."""
        self._play.finish()
        state = self.state
        for key in sorted(state):
            profile = state.get(key)
            if profile is not None and profile.stage is not None:
                document = profile_document(profile, self._lifecycle.summary(profile))
                self._results.write(PROFILES, [orjson.dumps(document)])
        self.tally.population = dict(state.population)

    def take(self, effects: Effects) -> None:
        """Implement `log_run.Sink`."""
        self.tally.counts.update(effects.counts)
        self.made(effects.outputs)

    def made(self, outputs: list[Output]) -> None:
        """Implement `log_run.Sink`."""
        for output in outputs:
            self._results.write(file_of(output), [self._encoder.encode(output).value])
        self.tally.made(outputs)

    def _write_dead_letter(self, source: Source, offset: int, line: bytes, rejected: Rejected) -> None:
        document = dead_letter(self._topics[source], offset, line, _timeless(rejected))
        self._results.write(DEAD_LETTERS, [document])


def _timeless(rejected: Rejected) -> Rejected:
    """Return the rejection without the amount by which a clock was ahead: that depends on the present."""
    return Rejected("clock_skew", "occurred_at: ahead of --now") if rejected.reason == "clock_skew" else rejected


def progress_bar() -> Progress:
    """Return a progress bar that shows only on a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty())
