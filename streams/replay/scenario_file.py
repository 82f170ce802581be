"""Read scenario files: YAML to `scenario_run.Scenario`. Mistakes are reported by file and line."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streams import values
from streams.errors import UserError
from streams.replay.scenario_run import DEAD_LETTER, LATEST, Document, Event, Expect, Scenario, Step, Wait
from streams.replay.scenario_yaml import Mapping, Mistake, read

SUFFIX: Final = ".scenarios.yaml"
START: Final = values.parse_time("2026-01-01T00:00:00Z")
"""Start of a scenario without `start`, ms."""

FILE_KEYS: Final = ("playbook", "start", "only", "defaults", "scenarios")
SCENARIO_KEYS: Final = ("name", "start", "only", "defaults", "steps")
EVENT_KEYS: Final = ("after", "ago")
"""Keys of an event that are not its fields."""
STEP_KEYS: Final = ("type", "wait", "until", "expect")
"""Each step has exactly one of these keys, which is its kind."""
SHORT: Final[dict[str, Callable[[Any], Document]]] = {
    "stage": lambda value: {"type": "stage_changed", "to_stage": value},
    "abandoned": lambda value: {"type": "abandoned", "kind": value},
    "recovered": lambda value: {"type": "recovered", "kind": value},
    "retracted": lambda value: {"type": "retracted", "kind": value},
    "expired": lambda value: {"type": "expired", "kind": value},
    "triggered": lambda value: {"type": "triggered", "trigger": value},
    "rejected": lambda value: {"type": DEAD_LETTER, "reason": value},
}
"""Short forms of expected outputs. An expected output has one of these or `type`, and may have `at` and any fields."""


@dataclass
class ScenarioFile:
    """Content of a file. `playbook` as written: a path relative to the file, or the name of a shipped playbook."""

    path: Path
    playbook: str | None
    scenarios: list[Scenario]


def find(paths: Iterable[Path]) -> list[Path]:
    """Return the scenario files in the directories among `paths`, and all files among them, without repeats."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(path.rglob(f"*{SUFFIX}"))
            if not inside:
                raise UserError(f"{path} holds no scenarios: their files are called *{SUFFIX}.")
            found += inside
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def load(path: Path) -> ScenarioFile:
    """Read and check a file. Raise `UserError` for the first mistake, with file and line."""
    document = read(path)
    try:
        return _file(path, document)
    except Mistake as mistake:
        raise UserError(f"{path}:{mistake.line}: {mistake.text}.") from None


def _file(path: Path, document: Any) -> ScenarioFile:
    if not isinstance(document, Mapping):
        raise Mistake(1, f"a file of scenarios is a mapping with {_either(FILE_KEYS)}")
    _known(document, FILE_KEYS, "a file of scenarios")
    playbook = document.get("playbook")
    if not isinstance(playbook, str | None):
        raise Mistake(document.line, "playbook is a path, or the name of a shipped playbook")
    listed = document.get("scenarios")
    if not isinstance(listed, list) or not listed:
        raise Mistake(document.line, "scenarios is a list of at least one")
    scenarios = [_scenario(entry, document) for entry in listed]
    names: set[str] = set()
    for scenario in scenarios:
        if scenario.name in names:
            raise Mistake(scenario.line, f"there are two scenarios called {scenario.name!r}")
        names.add(scenario.name)
    return ScenarioFile(path, playbook, scenarios)


def _scenario(entry: Any, file: Mapping) -> Scenario:
    if not isinstance(entry, Mapping):
        raise Mistake(file.line, f"each scenario is a mapping with {_either(SCENARIO_KEYS)}")
    _known(entry, SCENARIO_KEYS, "a scenario")
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip():
        raise Mistake(entry.line, "a scenario has a name: a sentence that says what happens")
    start = entry.get("start", file.get("start"))
    only = entry.get("only", file.get("only", []))
    only = [only] if isinstance(only, str) else only
    if not isinstance(only, list) or not all(isinstance(word, str) for word in only):
        raise Mistake(entry.line, "only is a list of types, groups, tracks, kinds or triggers of outputs")
    defaults = {**_fields(file), **_fields(entry)}
    listed = entry.get("steps")
    if not isinstance(listed, list) or not listed:
        raise Mistake(entry.line, "steps is a list of events, waits and expectations")
    begin = START if start is None else _time(start, entry.line, "start")
    steps = [_step(step, entry, defaults, begin) for step in listed]
    if not isinstance(steps[-1], Expect):
        raise Mistake(
            steps[-1].line, "the last step of a scenario is an expectation: expect: [] where nothing may come"
        )
    return Scenario(name, entry.line, begin, frozenset(only), steps)


def _fields(mapping: Mapping) -> Document:
    defaults = mapping.get("defaults", {})
    if not isinstance(defaults, Mapping | dict):
        raise Mistake(mapping.line, "defaults are fields of events")
    return dict(defaults)


def _step(step: Any, scenario: Mapping, defaults: Document, start: int) -> Step:
    if not isinstance(step, Mapping):
        raise Mistake(scenario.line, f"each step is a mapping with {_either(STEP_KEYS)}")
    kinds = [key for key in STEP_KEYS if key in step]
    if len(kinds) != 1:
        raise Mistake(step.line, f"a step has one of {_either(STEP_KEYS)}")
    kind, line = kinds[0], step.line
    if kind == "type":
        return _event(step, defaults)
    _known(step, (kind,), f"a step with {kind}")
    if kind == "wait":
        return Wait(line, duration=_duration(step[kind], line, kind))
    if kind == "until":
        return Wait(line, until=_time(step[kind], line, kind))
    expected = step[kind]
    if not isinstance(expected, list):
        raise Mistake(line, "expect is a list of outputs, [] where nothing may come")
    return Expect(line, [_output(output, line, start) for output in expected])


def _event(step: Mapping, defaults: Document) -> Event:
    times = {key: _duration(step[key], step.line, key) for key in EVENT_KEYS if key in step}
    document = {key: value for key, value in step.items() if key not in EVENT_KEYS}
    if "customer_id" in document or "anonymous_id" in document:  # the identity is given as a whole
        defaults = {key: value for key, value in defaults.items() if key not in ("customer_id", "anonymous_id")}
    return Event(step.line, times.get("after", 0), times.get("ago", 0), {**defaults, **document})


def _output(output: Any, line: int, start: int) -> Document:
    if not isinstance(output, Mapping):
        raise Mistake(line, f"an expected output is a mapping with {_either((*SHORT, 'type'))}")
    line, document = output.line, Document()
    named = [key for key in output if key in SHORT or key == "type"]
    if len(named) != 1:
        raise Mistake(line, f"an expected output has one of {_either((*SHORT, 'type'))}")
    for key, value in output.items():
        if key in SHORT:
            document |= SHORT[key](value)
        elif key in ("at", "occurred_at"):
            document["occurred_at"] = values.show_time(_instant(value, line, start))
        else:
            document[key] = value
    return document


def _instant(value: Any, line: int, start: int) -> int:
    """Return a time (ms) that is written as a time, or as a duration since the start of the scenario."""
    try:
        at = start + values.parse_duration(str(value))
    except ValueError:
        return _time(value, line, "at")
    if at > LATEST:
        raise Mistake(line, f"at: {value} is after {values.show_time(LATEST)}")
    return at


def _duration(value: Any, line: int, key: str) -> int:
    try:
        return values.parse_duration(str(value))
    except ValueError as error:
        raise Mistake(line, f"{key}: {value} {error}") from None


def _time(value: Any, line: int, key: str) -> int:
    try:
        return values.parse_time(str(value))
    except ValueError as error:
        raise Mistake(line, f"{key}: {value} {error}") from None


def _known(mapping: Mapping, keys: tuple[str, ...], what: str) -> None:
    for key in mapping:
        if key not in keys:
            close = difflib.get_close_matches(key, keys, n=1)
            meant = f"did you mean {close[0]}?" if close else f"it has {_either(keys)}"
            raise Mistake(mapping.line, f"{what} has no {key}: {meant}".rstrip("?") + ("?" if close else ""))


def _either(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
