"""The reference for rules: an interpreter that walks the tree, and computes aggregates from the whole history.

Values are Python values, and None means absent. One unit of the currency is one minor unit, so that literals need no
types. The profile is only read for fields that other tests compare with a reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from streams.core.model.currencies import PIECE, PRICE_UNIT
from streams.core.model.durations import parse_duration
from streams.core.model.event import Event, Source
from streams.core.profile.profile import Profile
from streams.core.rules import tree
from streams.core.rules.requirements import bucket_width
from streams.core.rules.vocabulary import Vocabulary

CURRENCY = "EUR"


class Story:
    """A customer and all events applied; each with True if it was the first completion of an order that counts."""

    def __init__(self, profile: Profile, vocabulary: Vocabulary) -> None:
        self.profile = profile
        self.vocabulary = vocabulary
        self.events: list[tuple[Event, bool]] = []
        self.stage_entered_after = 0
        """The number of events before the present stage was entered."""


def evaluate(part: tree.Tree, story: Story, event: Event | None, at: int, active: bool) -> Any:
    """Return the value of a part of a rule."""

    def of(below: tree.Tree) -> Any:
        return evaluate(below, story, event, at, active)

    match part:
        case tree.Logic(operator="and"):
            return all(of(below) for below in part.parts)
        case tree.Logic():
            return any(of(below) for below in part.parts)
        case tree.Unary(operator="not"):
            return not of(part.operand)
        case tree.Unary():
            value = of(part.operand)
            return None if value is None else -value
        case tree.BoolLiteral() | tree.TextLiteral():
            return part.value
        case tree.DurationLiteral():
            return part.ms
        case tree.NumberLiteral():
            return float(part.text) if "." in part.text else int(part.text)
        case tree.Name():
            return _name(part.name, story, event, at, active)
        case tree.Call():
            return _call(part, story, event, at, of)
        case tree.Binary(operator="in" | "not in"):
            assert isinstance(part.right, tree.Sequence)
            left = of(part.left)
            if left is None:
                return False
            return (left in [of(below) for below in part.right.items]) == (part.operator == "in")
        case tree.Binary():
            return _binary(part.operator, of(part.left), of(part.right))
    raise AssertionError(part)


def _binary(operator: str, left: Any, right: Any) -> Any:
    if left is None or right is None:
        return False if operator in ("==", "!=", "<", "<=", ">", ">=") else None
    match operator:
        case "==":
            return left == right
        case "!=":
            return left != right
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
        case ">=":
            return left >= right
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    return None if right == 0 else left / right


def _half_up(value: Any) -> Any:
    return value if value is None or isinstance(value, int) else math.floor(value) + (value - math.floor(value) >= 0.5)


def _name(name: str, story: Story, event: Event | None, at: int, active: bool) -> Any:
    p = story.profile
    if name.startswith("event."):
        field = name.removeprefix("event.")
        if event is None:
            return False if field == "properties.good" else None
        if field.startswith("properties."):
            declared = field.removeprefix("properties.")
            value = (event.properties or {}).get(declared)
            return value is True if declared == "good" else value
        if field == "total":
            return event.total if event.currency == CURRENCY else None
        if field == "price":
            return None if event.price is None or event.currency != CURRENCY else _rounded(event.price, PRICE_UNIT)
        if field == "quantity":
            return event.quantity / PIECE
        return getattr(event, field)
    if name == "kept.score":
        latest = None
        for one, _ in sorted(story.events, key=lambda pair: pair[0].at):
            latest = (one.properties or {}).get("score", latest)
        return latest
    ours = p.currency in (None, CURRENCY)
    match name:
        case "activity":
            return active
        case "now":
            return at
        case "begun_at":
            return None  # no trigger has begun
        case "revenue":
            return p.revenue if ours else None
        case "average_order_value":
            number = p.orders - p.other_currency_orders
            return _half_up(p.revenue / number) if number and p.currency == CURRENCY else None
        case "cart_items":
            return sum(line.quantity for line in p.cart.now.lines.values()) / PIECE
        case "cart_value":
            lines = p.cart.now.lines.values()
            if p.cart.now.cut or any(line.price is None or line.currency != CURRENCY for line in lines):
                return None
            return _rounded(sum((line.price or 0) * line.quantity for line in lines), PRICE_UNIT * PIECE)
        case "subscribed":
            return p.subscribed is True
        case "unsubscribed":
            return p.subscribed is False
        case "sessions":
            return p.sessions.count
        case "first_order_at":
            return min([one.at for one in p.order_book.values() if one.counts], default=None)
        case "credit":
            return sum(amount for expires, amount in _credits(story) if expires > at)
        case "credit_expires_at":
            return min([expires for expires, _ in _credits(story) if expires > at], default=None)
    return getattr(p, name)


def _credits(story: Story) -> list[tuple[int, int]]:
    credits: list[list[int]] = []
    for event, _ in story.events:
        properties: dict[str, Any] = event.properties or {}
        if event.type == "credit_granted":
            credits = sorted([*credits, [properties["expires_at"], properties["amount"]]], key=lambda credit: credit[0])
        elif event.type == "credit_spent":
            left = properties["amount"]
            for credit in credits:
                if credit[0] > event.at:
                    used = min(left, credit[1])
                    left -= used
                    credit[1] -= used
            credits = [credit for credit in credits if credit[1] and credit[0] > event.at]
    return [(expires, amount) for expires, amount in credits]


def _call(part: tree.Call, story: Story, event: Event | None, at: int, of: Callable[[tree.Tree], Any]) -> Any:
    p = story.profile
    last = part.named.get("last")
    length = None
    if isinstance(last, tree.TextLiteral):
        length = parse_duration(last.value)
    elif isinstance(last, tree.DurationLiteral):
        length = last.ms
    match part.name:
        case "since" | "until":
            time = of(part.arguments[0])
            return None if time is None else (at - time) * (1 if part.name == "since" else -1)
        case "known":
            return of(part.arguments[0]) is not None
        case "default":
            value = of(part.arguments[0])
            return of(part.arguments[1]) if value is None else value
        case "min" | "max":
            values = [value for argument in part.arguments if (value := of(argument)) is not None]
            return (min if part.name == "min" else max)(values, default=None)
        case "stage":
            return p.stage
        case "orders" | "spend":
            assert length is not None
            kept = [one for one in p.order_book.values() if one.counts and one.at + length > at]
            return len(kept) if part.name == "orders" else sum(one.net for one in kept if one.currency == CURRENCY)
        case "event_has":
            if event is None:
                return False
            names = [of(argument) for argument in part.arguments]
            return event.category in names or any(item.category in names for item in event.items or ())
        case "count" | "sum":
            (type_,) = [of(argument) for argument in part.arguments]
            events = story.events[story.stage_entered_after :] if "stage" in part.named else story.events
            found = [(one, new) for one, new in events if one.type == type_]
            if length is not None:
                width = bucket_width(length)
                found = [(one, new) for one, new in found if (one.at // width + 1) * width + length > at]
            if part.name == "count":
                return len(found)
            return sum(_amount(one) for one, new in found if new or type_ != "order_completed")
    return _habits(part, story, at, [of(argument) for argument in part.arguments], length)


def _amount(event: Event) -> int:
    if event.currency != CURRENCY:
        return 0
    return event.total if event.total is not None else _rounded((event.price or 0) * event.quantity, PRICE_UNIT * PIECE)


def _rounded(number: int, unit: int) -> int:
    return math.floor(Fraction(number, unit) + Fraction(1, 2))


def _habits(part: tree.Call, story: Story, at: int, names: Sequence[str | None], length: int | None) -> Any:
    times: dict[str, list[int]] = {}
    for event, new in story.events:
        of_event: set[str | None] = set()
        if part.name in ("viewed", "times_viewed"):
            if event.type == "product_viewed" and event.source is Source.CLICKSTREAM:
                of_event = {event.category}
        elif new:
            product = "product" in part.name
            of_event = {item.product_id if product else item.category for item in event.items or ()}
        for name in of_event - {None}:
            assert name is not None
            times.setdefault(name, []).append(event.at)
    of_names = [when for name, when in times.items() if name in names]
    everything = [when for whens in of_names for when in whens]
    match part.name:
        case "bought" | "bought_product" | "viewed":
            if length is None:
                return bool(everything)
            return any(at - when < length for when in everything)
        case "times_bought" | "times_viewed":
            return len(everything)
        case "first_bought_at":
            return min(everything, default=None)
        case "last_bought_at":
            return max(everything, default=None)
        case "category_due_at" | "product_due_at":
            asked = of_names if names else list(times.values())
            return min([due for whens in asked if (due := _due(whens)) is not None and due > at], default=None)
    raise AssertionError(part.name)


def _due(whens: list[int]) -> int | None:
    if len(whens) < 3 or min(whens) == max(whens):
        return None
    return max(whens) + (max(whens) - min(whens)) // (len(whens) - 1)
