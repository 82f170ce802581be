"""Abandonment settings of playbooks: cool-downs per kind, and silence about browsing after an order."""

from __future__ import annotations

import pytest

from streams.core.model.event import Event
from streams.playbooks import parse
from tests.support.customer_history import DAY, HOUR, MINUTE, CustomerHistory, click, order, run

PER_KIND = "cool_down_per: kind"
SILENT = "browse: {after: 30m, silent_after_order: 3d}"
Summary = list[tuple[str, str, int, int]]


def under(line: str, *events: Event, until: int = 20 * DAY) -> CustomerHistory:
    """Play events under a playbook whose `abandonment` has this line, and defaults otherwise."""
    playbook = parse(
        f"""
playbook: own
version: 1
abandonment:
  {line}
tracks:
  lifecycle:
    initial: visitor
    transitions:
      - {{from: visitor, to: customer, when: orders >= 1}}
"""
    )
    return run(events, until, playbook.policy)


def browse(*times: int) -> Summary:
    return [("abandoned", "browse", 1, at) for at in times]


# ------------------------------------------------------------------------------------------------ cool-down per kind


def two_views(again: int) -> tuple[Event, Event]:
    """Return views of two products, one after the other. The abandonment of the first comes at 30m."""
    return click(0, "product_viewed", "lamp"), click(again, "product_viewed", "chair")


def test_other_products_are_abandoned_within_the_cool_down_unless_it_is_per_kind() -> None:
    events = two_views(DAY)
    assert under("cool_down_per: content", *events).abandonment_summary == browse(30 * MINUTE, DAY + 30 * MINUTE)
    assert under(PER_KIND, *events).abandonment_summary == browse(30 * MINUTE)


@pytest.mark.parametrize(
    ("again", "summary"), [(7 * DAY - 1, browse(30 * MINUTE)), (7 * DAY, browse(30 * MINUTE, 7 * DAY + 30 * MINUTE))]
)
def test_cool_down_per_kind_ends_at_its_exact_millisecond(again: int, summary: Summary) -> None:
    assert under(PER_KIND, *two_views(again)).abandonment_summary == summary


def test_changed_cart_continues_with_its_next_step_and_current_content() -> None:
    events = click(0, "product_added", "lamp"), click(2 * HOUR, "product_added", "chair")
    until = 80 * HOUR
    assert under("cool_down_per: content", *events, until=until).abandonment_summary == [
        ("abandoned", "cart", 1, HOUR),
        ("abandoned", "cart", 1, 3 * HOUR),
        ("abandoned", "cart", 2, 26 * HOUR),
        ("abandoned", "cart", 3, 74 * HOUR),
    ]
    per_kind = under(PER_KIND, *events, until=until)
    assert per_kind.abandonment_summary == [
        ("abandoned", "cart", 1, HOUR),
        ("abandoned", "cart", 2, 26 * HOUR),
        ("abandoned", "cart", 3, 74 * HOUR),
    ]
    assert [[item.product_id for item in abandonment.items] for abandonment in per_kind.abandonments] == [
        ["lamp"], ["lamp", "chair"], ["lamp", "chair"],
    ]  # fmt: skip
    assert len({abandonment.abandonment_id for abandonment in per_kind.abandonments}) == 1


def test_cool_down_per_kind_silences_lower_kinds_and_not_higher_ones() -> None:
    up = click(0, "product_viewed", "lamp"), click(HOUR, "product_added", "chair")
    assert under(PER_KIND, *up, until=3 * HOUR).abandonment_summary == [
        *browse(30 * MINUTE),
        ("abandoned", "cart", 1, 2 * HOUR),
    ]
    down = (
        click(0, "product_added", "lamp"),
        click(2 * HOUR, "product_removed", "lamp"),
        click(3 * HOUR, "product_viewed", "chair"),
    )
    cart = ("abandoned", "cart", 1, HOUR)
    assert under(PER_KIND, *down, until=DAY).abandonment_summary == [cart]
    assert under("cool_down_per: content", *down, until=DAY).abandonment_summary == [
        cart,
        *browse(3 * HOUR + 30 * MINUTE),
    ]


def test_an_order_ends_the_cool_down_per_kind() -> None:
    first, second = two_views(2 * HOUR)
    summary = under(PER_KIND, first, order(HOUR), second).abandonment_summary
    assert summary == [*browse(30 * MINUTE), ("recovered", "browse", 1, HOUR), *browse(2 * HOUR + 30 * MINUTE)]


# ------------------------------------------------------------------------------------ silence after an order


@pytest.mark.parametrize("channel", ["web", "pos"])
@pytest.mark.parametrize(
    ("viewed", "silent"), [(DAY, True), (3 * DAY - 30 * MINUTE - 1, True), (3 * DAY - 30 * MINUTE, False)]
)
def test_browse_soon_after_an_order_is_silent(viewed: int, silent: bool, channel: str) -> None:
    events = order(0, channel=channel), click(viewed, "product_viewed", "lamp")
    assert under(SILENT, *events).abandonment_summary == ([] if silent else browse(viewed + 30 * MINUTE))
    assert under("browse: {after: 30m}", *events).abandonment_summary == browse(viewed + 30 * MINUTE)


def test_silent_browse_after_an_order_is_not_sent_later() -> None:
    viewed, later = click(DAY, "product_viewed", "lamp"), click(3 * DAY + HOUR)
    assert under(SILENT, order(0), viewed, later).abandonment_summary == []
    assert under(SILENT, viewed, later).abandonment_summary == browse(DAY + 30 * MINUTE)  # no order


def test_silence_counts_from_the_latest_order() -> None:
    events = order(0), order(2 * DAY, "o-2"), click(4 * DAY, "product_viewed", "lamp")
    assert under(SILENT, *events).abandonment_summary == []
    assert under(SILENT, *events, click(6 * DAY, "product_viewed", "chair")).abandonment_summary == browse(
        6 * DAY + 30 * MINUTE
    )


@pytest.mark.parametrize(
    ("type_", "kind", "due"), [("product_added", "cart", 60), ("checkout_started", "checkout", 30)]
)
def test_cart_or_checkout_is_abandoned_at_any_time_after_an_order(type_: str, kind: str, due: int) -> None:
    summary = under(SILENT, order(0), click(HOUR, type_, "lamp"), until=3 * HOUR).abandonment_summary
    assert summary == [("abandoned", kind, 1, HOUR + due * MINUTE)]
