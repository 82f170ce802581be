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
    """Of one figure over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """None where there are no values."""
        found = list(values)
        return cls(statistics.median(found), min(found), max(found)) if found else None


class Contestant(NamedTuple):
    """A peer as the tables have it."""

    peer: str
    jit: str | None
    """`cold` or `warm`, for those on the JVM"""

    def __str__(self) -> str:
        return f"{self.peer}, {self.jit}" if self.jit else self.peer


class Column(NamedTuple):
    """What is compared with one another: the same job, as often durable."""

    events: int
    customers: int
    mode: str


class Goal(NamedTuple):
    """Our CPU per event may be so many times another's."""

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
"""What a row has when not all went well, as sentences."""


class Common:
    """The common job: a run of it, or several on the same machine, by the same versions."""

    def __init__(self, rows: Iterable[Row]) -> None:
        """Raises `ValueError` if runs cannot be told together."""
        self.machine: Row = {}
        self.peers: list[Row] = []
        self.began: list[str] = []
        """When each run did."""
        self._trials: dict[Column, dict[Contestant, list[Row]]] = {}
        for row in rows:
            if row["kind"] == "machine":
                self.began.append(row["began"])
                if _but_began(row) != _but_began(self.machine or row):
                    raise ValueError(f"the run of {row['began']} was on another machine, or warmed otherwise")
                self.machine = self.machine or row
            elif row["kind"] == "peer":
                if other := [one for one in self.peers if one["peer"] == row["peer"] and one != row]:
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
        """In the order of the run."""
        return list(self._trials)

    def rounds(self, column: Column) -> int:
        """How many there were."""
        return len({row["round"] for row in self._trials[column].get(OURS, [])})

    def contestants(self, column: Column) -> list[Contestant]:
        """In the order in which the peers are listed."""
        order = [peer["peer"] for peer in self.peers]
        return sorted(self._trials[column], key=lambda one: (order.index(one.peer), one.jit or ""))

    def trials(self, column: Column, contestant: Contestant) -> list[Row]:
        """Those that came through."""
        return [row for row in self._all(column, contestant) if "error" not in row]

    def errors(self, column: Column, contestant: Contestant) -> list[str]:
        """What kept the others from it."""
        return [row["error"] for row in self._all(column, contestant) if "error" in row]

    def sound(self, column: Column, contestant: Contestant) -> bool:
        """Whether every trial came through, and with the right outputs."""
        rows = self._all(column, contestant)
        return not any(row.get(key) for row in rows for key in FAULTS)

    def spread(self, column: Column, contestant: Contestant, name: str, per: float = 1.0) -> Spread | None:
        """Of a figure, divided by `per`."""
        return Spread.of(row[name] / per for row in self.trials(column, contestant) if name in row)

    def ratio(self, column: Column, other: Contestant) -> Spread | None:
        """Our CPU per event by another's, round by round: what the machine did to a round it did to both."""
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
    """What `value` is the median of."""

    @property
    def met(self) -> bool | None:
        """None where there is no goal."""
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
"""Those with goals: the report has a row of each, also if it was not run."""

_GOAL = re.compile(r"(<=|<|>=|>)\s*([\d.]+)")


def scenarios(rows: Iterable[Row]) -> list[Scenario]:
    """The latest of each."""
    latest = {(row["scenario"], row["metric"]): row for row in rows}
    return [Scenario(**{f: row[f] for f in Scenario._fields} | {"runs": tuple(row["runs"])}) for row in latest.values()]


class AtSize(NamedTuple):
    """What an event cost to workers who knew so many customers."""

    customers: int
    us: float


def by_customers(own: Iterable[Scenario]) -> list[AtSize]:
    """Of the scenario `scale`, fewest customers first: the figures of the same number of events, as many as there are.

    Empty where there are fewer than two: they show nothing.
    """
    found: dict[str, list[AtSize]] = {}
    for one in own:
        if one.scenario == "scale" and (match := _SIZE.fullmatch(one.metric)):
            found.setdefault(match["events"], []).append(AtSize(int(match["customers"]), one.value))
    largest = max(found.values(), key=len, default=[])
    return sorted(largest) if len(largest) > 1 else []


_SIZE = re.compile(r"CPU per event, (?P<customers>\d+) customers, (?P<events>\d+) events")


def read(path: Path) -> list[Row]:
    """The rows of a file of results; none if it is not there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
