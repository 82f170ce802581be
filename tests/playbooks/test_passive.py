"""A playbook names what is no activity, and how far the clocks of orders and clicks may differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams import playbooks
from streams.core.model.policy import HOUR, MINUTE, PASSIVE_CHANNELS, PASSIVE_TYPES, REPORT_TYPES, Policy
from streams.playbooks import PlaybookError, explanation, parse

TRACKS = "tracks: {lifecycle: {initial: new, transitions: []}}"
LIVE = Path(playbooks.__file__).parents[1] / "demo" / "live.yaml"


def policy(*lines: str) -> Policy:
    return parse("\n".join(["playbook: own", "version: 1", *lines, TRACKS])).policy


def mistake(*lines: str) -> str:
    with pytest.raises(PlaybookError) as raised:
        policy(*lines)
    [problem] = raised.value.problems
    return f"{problem.line}:{problem.column}: {problem.message}"


def test_reports_of_a_mailer_are_passive_by_default() -> None:
    assert policy() == Policy()
    assert policy().passive_types >= {"message_sent", "message_bounced", "message_opened", "unsubscribed"}


def test_named_types_and_channels_are_added_to_what_is_always_passive() -> None:
    own = policy(
        "event_types: [coupon_mailed]",
        "passive: {event_types: [message_clicked, coupon_mailed, message_sent], channels: [phone]}",
    )
    assert own.passive_types == PASSIVE_TYPES | {"message_clicked", "coupon_mailed", "message_sent"}
    assert own.passive_channels == PASSIVE_CHANNELS | {"phone"}


def test_empty_list_leaves_what_is_always_passive() -> None:
    assert policy("passive: {event_types: [], channels: []}").passive_types == PASSIVE_TYPES
    assert policy("passive: {channels: [phone]}").passive_types == PASSIVE_TYPES.union(REPORT_TYPES)


@pytest.mark.parametrize("source", [*playbooks.SHIPPED, LIVE], ids=str)
def test_shipped_playbooks_name_what_the_shop_did(source: str | Path) -> None:
    named = playbooks.load(source)
    assert named.policy.passive_types >= PASSIVE_TYPES.union(REPORT_TYPES)
    assert "subscription" in named.policy.passive_channels
    assert named.event_types >= set(REPORT_TYPES), "known to the summary of a replay"


def test_order_skew_is_read() -> None:
    assert (policy().order_skew_named, policy().order_skew_items) == (HOUR, 5 * MINUTE)
    own = policy("order_skew: {named: 2h}")
    assert (own.order_skew_named, own.order_skew_items) == (2 * HOUR, 5 * MINUTE)
    assert policy("order_skew: {named: off, items: off}").order_skew_named == 0


def test_mistakes_are_reported_with_their_place() -> None:
    assert mistake("passive: {event_types: [mesage_sent]}") == (
        "3:25: 'mesage_sent' is neither a known event type nor one of event_types; did you mean message_sent?"
    )
    assert mistake("passive: {event_types: [message_sent, order_updated]}") == (
        "3:39: order_updated is of an order, which its channel makes passive: use channels"
    )
    assert mistake("passive: {chanels: [pos]}").endswith("did you mean channels?")
    assert mistake("passive: {channels: [' ']}").startswith("3:23: ")
    assert mistake("order_skew: {named: soon}").startswith("3:21: ")
    assert mistake("order_skew: {name: 1h}").endswith("did you mean named?")


def test_explanation_tells_what_is_passive() -> None:
    shown = explanation.text(playbooks.load("ecommerce"))
    assert (
        "  events message_bounced, message_delivered, message_failed, message_opened, message_sent and unsub" in shown
    )
    assert "  orders of the channels marketplace, pos, retail and subscription, and changes of any order\n" in shown
    assert "  by up to 1h, if they carry the id of the order's cart or checkout\n" in shown
