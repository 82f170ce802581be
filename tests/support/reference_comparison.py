"""Compare the core with the reference: same outputs, same profiles."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.lifecycle.playbook import Playbook
from streams.core.model.counters import EngineCounters
from streams.core.model.event import Event
from streams.core.model.items import Item
from streams.core.model.outputs import Abandonment, Output
from streams.core.model.policy import Policy
from streams.core.profile.profile import Profile
from tests.support.default_playbook import default_playbook
from tests.support.reference_lifecycle import final, reference

CustomerKey = tuple[bool, str]
"""The name space of the id (True: a known customer) and the id."""


def play_in_core(
    events: Sequence[Event], policy: Policy, until: int | None, playbook: Playbook = default_playbook()
) -> tuple[list[Output], dict[CustomerKey, Profile]]:
    """Apply events to the core in exactly this order, without an engine, and let time pass to `until`.

    Return the outputs, and the profiles that are not forgotten.
    """
    lifecycle = Lifecycle(msgspec.structs.replace(playbook, policy=policy))
    profiles: dict[CustomerKey, Profile] = {}
    outputs: list[Output] = []
    counts: EngineCounters = Counter()

    def pass_time(key: CustomerKey, to: int) -> None:
        while key in profiles and (due := profiles[key].next_deadline) is not None and due <= to:
            lifecycle.fire(profiles[key], outputs, counts)
            if profiles[key].stage is None:
                del profiles[key]

    for event in events:
        key = (event.identified, event.customer)
        if key in profiles and lifecycle.is_duplicate(profiles[key], event):
            continue
        pass_time(key, event.at)
        profile = profiles.setdefault(key, lifecycle.new(event.customer, event.identified))
        lifecycle.apply(profile, event, outputs, counts)
    if until is not None:
        for key in list(profiles):
            pass_time(key, until)
    return outputs, profiles


def by_customer(outputs: Iterable[Output]) -> dict[CustomerKey, list[Output]]:
    """Return the outputs of each customer in their order, with items in the form of `meaningful`."""
    each: defaultdict[CustomerKey, list[Output]] = defaultdict(list)
    for output in outputs:
        if isinstance(output, Abandonment):
            output = msgspec.structs.replace(output, items=meaningful(output.items))
        each[output.identified, output.customer].append(output)
    return dict(each)


def meaningful(items: Iterable[Item]) -> tuple[Item, ...]:
    """Return the items without the currency where there is no price, because it has no meaning there."""
    return tuple(item if item.price is not None else msgspec.structs.replace(item, currency="") for item in items)


def profile_view(profile: Profile, policy: Policy) -> dict[str, Any]:
    """Return the parts of a profile that `final` of the reference shows, in the same form."""
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


def reference_view(seen: dict[str, Any]) -> dict[str, Any]:
    """Return what `final` shows of a customer, in the form of `profile_view`."""
    kept = {name: value for name, value in seen.items() if name not in ("cart_items", "cart_value", "conflicting")}
    return kept | {"cart": meaningful(seen["cart"])}


def differences(got: object, expected: object, where: str = "") -> list[str]:
    """Return the places in which two nested values differ, with core first and reference second."""
    if isinstance(got, msgspec.Struct) and type(got) is type(expected):
        got, expected = msgspec.structs.asdict(got), msgspec.structs.asdict(expected)
    if isinstance(got, dict) and isinstance(expected, dict):
        found = []
        for key in dict.fromkeys([*got, *expected]):
            found += differences(got.get(key, "missing"), expected.get(key, "missing"), f"{where}.{key}")
        return found
    if isinstance(got, list) and isinstance(expected, list):
        found = []
        for n in range(max(len(got), len(expected))):
            one, other = (side[n] if n < len(side) else "missing" for side in (got, expected))
            found += differences(one, other, f"{where}[{n}]")
        return found
    return [] if got == expected else [f"{where}: {got!r} != {expected!r}"]


def assert_core_agrees(events: Sequence[Event], policy: Policy, until: int | None) -> None:
    """Assert that core and reference make the same outputs and end in the same state."""
    outputs, profiles = play_in_core(events, policy, until)
    assert differences(by_customer(outputs), by_customer(reference(events, policy, until))) == []
    seen = {key: profile_view(profile, policy) for key, profile in profiles.items()}
    assert differences(seen, {key: reference_view(view) for key, view in final(events, policy, until).items()}) == []
