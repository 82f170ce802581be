"""The keys of a playbook: the one table behind the loader, the JSON Schema and the reference page."""

from __future__ import annotations

from typing import Final

from streams.core.model.policy import PASSIVE_CHANNELS, PASSIVE_TYPES, REPORT_TYPES
from streams.core.rules import Type
from streams.playbooks.key_kinds import (
    CHANNEL,
    CURRENCY,
    DURATION,
    NAME,
    SWITCH,
    Key,
    ListOf,
    OneOrMore,
    OrOff,
    RuleKind,
    Scalar,
    Section,
    TableOf,
    number,
    one_of,
)
from streams.playbooks.triggers import TRIGGER

TYPES: Final = {
    "number": Type.NUMBER,
    "money": Type.MONEY,
    "time": Type.TIME,
    "text": Type.TEXT,
    "yes_or_no": Type.BOOL,
}  # fmt: skip

ANY: Final = "any"
"""Value of `from` that means every stage except the target."""

PROPERTY_TYPE: Final = Scalar(f"one of {', '.join(TYPES)}", TYPES.get, {"enum": list(TYPES)})
_STEPS: Final = ListOf(DURATION, most=20)

BROWSE: Final = Section(
    "browse",
    Key("after", DURATION, "Browsing is abandoned after this time without activity.", default="30m"),
    Key(
        "silent_after_order",
        OrOff(DURATION),
        "Browsing within this time after an order is not abandoned.",
        default="off",
    ),
)
CART: Final = Section(
    "cart",
    Key("after", DURATION, "Step 1 is due after this time without activity.", default="60m"),
    Key(
        "steps", _STEPS, "Times of the further steps after the same last activity, in this order.",
        default="[24h, 72h]",
    ),
)  # fmt: skip
CHECKOUT: Final = Section(
    "checkout",
    Key("after", DURATION, "Step 1 is due after this time without activity.", default="30m"),
    Key(
        "steps", _STEPS, "Times of the further steps after the same last activity, in this order.", default="[24h, 72h]"
    ),
    Key(
        "fresh",
        DURATION,
        "An episode is a checkout while its last checkout event came less than this before the last activity.",
        default="24h",
    ),
)
ABANDONMENT: Final = Section(
    "abandonment",
    Key(
        "browse", OrOff(BROWSE), "For episodes with viewed products and an empty cart. `off`: they are never abandoned."
    ),
    Key("cart", OrOff(CART), "For episodes with something in the cart."),
    Key("checkout", OrOff(CHECKOUT), "For episodes in which the checkout was begun."),
    Key(
        "precedence",
        ListOf(one_of("checkout", "cart", "browse"), most=3, least=1),
        "The kind of an episode that could be of several kinds, highest first. It names every kind that is not off.",
        default="[checkout, cart, browse]",
    ),
    Key(
        "cool_down",
        DURATION,
        "Within this time after step 1, an equal abandonment is not a new one: the earlier one continues.",
        default="7d",
    ),
    Key(
        "cool_down_per",
        one_of("content", "kind"),
        "What counts as the same: the same products and quantities, or anything of the same or a lower kind.",
        default="content",
    ),
    Key(
        "recovery_window",
        DURATION,
        "An order within this time after the last step recovers the abandonment.",
        default="7d",
    ),
    Key("recent_window", DURATION, "Time that `recent_abandonments` of an output covers.", default="7d"),
    Key(
        "expiry", DURATION, "After this time without activity, an episode ends and the cart is emptied.", default="30d"
    ),
)
PASSIVE: Final = Section(
    "passive",
    Key(
        "event_types",
        ListOf(NAME, most=100),
        f"Event types that are no activity, beside {' and '.join(sorted(PASSIVE_TYPES))}, which never are. Each "
        "is a known type, one of `event_types`, or one of the default.",
        default=f"[{', '.join(REPORT_TYPES)}]",
    ),
    Key(
        "channels",
        ListOf(CHANNEL, most=100),
        "Channels of orders that are no activity and leave other carts alone, beside "
        f"{', '.join(sorted(PASSIVE_CHANNELS))}, which always are.",
        default="[]",
    ),
)
ORDER_SKEW: Final = Section(
    "order_skew",
    Key(
        "named",
        OrOff(DURATION),
        "An order reaches clicks up to this much newer that carry its cart id or checkout id.",
        default="1h",
    ),
    Key(
        "items",
        OrOff(DURATION),
        "An order reaches other clicks about its products up to this much newer.",
        default="5m",
    ),
)
FORGET: Final = Section(
    "forget",
    Key(
        "identified", OrOff(DURATION), "Known customers are forgotten this long after their last event.", default="400d"
    ),
    Key(
        "anonymous",
        OrOff(DURATION),
        "Anonymous visitors are forgotten this long after their last event.",
        default="90d",
    ),
)
KEPT: Final = Section(
    "a kept property",
    Key("property", NAME, "The property of the event, if its name differs from NAME."),
    Key("from", OneOrMore(NAME), "The event types from which it is kept. By default, all types."),
)
TRANSITION: Final = Section(
    "a transition",
    Key(
        "from",
        OneOrMore(NAME),
        f"The stages that it leaves; `{ANY}` means every stage except the target.",
        required=True,
    ),
    Key("to", NAME, "The stage that it enters. `cause.rule` of the output names it.", required=True),
    Key("when", RuleKind(), "A rule that must hold. It is evaluated after each event, and when time alone changes it."),
    Key("after", DURATION, "Instead of `when`: a timeout transition, this long after `since`."),
    Key("since", RuleKind("a rule for a time, such as last_order_at"), "The time from which `after` counts."),
    Key("starts_cycle", SWITCH, "`true` raises `cycle` by one.", default="false"),
)
TRACK: Final = Section(
    "a track",
    Key("initial", NAME, "The stage that a customer enters with the first event.", required=True),
    Key("transitions", ListOf(TRANSITION), "The transitions, tried from the top.", required=True),
)
PLAYBOOK: Final = Section(
    "a playbook",
    Key("playbook", NAME, "The name of the playbook, for people and metrics.", required=True),
    Key(
        "version",
        number(1, 1_000_000),
        "Raise it with every change in production: profiles carry the version under which they were last processed.",
        required=True,
    ),
    Key(
        "currency",
        CURRENCY,
        "Currency of amounts in rules, of events without a currency, and of profiles before the first order. By "
        "default the setting `currency`, which is recommended.",
    ),
    Key("session_gap", DURATION, "A new session begins after this time without activity.", default="30m"),
    Key(
        "event_types",
        ListOf(NAME, most=100),
        "Your own event types that rules use. A type that is not declared is a mistake, so a misspelt one is found.",
        default="[]",
    ),
    Key(
        "properties",
        TableOf(NAME, PROPERTY_TYPE),
        "Properties of events that rules read as `event.properties.NAME`, each with its type. A value of another type "
        "counts as absent.",
        default="{}",
    ),
    Key(
        "keep",
        TableOf(NAME, KEPT),
        "Properties whose latest value the profile keeps. Rules read it as `kept.NAME`.",
        default="{}",
    ),
    Key("passive", PASSIVE, "What happens to customers without their doing: it cancels and postpones no reminder."),
    Key("order_skew", ORDER_SKEW, "How far clocks may differ: clicks that an order has dealt with can be dated later."),
    Key("abandonment", OrOff(ABANDONMENT), "When an episode counts as abandoned. `off`: no episodes are kept."),
    Key("forget", FORGET, "When customers who never ordered are forgotten."),
    Key(
        "tracks",
        TableOf(NAME, TRACK, most=20, least=1),
        "State machines that run side by side. The first is the lifecycle, whose stage is the `stage` of profiles.",
        required=True,
    ),
    Key(
        "triggers",
        TableOf(NAME, TRIGGER, most=200),
        "Requests to subscribers, sent to the topic of triggers. They are checked in this order.",
        default="{}",
    ),
    Key(
        "renamed",
        TableOf(number(2, 1_000_000), TableOf(NAME, TableOf(NAME, NAME))),
        "Renamed stages: by the version that renamed them, then by track, `old name: new name`.",
        default="{}",
    ),
)
