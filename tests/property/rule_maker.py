"""Make well-typed rules and histories from a seed."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

from streams.core.model.event import Event
from streams.core.model.items import Item
from streams.core.rules import Type
from streams.core.rules.vocabulary import WORDS
from tests.support.customer_history import T0, click, order


class RuleMaker:
    """Make well-typed expressions and histories from a seed. Hypothesis strategies this deep would be far slower."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def _choose(self, *makers: Callable[[], str] | str) -> str:
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
            return self._choose(*leaves)
        below = functools.partial(self.number, depth - 1)
        return self._choose(
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
            return self._choose(*leaves)
        below = functools.partial(self.money, depth - 1)
        return self._choose(
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
            return self._choose(*leaves)
        below = functools.partial(self.time, depth - 1, steady=True)
        return self._choose(
            *leaves,
            lambda: f"({self.time(depth - 1, steady=steady)} {self._pick('+ -')} {self._span()})",
            lambda: f"max({below()}, {below()})",
            lambda: f"min({below()}, {below()})",
            lambda: f"default({below()}, {below()})",
        )

    def duration(self, depth: int) -> str:
        leaves = (self._span, lambda: f"since({self.time(0)})", lambda: f"until({self.time(0)})")
        if not depth:
            return self._choose(*leaves)
        return self._choose(
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
        return self._choose(*leaves, *([lambda: f"default({self.text(0)}, {self.text(0)})"] if depth else []))

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
            lambda: f"known({self._choose(lambda: self.number(below), lambda: self.time(0), lambda: self.text(0))})",
            lambda: f"event_has({self._category()}, {self._category()})",
            lambda: f"bought({self._choose(self._category, 'event.category')})",
            lambda: f"bought({self._category()}, {self._last()})",
            lambda: f"viewed({self._category()}, {self._last()})",
            lambda: "bought_product(" + self._pick("'p-1' 'p-2' event.product_id") + ")",
        )
        if not depth:
            return self._choose(*leaves)
        return self._choose(
            *leaves,
            lambda: f"({self.condition(below)} {self._pick('and or == !=')} {self.condition(below)})",
            lambda: f"({self.condition(below)} {self._pick('and or')} {self.condition(below)})",
            lambda: f"(not {self.condition(below)})",
        )

    def typed(self, depth: int) -> tuple[str, Type]:
        """Return an expression of a random type, and the type."""
        made: dict[Type, Callable[[int], str]] = {
            Type.BOOL: self.condition, Type.NUMBER: self.number, Type.MONEY: self.money, Type.DURATION: self.duration,
            Type.TIME: self.time, Type.TEXT: self.text,
        }  # fmt: skip
        type_ = self._random.choice(list(made))
        return made[type_](depth), type_

    def history(self) -> list[Event]:
        """Return events with gaps of seconds, so that windows of seconds matter. Some are late."""
        at, found = 0, []
        for number in range(self._random.randint(1, 15)):
            at += self._random.choice([0, 1, 250, 999, 1000, 1500, 4000, 20_000])
            late = self._random.choice([0, 0, 0, 700, 6000])
            found.append(self._event(max(0, at - late), number))
        return found

    def _event(self, at: int, number: int) -> Event:
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
