"""Identity resolution, one case at a time: links, switches, moves, carts, and how long they are kept."""

from __future__ import annotations

from typing import Any

import pytest

from streams.core.engine.config import EngineConfig, LastCommit
from streams.core.engine.partition_engine import PartitionEngine
from streams.core.event_time.inputs import FIRST_MESSAGES, message_rank, upstream_id
from streams.core.identity.aliases import (
    OWNERS,
    REFUSED,
    add_owner,
    event_of_message,
    owner_at,
    pairs_of_customer,
    pairs_of_device,
    parts_of,
    resolution_stage_of,
)
from streams.core.identity.shared_ids import MOST_IDS, SharedIds
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.alias import Alias
from streams.core.model.event import EVENT, LINK, Event, Source
from streams.core.model.internal_messages import InternalMessage
from streams.core.model.outputs import EmissionPolicy, IdentityChange, Output, StageChange
from streams.core.model.policy import DAY, HOUR, MINUTE, SECOND, Policy
from streams.core.model.sources import (
    Fetch,
    InputId,
    ProgressReport,
    Rank,
    RepartitionedRecord,
    StoredRepartition,
    UpstreamId,
    rank_of,
)
from streams.core.processing.budget import Budget
from streams.core.profile.codec import NEWEST_FORMAT, NewerVersion, pack, peek, unpack
from streams.core.profile.profile import Profile
from streams.core.store.erasure_markers import is_marker
from streams.core.store.task_state import TaskState
from tests.support.default_playbook import default_playbook
from tests.support.memory_disk import MemoryDisk
from tests.support.partition_network import COMMIT_STEPS, PartitionNetwork, by_id, record

NOON = 1_763_719_200_000
CLICKS, ORDERS = Source.CLICKSTREAM, Source.ORDERS
T = NOON - HOUR


def view(at: int, customer: str | None = None, device: str | None = None, **fields: Any) -> Event:
    return record(T + at, "product_viewed", customer, device, **({"product_id": "p"} | fields))


def bought(at: int, customer: str, device: str | None = None, **fields: Any) -> Event:
    return record(T + at, "order_completed", customer, device, **fields)


def changes(outputs: list[Output]) -> list[tuple[str, str, str | None, int]]:
    """Return type, customer, previous customer and time of the identity changes, in order."""
    return [
        (o.type, o.customer, o.previous_customer, o.occurred_at - T)
        for o in sorted(by_id(outputs).values(), key=lambda o: o.occurred_at)
        if isinstance(o, IdentityChange)
    ]


def stages(outputs: list[Output], customer: str) -> list[tuple[str | None, str]]:
    """Return the stages of a customer, each with the kind of its cause."""
    return [(o.to_stage, o.cause.kind) for o in outputs if isinstance(o, StageChange) and o.customer == customer]


def after(*records: Event, partitions: int = 1, **given: Any) -> PartitionNetwork:
    """Return tasks that have read these records, each on the partition of its customer or device."""
    network = PartitionNetwork(NOON, partitions, **given)
    for event in sorted(records, key=lambda event: event.at):
        network.append(network._partitioner.partition(event.customer.encode()), event)
    network.run()
    return network


# -- links


@pytest.mark.parametrize("partitions", [1, 3])
def test_events_of_a_device_are_the_customers_once_both_are_seen_together(partitions: int) -> None:
    network = after(
        view(0, device="d"), view(1000, device="d"), view(2000, "c", "d"), view(3000, device="d"), partitions=partitions
    )
    [(whose, profile)] = network.profiles().items()
    assert (whose, profile.product_views, profile.first_seen_at) == ((True, "c"), 4, T)
    assert changes(network.received) == [("linked", "c", None, 2000)]
    assert stages(network.received, "d") == [("visitor", "activity"), (None, "merge")]
    assert stages(network.received, "c")[0] == ("visitor", "activity")
    assert stages(network.received, "c")[1] == ("prospect", "merge")


@pytest.mark.parametrize("partitions", [1, 4])
def test_an_order_of_an_anonymous_cart_leads_over_the_cart_and_the_device_to_the_customer(partitions: int) -> None:
    network = after(
        record(T, "product_added", None, "d", product_id="p", cart_id="k"),
        bought(5000, "c", cart_id="k"),
        view(6000, device="d"),
        partitions=partitions,
    )
    [(whose, profile)] = network.profiles().items()
    assert (whose, profile.product_views, profile.orders) == ((True, "c"), 1, 1)
    assert changes(network.received) == [("linked", "c", None, 5000)]


@pytest.mark.parametrize("partitions", [1, 4])
def test_device_that_shows_a_cart_after_it_was_bought_is_linked_too(partitions: int) -> None:
    network = after(
        view(0, device="d"), bought(5000, "c", checkout_id="k"), view(6000, device="d", checkout_id="k"),
        partitions=partitions,
    )  # fmt: skip
    assert {whose: p.product_views for whose, p in network.profiles().items()} == {(True, "c"): 2}
    assert changes(network.received) == [("linked", "c", None, 6000)]


def test_cart_and_checkout_of_the_same_id_are_separate() -> None:
    network = after(view(0, device="d", checkout_id="k"), bought(5000, "c", cart_id="k"))
    assert set(network.profiles()) == {(True, "c"), (False, "d")}


def test_device_that_shows_a_cart_bought_by_two_belongs_to_the_later_one() -> None:
    network = after(bought(0, "a", cart_id="k"), bought(1, "b", cart_id="k"), view(2, device="d", cart_id="k"))
    assert changes(network.received) == [("linked", "b", None, 2)]


def test_device_id_equal_to_a_customer_id_is_an_id_of_its_own() -> None:
    """`c` is both a customer and the anonymous id of a device. These are two name spaces, so there are no cycles."""
    network = after(view(0, "c", "d"), view(1000, "d", "c"), view(2000, device="c"), view(3000, device="d"))
    assert {whose: p.product_views for whose, p in network.profiles().items()} == {(True, "c"): 2, (True, "d"): 2}


# -- switches


def test_event_of_another_customer_on_a_device_is_a_switch_without_a_merge() -> None:
    network = after(
        view(0, device="d"), view(1000, "a", "d"), view(2000, device="d"), view(3000, "b", "d"), view(4000, device="d")
    )
    assert changes(network.received) == [("linked", "a", None, 1000), ("switched", "b", "a", 3000)]
    assert {whose: p.product_views for whose, p in network.profiles().items()} == {(True, "a"): 3, (True, "b"): 2}
    assert network.counts["identity_resolution", "switched"] == 1


def test_earlier_sighting_of_the_present_owner_is_not_reported_again() -> None:
    """The event came later than the lateness allows, and the later ownership had been reported."""
    network = after(view(0, "a", "d"), view(HOUR, "b", "d"))
    network.run()
    network.append(0, view(30 * MINUTE, "b", "d"), view(20 * MINUTE, device="d"), view(40 * MINUTE, device="d"))
    network.run()
    reported = [("linked", "a", None, 0), ("switched", "b", "a", HOUR)]
    assert changes(network.received) == reported
    assert network.counts["identity_resolution", "switched"] == 1
    assert {whose: p.product_views for whose, p in network.profiles().items()} == {(True, "a"): 2, (True, "b"): 3}
    network.append(
        0, view(50 * MINUTE, "a", "d"), view(55 * MINUTE, device="d")
    )  # between the two sightings of the present owner
    network.run()
    assert changes(network.received) == reported
    assert {whose: p.product_views for whose, p in network.profiles().items()} == {(True, "a"): 4, (True, "b"): 3}
    network.append(0, view(2 * HOUR, "a", "d"))  # this is a switch back
    network.now += HOUR
    network.run()
    assert changes(network.received) == [*reported, ("switched", "a", "b", 2 * HOUR)]


@pytest.mark.parametrize("event_time_ordering", [False, True])
def test_late_sighting_of_an_earlier_owner_is_no_switch(event_time_ordering: bool) -> None:
    network = after(view(50 * MINUTE, "a", "d"), event_time_ordering=event_time_ordering)
    network.append(0, view(30 * MINUTE, "b", "d"))
    network.run()
    network.append(0, view(20 * MINUTE, device="d"), view(40 * MINUTE, device="d"))
    network.append(0, view(51 * MINUTE, "a", "d"))  # a known link changes nothing
    network.run()
    assert changes(network.received) == [("linked", "a", None, 50 * MINUTE)]
    assert network.counts["identity_resolution", "earlier"] == 1
    assert network.counts["identity_resolution", "switched"] == 0
    assert {whose: p.product_views for whose, p in network.profiles().items()} == {(True, "a"): 2, (True, "b"): 3}
    network.append(0, view(55 * MINUTE, "c", "d"))
    network.run()
    assert changes(network.received)[1:] == [("switched", "c", "a", 55 * MINUTE)]


def test_late_sighting_before_the_owner_left_after_an_erasure_is_no_switch() -> None:
    network = after(view(0, "a", "d"), view(30 * MINUTE, "b", "d"))
    network.erasure_requests.append(("a", True, T + MINUTE))
    network.run()
    network.append(0, view(10 * MINUTE, "c", "d"))
    network.run()
    assert [type_ for type_, *_ in changes(network.received)] == ["linked", "erased", "switched"]
    assert network.counts["identity_resolution", "earlier"] == 1


# -- refusals


def refusals(outputs: list[Output]) -> list[tuple[str, str | None, str | None, int]]:
    """Return customer, device, owner and time of each refusal, with repeats."""
    return [
        (o.customer, o.anonymous_id, o.owner, o.occurred_at - T)
        for o in outputs
        if isinstance(o, IdentityChange) and o.type == "refused"
    ]


@pytest.mark.parametrize("partitions", [1, 4])
def test_order_of_a_cart_on_another_customers_device_is_reported_as_refused(partitions: int) -> None:
    network = after(
        view(0, "a", "d"), view(1, device="d", cart_id="k"), bought(2, "b", cart_id="k"), view(3, device="d"),
        view(4, "b", "d"), partitions=partitions,
    )  # fmt: skip
    reported = [("linked", "a", None, 0), ("refused", "b", None, 2), ("switched", "b", "a", 4)]
    assert changes(network.received) == reported
    assert refusals(network.received) == [("b", "d", "a", 2)]
    [refused] = [o for o in network.received if isinstance(o, IdentityChange) and o.type == "refused"]
    assert (refused.event_id, refused.event_type, refused.identified) == (f"e-{T + 2}", "order_completed", True)
    assert network.counts["identity_resolution", "refused"] == 1
    assert {customer: p.product_views for (_, customer), p in network.profiles().items()} == {"a": 3, "b": 1}


def test_order_of_a_cart_that_another_customers_device_shows_later_is_refused_too() -> None:
    network = after(view(0, "a", "d"), bought(1, "b", cart_id="k"), *(view(n, device="d", cart_id="k") for n in (2, 3)))
    assert refusals(network.received) == [("b", "d", "a", 2)]


def test_an_order_that_names_the_device_too_is_a_switch_and_no_refusal() -> None:
    network = after(view(0, "a", "d"), view(1, device="d", cart_id="k"), bought(2, "b", "d", cart_id="k"))
    assert changes(network.received) == [("linked", "a", None, 0), ("switched", "b", "a", 2)]


def test_refusal_is_sent_once_for_a_claim_and_a_device() -> None:
    network = after(
        view(0, "a", "d"), view(1, "b", "e"),
        *(view(n, device=device, cart_id="k", checkout_id="o") for n, device in enumerate(("d", "e"), 10)),
        bought(20, "b", cart_id="k", checkout_id="o"), bought(30, "b", cart_id="k", checkout_id="o"),
        *(view(40 + n, device="d", cart_id="k") for n in range(5)),
    )  # fmt: skip
    assert refusals(network.received) == [("b", "d", "a", 20)]
    assert network.counts["identity_resolution", "refused"] == 1
    network.append(0, bought(15, "b", cart_id="j"), view(14, device="d", cart_id="j"))  # late, of the same two
    network.run()
    assert len(refusals(network.received)) == 1
    network.append(0, view(50, device="d", cart_id="j"), bought(60, "c", cart_id="j"), bought(70, "b", cart_id="j"))
    network.run()
    assert refusals(network.received)[1:] == [("c", "d", "a", 60), ("b", "d", "a", 70)]


@pytest.mark.parametrize("crash_at", COMMIT_STEPS)
def test_refusal_is_sent_despite_crashes_and_stays_a_refusal(crash_at: str) -> None:
    network = after(view(0, "a", "d"), view(1, device="d", cart_id="k"))
    network.append(0, bought(2, "b", cart_id="k"))
    for _ in range(6):
        network.now += 1_000
        network.read_source(0, ORDERS)
        network.read_repartitioned(0)
        network.tick(0)
        network.commit(0, crash_at)
    network.run()
    assert changes(network.received)[1:] == [("refused", "b", None, 2)]
    assert {o.id for o in network.received if isinstance(o, IdentityChange)} == {
        o.id for o in after(view(0, "a", "d"), view(1, device="d", cart_id="k"), bought(2, "b", cart_id="k")).received
        if isinstance(o, IdentityChange)
    }  # fmt: skip
    alias = network.aliases()[b"ad"].alias
    assert alias is not None
    assert alias.refused == {"b": T + 2}


def test_refusals_kept_for_a_device_are_bounded() -> None:
    network = after(
        view(0, "a", "d"), view(1, device="d", cart_id="k"), *(bought(10 + n, f"c-{n}", cart_id="k") for n in range(50))
    )
    assert len(refusals(network.received)) == network.counts["identity_resolution", "refused"] == 50
    alias = network.aliases()[b"ad"].alias
    assert alias is not None
    assert list(alias.refused) == [f"c-{n}" for n in range(50 - REFUSED, 50)]


def test_refusal_does_not_name_an_erased_owner() -> None:
    network = after(view(0, "a", "d"), view(10, device="d", cart_id="k"), view(30, "c", "d"))
    network.erasure_requests.append(("a", True, T + 5))
    network.run()
    network.append(0, bought(20, "b", cart_id="k"))
    network.run()
    assert refusals(network.received) == [("b", "d", None, 20)]


def test_no_refusal_is_sent_before_emit_after() -> None:
    engine = identity_resolution(emission=EmissionPolicy(emit_after=NOON))
    assert read(engine, view(0, "a", "d")) == []
    message = InternalMessage(
        stream=0, number=0, cause=InputId(0), offset=0, role=LINK, at=T + 1, customer="d", other="b", event_id="e"
    )
    effects = engine.receive(
        [(0, RepartitionedRecord(message_rank(0), 0, 0, -1, [event_of_message(message, 100)]))], 1, NOON
    )
    assert effects.outputs == []
    assert effects.counts["outputs_withheld", "refused/before_emit_after"] == 1


def test_late_event_is_applied_to_the_owner_at_its_time() -> None:
    alias = Alias([("a", 10), ("b", 20), ("a", 30)])
    assert [owner_at(alias, at) for at in (0, 10, 19, 20, 29, 30, 99)] == ["a", "a", "a", "b", "b", "a", "a"]


def test_owners_do_not_depend_on_the_order_of_links_and_known_links_change_nothing() -> None:
    links = [("a", 10), ("b", 20), ("c", 30)]
    for first in links:
        for second in links:
            for third in links:
                alias = Alias()
                assert add_owner(alias, *first)
                assert add_owner(alias, *second) is (second != first)
                add_owner(alias, *third)
                assert alias.owners == sorted({first, second, third}, key=lambda owner: owner[1])
    alias = Alias([("a", 10), ("b", 20)])
    assert not add_owner(alias, "a", 15)
    assert add_owner(alias, "b", 15)
    assert alias.owners == [("a", 10), ("b", 15), ("b", 20)]  # the link at 20 was sent
    assert add_owner(alias, "b", 12)
    assert alias.owners == [("a", 10), ("b", 12), ("b", 20)]
    assert add_owner(alias, "a", 16)
    assert not add_owner(alias, "b", 21)
    assert alias.owners == [("a", 10), ("b", 12), ("a", 16), ("b", 20)]
    alias = Alias([("b", 12), ("b", 20), ("c", 30), ("c", 40)])
    assert [pairs_of_device(alias, "d", at) for at in (0, 15, 30, 50)] == [
        [("d", "b", 12), ("d", "c", 30)], [("d", "b", 15), ("d", "c", 30)], [("d", "c", 30)], [("d", "c", 50)],
    ]  # fmt: skip
    alias = Alias([("a", 10), ("", 20), ("a", 30), ("b", 40)], 0, [("d", 5), ("e", 25), ("f", 35)])
    assert pairs_of_device(alias, "d", 15) == [("d", "a", 15), ("d", "a", 30), ("d", "b", 40)]
    assert pairs_of_customer(alias, "a", 10) == [("d", "a", 10), ("f", "a", 35)]


# -- bounds


def test_a_device_with_a_thousand_customers_stays_bounded() -> None:
    network = after(*(view(n * 1000, f"c-{n}", "d") for n in range(1000)))
    [alias] = [profile.alias for key, profile in network.aliases().items() if key == b"ad"]
    assert alias is not None
    assert [customer for customer, _ in alias.owners] == [f"c-{n}" for n in range(1000 - OWNERS, 1000)]
    assert network.counts["trimmed", "owners"] == 1000 - OWNERS
    assert network.counts["identity_resolution", "switched"] == 999
    assert peek(pack(network.aliases()[b"ad"])).is_alias
    assert len(pack(network.aliases()[b"ad"])) < 1000


def test_a_customer_with_a_thousand_devices_stays_bounded_and_has_all_they_did() -> None:
    records = [event for n in range(1000) for event in (view(2 * n, device=f"d-{n}"), view(2 * n + 1, "c", f"d-{n}"))]
    network = after(*records)
    [(_, profile)] = network.profiles().items()
    assert profile.product_views == 2000
    assert len(pack(profile)) < Policy().profile_bytes
    assert len(network.aliases()) == network.tasks[0].engine.state.aliases == 1000
    assert network.largest_record < 2 * Policy().profile_bytes


def test_a_cart_that_everybody_shows_stays_bounded() -> None:
    network = after(*(view(n, device=f"d-{n}", cart_id="k") for n in range(100)))
    alias = network.aliases()[b"kck"].alias
    assert alias is not None
    assert [device for device, _ in alias.devices] == [f"d-{n}" for n in range(92, 100)]
    assert network.counts["trimmed", "devices"] == 92


# -- what is written, and for how long


def test_an_event_of_a_customer_on_a_known_device_writes_nothing_of_the_device() -> None:
    network = after(view(0, "c", "d"))
    written = len(network.changelogs[0])
    network.append(0, view(MINUTE, "c", "d"))
    network.run()
    assert {key for key, _ in network.changelogs[0][written:]} == {b"cc"}
    network.append(0, view(26 * HOUR, "c", "d"))  # a day later it does, so that the device is not forgotten
    network.now += 26 * HOUR
    network.run()
    assert b"ad" in {key for key, _ in network.changelogs[0][written:]}


@pytest.mark.parametrize(("key", "days"), [(b"ad", 400), (b"kck", 30)])
def test_device_or_cart_not_seen_for_long_is_forgotten_without_an_output(key: bytes, days: int) -> None:
    network = after(view(0, "c", "d"), view(1, device="d", cart_id="k"))
    reported = len(network.received)
    network.now = T + days * DAY - MINUTE
    network.run()
    assert key in network.aliases()
    reported = len(network.received)
    network.now = T + days * DAY + MINUTE
    network.run()
    assert key not in network.aliases()
    assert (key, None) in network.changelogs[0]
    assert all(output.customer == "c" for output in network.received[reported:])


def test_expiry_of_devices_is_configurable() -> None:
    network = after(
        *(view(n * HOUR, "c", "d") for n in range(24)), view(23 * HOUR, device="d", cart_id="k"),
        policy=Policy(device_expiry=20 * HOUR, cart_id_expiry=2 * HOUR),
    )  # fmt: skip
    assert len(changes(network.received)) == 1  # in use, it is not forgotten
    for hours, known in ((24, {b"ad", b"kck"}), (26, {b"ad"}), (40, {b"ad"}), (44, set())):
        network.now = T + hours * HOUR
        network.run()
        assert set(network.aliases()) == known


@pytest.mark.parametrize("days", [50, 800])
def test_a_changed_expiry_counts_from_when_a_device_is_next_seen(days: int) -> None:
    network = after(view(0, "c", "seen"), view(1, "c", "not"))
    network._lifecycle = Lifecycle(default_playbook(policy=Policy(device_expiry=days * DAY)))
    network.restart(0)
    network.append(0, view(10 * DAY, device="seen"))

    def known(at: int) -> set[bytes]:
        network.now = T + at
        network.run()
        return set(network.aliases())

    assert known(10 * DAY + MINUTE) == {b"aseen", b"anot"}
    ends = sorted([(400 * DAY, b"anot"), ((10 + days) * DAY, b"aseen")])
    assert known(ends[0][0] - MINUTE) == {b"aseen", b"anot"}
    assert known(ends[0][0] + MINUTE) == {ends[1][1]}
    assert known(ends[1][0] - MINUTE) == {ends[1][1]}
    assert known(ends[1][0] + MINUTE) == set()


def test_forgotten_device_is_unlinked() -> None:
    network = after(view(0, device="d"), view(1, "c", "d"))
    network.now = NOON + 500 * DAY
    network.append(0, view(500 * DAY, device="d"), view(500 * DAY + 1000, "b", "d"))
    network.run()
    assert changes(network.received) == [("linked", "c", None, 1), ("linked", "b", None, 500 * DAY + 1000)]
    [profile] = [p for (_, customer), p in network.profiles().items() if customer == "b"]
    assert profile.product_views == 2


def alias_record(number: int) -> tuple[bytes, bytes]:
    profile = Profile(f"d-{number}", False)
    profile.alias, profile.next_deadline, profile.commit = Alias([("c", T)], T), T + 400 * DAY, 3
    profile.applied, profile.of_upstreams = [7, -1, 9], {UpstreamId(16): 4}
    profile.pending = [
        InternalMessage(
            stream=1, number=number, cause=InputId(-1), offset=7, role=LINK, at=T, customer="c", other=profile.customer
        )
    ]
    return b"a" + profile.customer.encode(), pack(profile)


def test_an_alias_is_read_as_it_was_packed_and_by_no_older_version() -> None:
    _, value = alias_record(1)
    assert pack(unpack(value)) == value
    header = peek(value)
    assert (header.stage, header.forgotten, header.is_alias) == (None, False, True)
    with pytest.raises(NewerVersion):
        unpack(bytes([NEWEST_FORMAT + 1]) + value[1:])


def test_recovery_counts_aliases_and_returns_unsent_messages() -> None:
    disk = MemoryDisk()
    state = TaskState(disk=disk)
    for number in (2, 1):
        state.restore(*alias_record(number))
        state.restore(*alias_record(number))
    state.write_to_disk(b"note")
    for restored in (state, TaskState(disk=disk)):
        assert (restored.aliases, len(restored), dict(restored.population)) == (2, 2, {})
        assert not restored.has_changes({Rank(0): 100, Rank(1): 100, Rank(2): 100})
        whole, cut = restored.unsent_messages(2, 3)
        assert ([message.number for message in whole], cut) == ([1, 2], [])
        whole, cut = restored.unsent_messages(2, 2)
        assert (whole, sorted(key for key, _ in cut)) == ([], [b"ad-1", b"ad-2"])
        assert restored.unsent_messages(3, 3) == ([], [])
        assert restored.unsent_outputs(2) == []


def test_alias_becomes_a_profile_after_identity_resolution_is_switched_off() -> None:
    network = after(view(0, "c", "d"))
    engine = PartitionEngine(Lifecycle(default_playbook()), state=network.tasks[0].engine.state)
    event = view(MINUTE, device="d")
    event.offset = 10
    engine.ingest(CLICKS, [event], 11, NOON)
    engine.advance(NOON, {source: Fetch(NOON, 11 if source is CLICKS else 0) for source in Source})
    profile = engine.state.get(b"ad")
    assert profile is not None
    assert (profile.stage, profile.alias, engine.state.aliases) == ("visitor", None, 0)


# -- what leaves, and when


def identity_resolution(
    last: LastCommit = LastCommit(), *, state: TaskState | None = None, **config: Any
) -> PartitionEngine:
    """Return the engine of the only task, with identity resolution. `config`: other fields of `EngineConfig`."""
    return PartitionEngine(Lifecycle(default_playbook()), EngineConfig(tasks=1, **config), last, state=state)


def read(engine: PartitionEngine, *records: Event, now: int = NOON) -> list[Output]:
    """Read a whole partition of the clickstream, while the streams report that they have no pending messages."""
    parts = []
    for offset, event in enumerate(records, engine.progress(CLICKS).position):
        event.offset = offset
        parts += [event, *parts_of(event)]
    outputs = engine.ingest(CLICKS, parts, engine.progress(CLICKS).position + len(records), now).outputs
    ends = {source: Fetch(now, engine.progress(source).position) for source in Source}
    outputs += engine.advance(now, ends).outputs
    for stream in (message_rank(0), message_rank(1)):
        outputs += report(engine, stream, now)
    return outputs + engine.advance(now, ends).outputs


def report(engine: PartitionEngine, rank: Rank, now: int) -> list[Output]:
    """Report for a stream that it has caught up and has no pending messages."""
    return engine.receive([(0, ProgressReport(rank, 0, -1, now, now, None))], engine.repartition_position, now).outputs


def test_profile_is_moved_by_a_commit_and_merge_outputs_wait_for_the_next_one() -> None:
    engine = identity_resolution()
    outputs = read(engine, view(0, device="d"), view(1, device="d"), view(2, "c", "d"))
    assert [o.type if isinstance(o, IdentityChange) else "" for o in outputs].count("linked") == 1
    snapshot = engine.snapshot()
    assert snapshot is not None
    [message] = snapshot.messages
    assert (message.stream, message.number, message.customer, message.other) == (1, 0, "c", "d")
    assert unpack(message.moved or b"").product_views == 2
    assert unpack(dict(snapshot.changes)[b"ad"] or b"").pending == [message]
    engine.messages_sent()
    given = RepartitionedRecord(message_rank(1), 0, 0, -1, [event_of_message(message, 100)])
    effects = engine.receive([(0, given), (1, given)], 2, NOON)
    assert effects.counts["repartition_received", "taken"] == effects.counts["repartition_received", "repeated"] == 1
    assert effects.outputs == []
    snapshot = engine.snapshot()
    assert snapshot is not None
    assert [o.cause.kind for o in snapshot.outputs if isinstance(o, StageChange)] == ["merge"]
    assert snapshot.repartition is not None
    assert snapshot.repartition.position == 2
    assert snapshot.repartition.numbers == [-1, 0]


def test_before_emit_after_links_are_resolved_without_outputs() -> None:
    engine = identity_resolution(emission=EmissionPolicy(emit_after=NOON))
    assert read(engine, view(0, device="d"), view(2, "c", "d")) == []
    snapshot = engine.snapshot()
    assert snapshot is not None
    assert len(snapshot.messages) == 1


def test_stream_progress_ends_before_unsent_messages_and_is_caught_up_unless_these_are_old() -> None:
    engine = identity_resolution()
    read(engine, view(0, device="d"), now=T)
    now = T + 9 * SECOND
    read(engine, view(3 * SECOND, "c", "d"), now=now)
    progress, caught_up_at = engine.report(message_rank(1))
    assert (progress, caught_up_at) == (T + 3 * SECOND, now)
    now = T + 30 * SECOND
    read(engine, now=now)
    assert engine.report(message_rank(1)) == (T + 3 * SECOND, None)
    assert engine.snapshot() is not None
    assert engine.report(message_rank(1)) == (T + 3 * SECOND, None)  # the message is not sent yet
    engine.messages_sent()
    assert engine.report(message_rank(1)) == (now - 5 * SECOND, now)
    assert engine.report(message_rank(0)) == (now - 5 * SECOND, now)


def test_event_waiting_at_a_later_resolution_stage_is_uncommitted_and_buffered() -> None:
    engine = identity_resolution()
    event = view(0, "c")
    event.offset = 5
    engine.ingest(CLICKS, [event], 6, NOON)
    engine.advance(NOON, {source: Fetch(NOON, 6 if source is CLICKS else 0) for source in Source})
    assert engine.watermark_blocked_by() == (FIRST_MESSAGES, 0)
    assert engine.positions() == {CLICKS: 5, ORDERS: 0}
    assert engine.buffered_bytes(CLICKS) == event.size
    snapshot = engine.snapshot()
    assert snapshot is not None
    assert snapshot.source_progress[CLICKS].progress == T
    for rank in (message_rank(0), message_rank(1)):
        report(engine, rank, NOON)
    assert engine.positions()[CLICKS] == 6
    assert engine.buffered_bytes(CLICKS) == 0


def test_overlapping_runs_of_parts_are_taken_once() -> None:
    engine = identity_resolution(upstreams=[(CLICKS, 1)])

    def run(*offsets: int) -> RepartitionedRecord:
        parts = []
        for offset in offsets:
            [part] = parts_of(view(offset, "c", "d"))
            part.offset = offset
            parts.append(part)
        return RepartitionedRecord(rank_of(CLICKS), 1, offsets[-1], -1, parts)

    assert [part.role for part in run(1).events] == [LINK]
    engine.receive([(0, run(1, 3)), (1, run(3, 5)), (2, run(3))], 3, NOON)
    assert [event.offset for event in engine._inputs.upstreams[upstream_id(rank_of(CLICKS), 1)].queue] == [1, 3, 5]


def test_small_budgets_give_the_outputs_of_an_unlimited_one() -> None:
    records = [
        event for n in range(30) for event in (view(2 * n, device=f"d-{n % 7}"), view(2 * n + 1, "c", f"d-{n % 7}"))
    ]
    whole = read(identity_resolution(), *records)
    stepwise = identity_resolution(budget=Budget(records=2, deadlines=1, pending=1 << 20))
    outputs = read(stepwise, *records)
    while stepwise.unfinished:
        outputs += stepwise.advance(NOON).outputs
    assert [o.id for o in outputs] == [o.id for o in whole]


def test_messages_of_a_cut_flush_count_towards_the_bound_of_a_record() -> None:
    step = Budget(records=1000, deadlines=100, pending=6_000)
    clicks = [view(HOUR + n, device="d") for n in range(30)]
    died = identity_resolution(budget=step)
    read(died, view(0, "c", "d"))
    whole = died.snapshot()
    assert whole is not None
    assert whole.repartition is not None
    died.messages_sent()
    read(died, *clicks, now=NOON + HOUR)
    cut = died.snapshot()  # in the changelog, without a commit marker behind it
    assert cut is not None
    assert len(cut.messages) == 30
    state = TaskState()
    for key, value in (*whole.changes, *cut.changes):
        state.restore(key, value)
    engine = identity_resolution(
        LastCommit(
            commit=whole.commit,
            flushed=whole.commit,
            positions=whole.positions,
            progress=whole.source_progress,
            repartition=StoredRepartition(0, whole.repartition.upstreams, whole.repartition.numbers),
        ),
        state=state,
        budget=step,
    )
    orders = [record(T + MINUTE + n, "order_completed", None, "d") for n in range(60)]
    for source, position, records in ((ORDERS, 0, orders), (CLICKS, 1, clicks)):
        for offset, event in enumerate(records, position):
            event.offset = offset
        engine.ingest(source, records, position + len(records), NOON + HOUR)
    report(engine, message_rank(0), NOON + HOUR)
    sent: list[InternalMessage] = []
    sizes: list[int] = []
    while engine.unfinished or not sizes:
        engine.advance(NOON + HOUR, {ORDERS: Fetch(NOON + HOUR, 60), CLICKS: Fetch(NOON + HOUR, 31)})
        snapshot = engine.snapshot()
        assert snapshot is not None
        sizes += [len(value or b"") for key, value in snapshot.changes if key == b"ad"]
        sent += snapshot.messages
        engine.messages_sent()
    assert [(message.number, message.at) for message in sent] == list(enumerate(event.at for event in orders + clicks))
    assert max(sizes) < step.pending + 500


def cut_off() -> PartitionNetwork:
    """Return a network of one task whose last flush, with an internal message in it, lacks its end."""
    network = after(view(0, "c", "d"))
    network.append(0, view(MINUTE, device="d"))
    network.tick(0)
    network.read_source(0, CLICKS)
    network.tick(0)
    assert network.tasks[0].engine.has_messages
    network.commit(0, "in flush")
    assert [message.at for message in pending(network)] == [T + MINUTE]
    return network


def pending(network: PartitionNetwork) -> list[InternalMessage]:
    """Return the internal messages that wait for a commit in the records of the changelog."""
    latest = {
        key: value for key, value in dict(network.changelogs[0]).items() if value is not None and not is_marker(key)
    }
    return [event for value in latest.values() for event in unpack(value).pending if isinstance(event, InternalMessage)]


def set_behind(network: PartitionNetwork) -> None:
    """Set the offset of the group behind records that were deleted, as an operator does, and restart the worker."""
    commit, positions, marks, arrived = network.committed[0]
    network.committed[0] = commit, {**positions, CLICKS: len(network.logs[CLICKS, 0])}, marks, arrived
    network.restart(0)


@pytest.mark.parametrize("again", [True, False], ids=["read again", "gone"])
def test_messages_of_a_cut_flush_are_sent_also_if_their_cause_is_never_read_again(again: bool) -> None:
    network = cut_off()
    if not again:
        set_behind(network)
    network.run()
    assert network.profiles()[True, "c"].product_views == 2
    assert [message.number for message in pending(network)] == [0]  # with the commit that took it
    written = [key for key, _ in network.changelogs[0]].count(b"ad")
    network.run()
    assert [key for key, _ in network.changelogs[0]].count(b"ad") == written


@pytest.mark.parametrize("who", [("c", True), ("d", False)], ids=["customer", "device"])
@pytest.mark.parametrize("again", [True, False], ids=["read again", "gone"])
def test_messages_of_a_cut_flush_are_dropped_with_an_erasure(again: bool, who: tuple[str, bool]) -> None:
    network = cut_off()
    if not again:
        set_behind(network)
    before = network.counts["internal_messages", "devices"]
    network.erasure_requests.append((*who, NOON))
    network.erase(0)
    network.commit(0)
    assert pending(network) == []
    network.run()
    assert network.counts["internal_messages", "devices"] == before
    assert pending(network) == []


def test_messages_of_a_cut_flush_are_sent_also_if_a_repartition_task_reads_their_source_now() -> None:
    """The topic has more partitions now, so a repartition task reads the cause again and forwards it."""
    click, died = view(HOUR, device="d"), identity_resolution()
    read(died, view(0, "c", "d"))
    whole = died.snapshot()
    assert whole is not None
    died.messages_sent()
    read(died, click, now=NOON + HOUR)
    cut = died.snapshot()
    assert cut is not None
    assert whole.repartition is not None
    state = TaskState()
    for key, value in (*whole.changes, *cut.changes):
        state.restore(key, value)
    engine = identity_resolution(
        LastCommit(
            commit=whole.commit,
            flushed=whole.commit,
            repartition=StoredRepartition(0, whole.repartition.upstreams, whole.repartition.numbers),
        ),
        state=state,
        partition=0,
        own=[ORDERS],
        upstreams=[(CLICKS, 0)],
    )
    now = NOON + HOUR
    engine.receive([(0, RepartitionedRecord(rank_of(CLICKS), 0, click.offset, -1, [click]))], 1, now)
    report(engine, rank_of(CLICKS), now)
    for _ in range(2):
        engine.advance(now, {ORDERS: Fetch(now, 0)})
        for stream in (message_rank(0), message_rank(1)):
            report(engine, stream, now)
    snapshot = engine.snapshot()
    assert snapshot is not None
    assert [(message.number, message.at) for message in snapshot.messages] == [(0, click.at)]


# -- parts


def test_parts_are_of_resolution_stages_below_their_event() -> None:
    both = bought(0, "c", "d", cart_id="k", checkout_id="o")
    assert [(part.role, part.customer, part.other, resolution_stage_of(part)) for part in parts_of(both)] == [
        (LINK, "d", "c", 1), (3, "ck", "c", 0), (3, "oo", "c", 0),
    ]  # fmt: skip
    assert (both.role, resolution_stage_of(both)) == (EVENT, 2)
    assert [part.role for part in parts_of(view(0, device="d", cart_id="k"))] == [2]
    assert parts_of(view(0, "c", cart_id="k")) == []
    assert resolution_stage_of(view(0, device="d")) == 1


def test_stream_is_not_reported_as_behind_for_events_being_read() -> None:
    engine, now = identity_resolution(), T + MINUTE
    read(engine, view(0, "c", "d"), now=now)
    assert engine.report(message_rank(1))[1] == now
    later = now + 900
    more = {CLICKS: Fetch(later, engine.progress(CLICKS).position + 1)}
    engine.advance(later, more)
    assert (
        engine.report(message_rank(1))[1]
        == engine.report(message_rank(0))[1]
        == engine.report(rank_of(CLICKS))[1]
        == now
    )
    engine.advance(now + 1_001, more)
    assert (
        engine.report(message_rank(1))[1]
        is engine.report(message_rank(0))[1]
        is engine.report(rank_of(CLICKS))[1]
        is None
    )


def test_late_internal_message_blocks_no_report() -> None:
    engine, now = identity_resolution(), T + MINUTE
    read(engine, view(0, "c", "d"), now=now)
    engine.snapshot()
    engine.messages_sent()
    assert engine.watermark is not None
    read(engine, view(engine.watermark - T - 1, device="d"), now=now)
    assert engine.has_messages
    assert engine.report(message_rank(1)) == (now - 5 * SECOND, now)
    read(engine, view(engine.watermark - T, device="d"), now=now + MINUTE)
    assert engine.report(message_rank(1))[1] is None


def test_customer_id_of_many_devices_is_named_once() -> None:
    network = after(*[view(n, "shop-guest" if n % 3 else f"c-{n}", f"d-{n}") for n in range(30)])
    engine = network.tasks[0].engine
    (shared,) = engine.take_shared_ids(10)
    assert (shared.devices, shared.partition, shared.offset) == (20, -1, 29)
    assert engine.take_shared_ids(10) == []


def test_number_of_customers_whose_devices_are_counted_is_bounded() -> None:
    shared = SharedIds()
    for n in range(4 * MOST_IDS):
        shared.note(f"c-{n}", 0, -1, n)
        shared.note("shop-guest", 0, -1, n)
        assert len(shared._counts) <= MOST_IDS
    (found,) = shared.take(1_000)
    assert (found.devices > 3 * MOST_IDS, found.offset) == (True, 4 * MOST_IDS - 1)
