"""The names that rules can use, and those that each playbook adds. A test compares them with `docs/rules.md`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from streams.core.model.event import CLICKSTREAM_TYPES, ORDER_TYPES
from streams.core.rules import profile_nodes, property_nodes
from streams.core.rules.nodes import Node
from streams.core.rules.requirements import KeptProperty, Requirements
from streams.core.rules.types import Type

OWN_STAGE: Final = "stage:"
"""Read by a name that depends on the stage of the rule's own track."""
KNOWN_TYPES: Final = CLICKSTREAM_TYPES | ORDER_TYPES


class Vocabulary:
    """The names that the rules of one playbook, or of one of its tracks, can use. Immutable."""

    def __init__(
        self,
        *,
        tracks: Mapping[str, tuple[str, ...]] | None = None,
        track: str | None = None,
        event_types: Iterable[str] = (),
        properties: Mapping[str, Type] | None = None,
        kept: Iterable[KeptProperty] = (),
        currency: str = "EUR",
        minor_units: int = 100,
        of_trigger: bool = False,
    ) -> None:
        """Create the vocabulary of the rules of `track`, whose stage is then `stage`; without it, of the first track.

        `tracks`: the stages of each track, in the playbook's order. `event_types`: types in addition to the known ones.
        `properties`: properties of events that rules may read. `kept`: properties that profiles keep. `minor_units`:
        number of minor units in one unit of the currency (100 cents in a euro). `of_trigger`: the rules belong to a
        trigger and can read `begun_at`.
        """
        self.tracks = dict(tracks or {})
        self.track = next(iter(self.tracks), "") if track is None else track
        self.event_types = KNOWN_TYPES | frozenset(event_types)
        self.properties = dict(properties or {})
        self.kept = {kept_property.name: kept_property for kept_property in kept}
        self.currency = currency
        self.minor_units = minor_units
        self.of_trigger = of_trigger

    def track_index(self, track: str) -> int:
        """Return the position of the track among the tracks, from 0; 0 if it is unknown."""
        return list(self.tracks).index(track) if track in self.tracks else 0


class Word:
    """A name that rules can use for a value of the customer, the event or the time."""

    def __init__(
        self,
        type_: Type,
        reads: tuple[str, ...],
        make: Callable[[Vocabulary], Node],
        needs: Requirements | None = None,
    ) -> None:
        self.type = type_
        self.reads = reads
        """Facts that the value depends on. `dependencies` lists them."""
        self.make = make
        self.needs = needs


_BOOL: Final = Type.BOOL
_NUMBER: Final = Type.NUMBER
_MONEY: Final = Type.MONEY
_TIME: Final = Type.TIME
_TEXT: Final = Type.TEXT

_CREDIT: Final = ("count:credit_granted", "count:credit_spent", "time")
_CREDITS: Final = Requirements(
    properties={"amount": _MONEY, "expires_at": _TIME, "credit_id": _TEXT},
    credits=True,
)

BEGUN_AT: Final = "begun_at"
"""Available only in the rules of triggers."""

WORDS: Final[dict[str, Word]] = {
    # orders
    "orders": Word(_NUMBER, ("orders",), lambda v: profile_nodes.OrderCount()),
    "orders_in_stage": Word(
        _NUMBER, ("orders", OWN_STAGE), lambda v: profile_nodes.OrdersInStage(v.track_index(v.track))
    ),
    "renewals_in_stage": Word(
        _NUMBER, ("orders", OWN_STAGE), lambda v: profile_nodes.RenewalsInStage(v.track_index(v.track))
    ),
    "revenue": Word(_MONEY, ("orders",), lambda v: profile_nodes.Revenue(v.currency)),
    "average_order_value": Word(_MONEY, ("orders",), lambda v: profile_nodes.AverageOrderValue(v.currency)),
    "last_order_at": Word(_TIME, ("orders",), lambda v: profile_nodes.LastOrderAt()),
    # activity and cart
    "product_views": Word(_NUMBER, ("count:product_viewed",), lambda v: profile_nodes.ProductViews()),
    "checkouts": Word(_NUMBER, ("count:checkout_started",), lambda v: profile_nodes.Checkouts()),
    "reviews": Word(_NUMBER, ("count:product_reviewed",), lambda v: profile_nodes.Reviews()),
    "referrals": Word(_NUMBER, ("count:referral_made",), lambda v: profile_nodes.Referrals()),
    "signed_up": Word(_BOOL, ("count:signed_up",), lambda v: profile_nodes.SignedUp()),
    "subscribed": Word(_BOOL, ("count:subscribed", "count:unsubscribed"), lambda v: profile_nodes.Subscribed(True)),
    "unsubscribed": Word(_BOOL, ("count:subscribed", "count:unsubscribed"), lambda v: profile_nodes.Subscribed(False)),
    "sessions": Word(_NUMBER, ("activity",), lambda v: profile_nodes.SessionCount()),
    "cart_items": Word(_NUMBER, ("cart",), lambda v: profile_nodes.CartItems()),
    "cart_value": Word(_MONEY, ("cart",), lambda v: profile_nodes.CartValue(v.currency)),
    "identified": Word(_BOOL, (), lambda v: profile_nodes.Identified()),
    "credit": Word(_MONEY, _CREDIT, lambda v: property_nodes.CreditLeft(), _CREDITS),
    # times
    "now": Word(_TIME, ("time",), lambda v: profile_nodes.Now()),
    "first_seen_at": Word(_TIME, ("seen",), lambda v: profile_nodes.FirstSeenAt()),
    "last_seen_at": Word(_TIME, ("seen",), lambda v: profile_nodes.LastSeenAt()),
    "last_activity_at": Word(_TIME, ("activity",), lambda v: profile_nodes.LastActivityAt()),
    "first_order_at": Word(_TIME, ("orders",), lambda v: profile_nodes.FirstOrderAt()),
    "credit_expires_at": Word(_TIME, _CREDIT, lambda v: property_nodes.CreditExpiresAt(), _CREDITS),
    # stages
    "stage": Word(_TEXT, (OWN_STAGE,), lambda v: profile_nodes.Stage(v.track_index(v.track))),
    "entered_at": Word(_TIME, (OWN_STAGE,), lambda v: profile_nodes.EnteredAt(v.track_index(v.track))),
    "cycle": Word(_NUMBER, (OWN_STAGE,), lambda v: profile_nodes.Cycle(v.track_index(v.track))),
    # the trigger
    BEGUN_AT: Word(_TIME, (), lambda v: profile_nodes.BegunAt()),
    # the current event
    "activity": Word(_BOOL, ("event",), lambda v: profile_nodes.IsActivity()),
    "event.type": Word(_TEXT, ("event",), lambda v: profile_nodes.EventType()),
    "event.product_id": Word(_TEXT, ("event",), lambda v: profile_nodes.EventProduct()),
    "event.category": Word(_TEXT, ("event",), lambda v: profile_nodes.EventCategory()),
    "event.price": Word(_MONEY, ("event",), lambda v: profile_nodes.EventAmount(v.currency, False)),
    "event.quantity": Word(_NUMBER, ("event",), lambda v: profile_nodes.EventQuantity()),
    "event.total": Word(_MONEY, ("event",), lambda v: profile_nodes.EventAmount(v.currency, True)),
    "event.channel": Word(_TEXT, ("event",), lambda v: profile_nodes.EventChannel()),
    "event.coupon": Word(_TEXT, ("event",), lambda v: profile_nodes.EventCoupon()),
}
