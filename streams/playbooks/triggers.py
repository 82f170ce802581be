"""Triggers of a playbook: their keys, and the builder of the `Trigger` that the engine runs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streams.core.lifecycle.triggers import DatumDefinition, OnAbandonment, OnStage, OnTime, Trigger, TriggerStep
from streams.core.rules import CompiledRule, Type
from streams.core.rules.errors import suggestion
from streams.playbooks.key_kinds import (
    DURATION,
    NAME,
    InvalidValue,
    Key,
    ListOf,
    OneOrMore,
    Problems,
    RuleKind,
    Scalar,
    Schema,
    Section,
    TableOf,
    number,
    one_of,
)
from streams.playbooks.problems import quoted
from streams.playbooks.yaml_tree import YamlNode

Compile = Callable[[YamlNode, Type | None], CompiledRule | None]
AddProblem = Callable[[YamlNode, str], None]


def _percent(text: str) -> int | None:
    return int(text[:-1]) if re.fullmatch(r"[0-9]{1,3}%", text) and int(text[:-1]) <= 100 else None


PERCENT: Final = Scalar(
    "a percentage from 0% to 100%, such as 10%", _percent, {"type": "string", "pattern": "^(100|[0-9]{1,2})%$"}
)
LINE: Final = Scalar("a sentence", lambda text: text or None, {"type": "string", "minLength": 1})
UNSTEADY_TIME: Final = "this time does not stay the same: use a time that the profile keeps, such as last_order_at"
MOST_TEXT: Final = 1_024
"""Most characters of a value in `data`."""

_TIME_RULE: Final = RuleKind("a rule for a time, such as credit_expires_at")
ON: Final = Section(
    "`on` of a trigger",
    Key("track", NAME, "Begins the trigger when a customer enters or leaves a stage of this track."),
    Key("enters", OneOrMore(NAME), "Only when the customer enters one of these stages."),
    Key("leaves", OneOrMore(NAME), "Only when the customer leaves one of these stages."),
    Key(
        "abandonment",
        OneOrMore(one_of("abandoned", "recovered", "retracted", "expired")),
        "Begins the trigger at this output of an abandonment. A trigger on `abandoned` ends when the abandonment is "
        "recovered, retracted, superseded or expired.",
    ),
    Key("kind", OneOrMore(one_of("browse", "cart", "checkout")), "Only for abandonments of these kinds."),
    Key("step", number(1, 21), "Only at this step of the abandonment.", default="1"),
    Key("time", _TIME_RULE, "Begins the trigger at this time."),
    Key("yearly", _TIME_RULE, "Begins the trigger each year on the day and at the hour of this time."),
    Key("before", DURATION, "Begins the trigger this long before the `time` or the `yearly` day."),
)
_ON_KEYS: Final = {
    "track": ("enters", "leaves"), "abandonment": ("kind", "step"), "time": ("before",), "yearly": ("before",),
}  # fmt: skip
"""The keys of `on` of which exactly one is given, each with the keys that may be given with it."""
COMPUTED: Final = Section(
    "a computed value",
    Key("rule", RuleKind(), "The value is that of this rule at the time of the output.", required=True),
)


@dataclass(frozen=True)
class EventsOr:
    """Event types, or a section."""

    section: Section
    expected: str = "an event type, a list of them, or a table of track, abandonment, time or yearly"

    def read(self, node: YamlNode, problems: Problems) -> Any:
        if node.table is not None:
            return self.section.read(node, problems)
        return OneOrMore(NAME).read(node, problems)

    def schema(self) -> Schema:
        return {"anyOf": [OneOrMore(NAME).schema(), self.section.schema()]}


@dataclass(frozen=True)
class DataValue:
    """A value of `data`: as written, or computed by `{rule: …}`."""

    expected: str = "a text, a number, true, false, or {rule: …}"

    def read(self, node: YamlNode, problems: Problems) -> Any:
        if node.table is not None:
            return COMPUTED.read(node, problems)
        if node.text is None or len(node.text) > MOST_TEXT:
            raise InvalidValue(node, f"{node.shown} is not {self.expected}, of at most {MOST_TEXT:,} characters")
        if node.quoted:
            return node.text
        if node.text in ("true", "false"):
            return node.text == "true"
        if re.fullmatch(r"-?[0-9]{1,15}", node.text):
            return int(node.text)
        return float(node.text) if re.fullmatch(r"-?[0-9]{1,15}\.[0-9]{1,15}", node.text) else node.text

    def schema(self) -> Schema:
        return {"anyOf": [{"type": ["string", "number", "boolean"], "maxLength": MOST_TEXT}, COMPUTED.schema()]}


DATA: Final = TableOf(NAME, DataValue(), most=50)
STEP: Final = Section(
    "a step",
    Key(
        "after",
        DURATION,
        "Time from the beginning of the trigger to this step. A first step without it comes at once.",
    ),
    Key("data", DATA, "Data of this step, added to the `data` of the trigger or replacing it by name.", default="{}"),
)
TRIGGER: Final = Section(
    "a trigger",
    Key("help", LINE, "The purpose of the trigger, for people."),
    Key(
        "on",
        EventsOr(ON),
        "The event types that begin it, or a table of something else that begins it.",
        required=True,
    ),
    Key("when", RuleKind(), "A rule that must hold when the trigger begins."),
    Key("after", DURATION, "Time from the beginning to the only step; without it, the step comes at once."),
    Key("steps", ListOf(STEP, most=20, least=1), "Instead of `after`: a ladder of several steps."),
    Key(
        "unless",
        RuleKind(),
        "A rule that ends the trigger: checked before each step. `begun_at` is the time of its beginning.",
    ),
    Key("cool_down", DURATION, "The trigger does not begin again within this time after it last began."),
    Key("cap", number(1, 1_000_000), "Most times that the trigger begins for one customer."),
    Key(
        "holdout",
        PERCENT,
        "Share of customers, always the same ones, for whom outputs come with `held_out: true`.",
        default="0%",
    ),
    Key("data", DATA, "Values that are sent with each output.", default="{}"),
)


class TriggerBuilder:
    """Build triggers from the values that were read. `compile_` and `add_problem` record mistakes."""

    def __init__(
        self,
        stages: Mapping[str, tuple[str, ...]],
        event_types: frozenset[str],
        kinds: frozenset[str],
        compile_: Compile,
        add_problem: AddProblem,
    ) -> None:
        """Create the builder for one playbook. `kinds`: the kinds of abandonments that are not off."""
        self._stages = stages
        self._event_types = event_types
        self._kinds = kinds
        self._compile = compile_
        self._add_problem = add_problem

    def build(self, name: str, row: Mapping[str, Any]) -> Trigger:
        """Build one trigger. The caller must not use it if mistakes were recorded."""
        on, events = row.get("on"), list[str]()
        begins: OnStage | OnAbandonment | OnTime | None = None
        if isinstance(on, dict):
            begins = self._on(on)
        else:
            events = on or []
            for type_ in events:
                if type_ not in self._event_types:
                    hint = suggestion(type_, self._event_types)
                    self._add_problem(
                        row["here"].table["on"][1],
                        f"{quoted(type_)} is neither a known event type nor one of event_types{hint}",
                    )
        return Trigger(
            name,
            events=events,
            on=begins,
            when=self._rule(row, "when"),
            unless=self._rule(row, "unless"),
            steps=self._steps(row),
            cool_down=row.get("cool_down", 0),
            cap=row.get("cap"),
            holdout=row.get("holdout", 0),
            data=self._data(row),
        )

    def _rule(self, row: Mapping[str, Any], key: str, expected: Type | None = Type.BOOL) -> CompiledRule | None:
        return self._compile(row[key], expected) if key in row else None

    def _on(self, on: Mapping[str, Any]) -> OnStage | OnAbandonment | OnTime | None:
        here: YamlNode = on["here"]
        given = [way for way in _ON_KEYS if way in on]
        if len(given) != 1:
            self._add_problem(here, f"`on` needs event types, or exactly one of {', '.join(_ON_KEYS)}")
            return None
        (way,) = given
        for key in on:
            if key not in ("here", way, *_ON_KEYS[way]):
                assert here.table is not None
                self._add_problem(here.table[key][0], f"`{key}` cannot be combined with `{way}`: remove one of them")
        if way == "track":
            return self._on_stage(on, here)
        if way == "abandonment":
            self._check_kinds(on, here)
            return OnAbandonment(on["abandonment"], on.get("kind"), on.get("step", 1))
        rule = self._rule(on, way, Type.TIME)
        if rule is None:
            return None
        if rule.changes_every_ms or "event" in rule.reads:
            self._add_problem(on[way], UNSTEADY_TIME)
        return OnTime(rule, yearly=way == "yearly", before=on.get("before", 0))

    def _on_stage(self, on: Mapping[str, Any], here: YamlNode) -> OnStage:
        assert here.table is not None
        stages = self._stages.get(on["track"])
        if stages is None:
            hint = suggestion(on["track"], self._stages)
            self._add_problem(here.table["track"][1], f"there is no track {quoted(on['track'])}{hint}")
        elif "enters" not in on and "leaves" not in on:
            self._add_problem(here, "add `enters` or `leaves`, with the stages that begin the trigger")
        for key in ("enters", "leaves"):
            for stage in on.get(key, ()):
                if stages is not None and stage not in stages:
                    message = f"track {on['track']} has no stage {quoted(stage)}{suggestion(stage, stages)}"
                    self._add_problem(here.table[key][1], message)
        return OnStage(on["track"], on.get("enters"), on.get("leaves"))

    def _check_kinds(self, on: Mapping[str, Any], here: YamlNode) -> None:
        assert here.table is not None
        for kind in on.get("kind", ()):
            if kind not in self._kinds:
                self._add_problem(here.table["kind"][1], f"abandonments of the kind {kind} are off in this playbook")

    def _steps(self, row: Mapping[str, Any]) -> tuple[TriggerStep, ...]:
        here: YamlNode = row["here"]
        if "steps" not in row:
            return (TriggerStep(row.get("after", 0)),)
        if "after" in row:
            self._add_problem(here, "a trigger takes either `after` or `steps`, not both")
        steps = tuple([TriggerStep(step.get("after", 0), self._data(step)) for step in row["steps"]])
        if not all(earlier.after < later.after for earlier, later in itertools.pairwise(steps)):
            assert here.table is not None
            self._add_problem(here.table["steps"][1], "each step must be later than the one before")
        return steps

    def _data(self, row: Mapping[str, Any]) -> tuple[DatumDefinition, ...]:
        data = []
        for name, value in row.get("data", {}).items():
            data.append(DatumDefinition(name, self._rule(value, "rule", None) if isinstance(value, dict) else value))
        return tuple(data)
