"""Run a shop's events through a `ShellHarness`, and compare outputs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from streams.core.model.event import Source
from tests.support.shell_harness import ShellHarness
from tests.support.shop_events import DAY

NOON = 1_763_719_200_000
CLICKS, ORDERS = Source.CLICKSTREAM, Source.ORDERS


def by_id(outputs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the outputs as a subscriber sees them that deduplicates by id.

    Fail if two outputs with the same id differ.
    """
    found: dict[str, dict[str, Any]] = {}
    for output in outputs:
        assert found.setdefault(output["id"], output) == output
    return found


def same(outputs: list[dict[str, Any]], right: dict[str, dict[str, Any]]) -> bool:
    """Return True if the outputs are exactly the right ones, repeats aside."""
    return all(right.get(output["id"]) == output for output in outputs) and len(by_id(outputs)) == len(right)


async def run_to_the_end(harness: ShellHarness) -> None:
    """Run until everything is applied, and once more two days later."""
    await harness.run()
    harness.now += 2 * DAY
    await harness.run()


async def expected(clicks: list[dict[str, Any]], orders: list[dict[str, Any]], end: int) -> dict[str, dict[str, Any]]:
    """Return the outputs of a single partition for these events, by id."""
    harness = ShellHarness(end, 1)
    for event in clicks:
        harness.append(CLICKS, 0, event, event["occurred_at"])
    for event in orders:
        harness.append(ORDERS, 0, event, event["occurred_at"])
    await run_to_the_end(harness)
    return by_id(harness.outputs())


CO_PARTITIONED: dict[str, Any] = {"clickstream_co_partitioned": True, "orders_co_partitioned": True}
Outputs = dict[str, dict[str, Any]]
Profiles = dict[tuple[bool, str], dict[str, Any]]


def key_of(event: dict[str, Any]) -> bytes:
    """Return the key of an event in a co-partitioned topic."""
    key: str = event.get("customer_id") or event["anonymous_id"]
    return key.encode()


async def goes_wrong(run: Callable[[int], Awaitable[tuple[bool, *tuple[Any, ...]]]], seeds: Iterable[int]) -> bool:
    """Return True if the outputs of a run are wrong for some seed. For negative controls: the first such seed will do.

    `run` returns first whether its outputs were right.
    """
    for seed in seeds:
        right, *_ = await run(seed)
        if not right:
            return True
    return False
