"""Bounds on the size of a profile: the oldest content is dropped, and counted.

A profile is measured only when it may have become too large: `weight` is an upper bound of its size, and every event
adds to it. The bound is packed with the profile, so trimming does not depend on when the profile was packed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from streams.core.lifecycle import orders
from streams.core.lifecycle.cart import settle
from streams.core.lifecycle.cart_contents import oldest
from streams.core.model.aggregates import Occurrences
from streams.core.model.counters import EngineCounters
from streams.core.profile import recent_ids
from streams.core.profile.codec import packed_size
from streams.core.profile.profile import Profile

BYTES_PER_EVENT: Final = 100
"""Most bytes that an event adds to a packed profile beside twice its record (in the cart and in the cart's log)."""


def trim(profile: Profile, limit: int, counts: EngineCounters) -> None:
    """Trim the profile if it takes more than `limit` bytes without its header. Called when its weight exceeds that.

    Outputs that wait for their commit come on top, since they must not be dropped.
    """
    profile.weight = _weight(profile)
    while profile.weight > limit and _drop(profile, counts):
        profile.weight = _weight(profile)


def _weight(profile: Profile) -> int:
    """Return the packed size, plus room for copies of the cart and the views in the cart's log and an abandonment."""
    views = {} if profile.episode is None else profile.episode.views
    return packed_size(profile) + 2 * packed_size(profile.cart.now) + packed_size(views)


def _drop(profile: Profile, counts: EngineCounters) -> bool:
    """Drop the oldest quarter of the part that takes most room. Return False if nothing is left to drop."""
    views = {} if profile.episode is None else profile.episode.views
    abandoned = {} if profile.latest is None else profile.latest.lines
    parts: list[tuple[str, object, int, Callable[[Profile, int], None]]] = [
        ("cart_log", profile.cart.log, len(profile.cart.log), _drop_log),
        ("cart_orders", profile.cart.purchases, len(profile.cart.purchases), _drop_purchases),
        ("cart_lines", profile.cart.now.lines, len(profile.cart.now.lines), _drop_lines),
        ("orders", profile.order_book, len(profile.order_book), _drop_orders),
        ("order_notes", profile.order_notes, len(profile.order_notes), _drop_notes),
        ("viewed_products", views, len(views), _drop_views),
        ("abandoned_items", abandoned, len(abandoned), _drop_items),
        ("event_ids", profile.event_ids, len(profile.event_tags), _drop_event_ids),
    ]
    aggregates = profile.aggregates
    if aggregates is not None:
        parts += [
            (
                "windows",
                aggregates.windows,
                sum(len(buckets) for buckets in aggregates.windows.values()),
                _drop_buckets,
            ),
            ("categories_bought", aggregates.categories_bought, len(aggregates.categories_bought), _drop_categories),
            ("products_bought", aggregates.products_bought, len(aggregates.products_bought), _drop_products),
            (
                "categories_viewed",
                aggregates.categories_viewed,
                len(aggregates.categories_viewed),
                _drop_viewed_categories,
            ),
            ("kept", aggregates.kept, len(aggregates.kept), _drop_kept),
        ]
    book = profile.triggers
    if book is not None:
        runs = [state.runs for state in book.states.values()]
        parts.append(("trigger_runs", runs, sum(len(runs_of_trigger) for runs_of_trigger in runs), _drop_runs))
    parts = [part for part in parts if part[2]]
    if not parts:
        return False
    label, _, length, drop = max(parts, key=lambda part: packed_size(part[1]))
    number = -(-length // 4)
    drop(profile, number)
    counts["trimmed", label] += number
    return True


def _drop_log(profile: Profile, number: int) -> None:
    del number  # the log is replayed from its beginning or not at all
    settle(profile.cart)


def _drop_purchases(profile: Profile, number: int) -> None:
    settle(profile.cart)  # orders in the log are applied again
    del profile.cart.purchases[:number]


def _drop_lines(profile: Profile, number: int) -> None:
    settle(profile.cart)
    lines = profile.cart.now.lines
    for product in oldest(lines)[:number]:
        del lines[product]
    profile.cart.now.cut = bool(lines)


def _drop_orders(profile: Profile, number: int) -> None:
    for _ in range(number):
        orders.drop_oldest(profile)


def _drop_notes(profile: Profile, number: int) -> None:
    for order_id in list(profile.order_notes)[:number]:
        del profile.order_notes[order_id]


def _drop_views(profile: Profile, number: int) -> None:
    assert profile.episode is not None
    for product in list(profile.episode.views)[:number]:
        del profile.episode.views[product]


def _drop_items(profile: Profile, number: int) -> None:
    assert profile.latest is not None
    for product in list(profile.latest.lines)[:number]:
        del profile.latest.lines[product]
    profile.latest.items_cut = True


def _drop_event_ids(profile: Profile, number: int) -> None:
    recent_ids.drop(profile.event_tags, profile.event_ids, number)


def _drop_buckets(profile: Profile, number: int) -> None:
    assert profile.aggregates is not None
    windows = profile.aggregates.windows
    for _ in range(number):
        buckets = max(windows.values(), key=lambda window: len(window))
        del buckets[min(buckets)]


def _drop_categories(profile: Profile, number: int) -> None:
    assert profile.aggregates is not None
    _drop_occurrences(profile.aggregates.categories_bought, number)


def _drop_products(profile: Profile, number: int) -> None:
    assert profile.aggregates is not None
    _drop_occurrences(profile.aggregates.products_bought, number)


def _drop_viewed_categories(profile: Profile, number: int) -> None:
    assert profile.aggregates is not None
    _drop_occurrences(profile.aggregates.categories_viewed, number)


def _drop_occurrences(known: dict[str, Occurrences], number: int) -> None:
    for name in sorted(known, key=lambda name: known[name].last)[:number]:
        del known[name]


def _drop_kept(profile: Profile, number: int) -> None:
    assert profile.aggregates is not None
    kept = profile.aggregates.kept
    for name in sorted(kept, key=lambda name: kept[name][1])[:number]:
        del kept[name]


def _drop_runs(profile: Profile, number: int) -> None:
    assert profile.triggers is not None
    for _ in range(number):
        state = max(profile.triggers.states.values(), key=lambda state: len(state.runs))
        del state.runs[0]
