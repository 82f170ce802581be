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
from streams.replay import MAX_REJECTED
from streams.replay.input_files import Lines
from streams.replay.log_run import FileReader, LogRun, Records
from streams.replay.result_files import DEAD_LETTERS, PROFILES, Results, dead_letter, file_of
from streams.replay.sorted_records import SortedRecords
from streams.replay.summary import Tally, report
from streams.settings import Settings


def run(
    settings: Settings,
    *,
    clickstream: Sequence[Path],
    orders: Sequence[Path],
    out: Path,
    until: int | None = None,
    now: int | None = None,
    sort: bool = False,
    max_rejected: float = MAX_REJECTED,
) -> int:
    """Run a replay. Return the exit code: 1 if more than `max_rejected` percent of the records were rejected.

    `until` and `now` in ms; events too far after `now` are rejected. `sort`: the files are not in time order.
    """
    now = time.time_ns() // 1_000_000 if now is None else now
    started = time.perf_counter()
    with opened(clickstream, sort=sort) as clicks, opened(orders, sort=sort) as sales, Results(out) as results:
        inputs = {Source.CLICKSTREAM: clicks, Source.ORDERS: sales}
        replay = Replay(settings, inputs, results, until=until, now=now, gives_up=max_rejected < 100)
        total = clicks.size + sales.size
        with progress_bar() as progress:
            task = progress.add_task("replay", total=total or None)
            while replay.step():
                progress.update(task, completed=clicks.read + sales.read)
            replay.finish()
        results.publish()
    replay.tally.formats = [*clicks.notes, *sales.notes]
    print(report(replay.tally, replay.event_types, out, time.perf_counter() - started))
    return exit_code(replay.tally, max_rejected)


def opened(paths: Sequence[Path], *, sort: bool) -> Lines | SortedRecords:
    """Return the records of a source. Raise `UserError` if a file cannot be read."""
    lines = Lines(paths)
    return SortedRecords(lines) if sort else lines


def exit_code(tally: Tally, max_rejected: float) -> int:
    """Return 1, after a sentence that says so, if more than `max_rejected` percent of the records were rejected."""
    rejected = tally.rejected.total()
    if rejected * 100 <= max_rejected * tally.read:
        return 0
    print(
        f"{rejected:,} of {tally.read:,} records were rejected, more than {max_rejected:g} %. The dead letters of "
        "`lifecycle replay` say why. If it is as it should be, set --max-rejected.",
        file=sys.stderr,
    )
    return 1


class Replay:
    """One run. Call `step` until it returns False, then `finish`."""

    def __init__(
        self,
        settings: Settings,
        inputs: Mapping[Source, Records],
        results: Results,
        *,
        until: int | None,
        now: int,
        gives_up: bool = True,
    ) -> None:
        """`gives_up`: see `FileReader`."""
        self._results = results
        self._topics = settings.source_topics
        playbook = deployment.load_playbook(settings)
        decoders = deployment.decoders(settings, playbook)
        self._encoder = Encoder(settings.ce_source)
        self._lifecycle = Lifecycle(playbook, settings.id_namespace)
        lateness = playbook.policy.lateness
        reader = FileReader(
            inputs, decoders, self._write_dead_letter, until=until, now=now, lateness=lateness, gives_up=gives_up
        )
        self.event_types = playbook.event_types
        self._log_run = LogRun(
            reader,
            [(self._lifecycle, self)],
            until=until,
            identity_resolution=settings.identity_resolution,
            event_time_ordering=settings.event_time_ordering,
        )
        self.tally = reader.tally
        self.step = self._log_run.step
        self.state = self._log_run.engines[0].state

    def finish(self) -> None:
        """Let time pass to the end, and write the final profiles."""
        self._log_run.finish()
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
        self.take_outputs(effects.outputs)

    def take_outputs(self, outputs: list[Output]) -> None:
        """Implement `log_run.Sink`."""
        for output in outputs:
            self._results.write(file_of(output), [self._encoder.encode(output).value])
        self.tally.count_outputs(outputs)

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
