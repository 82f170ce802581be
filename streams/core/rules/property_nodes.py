"""Nodes that read properties, of the current event or of the profile, and store credits."""

from __future__ import annotations

from streams.core.rules.arithmetic_nodes import nearest_double
from streams.core.rules.eval_context import EvalContext
from streams.core.rules.nodes import ABSENT, NAN, NEVER, Bool, Node, Real, Text, Whole
from streams.core.rules.types import Type

Value = bool | int | float | str


class PropertySource:
    """The place of a property: the current event, or with `kept` the profile.

    An amount of an event is absent if the event is not in `currency`; None accepts any.
    """

    def __init__(self, name: str, kept: bool, currency: str | None) -> None:
        self.name = name
        self.kept = kept
        self.currency = currency

    def find(self, context: EvalContext) -> Value | None:
        """Return the value; None if it is absent."""
        if self.kept:
            aggregates = context.profile.aggregates
            if aggregates is None:
                return None
            latest: tuple[Value, int] | None = aggregates.kept.get(self.name)
            return None if latest is None else latest[0]
        event = context.event
        if event is None or event.properties is None or (self.currency is not None and event.currency != self.currency):
            return None
        return event.properties.get(self.name)


class PropertyBool(Bool):
    def __init__(self, source: PropertySource) -> None:
        super().__init__()
        self.source = source

    def test(self, context: EvalContext) -> bool:
        return self.source.find(context) is True


class PropertyWhole(Whole):
    def __init__(self, source: PropertySource) -> None:
        super().__init__()
        self.source = source

    def get(self, context: EvalContext) -> int:
        value = self.source.find(context)
        if isinstance(value, bool) or not isinstance(value, int):
            return ABSENT
        return value


class PropertyReal(Real):
    def __init__(self, source: PropertySource) -> None:
        super().__init__()
        self.source = source

    def get(self, context: EvalContext) -> float:
        value = self.source.find(context)
        if isinstance(value, float):
            return value
        if isinstance(value, bool) or not isinstance(value, int):
            return NAN
        return nearest_double(value)


class PropertyText(Text):
    def __init__(self, source: PropertySource) -> None:
        self.source = source

    def get(self, context: EvalContext) -> str | None:
        value = self.source.find(context)
        return value if isinstance(value, str) else None


def of_event(name: str, type_: Type, currency: str) -> Node:
    """Return the node of a property of the current event."""
    return _node(PropertySource(name, False, currency if type_ is Type.MONEY else None), type_)


def of_profile(name: str, type_: Type) -> Node:
    """Return the node of a property that profiles keep."""
    return _node(PropertySource(name, True, None), type_)


def _node(source: PropertySource, type_: Type) -> Node:
    if type_ is Type.BOOL:
        return PropertyBool(source)
    if type_ is Type.NUMBER:
        return PropertyReal(source)
    if type_ is Type.TEXT:
        return PropertyText(source)
    return PropertyWhole(source)


class CreditLeft(Whole):
    """Sum of the store credits that are neither spent nor expired."""

    def __init__(self) -> None:
        super().__init__(True)

    def get(self, context: EvalContext) -> int:
        aggregates = context.profile.aggregates
        total = 0
        if aggregates is not None:
            for credit in aggregates.credits:
                expires_at: int = credit.expires_at
                if expires_at > context.at:
                    total += credit.amount
        return total

    def next_change_at(self, context: EvalContext) -> int:
        return _next_expiry(context)


class CreditExpiresAt(Whole):
    """Time at which the next store credit expires."""

    def __init__(self) -> None:
        super().__init__(True)

    def get(self, context: EvalContext) -> int:
        at = _next_expiry(context)
        return ABSENT if at == NEVER else at

    def next_change_at(self, context: EvalContext) -> int:
        return _next_expiry(context)


def _next_expiry(context: EvalContext) -> int:
    aggregates = context.profile.aggregates
    if aggregates is not None:
        for credit in aggregates.credits:  # the earliest comes first
            expires_at: int = credit.expires_at
            if expires_at > context.at:
                return expires_at
    return NEVER
