"""The outputs of one playbook in a backtest: counted by day in memory, each customer's outputs on disk."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

import msgspec

from streams.contracts import money
from streams.core.model.counters import EngineCounters
from streams.core.model.outputs import Abandonment, Effects, IdentityChange, Output, StageChange
from streams.core.model.policy import DAY
from streams.values import show_duration

GONE: Final = "(gone)"
"""The stage of a customer who left a track: forgotten, merged into another profile, or erased."""


class Series(NamedTuple):
    """Outputs that are counted together: one stage, one kind and step of abandonment, one trigger and step."""

    group: str
    """The track, `abandonments`, `triggers` or `identities`."""
    name: str
    detail: str = ""

    @property
    def label(self) -> str:
        """Text for people."""
        return f"{self.name} {self.detail}".strip()


class DatedSeries(NamedTuple):
    """The properties by which an output is compared: its time (ms) and its series."""

    at: int
    series: Series


class CustomerOutput(NamedTuple):
    """One output of a customer, with its cause in words."""

    dated: DatedSeries
    why: str


class Customer(NamedTuple):
    """A customer or an anonymous id. The two kinds of ids are separate name spaces."""

    id: str
    identified: bool


def series_of(output: Output) -> Series:
    """Return the series that counts an output."""
    if isinstance(output, StageChange):
        return Series(output.track, GONE if output.to_stage is None else output.to_stage)
    if isinstance(output, Abandonment):
        step = f"step {output.step}" if output.type == "abandoned" and output.steps > 1 else ""
        return Series("abandonments", f"{output.kind} {output.type}", step)
    if isinstance(output, IdentityChange):
        return Series("identities", output.type)
    step = f"step {output.step}" if output.steps > 1 else ""
    return Series("triggers", output.trigger, f"{step} held out".strip() if output.held_out else step)


def why(output: Output) -> str:
    """Return the cause of an output in a few words, without personal data."""
    if isinstance(output, StageChange):
        cause, profile = output.cause, output.profile
        known = f"{_many(profile.orders, 'order')}, {_many(profile.sessions, 'session')}"
        if cause.kind == "inactivity" and cause.deadline is not None:
            return f"no activity or order for {_days(cause.deadline - profile.last_seen_at)} ({known})"
        return f"by {cause.event_type or cause.kind} ({known})"
    if isinstance(output, Abandonment):
        worth = "" if output.value is None or output.currency is None else money.text(output.value, output.currency)
        content = f"{_many(len(output.items), 'product')}{worth and f', {worth} {output.currency}'}"
        if output.type == "abandoned":
            return f"silent for {show_duration(output.occurred_at - output.last_activity_at)} ({content})"
        return f"{output.reason or output.match or 'after a long silence'} ({content})"
    if isinstance(output, IdentityChange):
        return f"by {output.event_type or 'request'}"
    return f"by {output.event_type or output.cause.rule or output.cause.kind}"


class Collector:
    """Collects the outputs of one playbook. A `log_run.Sink`. The comparison empties `new` after each step."""

    def __init__(self) -> None:
        self.counts: EngineCounters = Counter()
        """Counters of the engine."""
        self.daily: dict[Series, Counter[int]] = {}
        """Number of outputs by the day on which they occurred, in days since the epoch."""
        self.moved: dict[str, dict[str, Counter[int]]] = {}
        """Customers who entered less those who left, by track, stage and day."""
        self.flows: Counter[tuple[str, str | None, str]] = Counter()
        """Stage changes by track, from and to."""
        self.new: list[tuple[Customer, DatedSeries]] = []
        # Stays open as long as the collector exists, and is deleted with it.
        self._stories = tempfile.TemporaryFile(prefix="lifecycle-backtest-")  # noqa: SIM115

    def take(self, effects: Effects) -> None:
        """Implement `log_run.Sink`."""
        self.counts.update(effects.counts)
        self.take_outputs(effects.outputs)

    def take_outputs(self, outputs: list[Output]) -> None:
        """Implement `log_run.Sink`."""
        for output in outputs:
            series, at = series_of(output), output.occurred_at
            day = at // DAY
            if (counter := self.daily.get(series)) is None:
                counter = self.daily[series] = Counter()
            counter[day] += 1
            if isinstance(output, StageChange):
                self._flow(output, day)
            customer = Customer(output.customer, output.identified)
            self.new.append((customer, DatedSeries(at, series)))
            self._stories.write(_key(customer) + b"\t" + msgspec.json.encode(output) + b"\n")

    def total(self, series: Series) -> int:
        """Return the number of outputs of all days."""
        return self.daily[series].total() if series in self.daily else 0

    def stories(self, of: Collection[Customer]) -> dict[Customer, list[CustomerOutput]]:
        """Return all outputs of some customers, in the order in which they were made."""
        wanted = {_key(customer): customer for customer in of}
        found: dict[Customer, list[CustomerOutput]] = {customer: [] for customer in of}
        decode = msgspec.json.Decoder(Output).decode
        self._stories.seek(0)
        for line in self._stories:
            key, _, rest = line.partition(b"\t")
            if (customer := wanted.get(key)) is not None:
                output: Output = decode(rest)
                found[customer].append(CustomerOutput(DatedSeries(output.occurred_at, series_of(output)), why(output)))
        return found

    def tracks(self) -> list[str]:
        """Return the tracks that had customers, in order of appearance."""
        return list(self.moved)

    def population(self, track: str, days: range) -> Iterator[tuple[str, list[int]]]:
        """Yield, for each stage that ever had a customer, their number at the end of each day."""
        for stage, moved in self.moved.get(track, {}).items():
            count, counts = 0, []
            for day in days:
                count += moved[day]
                counts.append(count)
            yield stage, counts

    def _flow(self, change: StageChange, day: int) -> None:
        if (moved := self.moved.get(change.track)) is None:
            moved = self.moved[change.track] = {}
        for stage, by in ((change.from_stage, -1), (change.to_stage, 1)):
            if stage is not None:
                if (counter := moved.get(stage)) is None:
                    counter = moved[stage] = Counter()
                counter[day] += by
        self.flows[change.track, change.from_stage, change.to_stage or GONE] += 1


def _key(customer: Customer) -> bytes:
    """Return a key without tabs and line ends: JSON escapes both."""
    return msgspec.json.encode(customer)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _days(milliseconds: int) -> str:
    return _many(milliseconds // DAY, "day") if milliseconds >= DAY else show_duration(max(milliseconds, 0))
