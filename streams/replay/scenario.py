"""A scenario: events in, time travel, and what must come out. How one is run; `scenario_file` reads them.

It runs on the engine, the decoders and the encoder of the worker: an event is refused here if it is there, and an
expectation is held against the fields that subscribers see (docs/contract.md).
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
from streams.replay.alone import Alone
from streams.settings import Settings
from streams.values import parse_time, show_time

Document = dict[str, Any]

LATEST: Final = parse_time("9000-01-01T00:00:00Z")
"""No scenario goes on after it: times have four-digit years."""
CUSTOMER: Final = "c-1"
"""Whose an event is that names nobody."""
DEAD_LETTER: Final = "dead_letter"
"""The `type` of what stands for an event that became one; its `reason` tells why."""


@dataclass
class Event:
    """An event at the scenario's clock, which moves on by `after` first; it occurred `ago` before that (ms)."""

    line: int
    after: int
    ago: int
    document: Document


@dataclass
class Wait:
    """Time passes: for so long, or to an instant (ms)."""

    line: int
    duration: int = 0
    until: int | None = None


@dataclass
class Expect:
    """What came out since the last expectation, in this order and nothing else: of each output these fields."""

    line: int
    outputs: list[Document]


Step = Event | Wait | Expect


@dataclass
class Scenario:
    """One of them, as it was read. `only`: the words of `labels` that an output must have one of; empty: any."""

    name: str
    line: int
    start: int
    only: frozenset[str]
    steps: list[Step] = field(default_factory=list)


@dataclass
class Failure:
    """The first expectation that was not met, with all that was seen until then."""

    line: int
    at: int
    expected: list[Document]
    got: list[Document]


class ScenarioError(Exception):
    """A step that cannot be carried out; its text is a sentence without an end."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(line, text)
        self.line = line
        self.text = text


_GROUPS: Final = {"stage_changed": "stages", "triggered": "triggers"} | dict.fromkeys(
    ("linked", "switched", "refused", "erased"), "identities"
)


def labels(document: Mapping[str, Any]) -> set[str]:
    """The words under which `only` knows an output: its type, its group, its track, kind or trigger."""
    group = _GROUPS.get(document["type"], "abandonments")
    words = {document["type"], group, document.get("track"), document.get("kind"), document.get("trigger")}
    return {word for word in words if word is not None}


def run(scenario: Scenario, playbook: Playbook, settings: Settings) -> Failure | None:
    """Run one; None if everything came as expected. Raises `ScenarioError`."""
    play = _Play(scenario, playbook, settings)
    for step in scenario.steps:
        if isinstance(step, Event):
            play.event(step)
        elif isinstance(step, Wait):
            play.wait(step)
        elif (failure := play.expect(step)) is not None:
            return failure
    return None


def differences(expected: Any, got: Any, path: str = "") -> list[str]:
    """What an output lacks of what was expected of it: of mappings only the fields named, all else exactly."""
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
    return [] if same else [f"{path}: {_show(got)}, not {_show(expected)}"]


def _show(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class _Play:
    """One scenario while it runs. Like a replay: no time passes but that of the script."""

    def __init__(self, scenario: Scenario, playbook: Playbook, settings: Settings) -> None:
        self._only = scenario.only
        self._clock = scenario.start
        self._lateness = playbook.policy.lateness
        self._now = scenario.start
        """What the engine was last told; never goes back."""
        self._decoders = deployment.decoders(settings, playbook.policy.currency, playbook.properties)
        self._encoder = Encoder(settings.ce_source)
        lifecycle = Lifecycle(playbook, settings.id_namespace)
        self._alone = Alone(
            lifecycle,
            identity_resolution=settings.identity_resolution,
            event_time_ordering=settings.event_time_ordering,
        )
        self._positions = dict.fromkeys(Source, 0)
        self._events = 0
        self._got: list[Document] = []

    def event(self, event: Event) -> None:
        self._turn(self._clock + event.after, event.line)
        self._events += 1
        document = dict(event.document)
        source = Source.ORDERS if document.get("type") in ORDER_TYPES else Source.CLICKSTREAM
        document.setdefault("event_id", f"e-{self._events}")
        document.setdefault("occurred_at", show_time(self._clock - event.ago))
        if "customer_id" not in document and "anonymous_id" not in document:
            document["customer_id"] = CUSTOMER
        offset, activities = self._positions[source], []
        self._positions[source] += 1
        try:
            activity = self._decoders[source].decode(
                msgspec.json.encode(document), partition=0, offset=offset, timestamp=self._clock
            )
            activity.timestamp = activity.at  # no backfill
            activities.append(activity)
        except Rejected as rejected:
            self._saw({"type": DEAD_LETTER, "reason": rejected.reason, "message": rejected.detail})
        self._now = max(self._now, self._clock)
        self._take(self._alone.apply(source, activities, offset + 1, self._now))
        self._pass()

    def wait(self, wait: Wait) -> None:
        if wait.until is not None and wait.until < self._clock:
            raise ScenarioError(wait.line, f"it is {show_time(self._clock)} already")
        self._turn(self._clock + wait.duration if wait.until is None else wait.until, wait.line)
        self._now = max(self._now, self._clock + self._lateness)
        seen = len(self._got)
        self._apply_held()
        # The engine fires customer by customer; people tell what several of them do in the order of time.
        self._got[seen:] = sorted(self._got[seen:], key=lambda document: document["occurred_at"])

    def expect(self, expect: Expect) -> Failure | None:
        self._apply_held()
        got, self._got = self._got, []
        if len(got) == len(expect.outputs) and not any(map(differences, expect.outputs, got)):
            return None
        return Failure(expect.line, self._clock, expect.outputs, got)

    def _turn(self, clock: int, line: int) -> None:
        if clock > LATEST:
            raise ScenarioError(line, f"no scenario goes on after {show_time(LATEST)}")
        self._clock = clock

    def _apply_held(self) -> None:
        """Whoever looks has waited until everything up to now is applied."""
        self._alone.complete(self._clock + 1)
        self._pass()

    def _pass(self) -> None:
        """Nothing else is to come up to now."""
        ended = {source: Fetch(sent_at=self._now, end=position) for source, position in self._positions.items()}
        self._take(self._alone.advance(self._now, ended))
        for effects, outputs in self._alone.commit(self._now, ended):
            self._take(effects)
            self._show(outputs)

    def _take(self, effects: Effects) -> None:
        self._show(effects.outputs)

    def _show(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            self._saw(msgspec.json.decode(self._encoder.encode(output).value))

    def _saw(self, document: Document) -> None:
        if not self._only or document["type"] == DEAD_LETTER or self._only & labels(document):
            self._got.append(document)
