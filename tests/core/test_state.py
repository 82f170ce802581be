"""The state of a task: cold and hot profiles, and that it makes no difference which is which."""

from __future__ import annotations

import pytest

from streams.core.activity import Activity, Source
from streams.core.customer import Lifecycle
from streams.core.effects import Output
from streams.core.engine import PartitionEngine
from streams.core.policy import DAY, HOUR
from streams.core.sources import Fetch
from streams.core.state import TaskState

NOON = 1_763_719_200_000


def view(n: int, customer: str) -> Activity:
    return Activity(
        source=Source.CLICKSTREAM, offset=n, timestamp=NOON + n, size=1, at=NOON + n, customer=customer,
        identified=True, event_id=str(n), type="product_viewed", product_id=f"p{n % 3}", currency="EUR",
    )  # fmt: skip


def run(hot: int) -> tuple[PartitionEngine, list[Output], list[tuple[bytes, bytes | None]]]:
    """600 views of 100 customers, the first of whom come again and again, with a commit after every 20."""
    engine = PartitionEngine(Lifecycle(), state=TaskState(hot))
    outputs: list[Output] = []
    log: list[tuple[bytes, bytes | None]] = []
    for first in range(0, 600, 20):
        records = [view(n, f"c{n % 100 if n % 2 else n % 7}") for n in range(first, first + 20)]
        outputs += engine.apply(Source.CLICKSTREAM, records, first + 20, NOON + first).outputs
        now = NOON + first if first < 580 else NOON + 2 * DAY
        outputs += engine.advance(
            now, {s: Fetch(now, first + 20 if s is Source.CLICKSTREAM else 0) for s in Source}
        ).outputs
        snapshot = engine.snapshot()
        assert snapshot is not None
        outputs += snapshot.outputs
        log += snapshot.changes
        if first < 580:  # the last round wakes everybody
            assert engine.state.hot <= max(hot, 20 + hot // 2)  # what a commit touched is cooled at a later one
    return engine, outputs, log


@pytest.mark.parametrize("hot", [0, 2, 10, 50])
def test_what_is_cold_makes_no_difference(hot: int) -> None:
    warm, warm_outputs, warm_log = run(10_000)
    cold, cold_outputs, cold_log = run(hot)
    assert cold_outputs == warm_outputs
    assert cold_log == warm_log
    assert cold.state.population == warm.state.population
    assert len(cold.state.timers) == len(warm.state.timers)
    assert warm.state.hot == 54
    assert {k: p.product_views for k, p in cold.state.items()} == {k: p.product_views for k, p in warm.state.items()}


def test_recovery_leaves_every_profile_cold() -> None:
    engine, _, log = run(10_000)
    state = TaskState()
    for key, value in log:
        state.restore(key, value)
    assert (len(state), state.hot) == (len(engine.state), 0)
    assert state.population == engine.state.population


def test_a_deadline_that_moved_later_leaves_a_cold_profile_cold() -> None:
    engine, _, _ = run(0)
    before = engine.state.hot
    engine.advance(NOON + 2 * DAY + HOUR, {s: Fetch(NOON + 2 * DAY + HOUR, 600) for s in Source})
    assert engine.state.hot == before
