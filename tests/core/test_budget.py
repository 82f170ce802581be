"""The budget of one engine call: the process waits for the call. tests/property/test_reference_agrees.py shows that the
budget does not change outputs."""

from __future__ import annotations

from collections import Counter

import pytest

from streams.core.engine.config import EngineConfig
from streams.core.engine.partition_engine import PartitionEngine
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.counters import EngineCounters
from streams.core.model.event import Event, Source
from streams.core.model.outputs import Abandonment, Effects, Output
from streams.core.model.policy import DAY, HOUR, MINUTE
from streams.core.model.sources import Fetch
from streams.core.processing.budget import UNLIMITED, Budget
from streams.core.profile.codec import unpack
from tests.support.default_playbook import default_playbook

NOON = 1_763_719_200_000
TYPES = ("product_viewed", "product_added", "page_viewed", "checkout_started", "product_removed")
BATCH = 512 << 10
"""The largest batch of the producer: streams/shell/worker/factory.py."""


def click(n: int, at: int, customer: str = "c", type: str = "product_viewed", product: str = "p") -> Event:
    return Event(
        source=Source.CLICKSTREAM, offset=n, timestamp=at, size=200, at=at, customer=customer, identified=True,
        event_id=f"e{n}", type=type, currency="EUR", product_id=product, price=1000,
    )  # fmt: skip


def caught_up(at: int, clicks: int) -> dict[Source, Fetch]:
    return {Source.CLICKSTREAM: Fetch(at, clicks), Source.ORDERS: Fetch(at, 0)}


def waiting(customers: int, budget: Budget) -> PartitionEngine:
    """Return an engine with this many customers who viewed a product at noon."""
    engine = PartitionEngine(Lifecycle(default_playbook()), EngineConfig(budget=budget))
    engine.advance(NOON, caught_up(NOON, customers))
    engine.ingest(Source.CLICKSTREAM, [click(n, NOON, f"c{n}") for n in range(customers)], customers, NOON)
    assert not engine.unfinished
    return engine


def test_after_a_jump_of_the_watermark_each_call_fires_a_budget_of_deadlines() -> None:
    engine = waiting(100, Budget(records=1000, deadlines=30, pending=1 << 20))
    later = NOON + HOUR
    fired = [len(engine.advance(later, caught_up(later, 100)).deadlines)]
    while engine.unfinished:
        fired.append(len(engine.advance(later).deadlines))
    assert fired == [30, 30, 30, 10]


def test_late_event_between_budgets_finds_all_due_deadlines_fired() -> None:
    """The result is that of firing all deadlines at once: the policy decides about retractions, and not the budget."""

    def what_became(budget: Budget) -> list[Output]:
        engine = waiting(100, budget)
        later = NOON + HOUR
        outputs: list[Output] = []

        def take(effects: Effects) -> None:
            outputs.extend(effects.outputs)

        take(engine.advance(later, caught_up(later, 100)))
        take(engine.ingest(Source.CLICKSTREAM, [click(100, NOON + 10 * MINUTE, "c99")], 101, later))
        while engine.unfinished:
            take(engine.advance(later))
        snapshot = engine.snapshot()
        assert snapshot is not None
        return [output for output in outputs + snapshot.outputs if output.customer == "c99"]

    expected = what_became(UNLIMITED)
    assert [output.type for output in expected if isinstance(output, Abandonment)] == ["abandoned", "retracted"]
    assert what_became(Budget(records=1000, deadlines=7, pending=1 << 20)) == expected


def test_each_call_applies_a_budget_of_waiting_records() -> None:
    engine = PartitionEngine(
        Lifecycle(default_playbook()), EngineConfig(budget=Budget(records=40, deadlines=1000, pending=1 << 20))
    )
    effects = engine.ingest(Source.CLICKSTREAM, [click(n, NOON + n, f"c{n}") for n in range(100)], 100, NOON + HOUR)
    assert not effects.counts  # the orders of that time are not known yet
    counts = []
    effects = engine.advance(NOON + HOUR, {Source.ORDERS: Fetch(NOON + HOUR, 0)})
    while True:
        counts.append(effects.counts["applied", "clickstream"])
        assert engine.positions()[Source.CLICKSTREAM] == sum(counts)
        if not engine.unfinished:
            break
        effects = engine.advance(NOON + HOUR)
    assert counts == [40, 40, 20]


def largest_record(budget: Budget) -> tuple[int, int]:
    """Return the largest record of the changelog and the number of commits, for 3,000 abandoned carts in a backlog."""
    engine, end = PartitionEngine(Lifecycle(default_playbook()), EngineConfig(budget=budget)), NOON + 3000 * HOUR
    records = [click(n, NOON + n * HOUR, type="product_added", product=f"p{n % 30}") for n in range(3000)]
    engine.advance(end, {Source.ORDERS: Fetch(end, 0)})
    engine.ingest(Source.CLICKSTREAM, records, 3000, end)
    sizes: list[int] = []
    outputs: list[Output] = []
    while True:
        snapshot = engine.snapshot()
        assert snapshot is not None
        outputs += snapshot.outputs
        sizes += [len(value) for _, value in snapshot.changes if value is not None]
        assert unpack(snapshot.changes[0][1] or b"").pending == snapshot.outputs
        if not engine.unfinished:
            break
        engine.advance(end)
    assert len(outputs) > 2500
    assert len({output.id for output in outputs}) == len(outputs)
    return max(sizes), len(sizes)


def test_a_commit_comes_before_a_profile_keeps_more_outputs_than_its_record_can_hold() -> None:
    """Otherwise no commit of the partition would ever go through, and one customer would stop the group."""
    size, commits = largest_record(Budget(records=4096, deadlines=500, pending=128 << 10))
    assert size < BATCH // 2
    assert commits > 10
    unbounded, once = largest_record(UNLIMITED)
    assert once == 1
    assert unbounded > BATCH


@pytest.mark.parametrize("events", [5_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_customer_with_a_million_events_a_day_stays_within_bounds(events: int) -> None:
    """Such a customer is a robot, or an id that many people share."""
    engine = PartitionEngine(
        Lifecycle(default_playbook()), EngineConfig(budget=Budget(records=4096, deadlines=500, pending=128 << 10))
    )
    counts: EngineCounters = Counter()
    every = DAY // 1_000_000
    for first in range(0, events, 1000):
        now = NOON + (first + 1000) * every
        counts += engine.advance(now, {Source.ORDERS: Fetch(now, 0)}).counts
        records = [
            click(n, NOON + n * every, type=TYPES[n % len(TYPES)], product=f"a product with a long name {n % 50_000}")
            for n in range(first, first + 1000)
        ]
        counts += engine.ingest(Source.CLICKSTREAM, records, first + 1000, now).counts
        snapshot = engine.snapshot()
        assert snapshot is not None
        assert [len(value or b"") < 64 << 10 for _, value in snapshot.changes] == [True]
    assert counts["applied", "clickstream"] == events
    assert counts["trimmed", "viewed_products"] > 0
    assert counts["trimmed", "cart_lines"] > 0
