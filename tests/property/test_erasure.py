"""An erasure while crashing tasks resolve identities: in the end no record names the customer."""

from __future__ import annotations

import random

import msgspec
import pytest

from streams.core.identity.erasure_sweep import KEYS_PER_CALL
from streams.core.model.event import Source
from streams.core.model.outputs import IdentityChange
from streams.core.store.erasure_markers import is_marker
from streams.core.store.task_state import record_key
from tests.property.identity_histories import POLICY, START, busy, customer_and_device, fields_of
from tests.support.partition_network import PartitionNetwork, by_id, record
from tests.support.task_states import alias_record

PERSON = "c-1"
LATER = 60_000


def with_an_erasure(seed: int, partitions: int = 3) -> PartitionNetwork:
    """Play a busy history with crashes, and erase one of its customers in the middle."""
    rng, network = random.Random(seed), PartitionNetwork(START, partitions, policy=POLICY)
    for partition, one in busy(seed):
        network.append(partition % partitions, record(one.at, one.type, *customer_and_device(one), **fields_of(one)))
    network.run_with_crashes(rng, 200)
    network.erasure_requests.append((PERSON, True, START))
    network.run_with_crashes(rng, 200)
    network.run()
    return network


def known_of(network: PartitionNetwork, person: str) -> list[bytes]:
    """Return the keys of the records in the changelogs that name a customer."""
    packed = msgspec.msgpack.encode(person)
    latest = {(n, key): value for n, log in enumerate(network.changelogs) for key, value in log}
    return [key for (_, key), value in latest.items() if value is not None and not is_marker(key) and packed in value]


@pytest.mark.parametrize("seed", range(12))
def test_crashes_leave_no_record_of_an_erased_customer(seed: int) -> None:
    network = with_an_erasure(seed)
    assert known_of(network, "c-2")
    assert known_of(network, PERSON) == []
    assert (True, PERSON) not in network.profiles()
    for task in network.tasks:
        assert task.engine.state.get(record_key(PERSON, True)) is None
        assert task.engine.state.markers.erased_at(record_key(PERSON, True)) == START
        assert task.engine.erasures_done == 1
    notices = [o for o in by_id(network.received).values() if isinstance(o, IdentityChange) and o.type == "erased"]
    assert [(notice.customer, notice.occurred_at) for notice in notices] == [(PERSON, START)]


@pytest.mark.parametrize("seed", range(6))
def test_customer_who_returns_after_an_erasure_starts_with_a_new_profile(seed: int) -> None:
    network = with_an_erasure(seed)
    device = next((one.other for _, one in busy(seed) if one.customer == PERSON and one.other), "d-1")
    network.now += LATER
    network.append(0, record(START - 1, "product_viewed", PERSON, device))  # late
    network.append(1, record(START - 2, "product_viewed", None, device))
    network.run()
    assert known_of(network, PERSON) == []
    network.append(0, record(START + 1, "product_viewed", None, device))
    network.append(1, record(START + 2, "product_viewed", PERSON, device))
    network.run()
    fresh = network.profiles()[True, PERSON]
    assert fresh.first_seen_at >= START + 1
    assert fresh.orders == 0


def test_records_of_devices_are_checked_for_erased_customers_before_the_sweep_ends() -> None:
    network = PartitionNetwork(START, 1, policy=POLICY)
    keys = [record_key(f"d-{n}", False) for n in range(9 * KEYS_PER_CALL)]
    network.changelogs[0] += [(key, alias_record(key, [(PERSON, START - LATER)])) for key in keys]
    network.restart(0)
    network.erasure_requests.append((PERSON, True, START))
    network.erase(0)
    network.now += LATER
    last = f"d-{9 * KEYS_PER_CALL - 1}"
    network.append(0, record(START + 1, "product_viewed", None, last))
    network.read_source(0, Source.CLICKSTREAM)
    for _ in range(4):  # until no earlier event can arrive
        network.tick(0)
        network.read_repartitioned(0)
    state = network.tasks[0].engine.state
    assert state.aliases >= KEYS_PER_CALL
    assert network.profiles().keys() == {(False, last)}
    network.run()
    assert state.aliases == 0
    assert network.profiles().keys() == {(False, last)}
