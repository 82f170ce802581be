"""`lifecycle backtest`: read a log once, through one playbook or two, and report the outputs that each would send."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
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
from streams.replay import MAX_REJECTED
from streams.replay.backtest_page import Findings, page
from streams.replay.comparison import Comparison, Differences
from streams.replay.log_run import FileReader, LogRun, Reader
from streams.replay.output_collector import Collector
from streams.replay.replay import exit_code, opened, progress_bar
from streams.replay.summary import about_input
from streams.settings import Settings


class Backtest:
    """One run. Call `step` until it returns False, then `finish`."""

    def __init__(
        self, settings: Settings, reader: Reader, new: Playbook, old: Playbook | None, *, until: int | None
    ) -> None:
        self._reader = reader
        self._new, self._old = Collector(), None if old is None else Collector()
        self._comparison = None if self._old is None else Comparison(self._new, self._old)
        runs = [(Lifecycle(new, settings.id_namespace), self._new)]
        if old is not None and self._old is not None:
            runs.append((Lifecycle(old, settings.id_namespace), self._old))
        self._log_run = LogRun(
            reader,
            runs,
            until=until,
            identity_resolution=settings.identity_resolution,
            event_time_ordering=settings.event_time_ordering,
        )
        self._names = display_names(new, old)
        self.event_types = new.event_types | (frozenset() if old is None else old.event_types)

    def step(self) -> bool:
        """Read and process one chunk. Return False once everything is read."""
        more = self._log_run.step()
        self._compare()
        return more

    def finish(self) -> Findings:
        """Let time pass to the end of the log, or to `until`. Return the findings."""
        self._log_run.finish()
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


def display_names(new: Playbook, old: Playbook | None) -> tuple[str, str]:
    """Return the names of both playbooks for the report. Equal names are prefixed with `new` and `old`."""
    if old is None:
        return _display_name(new), ""
    if _display_name(new) == _display_name(old):
        return f"new {_display_name(new)}", f"old {_display_name(old)}"
    return _display_name(new), _display_name(old)


def _display_name(playbook: Playbook) -> str:
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
                raise UserError(
                    f"the playbooks declare the property {name} with different types: run a backtest of each alone."
                )
    return deployment.decoders(settings, msgspec.structs.replace(new, properties=properties))


def ignore_rejected(source: Source, offset: int, value: bytes, rejected: Rejected) -> None:
    """Ignore a rejected record, as an `OnRejected`: the reader counts it, and a backtest keeps nothing else of it."""


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
    sort: bool = False,
    max_rejected: float = MAX_REJECTED,
) -> int:
    """Run the backtest over files. Return the exit code: 1 if more than `max_rejected` percent of the records were
    rejected.

    `until` and `now` in ms; events too far after `now` are rejected. `sort`: the files are not in time order.
    """
    now = time.time_ns() // 1_000_000 if now is None else now
    with opened(clickstream, sort=sort) as clicks, opened(orders, sort=sort) as sales:
        inputs = {Source.CLICKSTREAM: clicks, Source.ORDERS: sales}
        reader = FileReader(
            inputs, decoders(settings, new, old), ignore_rejected,
            until=until, now=now, lateness=new.policy.lateness, gives_up=max_rejected < 100,
        )  # fmt: skip
        test = Backtest(settings, reader, new, old, until=until)
        size = clicks.size + sales.size
        return _run(
            test, out, size, lambda: clicks.read + sales.read, lambda: [*clicks.notes, *sales.notes], max_rejected
        )


def over_topics(
    settings: Settings,
    new: Playbook,
    old: Playbook | None,
    out: Path,
    *,
    until: int | None = None,
    max_rejected: float = MAX_REJECTED,
) -> int:
    """Run the backtest over everything that the input topics hold now. Return the exit code, as `over_files` does."""
    from streams.replay.topic_reader import TopicReader  # it takes a while

    with TopicReader(settings, decoders(settings, new, old), ignore_rejected, until=until) as reader:
        test = Backtest(settings, reader, new, old, until=until)
        return _run(test, out, reader.size, lambda: reader.done, list, max_rejected)


def _run(
    test: Backtest,
    out: Path,
    size: int,
    done: Callable[[], int],
    formats: Callable[[], list[str]],
    max_rejected: float,
) -> int:
    started = time.perf_counter()
    with progress_bar() as progress:
        task = progress.add_task("backtest", total=size or None)
        while test.step():
            progress.update(task, completed=done())
        findings = test.finish()
    findings.tally.formats = formats()
    write(out, page(findings))
    print(summary(findings, test.event_types, out, time.perf_counter() - started))
    return exit_code(findings.tally, max_rejected)


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


def summary(findings: Findings, known_types: Collection[str], out: Path, seconds: float) -> str:
    """Return the summary for the terminal. `known_types`: those that the playbooks name."""
    tally, new, old = findings.tally, findings.new, findings.old
    lines = [("events", f"{tally.read:,} read in {seconds:.1f} s, {tally.read / seconds:,.0f}/s")]
    if tally.rejected:
        lines.append(("rejected", f"{tally.rejected.total():,}"))
    lines += about_input(tally, known_types)
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
    lines = [("differences", f"{differences.customers:>9,}  customers")]
    lines += [("reasons", f"{group.count:>9,}  {reason.label}") for reason, group in differences.by_reason.items()][:10]
    return lines
