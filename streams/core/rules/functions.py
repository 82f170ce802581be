"""The functions of the rule language: the usage of each, and the code that checks a call and creates its node."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Final

from streams.core.model.durations import parse_duration
from streams.core.rules import aggregate_nodes, nodes, profile_nodes, tree
from streams.core.rules.arithmetic_nodes import (
    DEFAULT,
    GREATEST,
    LEAST,
    SUBTRACT,
    DefaultText,
    RealOperation,
    WholeOperation,
)
from streams.core.rules.checker import Checker, Function, Typed, forbid_changing_every_ms, real, whole
from streams.core.rules.condition_nodes import GE, LT, CompareWhole, KnownReal, KnownText, KnownWhole
from streams.core.rules.errors import RuleError, suggestion
from streams.core.rules.lexer import LONGEST
from streams.core.rules.requirements import EVERYTHING, Requirements, Window, stage_key
from streams.core.rules.types import Type

Check = Callable[[Checker, tree.Call], Typed]
MANY: Final = 50
"""Most arguments of a function that takes any number of them."""
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def literal(part: tree.Tree, what: str) -> str:
    """Return the text of an argument that must be known when the rule is loaded.

    Raise RuleError if it is not written as a text in quotes; `what` names the argument in the message.
    """
    if not isinstance(part, tree.TextLiteral) or not part.value:
        raise RuleError(f"write {what} here, as a text in quotes", part.start, part.end)
    return part.value


def event_type(checker: Checker, part: tree.Tree) -> str:
    """Return the event type that an argument names. Raise RuleError if it is neither known nor declared."""
    type_ = literal(part, "an event type")
    if type_ not in checker.vocabulary.event_types:
        hint = suggestion(type_, checker.vocabulary.event_types)
        raise RuleError(
            f"there is no event type {type_[:64]!r} (declare types of your own in event_types){hint}",
            part.start,
            part.end,
        )
    return type_


def window(part: tree.Tree) -> int:
    """Return the length (ms) of a rolling window that an argument gives. Raise RuleError if it is not a duration."""
    ms: int | None = None
    if isinstance(part, tree.DurationLiteral):
        ms = part.ms
    elif isinstance(part, tree.TextLiteral):
        ms = parse_duration(part.value)
    if ms is None or not 1_000 <= ms <= LONGEST:
        raise RuleError(
            "write a duration between a second and a hundred years here, such as '7d' or 7d", part.start, part.end
        )
    return ms


def _since(checker: Checker, call: tree.Call) -> Typed:
    checker.reads.add("time")
    node = WholeOperation(SUBTRACT, profile_nodes.Now(), checker.time(call.arguments[0]))
    return Typed(Type.DURATION, node, call)


def _until(checker: Checker, call: tree.Call) -> Typed:
    checker.reads.add("time")
    node = WholeOperation(SUBTRACT, checker.time(call.arguments[0]), profile_nodes.Now())
    return Typed(Type.DURATION, node, call)


def _date(checker: Checker, call: tree.Call) -> Typed:
    part = call.arguments[0]
    text = literal(part, "a date")
    try:
        day = datetime.date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None:
        raise RuleError("write a date here, such as '2026-11-27'", part.start, part.end)
    ms = (day.toordinal() - datetime.date(1970, 1, 1).toordinal()) * 86_400_000
    return Typed(Type.TIME, nodes.ConstantWhole(ms), call)


def _known(checker: Checker, call: tree.Call) -> Typed:
    node = checker.check(call.arguments[0]).node
    if isinstance(node, nodes.Whole):
        return Typed(Type.BOOL, KnownWhole(node), call)
    if isinstance(node, nodes.Real):
        return Typed(Type.BOOL, KnownReal(node), call)
    if isinstance(node, nodes.Text):
        return Typed(Type.BOOL, KnownText(node), call)
    raise RuleError("known() takes no yes-or-no value: such a value is false, never absent", call.start, call.end)


def _default(checker: Checker, call: tree.Call) -> Typed:
    left, right = checker.check(call.arguments[0]), checker.check(call.arguments[1])
    if isinstance(left.node, nodes.Text) and isinstance(right.node, nodes.Text):
        return Typed(Type.TEXT, DefaultText(left.node, right.node), call)
    return _one_of(checker, call, DEFAULT, left, right)


def _one_of(checker: Checker, call: tree.Call, operator: int, left: Typed, right: Typed) -> Typed:
    left, right = checker.same(left, right, "mixed with")
    if isinstance(left.node, nodes.Real) or isinstance(right.node, nodes.Real):
        return Typed(left.type, RealOperation(operator, real(left), real(right)), call)
    forbid_changing_every_ms(left)
    forbid_changing_every_ms(right)
    return Typed(left.type, WholeOperation(operator, whole(left), whole(right)), call)


def _extreme(operator: int) -> Check:
    def check(checker: Checker, call: tree.Call) -> Typed:
        result = checker.check(call.arguments[0])
        for part in call.arguments[1:]:
            result = _one_of(checker, call, operator, result, checker.check(part))
        return result

    return check


def _track(checker: Checker, part: tree.Tree) -> str:
    track = literal(part, "the name of a track")
    if track not in checker.vocabulary.tracks:
        hint = suggestion(track, checker.vocabulary.tracks)
        raise RuleError(f"there is no track {track[:64]!r}{hint}", part.start, part.end)
    return track


def _stage(checker: Checker, call: tree.Call) -> Typed:
    track = _track(checker, call.arguments[0])
    checker.reads.add(f"stage:{track}")
    return Typed(
        Type.TEXT, profile_nodes.Stage(checker.vocabulary.track_index(track)), call, checker.vocabulary.tracks[track]
    )


def _count(checker: Checker, call: tree.Call) -> Typed:
    type_ = event_type(checker, call.arguments[0])
    checker.reads.add(f"count:{type_}")
    if "stage" in call.named:
        if "last" in call.named:
            raise RuleError("count takes either last= or stage=, not both", call.start, call.end)
        track = _track(checker, call.named["stage"])
        checker.reads.add(f"stage:{track}")
        checker.need(Requirements(in_stage=[(track, type_)]))
        return Typed(Type.NUMBER, aggregate_nodes.StageEventCount(stage_key(track, type_)), call)
    if "last" in call.named:
        return Typed(Type.NUMBER, _windowed(checker, type_, call.named["last"], False), call)
    checker.need(Requirements(counted_types=[type_]))
    return Typed(Type.NUMBER, profile_nodes.EventCount(type_), call)


def _sum(checker: Checker, call: tree.Call) -> Typed:
    type_ = event_type(checker, call.arguments[0])
    checker.reads.add(f"count:{type_}")
    if "last" in call.named:
        return Typed(Type.MONEY, _windowed(checker, type_, call.named["last"], True), call)
    checker.need(Requirements(sums=[type_]))
    return Typed(Type.MONEY, aggregate_nodes.AmountTotal(type_), call)


def _windowed(checker: Checker, type_: str, last: tree.Tree, amounts: bool) -> nodes.Whole:
    asked = Window(type_, window(last), amounts)
    checker.reads.add("time")
    checker.need(Requirements(windows={asked.key: asked}))
    return aggregate_nodes.WindowTotal(asked)


def _names(which: int) -> Callable[[Checker, tree.Call], list[nodes.Text]]:
    """Return a function that returns the names in a call as text nodes, and notes the data that they require."""

    def names(checker: Checker, call: tree.Call) -> list[nodes.Text]:
        found = [checker.text(part) for part in call.arguments]
        wanted = [EVERYTHING if not isinstance(node, nodes.ConstantText) else node.value for node in found]
        checker.reads.add("count:product_viewed" if which == aggregate_nodes.VIEWED else "orders")
        if which == aggregate_nodes.VIEWED:
            checker.need(Requirements(categories_viewed=wanted))
        elif which == aggregate_nodes.BOUGHT:
            checker.need(Requirements(categories_bought=wanted))
        else:
            checker.need(Requirements(products_bought=wanted))
        return found

    return names


def _ever_or_within(which: int) -> Check:
    """Return the check of a function that is true if it happened: ever, or with `last=` within that time."""

    def check(checker: Checker, call: tree.Call) -> Typed:
        names = _names(which)(checker, call)
        if "last" not in call.named:
            return Typed(
                Type.BOOL,
                CompareWhole(GE, aggregate_nodes.OccurrenceCount(which, names), nodes.ConstantWhole(1)),
                call,
            )
        checker.reads.add("time")
        ago = WholeOperation(SUBTRACT, profile_nodes.Now(), aggregate_nodes.OccurrenceTime(which, names, True))
        length = nodes.ConstantWhole(window(call.named["last"]))
        return Typed(Type.BOOL, CompareWhole(LT, ago, length), call)

    return check


def _number_of_times(which: int) -> Check:
    def check(checker: Checker, call: tree.Call) -> Typed:
        return Typed(Type.NUMBER, aggregate_nodes.OccurrenceCount(which, _names(which)(checker, call)), call)

    return check


def _when(which: int, last: bool) -> Check:
    def check(checker: Checker, call: tree.Call) -> Typed:
        return Typed(Type.TIME, aggregate_nodes.OccurrenceTime(which, _names(which)(checker, call), last), call)

    return check


def _due_again(which: int) -> Check:
    """Return the check of a function for the next due purchase of the names; without names, of all that are kept."""

    def check(checker: Checker, call: tree.Call) -> Typed:
        names = _names(which)(checker, call)
        checker.reads.add("time")
        if not names:
            checker.need(
                Requirements(categories_bought=[EVERYTHING])
                if which == aggregate_nodes.BOUGHT
                else Requirements(products_bought=[EVERYTHING])
            )
        return Typed(Type.TIME, aggregate_nodes.NextPurchaseDue(which, names), call)

    return check


def _name_due_now(which: int) -> Check:
    def check(checker: Checker, call: tree.Call) -> Typed:
        checker.reads.update(("orders", "time"))
        checker.need(
            Requirements(categories_bought=[EVERYTHING])
            if which == aggregate_nodes.BOUGHT
            else Requirements(products_bought=[EVERYTHING])
        )
        return Typed(Type.TEXT, aggregate_nodes.NameDueNow(which), call)

    return check


def _number_of_orders(checker: Checker, call: tree.Call) -> Typed:
    checker.reads.update(("orders", "time"))
    return Typed(Type.NUMBER, profile_nodes.OrdersWithin(_last(call), None), call)


def _spend(checker: Checker, call: tree.Call) -> Typed:
    checker.reads.update(("orders", "time"))
    return Typed(Type.MONEY, profile_nodes.OrdersWithin(_last(call), checker.vocabulary.currency), call)


def _last(call: tree.Call) -> int:
    last = call.named.get("last")
    if last is None:
        raise RuleError(f"this call needs the length of a window: write {call.name}(last='365d')", call.start, call.end)
    return window(last)


def _event_has(checker: Checker, call: tree.Call) -> Typed:
    checker.reads.add("event")
    categories = frozenset([literal(part, "a category") for part in call.arguments])
    return Typed(Type.BOOL, profile_nodes.EventHas(categories), call)


FUNCTIONS: Final[dict[str, Function]] = {
    "since": Function("since(TIME)", (1, 1), (), _since),
    "until": Function("until(TIME)", (1, 1), (), _until),
    "date": Function("date('2026-11-27')", (1, 1), (), _date),
    "known": Function("known(VALUE)", (1, 1), (), _known),
    "default": Function("default(VALUE, OTHERWISE)", (2, 2), (), _default),
    "min": Function("min(VALUE, VALUE, …)", (2, MANY), (), _extreme(LEAST)),
    "max": Function("max(VALUE, VALUE, …)", (2, MANY), (), _extreme(GREATEST)),
    "stage": Function("stage('TRACK')", (1, 1), (), _stage),
    "count": Function(
        "count('EVENT_TYPE', last='7d') or count('EVENT_TYPE', stage='TRACK')", (1, 1), ("last", "stage"), _count
    ),
    "sum": Function("sum('EVENT_TYPE', last='365d')", (1, 1), ("last",), _sum),
    "orders": Function("orders(last='365d')", (0, 0), ("last",), _number_of_orders),
    "spend": Function("spend(last='365d')", (0, 0), ("last",), _spend),
    "bought": Function(
        "bought('CATEGORY', …, last='90d')", (1, MANY), ("last",), _ever_or_within(aggregate_nodes.BOUGHT)
    ),
    "bought_product": Function(
        "bought_product('PRODUCT', …, last='90d')", (1, MANY), ("last",), _ever_or_within(aggregate_nodes.PRODUCT)
    ),
    "viewed": Function(
        "viewed('CATEGORY', …, last='7d')", (1, MANY), ("last",), _ever_or_within(aggregate_nodes.VIEWED)
    ),
    "times_bought": Function("times_bought('CATEGORY', …)", (1, MANY), (), _number_of_times(aggregate_nodes.BOUGHT)),
    "times_viewed": Function("times_viewed('CATEGORY', …)", (1, MANY), (), _number_of_times(aggregate_nodes.VIEWED)),
    "first_bought_at": Function("first_bought_at('CATEGORY', …)", (1, MANY), (), _when(aggregate_nodes.BOUGHT, False)),
    "last_bought_at": Function("last_bought_at('CATEGORY', …)", (1, MANY), (), _when(aggregate_nodes.BOUGHT, True)),
    "category_due_at": Function(
        "category_due_at('CATEGORY', …) or category_due_at()", (0, MANY), (), _due_again(aggregate_nodes.BOUGHT)
    ),
    "product_due_at": Function(
        "product_due_at('PRODUCT', …) or product_due_at()", (0, MANY), (), _due_again(aggregate_nodes.PRODUCT)
    ),
    "category_due": Function("category_due()", (0, 0), (), _name_due_now(aggregate_nodes.BOUGHT)),
    "product_due": Function("product_due()", (0, 0), (), _name_due_now(aggregate_nodes.PRODUCT)),
    "event_has": Function("event_has('CATEGORY', …)", (1, MANY), (), _event_has),
}
