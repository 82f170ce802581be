"""Build the `Playbook` of the engine from the values that `format` read: resolve names, compile rules, check times."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from streams.core.lifecycle.aggregates import AggregatePlan
from streams.core.lifecycle.playbook import Playbook
from streams.core.lifecycle.tracks import TimeoutTransition, Track, Transition
from streams.core.model.abandonment import AbandonmentKind
from streams.core.model.currencies import EXPONENTS
from streams.core.model.event import ORDER_TYPES
from streams.core.model.policy import PASSIVE_CHANNELS, PASSIVE_TYPES, REPORT_TYPES, Policy
from streams.core.rules import CompiledRule, RuleError, Type, Vocabulary, compile_rule
from streams.core.rules.errors import suggestion
from streams.core.rules.requirements import KeptProperty, combine_requirements
from streams.core.rules.vocabulary import KNOWN_TYPES
from streams.playbooks.format import ANY
from streams.playbooks.key_kinds import Problems
from streams.playbooks.problems import PlaybookProblem, quoted
from streams.playbooks.triggers import UNSTEADY_TIME, TriggerBuilder
from streams.playbooks.yaml_tree import YamlNode

_KINDS: Final[tuple[AbandonmentKind, ...]] = ("checkout", "cart", "browse")


def build(values: Mapping[str, Any], digest: str, problems: Problems, deployment: Policy) -> Playbook | None:
    """Return the playbook of the values that `format.PLAYBOOK` read; None if there are `problems`.

    `deployment`: see `loader.load`.
    """
    currency = values.get("currency", deployment.currency)
    stages = {name: _stages(track) for name, track in values["tracks"].items()}
    properties = dict(values.get("properties", {}))
    kept = _kept(values, properties, problems)

    def vocabulary(track: str | None = None, of_trigger: bool = False) -> Vocabulary:
        return Vocabulary(
            tracks=stages,
            track=track,
            event_types=values.get("event_types", ()),
            properties=properties,
            kept=kept,
            currency=currency,
            minor_units=10 ** EXPONENTS[currency],
            of_trigger=of_trigger,
        )

    rules = _Rules(vocabulary, problems)
    policy = _policy(values, replace(deployment, currency=currency), problems)
    tracks = tuple(_track(name, track, stages[name], rules) for name, track in values["tracks"].items())
    builder = TriggerBuilder(
        stages,
        KNOWN_TYPES | frozenset(values.get("event_types", ())),
        frozenset(policy.precedence),
        rules.compile_of_trigger,
        rules.add_problem,
    )
    triggers = tuple([builder.build(name, trigger) for name, trigger in values.get("triggers", {}).items()])
    _check_renamed(values, stages, problems)
    if problems:
        return None
    needs = combine_requirements([rule.needs for rule in rules.compiled])
    plan = AggregatePlan(needs, currency)
    return Playbook(
        name=values["playbook"],
        version=values["version"],
        digest=digest,
        policy=policy,
        tracks=tracks,
        renamed=values.get("renamed", {}),
        abandonment=values.get("abandonment", {}) is not None,
        counted_types=needs.counted_types,
        properties=needs.properties,
        plan=None if plan.empty else plan,
        triggers=triggers,
    )


class _Rules:
    """Compiles the rules of a playbook and collects them."""

    def __init__(self, vocabulary: Callable[[str | None, bool], Vocabulary], problems: Problems) -> None:
        self._vocabulary = vocabulary
        self._problems = problems
        self.compiled: list[CompiledRule] = []

    def compile(self, node: YamlNode, expected: Type = Type.BOOL, track: str | None = None) -> CompiledRule | None:
        """Compile a rule, of a track if one is given. Record a mistake and return None if it is invalid."""
        return self._compiled(node, expected, self._vocabulary(track, False))

    def compile_of_trigger(self, node: YamlNode, expected: Type | None) -> CompiledRule | None:
        """Compile a rule of a trigger. Record a mistake and return None if it is invalid."""
        return self._compiled(node, expected, self._vocabulary(None, True))

    def _compiled(self, node: YamlNode, expected: Type | None, vocabulary: Vocabulary) -> CompiledRule | None:
        assert node.text is not None
        try:
            rule = compile_rule(node.text, vocabulary, expected)
        except RuleError as error:
            self._problems.append(PlaybookProblem(*node.at(error.start), error.message))
            return None
        self.compiled.append(rule)
        return rule

    def add_problem(self, node: YamlNode, message: str) -> None:
        """Record a mistake."""
        self._problems.append(node.problem(message))


def _kept(values: Mapping[str, Any], properties: Mapping[str, Type], problems: Problems) -> list[KeptProperty]:
    """Return the properties of events that profiles keep. Record a problem for each invalid one."""
    kept = []
    known = KNOWN_TYPES | set(values.get("event_types", ()))
    for name, row in values.get("keep", {}).items():
        here: YamlNode = row["here"]
        property_ = row.get("property", name)
        if property_ not in properties:
            message = f"{quoted(property_)} is not declared in properties{suggestion(property_, properties)}"
            problems.append(here.problem(message))
            continue
        for type_ in row.get("from", ()):
            if type_ not in known:
                hint = suggestion(type_, known)
                problems.append(
                    here.problem(f"{quoted(type_)} is neither a known event type nor one of event_types{hint}")
                )
        kept.append(KeptProperty(name, properties[property_], property_, row.get("from")))
    return kept


# -- tracks


def _stages(track: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the stages: the initial one, then the others in the order in which they are first a target."""
    return tuple(dict.fromkeys([track["initial"], *(row["to"] for row in track["transitions"])]))


def _track(name: str, track: Mapping[str, Any], stages: tuple[str, ...], rules: _Rules) -> Track:
    transitions: list[Transition] = []
    timeouts: list[TimeoutTransition] = []
    for row in track["transitions"]:
        here: YamlNode = row["here"]
        assert here.table is not None
        target, sources = row["to"], tuple(row["from"])
        if sources == (ANY,):
            sources = tuple(stage for stage in stages if stage != target)
        _check_sources(here, sources, target, stages, rules)
        if ("when" in row) is ("after" in row) or ("after" in row) is not ("since" in row):
            rules.add_problem(here, "a transition needs either `when`, or both `after` and `since`")
        elif "when" in row:
            if (rule := rules.compile(row["when"], track=name)) is not None:
                transitions.append(Transition(sources, target, rule, starts_cycle=row.get("starts_cycle", False)))
        else:
            if "starts_cycle" in row:
                message = "only a transition with `when` can start a cycle: remove starts_cycle"
                rules.add_problem(here.table["starts_cycle"][0], message)
            if (rule := rules.compile(row["since"], Type.TIME, name)) is not None:
                if rule.timed or "event" in rule.reads:
                    rules.add_problem(row["since"], UNSTEADY_TIME)
                timeouts.append(TimeoutTransition(sources, target, rule, row["after"]))
    return Track(name, track["initial"], tuple(transitions), tuple(timeouts))


def _check_sources(
    here: YamlNode, sources: tuple[str, ...], target: str, stages: tuple[str, ...], rules: _Rules
) -> None:
    assert here.table is not None
    node = here.table["from"][1]
    for number, source in enumerate(sources):
        at = node if not node.items else node.items[min(number, len(node.items) - 1)]
        if source == target:
            rules.add_problem(at, f"this transition leads from {quoted(source)} to itself")
        elif source not in stages:
            rules.add_problem(
                at, f"{quoted(source)} is neither the initial stage of this track nor the `to` of a transition"
                f"{suggestion(source, stages)}",
            )  # fmt: skip


def _check_renamed(values: Mapping[str, Any], stages: Mapping[str, tuple[str, ...]], problems: Problems) -> None:
    if not (renamed := values.get("renamed")):
        return
    name, _ = values["here"].table["renamed"]
    newest = values["version"]
    for version, tracks in renamed.items():
        if version > newest:
            problems.append(name.problem(f"this playbook is version {newest}: renamed cannot name version {version}"))
        for track, names in tracks.items():
            for new in names.values() if version == newest else ():
                if new not in stages.get(track, ()):
                    problems.append(name.problem(f"track {track} of version {version} has no stage {new}"))


# -- numbers


def _policy(values: Mapping[str, Any], deployment: Policy, problems: Problems) -> Policy:
    numbers: dict[str, Any] = {}
    _copy_keys(numbers, values, session_gap="session_gap")
    passive = values.get("passive", {})
    if "event_types" in passive:
        _check_passive(values, passive, problems)
        numbers["passive_types"] = PASSIVE_TYPES.union(passive["event_types"])
    if "channels" in passive:
        numbers["passive_channels"] = PASSIVE_CHANNELS.union(passive["channels"])
    for key, skew in values.get("order_skew", {}).items():
        if key != "here":
            numbers[f"order_skew_{key}"] = skew or 0
    forget = values.get("forget", {})
    _copy_keys(numbers, forget, identified="forget_identified", anonymous="forget_unidentified")
    abandonment = values.get("abandonment") or {}
    _copy_keys(
        numbers, abandonment, **{key: key for key in ("cool_down", "recovery_window", "recent_window", "expiry")}
    )
    if "cool_down_per" in abandonment:
        numbers["cool_down_per_kind"] = abandonment["cool_down_per"] == "kind"
    kept = [kind for kind in _KINDS if abandonment.get(kind, {}) is not None]
    for kind in kept:
        about = abandonment.get(kind, {})
        _copy_keys(numbers, about, after=f"{kind}_window", steps=f"{kind}_ladder", fresh="checkout_fresh")
        if about.get("silent_after_order") is not None:
            numbers["browse_silent_after_order"] = about["silent_after_order"]
    order = abandonment.get("precedence", kept)
    if sorted(order) != sorted(kept):
        node = abandonment["here"].table["precedence"][1]
        problems.append(node.problem(f"precedence must name each kind that is not off exactly once: {', '.join(kept)}"))
    numbers["precedence"] = tuple(order)
    for kind in ("cart", "checkout"):
        numbers[f"{kind}_ladder"] = tuple(numbers.get(f"{kind}_ladder", getattr(deployment, f"{kind}_ladder")))
    policy = replace(deployment, **numbers)
    for kind in kept:
        _check_ladder(abandonment, kind, policy, problems)
    return policy


def _check_passive(values: Mapping[str, Any], passive: Mapping[str, Any], problems: Problems) -> None:
    """Record a problem for each passive type that is unknown, or of an order."""
    known = KNOWN_TYPES.union(values.get("event_types", ()), REPORT_TYPES)
    for item in passive["here"].table["event_types"][1].items:
        if item.text in ORDER_TYPES:
            problems.append(item.problem(f"{item.text} is of an order, which its channel makes passive: use channels"))
        elif item.text in passive["event_types"] and item.text not in known:
            hint = suggestion(item.text, known)
            message = f"{quoted(item.text)} is neither a known event type nor one of event_types{hint}"
            problems.append(item.problem(message))


def _copy_keys(numbers: dict[str, Any], section: Mapping[str, Any], **names: str) -> None:
    """Copy the keys that the section has to `numbers`, under their names in the policy."""
    for key, name in names.items():
        if key in section:
            numbers[name] = section[key]


def _check_ladder(abandonment: Mapping[str, Any], kind: AbandonmentKind, policy: Policy, problems: Problems) -> None:
    ladder: list[int] = [] if kind == "browse" else list(getattr(policy, f"{kind}_ladder"))
    times = [getattr(policy, f"{kind}_window"), *ladder, policy.expiry]
    if all(earlier < later for earlier, later in itertools.pairwise(times)):
        return
    section = abandonment.get(kind, {})
    node: YamlNode = section.get("here") or abandonment["here"]
    problems.append(node.problem(f"{kind}: each of after, steps and expiry must be later than the one before"))
