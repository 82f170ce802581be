"""Run a shop's events through a `ShellHarness`, and compare outputs."""

from __future__ import annotations

from typing import Any

from streams.core.activity import Source
from tests.support.shell_harness import ShellHarness
from tests.support.shop_events import DAY

NOON = 1_763_719_200_000
CLICKS, ORDERS = Source.CLICKSTREAM, Source.ORDERS


def by_id(outputs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """As a subscriber that de-duplicates sees them; the same id must not have two contents."""
    found: dict[str, dict[str, Any]] = {}
    for output in outputs:
        assert found.setdefault(output["id"], output) == output
    return found


def same(outputs: list[dict[str, Any]], right: dict[str, dict[str, Any]]) -> bool:
    """Whether these are the right ones, each as it has to be however often it came."""
    return all(right.get(output["id"]) == output for output in outputs) and len(by_id(outputs)) == len(right)


async def expected(clicks: list[dict[str, Any]], orders: list[dict[str, Any]], end: int) -> dict[str, dict[str, Any]]:
    """What one partition makes of the same events."""
    harness = ShellHarness(end, 1)
    for event in clicks:
        harness.put(CLICKS, 0, event, event["occurred_at"])
    for event in orders:
        harness.put(ORDERS, 0, event, event["occurred_at"])
    await harness.run()
    harness.now += 2 * DAY
    await harness.run()
    return by_id(harness.outputs())


WELL_KEYED: dict[str, Any] = {"clickstream_well_keyed": True, "orders_well_keyed": True}
Outputs = dict[str, dict[str, Any]]
Profiles = dict[tuple[bool, str], dict[str, Any]]


def key_of(event: dict[str, Any]) -> bytes:
    key: str = event.get("customer_id") or event["anonymous_id"]
    return key.encode()


async def until_done(harness: ShellHarness) -> None:
    await harness.run()
    harness.now += 2 * DAY
    await harness.run()
