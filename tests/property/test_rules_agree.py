"""Rules against the naive interpreter, on expressions and histories made by Hypothesis; and texts that are no rules."""

from __future__ import annotations

import functools
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from streams.core.activity import Activity, Item, Source
from streams.core.cart import OPERATIONS
from streams.core.customer import Lifecycle
from streams.core.facts import Plan
from streams.core.packing import pack, unpack
from streams.core.playbook import Playbook
from streams.core.profile import Profile
from streams.core.rules import Rule, RuleError, Type, Vocabulary, compile_rule
from streams.core.rules.functions import FUNCTIONS
from streams.core.rules.needs import Kept
from streams.core.rules.parser import parse
from streams.core.rules.touching import touched
from streams.core.rules.vocabulary import WORDS
from tests.support.customer_history import T0, click, order
from tests.support.reference_rules import Story, evaluate

STAGES = Playbook().tracks[0].stages
VOCABULARY = Vocabulary(
    tracks={"lifecycle": STAGES},
    event_types=["survey_answered", "credit_granted", "credit_spent"],
    properties={"score": Type.NUMBER, "good": Type.BOOL, "plan": Type.TEXT, "expires_at": Type.TIME},
    kept=[Kept("score", Type.NUMBER, "score")],
    minor_units=1,
    of_trigger=True,
)


class Maker:
    """Makes well-typed expressions and histories, of a seed: far quicker than strategies as deep as these would be."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def _one(self, *makers: Callable[[], str] | str) -> str:
        maker = self._random.choice(makers)
        return maker if isinstance(maker, str) else maker()

    def _pick(self, texts: str) -> str:
        return self._random.choice(texts.split())

    def _word(self, type_: Type, *without: str) -> str:
        return self._random.choice(
            sorted(name for name, word in WORDS.items() if word.type is type_ and name not in without)
        )

    def _last(self) -> str:
        return f"last='{self._pick('1s 2s 5s 20s 200s')}'"

    def _category(self) -> str:
        return self._pick("'baby' 'toys' 'food'")

    def _type(self) -> str:
        return self._pick("'product_viewed' 'product_added' 'order_completed' 'survey_answered' 'signed_up'")

    def _span(self) -> str:
        return self._pick("500ms 1s 2s 3s 5s 10s 30s")

    def number(self, depth: int) -> str:
        leaves = (
            lambda: self._word(Type.NUMBER),
            lambda: self._pick("0 1 2 3 5 0.5 1.5 event.properties.score kept.score"),
            lambda: f"count({self._type()})",
            lambda: f"count({self._type()}, {self._last()})",
            lambda: f"count({self._type()}, stage='lifecycle')",
            lambda: f"orders({self._last()})",
            lambda: f"times_bought({self._category()})",
            lambda: f"times_viewed({self._category()}, {self._category()})",
        )
        if not depth:
            return self._one(*leaves)
        below = functools.partial(self.number, depth - 1)
        return self._one(
            *leaves,
            lambda: f"({below()} {self._pick('+ - * /')} {below()})",
            lambda: f"({self.money(depth - 1)} / {self.money(depth - 1)})",
            lambda: f"min({below()}, {below()})",
            lambda: f"max({below()}, {below()}, {below()})",
            lambda: f"default({below()}, {below()})",
            lambda: f"-{below()}",
        )

    def money(self, depth: int) -> str:
        leaves = (
            lambda: self._word(Type.MONEY),
            lambda: f"spend({self._last()})",
            lambda: f"sum({self._type()})",
            lambda: f"sum({self._type()}, {self._last()})",
        )
        if not depth:
            return self._one(*leaves)
        below = functools.partial(self.money, depth - 1)
        return self._one(
            *leaves,
            lambda: f"({below()} {self._pick('+ -')} {below()})",
            lambda: f"({below()} * {self._pick('0 1 2 3')})",
            lambda: f"({below()} {self._pick('+ -')} {self._random.randrange(100)})",
            lambda: f"max({below()}, {below()})",
            lambda: f"default({below()}, {below()})",
        )

    def time(self, depth: int, *, steady: bool = False) -> str:
        leaves = (
            lambda: self._word(Type.TIME, *(["now"] if steady else [])),
            lambda: f"last_bought_at({self._category()})",
            lambda: f"first_bought_at({self._category()}, {self._category()})",
            lambda: f"category_due_at({self._category()})",
            lambda: self._pick("category_due_at() product_due_at() event.properties.expires_at"),
        )
        if not depth:
            return self._one(*leaves)
        below = functools.partial(self.time, depth - 1, steady=True)
        return self._one(
            *leaves,
            lambda: f"({self.time(depth - 1, steady=steady)} {self._pick('+ -')} {self._span()})",
            lambda: f"max({below()}, {below()})",
            lambda: f"min({below()}, {below()})",
            lambda: f"default({below()}, {below()})",
        )

    def duration(self, depth: int) -> str:
        leaves = (self._span, lambda: f"since({self.time(0)})", lambda: f"until({self.time(0)})")
        if not depth:
            return self._one(*leaves)
        return self._one(
            *leaves,
            lambda: f"({self.duration(depth - 1)} {self._pick('+ -')} {self.duration(depth - 1)})",
            lambda: f"({self.time(depth - 1)} - {self.time(depth - 1)})",
            lambda: f"({self._span()} * {self._pick('0 1 2 3')})",
            lambda: f"since({self.time(depth - 1)})",
        )

    def text(self, depth: int) -> str:
        leaves = (
            lambda: self._word(Type.TEXT),
            lambda: self._pick("event.properties.plan 'x' 'web' stage('lifecycle')"),
        )
        return self._one(*leaves, *([lambda: f"default({self.text(0)}, {self.text(0)})"] if depth else []))

    def condition(self, depth: int) -> str:
        below = max(0, depth - 1)
        compare = functools.partial(self._pick, "== != < <= > >=")
        leaves = (
            lambda: self._word(Type.BOOL),
            lambda: self._pick("true false event.properties.good"),
            lambda: f"({self.number(below)} {compare()} {self.number(below)})",
            lambda: f"({self.money(below)} {compare()} {self.money(below)})",
            lambda: f"({self.money(below)} {compare()} {self._random.randrange(200)})",
            lambda: f"({self.time(below)} {compare()} {self.time(below)})",
            lambda: f"({self.duration(below)} {compare()} {self.duration(below)})",
            lambda: f"({self._pick('event.type event.category event.channel')} {self._pick('== !=')} 'baby')",
            lambda: f"({self.text(0)} {self._random.choice(['in', 'not in'])} ('customer', 'visitor'))",
            lambda: f"({self.number(below)} {self._random.choice(['in', 'not in'])} (0, 1, 2))",
            lambda: f"known({self._one(lambda: self.number(below), lambda: self.time(0), lambda: self.text(0))})",
            lambda: f"event_has({self._category()}, {self._category()})",
            lambda: f"bought({self._one(self._category, 'event.category')})",
            lambda: f"bought({self._category()}, {self._last()})",
            lambda: f"viewed({self._category()}, {self._last()})",
            lambda: "bought_product(" + self._pick("'p-1' 'p-2' event.product_id") + ")",
        )
        if not depth:
            return self._one(*leaves)
        return self._one(
            *leaves,
            lambda: f"({self.condition(below)} {self._pick('and or == !=')} {self.condition(below)})",
            lambda: f"({self.condition(below)} {self._pick('and or')} {self.condition(below)})",
            lambda: f"(not {self.condition(below)})",
        )

    def typed(self, depth: int) -> tuple[str, Type]:
        """An expression of any type."""
        made: dict[Type, Callable[[int], str]] = {
            Type.BOOL: self.condition, Type.NUMBER: self.number, Type.MONEY: self.money, Type.DURATION: self.duration,
            Type.TIME: self.time, Type.TEXT: self.text,
        }  # fmt: skip
        type_ = self._random.choice(list(made))
        return made[type_](depth), type_

    def history(self) -> list[Activity]:
        """Steps of up to some seconds, so that windows of seconds matter; some late."""
        at, found = 0, []
        for number in range(self._random.randint(1, 15)):
            at += self._random.choice([0, 1, 250, 999, 1000, 1500, 4000, 20_000])
            late = self._random.choice([0, 0, 0, 700, 6000])
            found.append(self._event(max(0, at - late), number))
        return found

    def _event(self, at: int, number: int) -> Activity:
        r = self._random
        category, product = r.choice(["baby", "toys", "food", None]), r.choice(["p-1", "p-2", None])
        currency = r.choice(["EUR", "EUR", "EUR", "USD"])
        items = tuple(
            Item(r.choice(["p-1", "p-2", None]), r.choice(["baby", "toys", "food", None]), 5, "EUR", 1)
            for _ in range(r.randrange(3))
        )
        properties: dict[str, Any] = {"score": r.randrange(4), "good": r.random() < 0.5, "plan": r.choice("xy")}
        for name in list(properties):
            if r.random() < 0.3:
                del properties[name]
        amount = {"amount": r.randint(1, 50)}
        match r.choice(
            ["view", "view", "add", "remove", "survey", "grant", "spend", "plain", "plain", "buy", "buy", "fix"]
        ):
            case "view":
                return click(at, "product_viewed", product, category=category)
            case "add":
                return click(
                    at, "product_added", product, category=category, currency=currency, quantity=r.randint(1, 3)
                )
            case "remove":
                return click(at, "product_removed", product)
            case "survey":
                return click(at, "survey_answered", properties=properties)
            case "grant":
                expires_at = T0 + at + r.randrange(20_000)
                return click(at, "credit_granted", properties={**amount, "expires_at": expires_at})
            case "spend":
                return click(at, "credit_spent", properties=amount)
            case "buy":
                total, channel = r.choice([None, r.randrange(100)]), r.choice(["web", "pos"])
                return order(
                    at, f"o-{r.randint(0, number)}", total=total, channel=channel, currency=currency, items=items
                )
            case "fix":
                total = r.choice([None, r.randrange(60)])
                type_ = r.choice(["order_cancelled", "order_refunded", "order_updated"])
                return order(at, f"o-{r.randint(0, number)}", type_, total=total, currency=currency)
        plain = (
            "page_viewed signed_up subscribed unsubscribed message_opened checkout_started cart_emptied "
            "product_reviewed referral_made"
        )
        return click(at, r.choice(plain.split()))


seeds = st.integers(0, 2**64)


class Player:
    """Plays events as the engine does, with what the rule needs, and keeps the story beside it."""

    def __init__(self, rule: Rule) -> None:
        plan = Plan(rule.needs, "EUR")
        self.lifecycle = Lifecycle(Playbook(counted_types=rule.needs.counted_types, plan=None if plan.empty else plan))
        self.profile = self.lifecycle.new("c-1", True)
        self.story = Story(self.profile, VOCABULARY)

    def before(self, event: Activity) -> None:
        """Fire what is due before the event."""
        self._observe(lambda outputs: None)
        while (due := self.profile.next_deadline) is not None and due <= event.at:
            self._observe(lambda outputs: self.lifecycle.fire(self.profile, outputs, Counter()))

    def apply(self, event: Activity) -> None:
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


def compiled(text: str, type_: Type | None = Type.BOOL) -> Rule:
    return compile_rule(text, VOCABULARY, type_)


@given(seeds, st.integers(0, 30_000))
def test_rules_say_what_the_naive_interpreter_says(seed: int, later: int) -> None:
    maker = Maker(seed)
    text, type_ = maker.typed(3)
    rule, part = compiled(text, type_), parse(text)
    player = Player(rule)
    for number, one in enumerate(maker.history()):
        player.before(one)
        player.apply(one)
        at, active = player.profile.last_seen_at, number % 2 == 0
        found = rule.value(player.profile, one, at, active)
        assert same(found, evaluate(part, player.story, one, at, active)), (text, found)
    at = player.profile.last_seen_at + later
    packed = unpack(pack(player.profile))
    assert same(rule.value(packed, None, at), evaluate(part, player.story, None, at, False)), text


@given(seeds, st.lists(st.integers(0, 60_000), min_size=5, max_size=5))
def test_time_changes_a_rule_when_it_says_so(seed: int, samples: list[int]) -> None:
    maker = Maker(seed)
    text, history = maker.condition(3), maker.history()
    rule = compiled(text)
    player = Player(rule)
    for one in history:
        player.before(one)
        player.apply(one)
    profile, start = player.profile, player.profile.last_seen_at
    interesting = {start + sample for sample in samples}
    for one in history:
        for after in (0, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 30_000, 200_000, 205_000):
            interesting |= {one.at + after - 1, one.at + after, one.at + after + 1}
    at, steps = start, 0
    while True:
        value, until = rule.value(profile, None, at), rule.changes_at(profile, at)
        if until is None:
            assert all(rule.value(profile, None, t) == value for t in interesting if t >= at), text
            return
        assert until > at
        steps += 1
        assert steps <= 300, "it wakes up again and again"
        assert all(rule.value(profile, None, t) == value for t in {*interesting, until - 1} if at <= t < until), text
        at = until


@given(seeds)
def test_an_event_that_touches_nothing_that_a_rule_reads_does_not_change_it(seed: int) -> None:
    maker = Maker(seed)
    text = maker.condition(1)
    rule = compiled(text)
    player = Player(rule)
    for number, one in enumerate(maker.history()):
        player.before(one)
        at, sequence = max(one.at, player.profile.last_seen_at), player.profile.sequence
        before = rule.value(player.profile, None, at)
        player.apply(one)
        facts = touched(one.type, one.source is Source.ORDERS, OPERATIONS)
        if player.profile.sequence != sequence:
            facts |= {"stage:lifecycle"}
        if number and not facts & rule.reads:
            assert rule.value(player.profile, one, at, True) == before, (text, one.type)


# -- what is no rule

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
def test_whatever_the_text_there_is_a_rule_or_an_error(text: str) -> None:
    refused(text)


@given(seeds, st.data())
def test_whatever_becomes_of_a_rule_there_is_a_rule_or_an_error(seed: int, data: st.DataObject) -> None:
    text = Maker(seed).condition(2)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 5)))
        text = text[:start] + data.draw(pieces) + text[end:]
    refused(text)


def refused(text: str) -> None:
    """It is compiled or refused, soon; and what is compiled can be asked."""
    started = time.process_time()
    try:
        rule = compile_rule(text, VOCABULARY, None)
    except RuleError as error:
        within = 0 <= error.start <= error.end <= len(text)
        if not (within and error.message):
            raise AssertionError(text) from error
    else:
        rule.value(Profile("c-1", True), None, T0)
        rule.changes_at(Profile("c-1", True), T0)
    assert time.process_time() - started < 1
