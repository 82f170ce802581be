"""A playbook that was read, to what the engine runs: names are looked up, rules compiled, numbers compared."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from streams.contracts.money import EXPONENTS
from streams.core.lifecycle.aggregates import AggregatePlan
from streams.core.lifecycle.playbook import Playbook
from streams.core.lifecycle.tracks import TimeoutTransition, Track, Transition
from streams.core.model.abandonment import AbandonmentKind
from streams.core.model.policy import Policy
from streams.core.rules import CompiledRule, RuleError, Type, Vocabulary, compile_rule
from streams.core.rules.requirements import KeptProperty, together
from streams.core.rules.vocabulary import KNOWN_TYPES
from streams.playbooks.format import ANY
from streams.playbooks.kinds import Problems
from streams.playbooks.problems import Problem, meant, shown
from streams.playbooks.tree import Node
from streams.playbooks.triggers import Builder

_KINDS: Final[tuple[AbandonmentKind, ...]] = ("checkout", "cart", "browse")


def build(found: Mapping[str, Any], digest: str, problems: Problems, deployment: Policy) -> Playbook | None:
    """The playbook of what `format.PLAYBOOK` read; None if `problems` were found. `deployment`: see `loading.load`."""
    currency = found.get("currency", deployment.currency)
    stages = {name: _stages(track) for name, track in found["tracks"].items()}
    properties = dict(found.get("properties", {}))
    kept = _kept(found, properties, problems)

    def vocabulary(track: str | None = None, of_trigger: bool = False) -> Vocabulary:
        return Vocabulary(
            tracks=stages,
            track=track,
            event_types=found.get("event_types", ()),
            properties=properties,
            kept=kept,
            currency=currency,
            minor_units=10 ** EXPONENTS[currency],
            of_trigger=of_trigger,
        )

    rules = _Rules(vocabulary, problems)
    policy = _policy(found, replace(deployment, currency=currency), problems)
    tracks = tuple(_track(name, track, stages[name], rules) for name, track in found["tracks"].items())
    builder = Builder(
        stages,
        KNOWN_TYPES | frozenset(found.get("event_types", ())),
        frozenset(policy.precedence),
        rules.compile_of_trigger,
        rules.problem,
    )
    triggers = tuple([builder.build(name, trigger) for name, trigger in found.get("triggers", {}).items()])
    _check_renamed(found, stages, problems)
    if problems:
        return None
    needs = together([rule.needs for rule in rules.compiled])
    plan = AggregatePlan(needs, currency)
    return Playbook(
        name=found["playbook"],
        version=found["version"],
        digest=digest,
        policy=policy,
        tracks=tracks,
        renamed=found.get("renamed", {}),
        abandonment=found.get("abandonment", {}) is not None,
        counted_types=needs.counted_types,
        properties=needs.properties,
        plan=None if plan.empty else plan,
        triggers=triggers,
    )


class _Rules:
    """Compiles rules and collects them."""

    def __init__(self, vocabulary: Callable[[str | None, bool], Vocabulary], problems: Problems) -> None:
        self._vocabulary = vocabulary
        self._problems = problems
        self.compiled: list[CompiledRule] = []

    def compile(self, node: Node, expected: Type = Type.BOOL, track: str | None = None) -> CompiledRule | None:
        """The rule, of a track if one is named; None if it is none, which is noted."""
        return self._compiled(node, expected, self._vocabulary(track, False))

    def compile_of_trigger(self, node: Node, expected: Type | None) -> CompiledRule | None:
        """Likewise, of a trigger."""
        return self._compiled(node, expected, self._vocabulary(None, True))

    def _compiled(self, node: Node, expected: Type | None, vocabulary: Vocabulary) -> CompiledRule | None:
        assert node.text is not None
        try:
            rule = compile_rule(node.text, vocabulary, expected)
        except RuleError as error:
            self._problems.append(Problem(*node.at(error.start), error.message))
            return None
        self.compiled.append(rule)
        return rule

    def problem(self, node: Node, message: str) -> None:
        """Note a mistake."""
        self._problems.append(Problem(node.line, node.column, message))


def _kept(found: Mapping[str, Any], properties: Mapping[str, Type], problems: Problems) -> list[KeptProperty]:
    """What is kept of events, by name."""
    kept = []
    known = KNOWN_TYPES | set(found.get("event_types", ()))
    for name, row in found.get("keep", {}).items():
        here: Node = row["here"]
        property_ = row.get("property", name)
        if property_ not in properties:
            message = f"{shown(property_)} is not among the properties{meant(property_, properties)}"
            problems.append(Problem(here.line, here.column, message))
            continue
        for type_ in row.get("from", ()):
            if type_ not in known:
                message = f"{shown(type_)} is no event type{meant(type_, known)}; own ones stand in event_types"
                problems.append(Problem(here.line, here.column, message))
        kept.append(KeptProperty(name, properties[property_], property_, row.get("from")))
    return kept


# -- tracks


def _stages(track: Mapping[str, Any]) -> tuple[str, ...]:
    """In the order in which they are first led to."""
    return tuple(dict.fromkeys([track["initial"], *(row["to"] for row in track["transitions"])]))


def _track(name: str, track: Mapping[str, Any], stages: tuple[str, ...], rules: _Rules) -> Track:
    transitions: list[Transition] = []
    lapses: list[TimeoutTransition] = []
    for row in track["transitions"]:
        here: Node = row["here"]
        assert here.table is not None
        target, sources = row["to"], tuple(row["from"])
        if sources == (ANY,):
            sources = tuple(stage for stage in stages if stage != target)
        _check_sources(here, sources, target, stages, rules)
        if ("when" in row) is ("after" in row) or ("after" in row) is not ("since" in row):
            rules.problem(here, "a transition has either `when`, or `after` and `since`")
        elif "when" in row:
            if (rule := rules.compile(row["when"], track=name)) is not None:
                transitions.append(Transition(sources, target, rule, starts_cycle=row.get("starts_cycle", False)))
        else:
            if "starts_cycle" in row:
                rules.problem(here.table["starts_cycle"][0], "only a transition with `when` starts a cycle")
            if (rule := rules.compile(row["since"], Type.TIME, name)) is not None:
                if rule.timed or "event" in rule.reads:
                    rules.problem(row["since"], "this time never stands still: name one of the profile")
                lapses.append(TimeoutTransition(sources, target, rule, row["after"]))
    return Track(name, track["initial"], tuple(transitions), tuple(lapses))


def _check_sources(here: Node, sources: tuple[str, ...], target: str, stages: tuple[str, ...], rules: _Rules) -> None:
    assert here.table is not None
    node = here.table["from"][1]
    for number, source in enumerate(sources):
        at = node if not node.items else node.items[min(number, len(node.items) - 1)]
        if source == target:
            rules.problem(at, f"this leads from {shown(source)} to itself")
        elif source not in stages:
            rules.problem(
                at, f"nothing leads to a stage {shown(source)} of this track, and it is not its initial one"
                f"{meant(source, stages)}",
            )  # fmt: skip


def _check_renamed(found: Mapping[str, Any], stages: Mapping[str, tuple[str, ...]], problems: Problems) -> None:
    if not (renamed := found.get("renamed")):
        return
    name, _ = found["here"].table["renamed"]
    newest = found["version"]
    for version, tracks in renamed.items():
        if version > newest:
            problems.append(Problem(name.line, name.column, f"version {version} is not there yet: this is {newest}"))
        for track, names in tracks.items():
            for new in names.values() if version == newest else ():
                if new not in stages.get(track, ()):
                    problems.append(
                        Problem(name.line, name.column, f"track {track} of version {version} has no stage {new}")
                    )


# -- numbers


def _policy(found: Mapping[str, Any], deployment: Policy, problems: Problems) -> Policy:
    numbers: dict[str, Any] = {}
    _take(numbers, found, session_gap="session_gap")
    forget = found.get("forget", {})
    _take(numbers, forget, identified="forget_identified", anonymous="forget_unidentified")
    abandonment = found.get("abandonment") or {}
    _take(numbers, abandonment, **{key: key for key in ("cool_down", "recovery_window", "recent_window", "expiry")})
    if "cool_down_per" in abandonment:
        numbers["cool_down_per_kind"] = abandonment["cool_down_per"] == "kind"
    kept = [kind for kind in _KINDS if abandonment.get(kind, {}) is not None]
    for kind in kept:
        about = abandonment.get(kind, {})
        _take(numbers, about, after=f"{kind}_window", steps=f"{kind}_ladder", fresh="checkout_fresh")
        if about.get("silent_after_order") is not None:
            numbers["browse_silent_after_order"] = about["silent_after_order"]
    order = abandonment.get("precedence", kept)
    if sorted(order) != sorted(kept):
        node = abandonment["here"].table["precedence"][1]
        problems.append(Problem(node.line, node.column, f"precedence names each kind once that is not off: {kept}"))
    numbers["precedence"] = tuple(order)
    for kind in ("cart", "checkout"):
        numbers[f"{kind}_ladder"] = tuple(numbers.get(f"{kind}_ladder", getattr(deployment, f"{kind}_ladder")))
    policy = replace(deployment, **numbers)
    for kind in kept:
        _check_ladder(abandonment, kind, policy, problems)
    return policy


def _take(numbers: dict[str, Any], section: Mapping[str, Any], **names: str) -> None:
    """Put what the section has under its name of the policy."""
    for key, name in names.items():
        if key in section:
            numbers[name] = section[key]


def _check_ladder(abandonment: Mapping[str, Any], kind: AbandonmentKind, policy: Policy, problems: Problems) -> None:
    ladder: list[int] = [] if kind == "browse" else list(getattr(policy, f"{kind}_ladder"))
    times = [getattr(policy, f"{kind}_window"), *ladder, policy.expiry]
    if all(earlier < later for earlier, later in itertools.pairwise(times)):
        return
    section = abandonment.get(kind, {})
    node: Node = section.get("here") or abandonment["here"]
    message = f"{kind}: after, steps and expiry must each be later than the one before"
    problems.append(Problem(node.line, node.column, message))
