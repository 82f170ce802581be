"""One effect for each example of an output topic: it becomes `schemas/examples/<topic>/valid/<name>.json`."""

from __future__ import annotations

import uuid
from typing import Final

import msgspec

from streams.core.model.currencies import PIECE, PRICE_UNIT
from streams.core.model.items import Item
from streams.core.model.outputs import (
    Abandonment,
    Cause,
    Datum,
    IdentityChange,
    Output,
    StageChange,
    Summary,
    Triggered,
)

AT: Final = 1_795_255_200_000  # 2026-11-21T10:00:00Z
HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR


def _id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


PROSPECT = StageChange(
    id=_id("prospect"),
    customer="c-1",
    identified=True,
    subscribed=None,
    track="lifecycle",
    from_stage="visitor",
    to_stage="prospect",
    occurred_at=AT,
    sequence=2,
    cycle=1,
    cause=Cause(kind="activity", rule="prospect", event_id="e-9", event_type="product_viewed"),
    previous_stage_ms=61_200,
    profile=Summary(
        first_seen_at=AT - 61_200,
        last_seen_at=AT,
        sessions=1,
        product_views=3,
        orders=0,
        revenue=0,
        currency="EUR",
        average_order_value=None,
        cart_items=0,
        cart_value=0,
    ),
)
_BUYER = msgspec.structs.replace(
    PROSPECT.profile, orders=2, revenue=11_981, average_order_value=5_991, cart_items=3_450, cart_value=None
)
STAGE_CHANGES: Final[dict[str, Output]] = {
    "activity": PROSPECT,
    "erased": msgspec.structs.replace(
        PROSPECT,
        id=_id("erased"),
        from_stage="prospect",
        to_stage=None,
        occurred_at=AT + 60_000,
        sequence=3,
        cause=Cause(kind="erased"),
        previous_stage_ms=60_000,
    ),
    "first": msgspec.structs.replace(
        PROSPECT,
        id=_id("first"),
        customer="a-7",
        identified=False,
        from_stage=None,
        to_stage="visitor",
        occurred_at=AT - 61_200,
        sequence=1,
        cause=Cause(kind="activity", rule="visitor", event_id="clickstream/0/17", event_type="page_viewed"),
        previous_stage_ms=None,
    ),
    "inactivity": msgspec.structs.replace(
        PROSPECT,
        id=_id("inactivity"),
        subscribed=False,
        from_stage="repeat",
        to_stage="at_risk",
        occurred_at=AT + 90 * DAY,
        sequence=5,
        cycle=2,
        cause=Cause(kind="inactivity", rule="at_risk", deadline=AT + 90 * DAY),
        previous_stage_ms=90 * DAY,
        profile=_BUYER,
    ),
    "playbook": msgspec.structs.replace(
        PROSPECT,
        id=_id("playbook"),
        track="tier",
        from_stage="silver",
        to_stage="gold",
        cause=Cause(kind="playbook", rule="gold"),
        previous_stage_ms=DAY,
        profile=_BUYER,
    ),
    "merge": msgspec.structs.replace(
        PROSPECT,
        id=_id("merge"),
        occurred_at=AT + HOUR,
        cause=Cause(kind="merge", rule="prospect", merged=("a-7",)),
    ),
    "merged-away": msgspec.structs.replace(
        PROSPECT,
        id=_id("merged-away"),
        customer="a-7",
        identified=False,
        from_stage="prospect",
        to_stage=None,
        occurred_at=AT + HOUR,
        sequence=3,
        cause=Cause(kind="merge", merged_into="c-1"),
        previous_stage_ms=HOUR,
    ),
    "forgotten": msgspec.structs.replace(
        PROSPECT,
        id=_id("forgotten"),
        subscribed=True,
        from_stage="dormant",
        to_stage=None,
        occurred_at=AT + 400 * DAY,
        sequence=4,
        cause=Cause(kind="forgotten", deadline=AT + 400 * DAY),
        previous_stage_ms=370 * DAY + 1,
        profile=msgspec.structs.replace(PROSPECT.profile, currency="JPY"),
    ),
}

ABANDONED = Abandonment(
    id=_id("abandoned"),
    type="abandoned",
    kind="cart",
    abandonment_id=_id("abandoned"),
    customer="c-1",
    identified=True,
    subscribed=True,
    step=1,
    steps=3,
    occurred_at=AT,
    last_activity_at=AT - HOUR,
    episode_started_at=AT - 2 * HOUR,
    items=(
        Item("p-42", "shoes", 5_990 * PRICE_UNIT, "EUR", 2 * PIECE),
        Item(None, None, 5 * PRICE_UNIT, "EUR", PIECE),
    ),
    items_cut=False,
    value=11_985,
    currency="EUR",
    cart_id="k-1",
    checkout_id=None,
    session_id="s-3",
    supersedes=None,
    recent_abandonments=0,
)
ABANDONMENTS: Final[dict[str, Output]] = {
    "abandoned.cart": ABANDONED,
    "abandoned.step-2": msgspec.structs.replace(
        ABANDONED,
        id=_id("step-2"),
        step=2,
        occurred_at=AT + 23 * HOUR,
        supersedes=_id("earlier"),
        recent_abandonments=1,
    ),
    "abandoned.checkout": msgspec.structs.replace(
        ABANDONED, kind="checkout", checkout_id="h-1", items=(Item("p-42", "shoes", None, "EUR", PIECE),), value=None
    ),
    "abandoned.browse": msgspec.structs.replace(
        ABANDONED,
        kind="browse",
        customer="a-7",
        identified=False,
        subscribed=None,
        steps=1,
        items=(
            Item("p-1", None, 1_980 * PRICE_UNIT, "JPY", PIECE),
            Item("p-2", None, 12_345 * PRICE_UNIT, "KWD", PIECE),
        ),
        value=None,
        currency=None,
        cart_id=None,
        session_id=None,
    ),
    "abandoned.cut": msgspec.structs.replace(
        ABANDONED, items=(Item("screw", None, 12_500, "EUR", 450),), items_cut=True, value=None
    ),
    "recovered": msgspec.structs.replace(
        ABANDONED,
        id=_id("recovered"),
        type="recovered",
        occurred_at=AT + 90_500,
        order_id="o-1",
        order_total=11_980,
        order_currency="EUR",
        recovered_after_ms=90_500,
        match="cart",
    ),
    "recovered.unknown-total": msgspec.structs.replace(
        ABANDONED,
        id=_id("recovered"),
        type="recovered",
        occurred_at=AT + 7 * DAY,
        order_id="o-1",
        recovered_after_ms=7 * DAY,
        match="customer",
    ),
    "retracted": msgspec.structs.replace(
        ABANDONED, id=_id("retracted"), type="retracted", occurred_at=AT - 1, reason="late_order"
    ),
    "retracted.late-activity": msgspec.structs.replace(
        ABANDONED, id=_id("retracted"), type="retracted", occurred_at=AT - 1, reason="late_activity"
    ),
    "retracted.merge": msgspec.structs.replace(
        ABANDONED,
        id=_id("retracted"),
        type="retracted",
        customer="a-7",
        identified=False,
        occurred_at=AT + HOUR,
        reason="merge",
    ),
    "expired": msgspec.structs.replace(
        ABANDONED, id=_id("expired"), type="expired", step=3, occurred_at=AT + 30 * DAY - HOUR
    ),
}

TRIGGERED = Triggered(
    id=_id("triggered"),
    customer="c-1",
    identified=True,
    subscribed=True,
    trigger="welcome",
    occurred_at=AT,
    begun_at=AT,
    number=1,
    step=1,
    steps=2,
    bucket=41,
    held_out=False,
    cause=Cause(kind="activity", rule="welcome", event_id="e-9", event_type="signed_up"),
    event_id="e-9",
    event_type="signed_up",
    output_id=None,
    currency="EUR",
    data=(Datum("template", "text", "welcome"),),
)
TRIGGERS: Final[dict[str, Output]] = {
    "activity": TRIGGERED,
    "abandonment": msgspec.structs.replace(
        TRIGGERED,
        id=_id("follow-up"),
        trigger="cart-abandoned",
        step=2,
        begun_at=AT - DAY,
        cause=Cause(kind="inactivity", rule="cart-abandoned", deadline=AT),
        event_id=None,
        event_type=None,
        output_id=ABANDONED.id,
        data=(
            Datum("offer_percent", "number", 10),
            Datum("spent", "money", 11_981),
            Datum("last_order_at", "time", AT - 3 * DAY),
            Datum("idle_seconds", "duration", DAY),
            Datum("vip", "bool", True),
            Datum("category", "text", None),
        ),
    ),
    "held-out": msgspec.structs.replace(
        TRIGGERED,
        id=_id("held-out"),
        customer="c-2",
        trigger="birthday",
        steps=1,
        bucket=4,
        held_out=True,
        cause=Cause(kind="inactivity", rule="birthday", deadline=AT),
        event_id=None,
        event_type=None,
        data=(),
    ),
}

LINKED = IdentityChange(
    id=_id("linked"),
    type="linked",
    customer="c-1",
    occurred_at=AT,
    anonymous_id="a-7",
    event_id="e-9",
    event_type="identified",
)
IDENTITIES: Final[dict[str, Output]] = {
    "linked": LINKED,
    "switched": msgspec.structs.replace(
        LINKED, id=_id("switched"), type="switched", customer="c-2", previous_customer="c-1", occurred_at=AT + DAY
    ),
    "refused": msgspec.structs.replace(
        LINKED, id=_id("refused"), type="refused", customer="c-2", owner="c-1", event_type="order_completed"
    ),
    "erased": IdentityChange(
        id=_id("erased"), type="erased", customer="c-1", occurred_at=AT + 2 * DAY, request_id="r-3"
    ),
    "erased.device": IdentityChange(
        id=_id("erased-device"), type="erased", customer="a-7", identified=False, occurred_at=AT, request_id="r-4"
    ),
}
