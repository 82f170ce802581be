"""The core agrees with the reference, on histories made by Hypothesis."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from streams.core.engine.config import EngineConfig
from streams.core.engine.partition_engine import PartitionEngine
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.event import Event, Source
from streams.core.model.outputs import Effects, Output
from streams.core.model.policy import DAY, SECOND, Policy
from streams.core.model.sources import Fetch, SourceSpec
from streams.core.processing.budget import UNLIMITED, Budget
from tests.support.default_playbook import default_playbook
from tests.support.history_strategies import gaps, histories, late, policies, short_gaps, untils, window_gaps
from tests.support.reference_comparison import (
    CustomerKey,
    assert_core_agrees,
    by_customer,
    play_in_core,
    profile_view,
    reference_view,
)
from tests.support.reference_lifecycle import final, reference


@given(histories(), policies(), st.data())
def test_core_agrees_with_the_reference_in_time_order(events: list[Event], policy: Policy, data: st.DataObject) -> None:
    assert_core_agrees(events, policy, data.draw(untils(events)))


@given(histories(st.integers(0, 10 * SECOND)), policies(), st.data())
def test_core_agrees_with_the_reference_a_little_out_of_order(
    events: list[Event], policy: Policy, data: st.DataObject
) -> None:
    assert_core_agrees(events, policy, data.draw(untils(events)))


@given(histories(late), policies(), st.data())
def test_core_agrees_with_the_reference_far_out_of_order(
    events: list[Event], policy: Policy, data: st.DataObject
) -> None:
    assert_core_agrees(events, policy, data.draw(untils(events)))


@given(histories(spacing=short_gaps | window_gaps), st.data())
def test_order_of_arrival_within_the_lateness_does_not_change_a_profile(
    events: list[Event], data: st.DataObject
) -> None:
    """Counts, cart, orders and times end as in time order. Each click is late by its own delay, and all orders by one.
    (The order of arrival of orders matters: a completion after its cancellation is no activity.)"""
    assume(events[-1].at - events[0].at < 30 * DAY)  # nothing expires
    events = [dataclasses.replace(event, event_id=f"e-{n}") for n, event in enumerate(events)]
    policy = Policy(lateness=10 * SECOND)
    delay = st.integers(0, policy.lateness)
    of_orders = data.draw(delay)
    arrivals = [event.at + (of_orders if event.source is Source.ORDERS else data.draw(delay)) for event in events]
    arrived = [event for _, _, event in sorted(zip(arrivals, range(len(events)), events, strict=True))]

    def end(events: Sequence[Event]) -> dict[CustomerKey, dict[str, Any]]:
        _, profiles = play_in_core(events, policy, None)
        return {who: stages_aside(profile_view(profile, policy)) for who, profile in profiles.items()}

    # of events of equal times, the first to arrive is first
    assert end(arrived) == end(sorted(arrived, key=lambda event: event.at))


def stages_aside(seen: dict[str, Any]) -> dict[str, Any]:
    """Return the view without the history of stages, which may differ."""
    cart = sorted(seen["cart"], key=lambda item: item.product_id or "")
    return {name: value for name, value in seen.items() if name not in ("stage", "sequence", "cycle")} | {"cart": cart}


steps = st.just(UNLIMITED) | st.builds(
    Budget, records=st.integers(1, 20), deadlines=st.integers(1, 3), pending=st.integers(1, 2_000)
)


def in_steps(engine: PartitionEngine, effects: Effects, now: int) -> list[Output]:
    """Return the outputs of a call, and of the calls that continue it."""
    outputs = [*effects.outputs]
    while engine.unfinished or engine.full:
        if engine.full and (snapshot := engine.snapshot()):
            outputs += snapshot.outputs
        outputs += engine.advance(now).outputs
    return outputs


@given(
    histories(), policies(), gaps, st.lists(st.tuples(st.sampled_from(Source), st.integers(1, 9), st.booleans())), steps
)
def test_engine_agrees_with_the_reference_whatever_the_batches_commits_and_budgets(
    events: list[Event], policy: Policy, rest: int, batches: list[tuple[Source, int, bool]], step: Budget
) -> None:
    until = events[-1].at + rest
    spec = SourceSpec()
    now = until + spec.delay + policy.lateness
    engine = PartitionEngine(
        Lifecycle(default_playbook(policy=policy)), EngineConfig(sources=dict.fromkeys(Source, spec), budget=step)
    )
    waiting = {source: [event for event in events if event.source is source] for source in Source}
    outputs: list[Output] = []
    positions = dict.fromkeys(Source, 0)
    for source, size, commit in [*batches, *((source, len(events), False) for source in Source)]:
        batch, waiting[source] = waiting[source][:size], waiting[source][size:]
        positions[source] = batch[-1].offset + 1 if batch else positions[source]
        outputs += in_steps(engine, engine.ingest(source, batch, positions[source], now), now)
        outputs += in_steps(engine, engine.advance(now), now)
        if commit and (snapshot := engine.snapshot()):
            outputs += snapshot.outputs
    drained = {source: Fetch(sent_at=now, end=position) for source, position in positions.items()}
    outputs += in_steps(engine, engine.advance(now, drained), now)
    snapshot = engine.snapshot(force=True)
    assert snapshot is not None
    outputs += snapshot.outputs

    merged = sorted(events, key=lambda event: (event.at, event.source, event.offset))
    assert by_customer(outputs) == by_customer(reference(merged, policy, until))
    seen = {
        (profile.identified, profile.customer): profile_view(profile, policy) for _, profile in engine.state.items()
    }
    assert seen == {who: reference_view(view) for who, view in final(merged, policy, until).items()}
