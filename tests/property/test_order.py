"""With event-time ordering, the order of arrival changes neither profiles nor outputs. Events arrive up to the lateness
out of order within a partition of a source, with links anywhere, on any number of partitions, in tasks that crash at
every step. The result is that of time order on one partition."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.model.event import Event
from streams.core.model.outputs import Output
from streams.core.model.policy import DAY, MINUTE, SECOND
from streams.core.profile.codec import pack_to_move
from streams.core.profile.profile import Profile
from tests.property.identity_histories import POLICY, START, Placed, busy, customer_and_device, fields_of, histories
from tests.support.partition_network import PartitionNetwork, by_id, record

LATENESS = POLICY.lateness


def disordered(placed: list[Placed], seed: int) -> list[Placed]:
    """Return the same events on other partitions, each up to the lateness after later ones."""
    rng = random.Random(seed)
    delayed = [(one.at + rng.choice((0, LATENESS, rng.randrange(LATENESS))), rng.random(), one) for _, one in placed]
    return [(rng.randrange(4), one) for _, _, one in sorted(delayed, key=lambda of: of[:2])]


def played(
    placed: list[Placed],
    partitions: int,
    *,
    event_time_ordering: bool,
    seed: int | None = None,
    disabled_guard: str = "",
    steps: int = 250,
) -> PartitionNetwork:
    """Return the network after all is read, and two days later."""
    network = PartitionNetwork(START, partitions, disabled_guard, POLICY, event_time_ordering=event_time_ordering)
    for partition, one in placed:
        copy = record(one.at, one.type, *customer_and_device(one), **fields_of(one))
        copy.event_id, copy.order_id = one.event_id, one.order_id
        network.append(partition % partitions, copy)
    if seed is not None:
        network.run_with_crashes(random.Random(seed), steps)
    network.run()
    network.now += 2 * DAY
    network.run()
    return network


def bare(profile: Profile) -> dict[str, Any]:
    """Return all contents of a profile."""
    profile.weight = 0
    return {"packed": pack_to_move(profile), "next": profile.next_deadline}


def everything(network: PartitionNetwork) -> tuple[dict[str, Output], dict[tuple[bool, str], Any], dict[bytes, Any]]:
    aliases = {key: (p.alias.owners, p.alias.devices) for key, p in network.aliases().items() if p.alias is not None}
    return by_id(network.received), {who: bare(profile) for who, profile in network.profiles().items()}, aliases


@given(histories(), st.integers(1, 4), st.integers(0, 1 << 30))
def test_arrival_order_within_the_lateness_makes_no_difference_with_event_time_ordering(
    placed: list[Placed], partitions: int, seed: int
) -> None:
    right = everything(played(placed, 1, event_time_ordering=False))
    assert everything(played(disordered(placed, seed), partitions, event_time_ordering=True, seed=seed)) == right


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("gaps", ["dense", "mixed"])
def test_dense_history_on_three_partitions_gives_the_outputs_of_one_in_time_order(seed: int, gaps: str) -> None:
    placed = dense(seed) if gaps == "dense" else crowded(seed)
    right = everything(played(placed, 1, event_time_ordering=False))
    network = played(disordered(placed, seed), 3, event_time_ordering=True, seed=seed, steps=500)
    assert everything(network) == right
    assert network.counts["late", "clickstream"] + network.counts["late", "orders"] == 0
    assert network.counts["identity_resolution", "switched"] > 0
    assert network.counts["repartition_received", "repeated"] > 0


@pytest.mark.parametrize("seed", range(6))
def test_events_of_equal_times_have_one_order(seed: int) -> None:
    """Times are whole seconds. (Events of two devices of a customer within one second have no order:
    docs/identity.md.)"""
    placed = [(0, coarse(number, one)) for number, (_, one) in enumerate(dense(seed))]
    right = everything(played(placed, 1, event_time_ordering=True))
    assert len({one.at for _, one in placed}) < len(placed) * 0.6
    assert everything(played(disordered(placed, seed), 3, event_time_ordering=True, seed=seed, steps=500)) == right


def coarse(number: int, one: Event) -> Event:
    """Return an event of one of a few customers with a device each. Its id does not depend on its time."""
    who = one.customer[-1]
    customer, device = f"c-{who}" if one.identified else None, f"d-{who}" if one.other or not one.identified else None
    found = record(one.at // SECOND * SECOND, one.type, customer, device, product_id=one.product_id)
    found.event_id = f"e-{number * 7919 % 1000}"
    if found.order_id is not None:
        found.order_id = f"o-{number}"
    return found


def crowded(seed: int, events: int = 150) -> list[Placed]:
    """Return a history like `busy`, with most of it within the lateness."""
    rng, at, placed = random.Random(seed), START - 2 * DAY, list[Placed]()
    for _, one in busy(seed, events):
        at += rng.choice((1, SECOND, SECOND, 3 * SECOND, MINUTE, 40 * MINUTE))
        placed.append((0, record(at, one.type, *customer_and_device(one), **fields_of(one))))
    return placed


def dense(seed: int, events: int = 250) -> list[Placed]:
    """Return a history of few customers with many events each, so that some always wait behind applied ones."""
    rng, at, placed = random.Random(seed), START - 2 * DAY, list[Placed]()
    for _ in range(events):
        at += rng.choice((1, 200, SECOND))
        customer = rng.choice(("c-1", "c-2", None))
        device = f"d-{rng.randrange(2)}" if customer is None or rng.random() < 0.1 else None
        type_ = rng.choice(("product_viewed", "product_added", "page_viewed", "order_completed"))
        type_ = "page_viewed" if customer is None and type_ == "order_completed" else type_
        placed.append((0, record(at, type_, customer, device, product_id=rng.choice("pqrs"))))
    return placed


def test_arrival_order_changes_outputs_without_event_time_ordering() -> None:
    for seed in range(12):
        placed = crowded(seed)
        right = everything(played(placed, 1, event_time_ordering=False))
        if everything(played(disordered(placed, seed), 3, event_time_ordering=False)) != right:
            return
    pytest.fail("all was right")


@pytest.mark.parametrize("disabled_guard", ["offset_gaps", "numbers", "previous", "pending", "hold", "cut"])
def test_outputs_are_wrong_with_any_guard_disabled(disabled_guard: str) -> None:
    for seed in range(12):
        placed = dense(seed) if disabled_guard == "offset_gaps" else crowded(seed)
        right = everything(played(placed, 1, event_time_ordering=False))
        try:
            network = played(
                disordered(placed, seed),
                3,
                event_time_ordering=True,
                seed=seed,
                disabled_guard=disabled_guard,
                steps=500,
            )
            if everything(network) != right:
                return
        except AssertionError:
            return
    pytest.fail("all was right")
