"""With event-time ordering, two workers give for events out of order the outputs of an ordered replay."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.outcomes import (
    BADLY_KEYED,
    all_outputs,
    assert_outputs_come,
    assert_profiles_come,
    stream_under_kills,
)
from tests.support.broker_fixtures import IN_BOTH_GUARANTEES
from tests.support.process_cluster import ProcessCluster
from tests.support.replay_comparison import replay_outputs
from tests.support.shop_events import MINUTE, half_known, in_order, now, shop

NewCluster = Callable[..., Awaitable[ProcessCluster]]

LATENESS = 30_000


def disordered(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events, each up to the lateness after later ones."""
    rng = random.Random(1)
    delayed = [(event["occurred_at"] + rng.randrange(LATENESS), n, event) for n, event in enumerate(events)]
    return [event for _, _, event in sorted(delayed, key=lambda of: of[:2])]


@pytest.mark.slow
@IN_BOTH_GUARANTEES
async def test_kills_in_an_out_of_order_history_give_the_outputs_of_an_ordered_replay(
    make_cluster: NewCluster, tmp_path: Path, guarantee: str
) -> None:
    rng, end = random.Random(3), now() - 90 * MINUTE
    events = half_known(7, in_order(*shop(seed=7, customers=40, events=4000, end=end)))
    # Three days are compressed to an hour and a half, so that events of a customer are within the lateness.
    events = [{**event, "occurred_at": end - (end - event["occurred_at"]) // 48} for event in events]
    clicks, orders = ([event for event in events if ("order_id" in event) is of] for of in (False, True))
    expected = replay_outputs(tmp_path / "replay", clicks, orders, identity_resolution="on", lateness="30s")
    arrives = disordered(events)
    by_arrival = ([event for event in arrives if ("order_id" in event) is of] for of in (False, True))
    otherwise = replay_outputs(tmp_path / "arrival", *by_arrival, identity_resolution="on", lateness="30s")
    assert {output["id"] for output in otherwise} != {output["id"] for output in expected}
    cluster = await make_cluster(
        **BADLY_KEYED,
        identity_resolution="on",
        ordering="event_time",
        lateness="30s",
        profiles="on",
        processing_guarantee=guarantee,
        backfill_idle="10s",
        commit_interval="100ms",
    )
    committed = "read_committed" if guarantee == "exactly_once" else "read_uncommitted"
    survivor = await stream_under_kills(cluster, arrives, lambda event: rng.randrange(2), rng)
    last = events[-1]["occurred_at"] - LATENESS
    await assert_outputs_come(
        lambda: all_outputs(cluster, committed), expected, last, guarantee == "exactly_once", survivor
    )
    await assert_profiles_come(cluster, tmp_path / "replay", committed)
    assert await cluster.documents(cluster.settings.dead_letters_topic) == []
    assert survivor.metric("lifecycle_identity_resolution_total", outcome="merged") > 0
