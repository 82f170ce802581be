"""Holds the core against the naive reference."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from streams.core.activity import Activity, Item
from streams.core.customer import Lifecycle
from streams.core.effects import Abandonment, Output
from streams.core.playbook import Playbook
from streams.core.policy import Policy
from streams.core.profile import Profile
from tests.support.reference_lifecycle import final, reference

Who = tuple[bool, str]


def drive(
    events: Sequence[Activity], policy: Policy, until: int | None, playbook: Playbook = Playbook()
) -> tuple[list[Output], dict[Who, Profile]]:
    """The core without the engine around it: exactly in this order."""
    lifecycle = Lifecycle(msgspec.structs.replace(playbook, policy=policy))
    profiles: dict[Who, Profile] = {}
    outputs: list[Output] = []
    counts: Counter[tuple[str, str]] = Counter()

    def pass_time(who: Who, to: int) -> None:
        while who in profiles and (due := profiles[who].next_deadline) is not None and due <= to:
            lifecycle.fire(profiles[who], outputs, counts)
            if profiles[who].stage is None:
                del profiles[who]

    for event in events:
        who = (event.identified, event.customer)
        if who in profiles and lifecycle.is_duplicate(profiles[who], event):
            continue
        pass_time(who, event.at)
        profile = profiles.setdefault(who, lifecycle.new(event.customer, event.identified))
        lifecycle.apply(profile, event, outputs, counts)
    if until is not None:
        for who in list(profiles):
            pass_time(who, until)
    return outputs, profiles


def by_customer(outputs: Iterable[Output]) -> dict[Who, list[Output]]:
    each: defaultdict[Who, list[Output]] = defaultdict(list)
    for output in outputs:
        if isinstance(output, Abandonment):
            output = msgspec.structs.replace(output, items=meaningful(output.items))
        each[output.identified, output.customer].append(output)
    return dict(each)


def meaningful(items: Iterable[Item]) -> tuple[Item, ...]:
    """Without what means nothing: the currency where there is no price."""
    return tuple(item if item.price is not None else msgspec.structs.replace(item, currency="") for item in items)


def view(profile: Profile, policy: Policy) -> dict[str, Any]:
    """A profile as `final` of the reference shows it."""
    lines = profile.cart.now.lines.items()
    cart = tuple(Item(product or None, li.category, li.price, li.currency, li.quantity) for product, li in lines)
    same = (
        "first_seen_at last_seen_at product_views orders revenue stage sequence cycle last_activity_at last_order_at "
        "other_currency_orders subscribed"
    )
    return {name: getattr(profile, name) for name in same.split()} | {
        "sessions": profile.sessions.count,
        "currency": profile.currency or policy.currency,
        "cart": meaningful(cart),
    }


def expected(seen: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in seen.items() if name not in ("cart_items", "cart_value")}
    return kept | {"cart": meaningful(seen["cart"])}


def agrees(events: Sequence[Activity], policy: Policy, until: int | None) -> None:
    """Asserts that core and reference make the same outputs and end in the same state."""
    outputs, profiles = drive(events, policy, until)
    assert by_customer(outputs) == by_customer(reference(events, policy, until))
    seen = {who: view(profile, policy) for who, profile in profiles.items()}
    assert seen == {who: expected(view) for who, view in final(events, policy, until).items()}
