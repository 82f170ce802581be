"""A sweep removes an erased customer from the records of devices and carts, on any partition, in steps."""

from __future__ import annotations

import pytest

from streams.core.event_time.inputs import ERASURES
from streams.core.identity.aliases import ERASED_OWNER
from streams.core.identity.erasure_sweep import KEYS_PER_CALL
from streams.core.model.alias import Alias
from streams.core.model.event import Event, Source
from streams.core.model.policy import DAY, HOUR
from streams.core.profile.codec import pack, unpack
from streams.core.store.task_state import record_key
from tests.core.engine_helpers import NOON
from tests.core.erasure_helpers import PERSON, added, names, request, settle
from tests.support.partition_network import PartitionNetwork, record
from tests.support.single_partition import SinglePartitionHarness
from tests.support.task_states import alias_record

DEVICE = record_key("a-1", False)
CART = b"kc" + b"cart-1"


@pytest.fixture(autouse=True, params=["memory", "disk"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test with cold profiles and timers in memory and on disk."""
    monkeypatch.setattr(SinglePartitionHarness, "on_disk", request.param == "disk")


def known(harness: SinglePartitionHarness, key: bytes) -> Alias | None:
    return harness.engine.state.alias_of(key)


def with_aliases(*records: tuple[bytes, bytes]) -> SinglePartitionHarness:
    harness = SinglePartitionHarness(NOON)
    harness.changelog += records
    harness.start()
    harness.fetch()
    return harness


def test_device_of_an_erased_customer_is_unlinked() -> None:
    harness = with_aliases((DEVICE, alias_record(DEVICE, [(PERSON, NOON - DAY)])))
    assert harness.engine.state.aliases == 1
    harness.erase(request(home=False))
    harness.tick()
    assert harness.engine.state.aliases == 0
    assert known(harness, DEVICE) is None
    settle(harness)
    assert dict(harness.changelog)[DEVICE] is None
    assert len(harness.engine.state) == 0
    assert names(harness) == []
    harness.now += DAY
    late, visit = added(NOON - 1, "a-1"), added(NOON + 1, "a-1")
    late.identified = visit.identified = False
    harness.run(late)
    assert len(harness.engine.state) == 0
    harness.run(visit)
    assert [profile.stage for _, profile in harness.engine.state.items()] == ["prospect"]


def test_late_event_from_before_an_erasure_is_not_the_next_owners() -> None:
    """The event is of the erased customer's time on the device, or the device itself was erased."""
    for erased, known in (("c-1", True), ("d", False)):
        network = PartitionNetwork(NOON, 1)
        network.append(0, viewed(NOON - DAY, "c-1" if known else None))
        network.run()
        network.erasure_requests.append((erased, known, NOON - HOUR))
        network.run()
        network.append(0, viewed(NOON - 60_000, "c-2"), viewed(NOON - 2 * HOUR, None), viewed(NOON - 30_000, None))
        network.run()
        assert {whose: p.product_views for whose, p in network.profiles().items()} == {(True, "c-2"): 2}
        assert network.counts["erased", "clickstream"] == 1


@pytest.mark.parametrize("swept", [True, False])
def test_late_link_from_before_an_erasure_is_ignored_whether_or_not_the_device_was_swept(swept: bool) -> None:
    network = PartitionNetwork(NOON, 1)
    network.append(0, viewed(NOON - DAY, "c-1"))
    network.run()
    network.erasure_requests.append(("c-1", True, NOON - HOUR))
    network.erase(0)
    if swept:
        network.tick(0)
    assert network.aliases() or swept
    network.append(0, viewed(NOON - 2 * HOUR, "c-2"))
    network.read_source(0, Source.CLICKSTREAM)
    network.run()
    assert network.aliases() == {}
    assert [(whose, p.product_views) for whose, p in network.profiles().items()] == [((True, "c-2"), 1)]


def viewed(at: int, customer: str | None) -> Event:
    return record(at, "product_viewed", customer, "d", product_id="p")


def test_owners_before_and_after_the_erased_one_are_kept() -> None:
    owners = [("c-1", NOON - 3 * DAY), (PERSON, NOON - 2 * DAY), ("c-2", NOON - DAY), (PERSON, NOON + 1)]
    harness = with_aliases((DEVICE, alias_record(DEVICE, owners)))
    harness.erase(request(home=False))
    harness.tick()
    left = known(harness, DEVICE)
    assert left is not None
    owners[1] = (ERASED_OWNER, NOON - 2 * DAY)  # late events of that time have no owner
    assert left.owners == owners  # the customer who came back owns it again
    assert harness.engine.state.aliases == 1
    harness.commit()
    harness.restart()
    assert known(harness, DEVICE) == left


def test_erased_customer_is_removed_from_refusals() -> None:
    profile = unpack(alias_record(DEVICE, [("c-1", NOON - DAY)]))
    assert profile.alias is not None
    profile.alias.refused = {PERSON: NOON - HOUR, "c-2": NOON - 1}
    harness = with_aliases((DEVICE, pack(profile)))
    harness.erase(request(home=False))
    harness.tick()
    left = known(harness, DEVICE)
    assert left is not None
    assert (left.owners, left.refused) == ([("c-1", NOON - DAY)], {"c-2": NOON - 1})
    harness.commit()
    assert names(harness) == []


@pytest.mark.parametrize("identified", [True, False])
def test_a_cart_forgets_customers_and_devices(identified: bool) -> None:
    harness = with_aliases((CART, alias_record(CART, [("c-1", NOON - DAY)], [("c-1", NOON - DAY), ("a-9", NOON)])))
    harness.erase(request(customer="c-1", identified=identified, home=False))
    harness.tick()
    left = known(harness, CART)
    assert left is not None
    assert left.owners == [(ERASED_OWNER if identified else "c-1", NOON - DAY)]
    assert left.devices == ([("c-1", NOON - DAY), ("a-9", NOON)] if identified else [("a-9", NOON)])


def test_erasure_is_done_after_the_whole_sweep_and_a_crash_starts_it_again() -> None:
    number = 2 * KEYS_PER_CALL + 10
    keys = [record_key(f"a-{n}", False) for n in range(number)]
    harness = with_aliases(*((key, alias_record(key, [(PERSON, NOON - DAY)])) for key in keys))
    harness.erase(request(home=False))
    steps = 0
    while harness.engine.erasures_done == 0:
        steps += 1
        before = harness.engine.state.aliases
        harness.tick()
        assert before - harness.engine.state.aliases <= KEYS_PER_CALL
        harness.commit()
        if steps == 2:
            assert harness.erasures_position == 0
            assert harness.engine.committable()[ERASURES] == 0
            harness.restart()
            assert harness.engine.erasures_position == 0
            harness.erase()
    assert steps >= 4
    assert harness.engine.state.aliases == 0
    harness.commit()
    assert harness.erasures_position == 1


def test_device_record_of_a_stale_owner_is_swept_at_the_next_start() -> None:
    harness = with_aliases((DEVICE, alias_record(DEVICE, [(PERSON, NOON - DAY)])))
    harness.erase(request(home=False))
    settle(harness)
    harness.changelog.append((DEVICE, alias_record(DEVICE, [(PERSON, NOON - DAY)])))
    harness.restart()
    harness.tick()
    assert known(harness, DEVICE) is None


def test_erasure_without_devices_is_done_at_once() -> None:
    harness = SinglePartitionHarness(NOON)
    harness.erase(request())
    assert harness.engine.erasures_done == 1
