"""Triggers of a playbook: their keys, and what the engine runs of what was read."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streams.core.lifecycle.triggers import Datum, OnAbandonment, OnStage, OnTime, Step, Trigger
from streams.core.rules import CompiledRule as Compiled
from streams.core.rules import Type
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
from streams.playbooks.problems import quoted, suggestion
from streams.playbooks.yaml_tree import Node

Compile = Callable[[Node, Type | None], Compiled | None]
Complain = Callable[[Node, str], None]


def _percent(text: str) -> int | None:
    return int(text[:-1]) if re.fullmatch(r"[0-9]{1,3}%", text) and int(text[:-1]) <= 100 else None


PERCENT: Final = Scalar("a percentage, such as 10%", _percent, {"type": "string", "pattern": "^(100|[0-9]{1,2})%$"})
LINE: Final = Scalar("a sentence", lambda text: text or None, {"type": "string", "minLength": 1})
MOST_TEXT: Final = 1_024
"""Characters of something that is sent along."""

ON: Final = Section(
    "what begins a trigger",
    Key("track", NAME, "A customer enters or leaves a stage of this track."),
    Key("enters", OneOrMore(NAME), "Only one of these stages."),
    Key("leaves", OneOrMore(NAME), "Only out of one of these."),
    Key(
        "abandonment",
        OneOrMore(one_of("abandoned", "recovered", "retracted", "expired")),
        "This becomes of an abandonment. What follows up `abandoned` ends once it is recovered, retracted, superseded "
        "or expired.",
    ),
    Key("kind", OneOrMore(one_of("browse", "cart", "checkout")), "Only of abandonments of these kinds."),
    Key("step", number(1, 21), "Only of this step.", default="1"),
    Key("time", RuleKind("a rule that tells a time, such as credit_expires_at"), "This time comes."),
    Key(
        "yearly", RuleKind("a rule that tells a time, such as first_order_at"), "This day and hour come, of each year."
    ),
    Key("before", DURATION, "So long before the `time` or the `yearly` day."),
)
_WAYS: Final = {
    "track": ("enters", "leaves"), "abandonment": ("kind", "step"), "time": ("before",), "yearly": ("before",),
}  # fmt: skip
"""One of them says what begins a trigger; what may stand beside it."""
COMPUTED: Final = Section(
    "a computed value", Key("rule", RuleKind(), "What this rule says at that moment.", required=True)
)


@dataclass(frozen=True)
class EventsOr:
    """Event types, or a section."""

    section: Section
    what: str = "an event type, a list of them, or a table of track, abandonment, time or yearly"

    def read(self, node: Node, problems: Problems) -> Any:
        if node.table is not None:
            return self.section.read(node, problems)
        return OneOrMore(NAME).read(node, problems)

    def schema(self) -> Schema:
        return {"anyOf": [OneOrMore(NAME).schema(), self.section.schema()]}


@dataclass(frozen=True)
class DataValue:
    """A value to be sent along: as it is written, or `{rule: …}`."""

    what: str = "a text, a number, true, false, or {rule: …}"

    def read(self, node: Node, problems: Problems) -> Any:
        if node.table is not None:
            return COMPUTED.read(node, problems)
        if node.text is None or len(node.text) > MOST_TEXT:
            raise InvalidValue(node, f"{node.what} is not {self.what}, of at most {MOST_TEXT:,} characters")
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
    Key("after", DURATION, "So long after the trigger began; the first step may go without it, and is made at once."),
    Key("data", DATA, "What this step sends along, beside and instead of the `data` of the trigger.", default="{}"),
)
TRIGGER: Final = Section(
    "a trigger",
    Key("help", LINE, "For people: what it is for."),
    Key("on", EventsOr(ON), "What begins it: event types, or something that happens to the customer.", required=True),
    Key("when", RuleKind(), "A rule that must hold at that moment."),
    Key("after", DURATION, "Its one step is made so long after it began; left out: at once."),
    Key("steps", ListOf(STEP, most=20, least=1), "Instead of `after`: a ladder of several steps."),
    Key("unless", RuleKind(), "A rule that ends it: asked before each step. `begun_at` is when it began."),
    Key("cool_down", DURATION, "It does not begin again so soon after it last began."),
    Key("cap", number(1, 1_000_000), "It begins at most so often in all, for each customer."),
    Key(
        "holdout",
        PERCENT,
        "So many customers, always the same, are held out: what would have been done for them is sent as such.",
        default="0%",
    ),
    Key("data", DATA, "What is sent along.", default="{}"),
)


class TriggerBuilder:
    """Makes triggers of what was read. `compile` and `complain` note mistakes."""

    def __init__(
        self,
        stages: Mapping[str, tuple[str, ...]],
        event_types: frozenset[str],
        kinds: frozenset[str],
        compile_: Compile,
        complain: Complain,
    ) -> None:
        """`kinds`: those of abandonments that are not off."""
        self._stages = stages
        self._event_types = event_types
        self._kinds = kinds
        self._compile = compile_
        self._complain = complain

    def build(self, name: str, row: Mapping[str, Any]) -> Trigger:
        """One of them; not to be used if there were mistakes."""
        on, events = row.get("on"), list[str]()
        begins: OnStage | OnAbandonment | OnTime | None = None
        if isinstance(on, dict):
            begins = self._on(on)
        else:
            events = on or []
            for type_ in events:
                if type_ not in self._event_types:
                    hint = f"{suggestion(type_, self._event_types)}; own ones stand in event_types"
                    self._complain(row["here"].table["on"][1], f"{quoted(type_)} is no event type{hint}")
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

    def _rule(self, row: Mapping[str, Any], key: str, expected: Type | None = Type.BOOL) -> Compiled | None:
        return self._compile(row[key], expected) if key in row else None

    def _on(self, on: Mapping[str, Any]) -> OnStage | OnAbandonment | OnTime | None:
        here: Node = on["here"]
        ways = {
            "track": ("enters", "leaves"),
            "abandonment": ("kind", "step"),
            "time": ("before",),
            "yearly": ("before",),
        }
        named = [way for way in ways if way in on]
        if len(named) != 1:
            self._complain(here, f"what begins a trigger is one of {', '.join(ways)}, or event types")
            return None
        (way,) = named
        for key in on:
            if key not in ("here", way, *_WAYS[way]):
                assert here.table is not None
                self._complain(here.table[key][0], f"{key} does not go with {way}")
        if way == "track":
            return self._on_stage(on, here)
        if way == "abandonment":
            self._check_kinds(on, here)
            return OnAbandonment(on["abandonment"], on.get("kind"), on.get("step", 1))
        rule = self._rule(on, way, Type.TIME)
        if rule is None:
            return None
        if rule.restless or "event" in rule.reads:
            self._complain(on[way], "this time never stands still: name one of the profile")
        return OnTime(rule, yearly=way == "yearly", before=on.get("before", 0))

    def _on_stage(self, on: Mapping[str, Any], here: Node) -> OnStage:
        assert here.table is not None
        stages = self._stages.get(on["track"])
        if stages is None:
            self._complain(
                here.table["track"][1],
                f"there is no track {quoted(on['track'])}{suggestion(on['track'], self._stages)}",
            )
        elif "enters" not in on and "leaves" not in on:
            self._complain(here, "which stages does it enter or leave?")
        for key in ("enters", "leaves"):
            for stage in on.get(key, ()):
                if stages is not None and stage not in stages:
                    message = f"track {on['track']} has no stage {quoted(stage)}{suggestion(stage, stages)}"
                    self._complain(here.table[key][1], message)
        return OnStage(on["track"], on.get("enters"), on.get("leaves"))

    def _check_kinds(self, on: Mapping[str, Any], here: Node) -> None:
        assert here.table is not None
        for kind in on.get("kind", ()):
            if kind not in self._kinds:
                self._complain(here.table["kind"][1], f"{kind} is off in this playbook")

    def _steps(self, row: Mapping[str, Any]) -> tuple[Step, ...]:
        here: Node = row["here"]
        if "steps" not in row:
            return (Step(row.get("after", 0)),)
        if "after" in row:
            self._complain(here, "a trigger has either `after` or `steps`")
        steps = tuple([Step(step.get("after", 0), self._data(step)) for step in row["steps"]])
        if not all(one.after < other.after for one, other in itertools.pairwise(steps)):
            assert here.table is not None
            self._complain(here.table["steps"][1], "each step must be later than the one before")
        return steps

    def _data(self, row: Mapping[str, Any]) -> tuple[Datum, ...]:
        told = []
        for name, value in row.get("data", {}).items():
            told.append(Datum(name, self._rule(value, "rule", None) if isinstance(value, dict) else value))
        return tuple(told)
