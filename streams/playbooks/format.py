"""The keys of a playbook: the one table from which the loader, the JSON Schema and the reference page are made."""

from __future__ import annotations

from typing import Final

from streams.core.rules import Type
from streams.playbooks.key_kinds import (
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
"""In `from`: every stage but the target."""

PROPERTY_TYPE: Final = Scalar(f"one of {', '.join(TYPES)}", TYPES.get, {"enum": list(TYPES)})
_STEPS: Final = ListOf(DURATION, most=20)

BROWSE: Final = Section(
    "browse",
    Key("after", DURATION, "Abandoned when nothing has happened for so long.", default="30m"),
    Key(
        "silent_after_order",
        OrOff(DURATION),
        "Browsing so soon after an order is not abandoned: nothing is sent.",
        default="off",
    ),
)
CART: Final = Section(
    "cart",
    Key("after", DURATION, "Step 1 is due when nothing has happened for so long.", default="60m"),
    Key(
        "steps", _STEPS, "Further steps, each so long after that same last activity, in this order.",
        default="[24h, 72h]",
    ),
)  # fmt: skip
CHECKOUT: Final = Section(
    "checkout",
    Key("after", DURATION, "Step 1 is due when nothing has happened for so long.", default="30m"),
    Key("steps", _STEPS, "Further steps, each so long after that same last activity.", default="[24h, 72h]"),
    Key(
        "fresh",
        DURATION,
        "An episode is a checkout while its last checkout event is less than this older than the last activity.",
        default="24h",
    ),
)
ABANDONMENT: Final = Section(
    "abandonment",
    Key("browse", OrOff(BROWSE), "Products were viewed, nothing is in the cart. `off`: never abandoned."),
    Key("cart", OrOff(CART), "The cart holds something."),
    Key("checkout", OrOff(CHECKOUT), "The checkout was begun."),
    Key(
        "precedence",
        ListOf(one_of("checkout", "cart", "browse"), most=3, least=1),
        "Which kind an episode is that could be several, the highest first. It names every kind that is not off.",
        default="[checkout, cart, browse]",
    ),
    Key(
        "cool_down",
        DURATION,
        "So long after step 1, the same again is not another abandonment: the earlier one goes on.",
        default="7d",
    ),
    Key(
        "cool_down_per",
        one_of("content", "kind"),
        "What the same is: the same products and quantities, or any of the same or a lower kind.",
        default="content",
    ),
    Key("recovery_window", DURATION, "An order so long after the last step recovers the abandonment.", default="7d"),
    Key("recent_window", DURATION, "What `recent_abandonments` of an output looks back.", default="7d"),
    Key("expiry", DURATION, "So long after the last activity an episode ends and the cart is emptied.", default="30d"),
)
FORGET: Final = Section(
    "forget",
    Key("identified", OrOff(DURATION), "Known customers, so long after their last event.", default="400d"),
    Key("anonymous", OrOff(DURATION), "Visitors who never said who they are.", default="90d"),
)
KEPT: Final = Section(
    "a kept property",
    Key("property", NAME, "The property, where its name is another one."),
    Key("from", OneOrMore(NAME), "The types of events that tell it. By default any."),
)
TRANSITION: Final = Section(
    "a transition",
    Key("from", OneOrMore(NAME), f"The stages it leads out of; `{ANY}` is every one but the target.", required=True),
    Key("to", NAME, "The stage it leads to. `cause.rule` of the output names it.", required=True),
    Key("when", RuleKind(), "A rule that must hold: asked after each event, and when time alone changes it."),
    Key("after", DURATION, "Instead of `when`: a deadline, so long after `since`."),
    Key("since", RuleKind("a rule that tells a time, such as last_order_at"), "What `after` counts from."),
    Key("starts_cycle", SWITCH, "Whether `cycle` goes up by one.", default="false"),
)
TRACK: Final = Section(
    "a track",
    Key("initial", NAME, "The stage that a customer enters with the first event.", required=True),
    Key("transitions", ListOf(TRANSITION), "What leads where, tried from the top.", required=True),
)
PLAYBOOK: Final = Section(
    "a playbook",
    Key("playbook", NAME, "Its name, for people and metrics.", required=True),
    Key(
        "version",
        number(1, 1_000_000),
        "Raise it with every change that goes live: profiles carry the version they were last worked on under.",
        required=True,
    ),
    Key(
        "currency",
        CURRENCY,
        "Of the amounts in rules, taken for events that name none, and shown before the first order. By default, and "
        "best left so, the setting `currency`.",
    ),
    Key("session_gap", DURATION, "A session is new when no activity came for so long.", default="30m"),
    Key(
        "event_types",
        ListOf(NAME, most=100),
        "Types of events of your own that rules name, so that a misspelt one is a mistake and not a rule that never "
        "holds.",
        default="[]",
    ),
    Key(
        "properties",
        TableOf(NAME, PROPERTY_TYPE),
        "Properties of events that rules read as `event.properties.NAME`, each with what it is. A value of another "
        "kind counts as absent.",
        default="{}",
    ),
    Key(
        "keep",
        TableOf(NAME, KEPT),
        "Properties whose latest value is kept with the customer; rules read it as `kept.NAME`.",
        default="{}",
    ),
    Key("abandonment", OrOff(ABANDONMENT), "When shopping counts as abandoned. `off`: no episodes are kept."),
    Key("forget", FORGET, "When customers who never ordered are forgotten."),
    Key(
        "tracks",
        TableOf(NAME, TRACK, most=20, least=1),
        "State machines that run side by side. The first is the lifecycle: the `stage` of profiles.",
        required=True,
    ),
    Key(
        "triggers",
        TableOf(NAME, TRIGGER, most=200),
        "What is to be done when, sent on the topic of triggers; asked in this order.",
        default="{}",
    ),
    Key(
        "renamed",
        TableOf(number(2, 1_000_000), TableOf(NAME, TableOf(NAME, NAME))),
        "Stages that got another name: by the version that brought it, then by track, old name: new name.",
        default="{}",
    ),
)
