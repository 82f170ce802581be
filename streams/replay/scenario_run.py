"""Run a scenario: events, time travel, and the outputs that are expected. `scenario_file` reads scenarios.

A scenario runs on the worker's decoders, engine and encoder. An event is rejected if a worker would reject it, and
expectations are compared with the fields that subscribers see (docs/contract.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from streams import deployment
from streams.contracts.outputs import Encoder
from streams.contracts.rejected import Rejected
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.lifecycle.playbook import Playbook
from streams.core.model.event import ORDER_TYPES, Source
from streams.core.model.outputs import Effects, Output
from streams.core.model.sources import Fetch
from streams.replay.single_engine import SingleEngine
from streams.settings import Settings
from streams.values import parse_time, show_time

Document = dict[str, Any]

LATEST: Final = parse_time("9000-01-01T00:00:00Z")
"""Latest time in a scenario, ms: times have four-digit years."""
CUSTOMER: Final = "c-1"
"""The customer of an event that names none."""
DEAD_LETTER: Final = "dead_letter"
"""The `type` of an output that stands for a dead letter, with its `reason`."""


@dataclass
class Event:
    """An event. The clock first moves on by `after`; the event occurred `ago` before that (both in ms)."""

    line: int
    after: int
    ago: int
    document: Document


@dataclass
class Wait:
    """Time passes, for `duration` or up to `until` (ms)."""

    line: int
    duration: int = 0
    until: int | None = None


@dataclass
class Expect:
    """Exactly these outputs since the last expectation, in this order. Only the fields that are given are compared."""

    line: int
    outputs: list[Document]


Step = Event | Wait | Expect


@dataclass
class Scenario:
    """One scenario. `only`: keep outputs that have one of these labels (see `labels`); empty: keep all."""

    name: str
    line: int
    start: int
    only: frozenset[str]
    steps: list[Step] = field(default_factory=list)


@dataclass
class Failure:
    """The first expectation that was not met, with the actual outputs."""

    line: int
    at: int
    expected: list[Document]
    got: list[Document]


class ScenarioError(Exception):
    """A step cannot be carried out. `text` is a sentence without a full stop."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(line, text)
        self.line = line
        self.text = text


_GROUPS: Final = {"stage_changed": "stages", "triggered": "triggers"} | dict.fromkeys(
    ("linked", "switched", "refused", "erased"), "identities"
)


def labels(document: Mapping[str, Any]) -> set[str]:
    """Return the labels by which `only` selects an output: its type, group, track, kind and trigger."""
    group = _GROUPS.get(document["type"], "abandonments")
    words = {document["type"], group, document.get("track"), document.get("kind"), document.get("trigger")}
    return {word for word in words if word is not None}


def run(scenario: Scenario, playbook: Playbook, settings: Settings) -> Failure | None:
    """Run a scenario. Return None if all outputs were as expected. Raise `ScenarioError` if a step is impossible."""
    play = _ScenarioRun(scenario, playbook, settings)
    for step in scenario.steps:
        if isinstance(step, Event):
            play.event(step)
        elif isinstance(step, Wait):
            play.wait(step)
        elif (failure := play.expect(step)) is not None:
            return failure
    return None


def differences(expected: Any, got: Any, path: str = "") -> list[str]:
    """Return the differences between an expected and an actual value. Fields that are not expected are ignored."""
    if isinstance(expected, dict) and isinstance(got, dict):
        found = []
        for key, value in expected.items():
            name = f"{path}.{key}" if path else key
            if key not in got:
                found.append(f"{name}: there is no such field")
            else:
                found += differences(value, got[key], name)
        return found
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        pairs = enumerate(zip(expected, got, strict=True))
        return [line for n, (one, other) in pairs for line in differences(one, other, f"{path}[{n}]")]
    same = expected == got and isinstance(expected, bool) is isinstance(got, bool)  # True is not 1
    return [] if same else [f"{path}: {_json(got)}, not {_json(expected)}"]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class _ScenarioRun:
    """A scenario while it runs. Time passes only by its steps."""

    def __init__(self, scenario: Scenario, playbook: Playbook, settings: Settings) -> None:
        self._only = scenario.only
        self._clock = scenario.start
        self._lateness = playbook.policy.lateness
        self._now = scenario.start
        """The time last given to the engine, ms. Never goes back."""
        self._decoders = deployment.decoders(settings, playbook)
        self._encoder = Encoder(settings.ce_source)
        lifecycle = Lifecycle(playbook, settings.id_namespace)
        self._engine = SingleEngine(
            lifecycle,
            identity_resolution=settings.identity_resolution,
            event_time_ordering=settings.event_time_ordering,
        )
        self._positions = dict.fromkeys(Source, 0)
        self._events = 0
        self._got: list[Document] = []

    def event(self, event: Event) -> None:
        self._set_clock(self._clock + event.after, event.line)
        self._events += 1
        document = dict(event.document)
        source = Source.ORDERS if document.get("type") in ORDER_TYPES else Source.CLICKSTREAM
        document.setdefault("event_id", f"e-{self._events}")
        document.setdefault("occurred_at", show_time(self._clock - event.ago))
        if "customer_id" not in document and "anonymous_id" not in document:
            document["customer_id"] = CUSTOMER
        offset, decoded = self._positions[source], []
        self._positions[source] += 1
        try:
            decoded_event = self._decoders[source].decode(
                msgspec.json.encode(document), partition=0, offset=offset, timestamp=self._clock
            )
            decoded_event.timestamp = decoded_event.at  # so that it is not taken for a backfill, however old it is
            decoded.append(decoded_event)
        except Rejected as rejected:
            self._keep({"type": DEAD_LETTER, "reason": rejected.reason, "message": rejected.detail})
        self._now = max(self._now, self._clock)
        self._take(self._engine.ingest(source, decoded, offset + 1, self._now))
        self._pass_time()

    def wait(self, wait: Wait) -> None:
        if wait.until is not None and wait.until < self._clock:
            raise ScenarioError(wait.line, f"it is {show_time(self._clock)} already")
        self._set_clock(self._clock + wait.duration if wait.until is None else wait.until, wait.line)
        self._now = max(self._now, self._clock + self._lateness)
        seen = len(self._got)
        self._apply_waiting()
        # The engine fires deadlines customer by customer. Scenarios list outputs in the order of time.
        self._got[seen:] = sorted(self._got[seen:], key=lambda document: document["occurred_at"])

    def expect(self, expect: Expect) -> Failure | None:
        self._apply_waiting()
        got, self._got = self._got, []
        if len(got) == len(expect.outputs) and not any(map(differences, expect.outputs, got)):
            return None
        return Failure(expect.line, self._clock, expect.outputs, got)

    def _set_clock(self, clock: int, line: int) -> None:
        if clock > LATEST:
            raise ScenarioError(line, f"no scenario goes on after {show_time(LATEST)}")
        self._clock = clock

    def _apply_waiting(self) -> None:
        """Apply all events up to the clock's time, also those that the engine buffers."""
        self._engine.complete(self._clock + 1)
        self._pass_time()

    def _pass_time(self) -> None:
        """Report to the engine that all sources are caught up at `_now`, and take all outputs that this leads to."""
        ended = {source: Fetch(sent_at=self._now, end=position) for source, position in self._positions.items()}
        self._take(self._engine.advance(self._now, ended))
        for effects, outputs in self._engine.commit(self._now, ended):
            self._take(effects)
            self._take_outputs(outputs)

    def _take(self, effects: Effects) -> None:
        self._take_outputs(effects.outputs)

    def _take_outputs(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            self._keep(msgspec.json.decode(self._encoder.encode(output).value))

    def _keep(self, document: Document) -> None:
        if not self._only or document["type"] == DEAD_LETTER or self._only & labels(document):
            self._got.append(document)
