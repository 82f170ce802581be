"""`lifecycle backtest`: read a log once, through one playbook or two, and report the outputs that each would send."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from streams import deployment
from streams.contracts.native import Decoder
from streams.contracts.rejected import Rejected
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.lifecycle.playbook import Playbook
from streams.core.model.event import Source
from streams.core.model.policy import DAY
from streams.errors import UserError
from streams.replay.backtest_page import Findings, page
from streams.replay.comparison import Comparison, Differences
from streams.replay.input_files import Lines
from streams.replay.log_run import FileReader, LogRun, Reader
from streams.replay.output_collector import Collector
from streams.replay.replay import progress_bar
from streams.settings import Settings


class Backtest:
    """One run: `step` until it returns False, then `finish`."""

    def __init__(
        self, settings: Settings, reader: Reader, new: Playbook, old: Playbook | None, *, until: int | None
    ) -> None:
        self._reader = reader
        self._new, self._old = Collector(), None if old is None else Collector()
        self._comparison = None if self._old is None else Comparison(self._new, self._old)
        parts = [(Lifecycle(new, settings.id_namespace), self._new)]
        if old is not None and self._old is not None:
            parts.append((Lifecycle(old, settings.id_namespace), self._old))
        self._play = LogRun(
            reader,
            parts,
            until=until,
            identity_resolution=settings.identity_resolution,
            event_time_ordering=settings.event_time_ordering,
        )
        self._names = names(new, old)

    def step(self) -> bool:
        """Read and process one chunk; False once everything is read."""
        more = self._play.step()
        self._compare()
        return more

    def finish(self) -> Findings:
        """Let time pass to its end."""
        self._play.finish()
        self._compare()
        new, old = self._new, self._old
        differences = None if self._comparison is None else self._comparison.finish()
        days = {day for side in (new, old) if side is not None for counter in side.daily.values() for day in counter}
        days |= {at // DAY for at in (self._reader.tally.first, self._reader.tally.last) if at is not None}
        span = range(min(days), max(days) + 1) if days else range(1)
        return Findings(self._reader.tally, span, self._names[0], new, self._names[1], old, differences)

    def _compare(self) -> None:
        if self._comparison is None:
            self._new.new.clear()
        else:
            self._comparison.update()


def names(new: Playbook, old: Playbook | None) -> tuple[str, str]:
    """Return the names of both playbooks for the report. Equal ones get `new` and `old` in front."""
    if old is None:
        return _named(new), ""
    if _named(new) == _named(old):
        return f"new {_named(new)}", f"old {_named(old)}"
    return _named(new), _named(old)


def _named(playbook: Playbook) -> str:
    return f"{playbook.name} v{playbook.version}"


def decoders(settings: Settings, new: Playbook, old: Playbook | None) -> dict[Source, Decoder]:
    """Return decoders that serve both playbooks: an event must mean the same to each.

    Raise `UserError` if the playbooks differ in their currency, or in the type of a property.
    """
    currency, properties = new.policy.currency, dict(new.properties)
    if old is not None:
        if old.policy.currency != currency:
            raise UserError(
                f"the playbooks differ in their currency ({currency}, {old.policy.currency}), so that an event without "
                "one would mean different amounts: compare playbooks of one currency."
            )
        for name, kind in old.properties.items():
            if properties.setdefault(name, kind) is not kind:
                raise UserError(f"the playbooks read the property {name} as different things: try them one by one.")
    return deployment.decoders(settings, msgspec.structs.replace(new, properties=properties))


def nothing(source: Source, offset: int, value: bytes, rejected: Rejected) -> None:
    """Ignore a rejected record: the reader counts it, and a backtest keeps no more of it."""


def over_files(
    settings: Settings,
    new: Playbook,
    old: Playbook | None,
    out: Path,
    *,
    clickstream: Sequence[Path],
    orders: Sequence[Path],
    until: int | None = None,
    now: int | None = None,
) -> int:
    """Run the backtest over files. Return the exit code.

    `until` and `now` in ms; events too far after `now` are rejected.
    """
    now = time.time_ns() // 1_000_000 if now is None else now
    with Lines(clickstream) as clicks, Lines(orders) as sales:
        inputs = {Source.CLICKSTREAM: clicks, Source.ORDERS: sales}
        reader = FileReader(inputs, decoders(settings, new, old), nothing, until=until, now=now)
        test = Backtest(settings, reader, new, old, until=until)
        return _run(test, out, clicks.size + sales.size, lambda: clicks.read + sales.read)


def over_topics(settings: Settings, new: Playbook, old: Playbook | None, out: Path, *, until: int | None = None) -> int:
    """Run the backtest over everything that the input topics hold now. Return the exit code."""
    from streams.replay.topic_reader import TopicReader  # it takes a while

    with TopicReader(settings, decoders(settings, new, old), nothing, until=until) as reader:
        test = Backtest(settings, reader, new, old, until=until)
        return _run(test, out, reader.size, lambda: reader.done)


def _run(test: Backtest, out: Path, size: int, done: Callable[[], int]) -> int:
    started = time.perf_counter()
    with progress_bar() as progress:
        task = progress.add_task("backtest", total=size or None)
        while test.step():
            progress.update(task, completed=done())
        findings = test.finish()
    write(out, page(findings))
    print(summary(findings, out, time.perf_counter() - started))
    return 0


def write(out: Path, text: str) -> None:
    """Write the report, whole or not at all."""
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, "utf-8")
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"{out} cannot be written: {error.strerror or error}.") from None


def summary(findings: Findings, out: Path, seconds: float) -> str:
    """Return the summary for the terminal."""
    tally, new, old = findings.tally, findings.new, findings.old
    read = tally.valid + tally.rejected.total()
    lines = [("events", f"{read:,} read in {seconds:.1f} s, {read / seconds:,.0f}/s")]
    if tally.rejected:
        lines.append(("rejected", f"{tally.rejected.total():,}"))
    known = dict.fromkeys([*new.daily, *(old.daily if old is not None else ())])
    for series in sorted(known, key=lambda series: (series.group, -new.total(series), series)):
        change = ""
        if old is not None and (shift := new.total(series) - old.total(series)):
            change = f" ({shift:+,})"
        lines.append((series.group, f"{new.total(series):>9,}  {series.label}{change}"))
    if findings.differences is not None:
        lines += _differences(findings.differences)
    lines.append(("written to", str(out)))
    width = max(len(name) for name, _ in lines) + 2
    shown, last = [], ""
    for name, text in lines:
        shown.append(f"{'' if name == last else name:<{width}}{text}")
        last = name
    return "\n".join(shown)


def _differences(differences: Differences) -> list[tuple[str, str]]:
    lines = [("who differs", f"{differences.customers:>9,}  customers")]
    lines += [("first by", f"{because.count:>9,}  {reason.label}") for reason, because in differences.because.items()][
        :10
    ]
    return lines
