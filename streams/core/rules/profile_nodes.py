"""Nodes that read the profile, the current event and the time."""

from __future__ import annotations

from streams.core.model.currencies import PIECE, minor_units, rounded_amount
from streams.core.model.tracks import TrackState
from streams.core.rules.eval_context import EvalContext
from streams.core.rules.nodes import ABSENT, NAN, NEVER, Bool, Real, Text, Whole

# -- the profile


class OrderCount(Whole):
    def get(self, context: EvalContext) -> int:
        return context.profile.orders


class Revenue(Whole):
    """Total of the orders; absent if it is in another currency than the playbook's."""

    def __init__(self, currency: str) -> None:
        super().__init__()
        self.currency = currency

    def get(self, context: EvalContext) -> int:
        profile = context.profile
        if profile.currency is not None and profile.currency != self.currency:
            return ABSENT
        return profile.revenue


class AverageOrderValue(Whole):
    """Average value of an order, rounded half up as in outputs. Absent before the first one in the currency."""

    def __init__(self, currency: str) -> None:
        super().__init__()
        self.currency = currency

    def get(self, context: EvalContext) -> int:
        profile = context.profile
        number = profile.orders - profile.other_currency_orders
        if profile.currency != self.currency or number <= 0:
            return ABSENT
        return (2 * profile.revenue + number) // (2 * number)


class ProductViews(Whole):
    def get(self, context: EvalContext) -> int:
        return context.profile.product_views


class Checkouts(Whole):
    def get(self, context: EvalContext) -> int:
        return context.profile.checkouts


class Reviews(Whole):
    def get(self, context: EvalContext) -> int:
        return context.profile.reviews


class Referrals(Whole):
    def get(self, context: EvalContext) -> int:
        return context.profile.referrals


class SessionCount(Whole):
    def get(self, context: EvalContext) -> int:
        return context.profile.sessions.count


class CartItems(Real):
    """Pieces in the cart, of which there may be fractions: 0.45 kg."""

    def get(self, context: EvalContext) -> float:
        total = 0
        for line in context.profile.cart.now.lines.values():
            total += line.quantity
        return total / PIECE


class CartValue(Whole):
    """Value of the cart; absent if a price is missing or in another currency, or if lines were dropped."""

    def __init__(self, currency: str) -> None:
        super().__init__()
        self.currency = currency

    def get(self, context: EvalContext) -> int:
        cart = context.profile.cart.now
        if cart.cut:
            return ABSENT
        total = 0
        for line in cart.lines.values():
            price = line.price
            if price is None or line.currency != self.currency:
                return ABSENT
            total += price * line.quantity
        return rounded_amount(total)


class SignedUp(Bool):
    def test(self, context: EvalContext) -> bool:
        return context.profile.signed_up


class Subscribed(Bool):
    """True if the last of `subscribed` and `unsubscribed` was the wanted one."""

    def __init__(self, wanted: bool) -> None:
        super().__init__(False)
        self.wanted = wanted

    def test(self, context: EvalContext) -> bool:
        return context.profile.subscribed is self.wanted


class Identified(Bool):
    def test(self, context: EvalContext) -> bool:
        return context.profile.identified


class EventCount(Whole):
    """Number of events of a type that is in `Playbook.counted_types`."""

    def __init__(self, type_: str) -> None:
        super().__init__()
        self.type = type_

    def get(self, context: EvalContext) -> int:
        return context.profile.type_counts.get(self.type, 0)


# -- orders of a window: exact, from the order book


class OrdersWithin(Whole):
    """Number or sum of the orders that count and are less than a window old, among those that are kept."""

    def __init__(self, window: int, currency: str | None) -> None:
        super().__init__(True)
        self.window = window
        self.currency = currency
        """Currency of the sum. None: the orders are counted."""

    def get(self, context: EvalContext) -> int:
        since = context.at - self.window
        currency = self.currency
        total = 0
        for order in context.profile.order_book.values():
            at: int = order.at
            if at > since and order.counts:
                if currency is None:
                    total += 1
                elif order.currency == currency:
                    total += order.net
        return total

    def next_change_at(self, context: EvalContext) -> int:
        since = context.at - self.window
        earliest = NEVER
        for order in context.profile.order_book.values():
            at: int = order.at
            if at > since and at + self.window < earliest and order.counts:
                earliest = at + self.window
        return earliest


# -- times


class Now(Whole):
    def __init__(self) -> None:
        super().__init__(True, 1)

    def get(self, context: EvalContext) -> int:
        return context.at


class LastOrderAt(Whole):
    def get(self, context: EvalContext) -> int:
        at = context.profile.last_order_at
        return ABSENT if at is None else at


class FirstOrderAt(Whole):
    """Time of the earliest order that counts, among those that are kept."""

    def get(self, context: EvalContext) -> int:
        first = NEVER
        for order in context.profile.order_book.values():
            at: int = order.at
            if at < first and order.counts:
                first = at
        return ABSENT if first == NEVER else first


class LastActivityAt(Whole):
    def get(self, context: EvalContext) -> int:
        at = context.profile.active_at
        return ABSENT if at < 0 else at


class FirstSeenAt(Whole):
    def get(self, context: EvalContext) -> int:
        return context.profile.first_seen_at


class LastSeenAt(Whole):
    def get(self, context: EvalContext) -> int:
        return context.profile.last_seen_at


class BegunAt(Whole):
    """Time at which the trigger began."""

    def get(self, context: EvalContext) -> int:
        return ABSENT if context.begun_at < 0 else context.begun_at


# -- stages


def _state_of_other_track(context: EvalContext, track: int) -> TrackState | None:
    """Return the customer's state in a track that is not the first; None if the profile has none."""
    tracks = context.profile.tracks
    return None if tracks is None else tracks[track - 1]


class Stage(Text):
    """Stage of the track at an index."""

    def __init__(self, track: int) -> None:
        self.track = track

    def get(self, context: EvalContext) -> str | None:
        if self.track == 0:
            return context.profile.stage
        state = _state_of_other_track(context, self.track)
        return None if state is None else state.stage


class EnteredAt(Whole):
    """Time at which the stage of the track at an index was entered."""

    def __init__(self, track: int) -> None:
        super().__init__()
        self.track = track

    def get(self, context: EvalContext) -> int:
        if self.track == 0:
            profile = context.profile
            return ABSENT if profile.stage is None else profile.entered_at
        state = _state_of_other_track(context, self.track)
        return ABSENT if state is None or state.stage is None else state.entered_at


class Cycle(Whole):
    def __init__(self, track: int) -> None:
        super().__init__()
        self.track = track

    def get(self, context: EvalContext) -> int:
        if self.track == 0:
            return context.profile.cycle
        state = _state_of_other_track(context, self.track)
        return 1 if state is None else state.cycle


class OrdersInStage(Whole):
    """Completions since the stage of the track at an index was entered that became the last order; no renewals."""

    def __init__(self, track: int) -> None:
        super().__init__()
        self.track = track

    def get(self, context: EvalContext) -> int:
        if self.track == 0:
            return context.profile.orders_in_stage
        state = _state_of_other_track(context, self.track)
        return 0 if state is None else state.orders_in_stage


class RenewalsInStage(Whole):
    """Renewals since the stage of the track at an index was entered that became the last order."""

    def __init__(self, track: int) -> None:
        super().__init__()
        self.track = track

    def get(self, context: EvalContext) -> int:
        if self.track == 0:
            return context.profile.renewals_in_stage
        state = _state_of_other_track(context, self.track)
        return 0 if state is None else state.renewals_in_stage


# -- the current event: all of these are absent, or false, at a deadline


class IsActivity(Bool):
    def test(self, context: EvalContext) -> bool:
        return context.active


class EventType(Text):
    def get(self, context: EvalContext) -> str | None:
        event = context.event
        return None if event is None else event.type


class EventCategory(Text):
    def get(self, context: EvalContext) -> str | None:
        event = context.event
        return None if event is None else event.category


class EventProduct(Text):
    def get(self, context: EvalContext) -> str | None:
        event = context.event
        return None if event is None else event.product_id


class EventChannel(Text):
    def get(self, context: EvalContext) -> str | None:
        event = context.event
        return None if event is None else event.channel


class EventCoupon(Text):
    def get(self, context: EvalContext) -> str | None:
        event = context.event
        return None if event is None else event.coupon


class EventQuantity(Real):
    """Pieces, of which there may be fractions."""

    def get(self, context: EvalContext) -> float:
        event = context.event
        return NAN if event is None else event.quantity / PIECE


class EventAmount(Whole):
    """Price or total of the event, the price rounded to the minor unit; absent in another currency."""

    def __init__(self, currency: str, total: bool) -> None:
        super().__init__()
        self.currency = currency
        self.total = total

    def get(self, context: EvalContext) -> int:
        event = context.event
        if event is None:
            return ABSENT
        if event.currency != self.currency:
            if event.currency == "" and self.total and event.total is not None:
                # A correction that names no currency has its order's, which most often is this one.
                return minor_units(event.total, self.currency)
            return ABSENT
        if self.total:
            total = event.total
            return ABSENT if total is None else total
        price = event.price
        return ABSENT if price is None else rounded_amount(price * PIECE)


class EventHas(Bool):
    """True if the event, or one of its items, is of one of the categories."""

    def __init__(self, categories: frozenset[str]) -> None:
        super().__init__(False)
        self.categories = categories

    def test(self, context: EvalContext) -> bool:
        event = context.event
        if event is None:
            return False
        if event.category is not None and event.category in self.categories:
            return True
        for item in event.items or ():
            category: str | None = item.category
            if category is not None and category in self.categories:
                return True
        return False
