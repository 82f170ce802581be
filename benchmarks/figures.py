"""The figures behind the report: the trials of one file of results, and what is computed from them."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

Row = dict[str, Any]


class Spread(NamedTuple):
    """Median and range of one figure over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """Return the spread of the values, None without values."""
        found = list(values)
        return cls(statistics.median(found), min(found), max(found)) if found else None


class Contestant(NamedTuple):
    """A peer, as one row of the tables."""

    peer: str
    jit: str | None
    """`cold` or `warm`, for those on the JVM"""

    def __str__(self) -> str:
        return f"{self.peer}, {self.jit}" if self.jit else self.peer


class Column(NamedTuple):
    """Trials that are comparable: the same job with the same commit interval."""

    events: int
    customers: int
    mode: str


class Goal(NamedTuple):
    """A limit of our CPU per event, as a multiple of another peer's."""

    says: str
    other: Contestant
    at_most: float


OURS: Final = Contestant("lifecycle-streams", None)
GOALS: Final = (
    Goal("no more than the confluent-kafka loop", Contestant("confluent-kafka loop", None), 1.0),
    Goal("at most 0.55 times warm Kafka Streams", Contestant("Kafka Streams", "warm"), 0.55),
    Goal("at most 0.9 times warm Flink on the heap", Contestant("Flink, heap", "warm"), 0.9),
    Goal("at least 5 times less than Quix Streams", Contestant("Quix Streams", None), 1 / 5),
    Goal("at least 50 times less than idiomatic Faust", Contestant("Faust", None), 1 / 50),
)


FAULTS: Final = ("error", "differs", "recovered_differs", "recovery_error")
"""Fields of a row with a fault, each a sentence."""


class Common:
    """The common job: a run of it, or several on the same machine, by the same versions."""

    def __init__(self, rows: Iterable[Row]) -> None:
        """Raise `ValueError` if the runs cannot be combined."""
        self.machine: Row = {}
        self.peers: list[Row] = []
        self.began: list[str] = []
        """Start times of the runs."""
        self._trials: dict[Column, dict[Contestant, list[Row]]] = {}
        for row in rows:
            if row["kind"] == "machine":
                self.began.append(row["began"])
                if _but_began(row) != _but_began(self.machine or row):
                    raise ValueError(f"the run of {row['began']} was on another machine, or warmed otherwise")
                self.machine = self.machine or row
            elif row["kind"] == "peer":
                if other := [peer for peer in self.peers if peer["peer"] == row["peer"] and peer != row]:
                    raise ValueError(f"{row['peer']} is not the same in all runs: {row}, {other[0]}")
                if row not in self.peers:
                    self.peers.append(row)
            else:
                row = {**row, "round": (len(self.began), row["round"])}
                column = Column(row["events"], row["customers"], row["mode"])
                contestant = Contestant(row["peer"], row["jit"])
                self._trials.setdefault(column, {}).setdefault(contestant, []).append(row)

    @property
    def columns(self) -> list[Column]:
        """Columns in the order of the run."""
        return list(self._trials)

    def rounds(self, column: Column) -> int:
        """Return the number of rounds."""
        return len({row["round"] for row in self._trials[column].get(OURS, [])})

    def contestants(self, column: Column) -> list[Contestant]:
        """Return the contestants in the order in which the peers are listed."""
        order = [peer["peer"] for peer in self.peers]
        return sorted(self._trials[column], key=lambda contestant: (order.index(contestant.peer), contestant.jit or ""))

    def trials(self, column: Column, contestant: Contestant) -> list[Row]:
        """Return the trials that completed."""
        return [row for row in self._all(column, contestant) if "error" not in row]

    def errors(self, column: Column, contestant: Contestant) -> list[str]:
        """Return the errors of the trials that did not complete."""
        return [row["error"] for row in self._all(column, contestant) if "error" in row]

    def sound(self, column: Column, contestant: Contestant) -> bool:
        """Return True if every trial completed with the right outputs."""
        rows = self._all(column, contestant)
        return not any(row.get(key) for row in rows for key in FAULTS)

    def spread(self, column: Column, contestant: Contestant, name: str, per: float = 1.0) -> Spread | None:
        """Return the spread of a figure, divided by `per`."""
        return Spread.of(row[name] / per for row in self.trials(column, contestant) if name in row)

    def ratio(self, column: Column, other: Contestant) -> Spread | None:
        """Return our CPU per event divided by another's, round by round: disturbances of a round affect both."""
        theirs = {row["round"]: row["job_cpu_s"] for row in self.trials(column, other)}
        return Spread.of(
            row["job_cpu_s"] / theirs[row["round"]] for row in self.trials(column, OURS) if row["round"] in theirs
        )

    def _all(self, column: Column, contestant: Contestant) -> list[Row]:
        return self._trials[column].get(contestant, [])


def _but_began(machine: Row) -> Row:
    return {name: value for name, value in machine.items() if name != "began"}


class Scenario(NamedTuple):
    """A figure of our own worker."""

    scenario: str
    metric: str
    value: float
    unit: str
    goal: str
    """`<= 8`, `< 2`, `>= 20`; empty where none was set"""
    runs: tuple[float, ...]
    """Values of the runs, whose median is `value`."""

    @property
    def met(self) -> bool | None:
        """True if the goal is met, None without a goal."""
        if not self.goal:
            return None
        operator, bound = _GOAL.fullmatch(self.goal.strip()).groups()  # type: ignore[union-attr]
        limit = float(bound)
        return {
            "<=": self.value <= limit,
            "<": self.value < limit,
            ">=": self.value >= limit,
            ">": self.value > limit,
        }[operator]


SCENARIOS: Final = ("latency", "idle", "mix", "identity_resolution", "scale", "exactly_once", "recovery", "memory")
"""Scenarios with goals: the report has a row for each, also if it was not run."""

_GOAL = re.compile(r"(<=|<|>=|>)\s*([\d.]+)")


def scenarios(rows: Iterable[Row]) -> list[Scenario]:
    """Return the latest figure of each scenario and metric."""
    latest = {(row["scenario"], row["metric"]): row for row in rows}
    return [Scenario(**{f: row[f] for f in Scenario._fields} | {"runs": tuple(row["runs"])}) for row in latest.values()]


class AtSize(NamedTuple):
    """Cost of an event, in microseconds, for workers with that number of customers."""

    customers: int
    us: float


def by_customers(own: Iterable[Scenario]) -> list[AtSize]:
    """Return the figures of the scenario `scale`, fewest customers first, of the number of events with most figures.

    Empty if there are fewer than two, which would show nothing.
    """
    found: dict[str, list[AtSize]] = {}
    for figure in own:
        if figure.scenario == "scale" and (match := _SIZE.fullmatch(figure.metric)):
            found.setdefault(match["events"], []).append(AtSize(int(match["customers"]), figure.value))
    largest = max(found.values(), key=len, default=[])
    return sorted(largest) if len(largest) > 1 else []


_SIZE = re.compile(r"CPU per event, (?P<customers>\d+) customers, (?P<events>\d+) events")


def read(path: Path) -> list[Row]:
    """Return the rows of a file of results; none if the file does not exist."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
