"""The nodes that read something: of the profile, the event at hand, the time."""

from __future__ import annotations

from streams.core.model.tracks import TrackState
from streams.core.rules.eval_context import EvalContext
from streams.core.rules.nodes import ABSENT, NEVER, Bool, Text, Whole

# -- the profile


class Orders(Whole):
    def get(self, m: EvalContext) -> int:
        return m.profile.orders


class Revenue(Whole):
    """Absent if it is in another currency than the playbook's."""

    def __init__(self, currency: str) -> None:
        super().__init__()
        self.currency = currency

    def get(self, m: EvalContext) -> int:
        profile = m.profile
        if profile.currency is not None and profile.currency != self.currency:
            return ABSENT
        return profile.revenue


class AverageOrderValue(Whole):
    """Half up, as outputs show it."""

    def __init__(self, currency: str) -> None:
        super().__init__()
        self.currency = currency

    def get(self, m: EvalContext) -> int:
        profile = m.profile
        number = profile.orders - profile.other_currency_orders
        if profile.currency != self.currency or number <= 0:
            return ABSENT
        return (2 * profile.revenue + number) // (2 * number)


class ProductViews(Whole):
    def get(self, m: EvalContext) -> int:
        return m.profile.product_views


class Checkouts(Whole):
    def get(self, m: EvalContext) -> int:
        return m.profile.checkouts


class Reviews(Whole):
    def get(self, m: EvalContext) -> int:
        return m.profile.reviews


class Referrals(Whole):
    def get(self, m: EvalContext) -> int:
        return m.profile.referrals


class SessionCount(Whole):
    def get(self, m: EvalContext) -> int:
        return m.profile.sessions.count


class CartItems(Whole):
    def get(self, m: EvalContext) -> int:
        total = 0
        for line in m.profile.cart.now.lines.values():
            total += line.quantity
        return total


class CartValue(Whole):
    """Absent if a price is missing or in another currency."""

    def __init__(self, currency: str) -> None:
        super().__init__()
        self.currency = currency

    def get(self, m: EvalContext) -> int:
        total = 0
        for line in m.profile.cart.now.lines.values():
            price = line.price
            if price is None or line.currency != self.currency:
                return ABSENT
            total += price * line.quantity
        return total


class SignedUp(Bool):
    def test(self, m: EvalContext) -> bool:
        return m.profile.signed_up


class Subscribed(Bool):
    """Whether the last of subscribed and unsubscribed was this."""

    def __init__(self, wanted: bool) -> None:
        super().__init__(False)
        self.wanted = wanted

    def test(self, m: EvalContext) -> bool:
        return m.profile.subscribed is self.wanted


class Identified(Bool):
    def test(self, m: EvalContext) -> bool:
        return m.profile.identified


class Counted(Whole):
    """Events of a type, of `Playbook.counted_types`."""

    def __init__(self, type_: str) -> None:
        super().__init__()
        self.type = type_

    def get(self, m: EvalContext) -> int:
        return m.profile.type_counts.get(self.type, 0)


# -- orders of a window, from the order book: exact


class OrdersWithin(Whole):
    """Orders that count, as far as they are kept, of less than a window ago; or what they come to."""

    def __init__(self, window: int, currency: str | None) -> None:
        super().__init__(True)
        self.window = window
        self.currency = currency
        """Of the sum. None: they are counted."""

    def get(self, m: EvalContext) -> int:
        since = m.at - self.window
        currency = self.currency
        total = 0
        for order in m.profile.order_book.values():
            at: int = order.at
            if at > since and order.counts:
                if currency is None:
                    total += 1
                elif order.currency == currency:
                    total += order.net
        return total

    def next_change_at(self, m: EvalContext) -> int:
        since = m.at - self.window
        earliest = NEVER
        for order in m.profile.order_book.values():
            at: int = order.at
            if at > since and at + self.window < earliest and order.counts:
                earliest = at + self.window
        return earliest


# -- times


class Now(Whole):
    def __init__(self) -> None:
        super().__init__(True, 1)

    def get(self, m: EvalContext) -> int:
        return m.at


class LastOrderAt(Whole):
    def get(self, m: EvalContext) -> int:
        at = m.profile.last_order_at
        return ABSENT if at is None else at


class FirstOrderAt(Whole):
    """The earliest of the orders kept that counts."""

    def get(self, m: EvalContext) -> int:
        first = NEVER
        for order in m.profile.order_book.values():
            at: int = order.at
            if at < first and order.counts:
                first = at
        return ABSENT if first == NEVER else first


class LastActivityAt(Whole):
    def get(self, m: EvalContext) -> int:
        at = m.profile.active_at
        return ABSENT if at < 0 else at


class FirstSeenAt(Whole):
    def get(self, m: EvalContext) -> int:
        return m.profile.first_seen_at


class LastSeenAt(Whole):
    def get(self, m: EvalContext) -> int:
        return m.profile.last_seen_at


class BegunAt(Whole):
    """When the trigger began."""

    def get(self, m: EvalContext) -> int:
        return ABSENT if m.begun_at < 0 else m.begun_at


# -- stages


def _further(m: EvalContext, track: int) -> TrackState | None:
    """The customer's place in a track that is not the first."""
    tracks = m.profile.tracks
    return None if tracks is None else tracks[track - 1]


class Stage(Text):
    """Of the track of that number."""

    def __init__(self, track: int) -> None:
        self.track = track

    def get(self, m: EvalContext) -> str | None:
        if self.track == 0:
            return m.profile.stage
        state = _further(m, self.track)
        return None if state is None else state.stage


class EnteredAt(Whole):
    """When the stage of the track of that number was entered."""

    def __init__(self, track: int) -> None:
        super().__init__()
        self.track = track

    def get(self, m: EvalContext) -> int:
        if self.track == 0:
            profile = m.profile
            return ABSENT if profile.stage is None else profile.entered_at
        state = _further(m, self.track)
        return ABSENT if state is None or state.stage is None else state.entered_at


class Cycle(Whole):
    def __init__(self, track: int) -> None:
        super().__init__()
        self.track = track

    def get(self, m: EvalContext) -> int:
        if self.track == 0:
            return m.profile.cycle
        state = _further(m, self.track)
        return 1 if state is None else state.cycle


class OrdersInStage(Whole):
    """Completions since the stage of the track of that number was entered."""

    def __init__(self, track: int) -> None:
        super().__init__()
        self.track = track

    def get(self, m: EvalContext) -> int:
        if self.track == 0:
            return m.profile.orders_in_stage
        state = _further(m, self.track)
        return 0 if state is None else state.orders_in_stage


# -- the event at hand: all absent, or false, at a deadline


class Active(Bool):
    def test(self, m: EvalContext) -> bool:
        return m.active


class EventType(Text):
    def get(self, m: EvalContext) -> str | None:
        event = m.event
        return None if event is None else event.type


class EventCategory(Text):
    def get(self, m: EvalContext) -> str | None:
        event = m.event
        return None if event is None else event.category


class EventProduct(Text):
    def get(self, m: EvalContext) -> str | None:
        event = m.event
        return None if event is None else event.product_id


class EventChannel(Text):
    def get(self, m: EvalContext) -> str | None:
        event = m.event
        return None if event is None else event.channel


class EventCoupon(Text):
    def get(self, m: EvalContext) -> str | None:
        event = m.event
        return None if event is None else event.coupon


class EventQuantity(Whole):
    def get(self, m: EvalContext) -> int:
        event = m.event
        return ABSENT if event is None else event.quantity


class EventAmount(Whole):
    """Its price or its total; absent in another currency."""

    def __init__(self, currency: str, total: bool) -> None:
        super().__init__()
        self.currency = currency
        self.total = total

    def get(self, m: EvalContext) -> int:
        event = m.event
        if event is None or event.currency != self.currency:
            return ABSENT
        amount = event.total if self.total else event.price
        return ABSENT if amount is None else amount


class EventHas(Bool):
    """Whether it, or one of its items, is of one of these categories."""

    def __init__(self, categories: frozenset[str]) -> None:
        super().__init__(False)
        self.categories = categories

    def test(self, m: EvalContext) -> bool:
        event = m.event
        if event is None:
            return False
        if event.category is not None and event.category in self.categories:
            return True
        for item in event.items or ():
            category: str | None = item.category
            if category is not None and category in self.categories:
                return True
        return False
