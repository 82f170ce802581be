"""The summary that a replay prints at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from streams.contracts.fields import CountName, Counts
from streams.core.model.counters import EngineCounters
from streams.core.model.event import Event, Source
from streams.core.model.outputs import IdentityChange, Output, StageChange, Triggered
from streams.replay.input_report import InputReport, lines
from streams.values import show_time


@dataclass
class Tally:
    """Counts of a run."""

    first: int | None = None
    last: int | None = None
    """Time of the first and the last event read, ms."""
    valid: int = 0
    after_until: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    """Rejected records by reason."""
    inputs: dict[Source, InputReport] = field(default_factory=dict)
    """Reports on the events, by source."""
    formats: list[str] = field(default_factory=list)
    """Formats of files that are not JSON Lines."""
    decoded: list[Counts] = field(default_factory=list)
    """Counters of the decoders."""
    counts: EngineCounters = field(default_factory=Counter)
    """Counters of the engine."""
    stage_changes: Counter[str] = field(default_factory=Counter)
    """Stage changes by the stage entered."""
    abandonments: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Outputs of abandonments by type (`again`: steps after the first) and kind."""
    triggers: Counter[str] = field(default_factory=Counter)
    """Outputs of triggers by name."""
    identities: Counter[str] = field(default_factory=Counter)
    """Identity changes by type."""
    population: dict[str, int] = field(default_factory=dict)
    """Customers in each stage at the end."""

    def count_events(self, source: Source, events: Sequence[Event], lateness: int) -> None:
        """Count valid events that were read. `lateness`: see `InputReport`."""
        if source not in self.inputs:
            self.inputs[source] = InputReport(source, lateness)
        self.inputs[source].note(events)
        for event in events:
            self.valid += 1
            self.first = event.at if self.first is None else min(self.first, event.at)
            self.last = event.at if self.last is None else max(self.last, event.at)

    def count_outputs(self, outputs: Iterable[Output]) -> None:
        """Count outputs."""
        for output in outputs:
            if isinstance(output, StageChange):
                self.stage_changes[output.to_stage or "(gone)"] += 1
            elif isinstance(output, Triggered):
                self.triggers[output.trigger] += 1
            elif isinstance(output, IdentityChange):
                self.identities[output.type] += 1
            else:
                what = "again" if output.type == "abandoned" and output.step > 1 else output.type
                self.abandonments[what, output.kind] += 1

    @property
    def read(self) -> int:
        """Records read, valid or not."""
        return self.valid + self.rejected.total()

    def engine(self, name: str) -> int:
        """Return the sum of an engine counter over its labels."""
        return sum(count for (counted, _), count in self.counts.items() if counted == name)

    def ignored(self, name: CountName) -> Counter[str]:
        """Return a counter of the decoders, by its labels."""
        found: Counter[str] = Counter()
        for counts in self.decoded:
            found.update({label: count for (counted, label), count in counts.items() if counted == name})
        return found


def report(tally: Tally, known_types: Collection[str], out: Path, seconds: float) -> str:
    """Return the summary as text for people. `known_types`: those that the playbook names."""
    return "\n".join(f"{name:<15}{text}" for name, text in _lines(tally, known_types, out, seconds))


def about_input(tally: Tally, known_types: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the lines about the formats of files, and about signs that the input is not right."""
    if not tally.read:
        yield "empty", "the history holds no records: look whether these are the right files or topics"
    for text in tally.formats:
        yield "read as", text
    yield from lines(tally.inputs.values(), known_types)


def about_decoration(tally: Tally) -> Iterator[tuple[str, str]]:
    """Yield the lines about what was left out of records that were read."""
    yield "lines ignored", _counts(tally.ignored("lines_ignored"))
    if fields := tally.ignored("fields_ignored"):
        yield "fields ignored", _counts(fields)
    if ids := tally.ignored("identifiers_rejected"):
        yield "ids ignored", f"{ids.total():,}"


def _lines(tally: Tally, known_types: Collection[str], out: Path, seconds: float) -> Iterator[tuple[str, str]]:
    yield "events", f"{tally.read:,} read in {seconds:.1f} s, {tally.read / seconds:,.0f}/s"
    if tally.first is not None and tally.last is not None:
        yield "time", f"{show_time(tally.first)} to {show_time(tally.last)}"
    yield from about_input(tally, known_types)
    yield "applied", f"{tally.engine('applied'):,}"
    yield "duplicate", f"{tally.engine('duplicate'):,}"
    yield "out of order", f"{tally.engine('out_of_order'):,}"
    yield "rejected", _counts(tally.rejected)
    conflicting = {label: n for (name, label), n in tally.counts.items() if name == "orders_conflicting"}
    yield "conflicting", _counts(Counter(conflicting))
    yield from about_decoration(tally)
    if tally.after_until:
        yield "not read", f"{tally.after_until:,} after --until"
    yield "stage changes", _counts(tally.stage_changes)
    for what in ("abandoned", "again", "recovered", "retracted", "expired"):
        yield what, _counts(Counter({kind: n for (made, kind), n in tally.abandonments.items() if made == what}))
    if tally.triggers:
        yield "triggered", _counts(tally.triggers)
    if tally.identities:
        yield "devices", _counts(tally.identities)
    yield "customers", _counts(Counter(tally.population))
    yield "written to", str(out)


def _counts(counter: Counter[str]) -> str:
    counts = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    return f"{counter.total():,}" + (f" ({', '.join(f'{name} {count:,}' for name, count in counts)})" if counts else "")
