"""Rules agree with the reference interpreter, on expressions and histories made by Hypothesis. Invalid texts are
errors."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from streams.core.lifecycle.aggregates import AggregatePlan
from streams.core.lifecycle.cart_contents import OPERATIONS
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.event import Event, Source
from streams.core.profile.codec import pack, unpack
from streams.core.profile.profile import Profile
from streams.core.rules import CompiledRule, RuleError, Type, Vocabulary, compile_rule
from streams.core.rules.dependencies import touched
from streams.core.rules.functions import FUNCTIONS
from streams.core.rules.parser import parse
from streams.core.rules.requirements import KeptProperty
from streams.core.rules.vocabulary import WORDS
from tests.property.rule_maker import RuleMaker
from tests.support.customer_history import T0
from tests.support.default_playbook import default_playbook
from tests.support.reference_rules import Story, evaluate

STAGES = default_playbook().tracks[0].stages
VOCABULARY = Vocabulary(
    tracks={"lifecycle": STAGES},
    event_types=["survey_answered", "credit_granted", "credit_spent"],
    properties={"score": Type.NUMBER, "good": Type.BOOL, "plan": Type.TEXT, "expires_at": Type.TIME},
    kept=[KeptProperty("score", Type.NUMBER, "score")],
    minor_units=1,
    of_trigger=True,
)


seeds = st.integers(0, 2**64)


class Player:
    """Plays events as the engine does, with the aggregates that the rule needs, and keeps the story for the
    reference."""

    def __init__(self, rule: CompiledRule) -> None:
        plan = AggregatePlan(rule.needs, "EUR")
        self.lifecycle = Lifecycle(
            default_playbook(counted_types=rule.needs.counted_types, plan=None if plan.empty else plan)
        )
        self.profile = self.lifecycle.new("c-1", True)
        self.story = Story(self.profile, VOCABULARY)

    def before(self, event: Event) -> None:
        """Fire the deadlines that are due before the event."""
        self._observe(lambda outputs: None)
        while (due := self.profile.next_deadline) is not None and due <= event.at:
            self._observe(lambda outputs: self.lifecycle.fire(self.profile, outputs, Counter()))

    def apply(self, event: Event) -> None:
        completed = set(self._counting())

        def apply(outputs: list[Any]) -> None:
            self.lifecycle.apply(self.profile, event, outputs, Counter())
            new = event.type == "order_completed" and set(self._counting()) != completed
            self.story.events.append((event, new))

        self._observe(apply)

    def _counting(self) -> list[str]:
        return [id_ for id_, kept in self.profile.order_book.items() if kept.counts]

    def _observe(self, act: Any) -> None:
        sequence = self.profile.sequence
        act([])
        if self.profile.sequence != sequence:
            self.story.stage_entered_after = len(self.story.events)


def same(found: Any, wanted: Any) -> bool:
    if isinstance(found, float) and isinstance(wanted, (int, float)):
        return abs(found - wanted) <= 1e-9 * max(1.0, abs(found))
    return bool(found == wanted) and (found is None) == (wanted is None)


def compiled(text: str, type_: Type | None = Type.BOOL) -> CompiledRule:
    return compile_rule(text, VOCABULARY, type_)


@given(seeds, st.integers(0, 30_000))
def test_rules_agree_with_the_reference_interpreter(seed: int, later: int) -> None:
    maker = RuleMaker(seed)
    text, type_ = maker.typed(3)
    rule, part = compiled(text, type_), parse(text)
    player = Player(rule)
    for number, event in enumerate(maker.history()):
        player.before(event)
        player.apply(event)
        at, active = player.profile.last_seen_at, number % 2 == 0
        found = rule.value(player.profile, event, at, active)
        assert same(found, evaluate(part, player.story, event, at, active)), (text, found)
    at = player.profile.last_seen_at + later
    packed = unpack(pack(player.profile))
    assert same(rule.value(packed, None, at), evaluate(part, player.story, None, at, False)), text


@given(seeds, st.lists(st.integers(0, 60_000), min_size=5, max_size=5))
def test_rule_changes_at_its_next_change_time_and_not_before(seed: int, samples: list[int]) -> None:
    maker = RuleMaker(seed)
    text, history = maker.condition(3), maker.history()
    rule = compiled(text)
    player = Player(rule)
    for event in history:
        player.before(event)
        player.apply(event)
    profile, start = player.profile, player.profile.last_seen_at
    interesting = {start + sample for sample in samples}
    for event in history:
        for after in (0, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 30_000, 200_000, 205_000):
            interesting |= {event.at + after - 1, event.at + after, event.at + after + 1}
    at, steps = start, 0
    while True:
        value, until = rule.value(profile, None, at), rule.next_change_at(profile, at)
        if until is None:
            assert all(rule.value(profile, None, t) == value for t in interesting if t >= at), text
            return
        assert until > at
        steps += 1
        assert steps <= 300, "it wakes up again and again"
        assert all(rule.value(profile, None, t) == value for t in {*interesting, until - 1} if at <= t < until), text
        at = until


@given(seeds)
def test_event_that_touches_no_fact_of_a_rule_does_not_change_its_value(seed: int) -> None:
    maker = RuleMaker(seed)
    text = maker.condition(1)
    rule = compiled(text)
    player = Player(rule)
    for number, event in enumerate(maker.history()):
        player.before(event)
        at, sequence = max(event.at, player.profile.last_seen_at), player.profile.sequence
        before = rule.value(player.profile, None, at)
        player.apply(event)
        facts = touched(event.type, event.source is Source.ORDERS, OPERATIONS)
        if player.profile.sequence != sequence:
            facts |= {"stage:lifecycle"}
        if number and not facts & rule.reads:
            assert rule.value(player.profile, event, at, True) == before, (text, event.type)


# -- invalid texts

SYMBOLS = "and or not in ( ) [ ] , = == < + - * / . 30d 7 0.5 'x' \" ' \\ __class__ __import__ lambda : ; \0 é \u0661"
pieces = st.sampled_from([*WORDS, *FUNCTIONS, *SYMBOLS.split(), "\n"]) | st.text(max_size=6)


@given(st.lists(pieces, max_size=40).map(" ".join) | st.text(max_size=200))
@example("(" * 2000)
@example("[" * 2000)
@example("not " * 500)
@example("-" * 2000)
@example("min(" * 500)
@example("a." * 1000)
@example("1" * 2000)
@example("1d" * 1000)
@example("'" * 1999)
@example("orders + " * 200)
@example("x" * 1_000_000)
@example("now in " * 285)
def test_any_text_is_a_rule_or_an_error(text: str) -> None:
    assert_compiled_or_rejected_soon(text)


@given(seeds, st.data())
def test_any_change_to_a_rule_gives_a_rule_or_an_error(seed: int, data: st.DataObject) -> None:
    text = RuleMaker(seed).condition(2)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 5)))
        text = text[:start] + data.draw(pieces) + text[end:]
    assert_compiled_or_rejected_soon(text)


def assert_compiled_or_rejected_soon(text: str) -> None:
    """Assert that the text is compiled or rejected soon, and that a compiled rule can be evaluated."""
    started = time.process_time()
    try:
        rule = compile_rule(text, VOCABULARY, None)
    except RuleError as error:
        within = 0 <= error.start <= error.end <= len(text)
        if not (within and error.message):
            raise AssertionError(text) from error
    else:
        rule.value(Profile("c-1", True), None, T0)
        rule.next_change_at(Profile("c-1", True), T0)
    assert time.process_time() - started < 5  # CPU of this process alone; a rule takes milliseconds
