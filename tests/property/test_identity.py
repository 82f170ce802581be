"""Identity resolution in tasks that crash at every step agrees with a reference that works on the whole history."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.counters import EngineCounters
from streams.core.model.event import Event, Source
from streams.core.model.outputs import IdentityChange, Output
from streams.core.model.policy import DAY, HOUR, MINUTE, SECOND
from streams.core.profile.profile import Profile
from tests.property.identity_histories import (
    POLICY,
    START,
    Placed,
    busy,
    customer_and_device,
    fields_of,
    histories,
)
from tests.support.default_playbook import default_playbook
from tests.support.partition_network import PartitionNetwork, by_id, record

REMEMBERED = 8
"""The number of owners kept for a device, and of devices kept for a cart."""


# -- the rules, from scratch


class Told:
    """The reference: owners, identity changes and events of each customer, for records in time order."""

    def __init__(self, records: Iterable[Event]) -> None:
        records = sorted(records, key=lambda one: one.at)
        links: list[tuple[int, int, str, str]] = []
        devices: dict[str, dict[str, int]] = defaultdict(dict)
        claims: dict[str, list[str]] = defaultdict(list)
        for one in records:
            if one.identified and one.other:
                links.append((one.at, 0, one.other, one.customer))
            for cart in filter(None, (f"cart {one.cart_id}" if one.cart_id else "", one.checkout_id)):
                if one.identified and one.source is Source.ORDERS and claims[cart][-1:] != [one.customer]:
                    links += [(one.at, 1, device, one.customer) for device in devices[cart]]
                    claims[cart].append(one.customer)
                elif not one.identified and one.source is Source.CLICKSTREAM and one.customer not in devices[cart]:
                    links += [(one.at, 1, one.customer, customer) for customer in claims[cart][-1:]]
                    devices[cart][one.customer] = one.at
                    if len(devices[cart]) > REMEMBERED:
                        del devices[cart][next(iter(devices[cart]))]
        self.owners: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self.changes: Counter[tuple[str, str, str, int]] = Counter()
        for at, by_cart, device, customer in sorted(links, key=lambda link: link[:2]):
            owners = self.owners[device]
            if owners and owners[-1][0] == customer:
                continue
            if owners and by_cart:
                self.changes["refused", device, customer, at] += 1
                continue
            self.changes["switched" if owners else "linked", device, customer, at] += 1
            owners.append((customer, at))
        self.events: dict[tuple[bool, str], list[Event]] = defaultdict(list)
        for one in records:
            whose = (one.identified, one.customer)
            if not one.identified and (of := self.owners.get(one.customer)):
                whose = True, next((c for c, since in reversed(of) if since < one.at), of[0][0])
            self.events[whose].append(one)


def says(profile: Profile) -> dict[str, Any]:
    """Return the parts of a profile that depend on the events it has. (Carts are tested in test_merging.)"""
    return {
        "views": profile.product_views, "checkouts": profile.checkouts, "orders": profile.orders,
        "revenue": profile.revenue, "order_ids": set(profile.order_book), "sessions": profile.sessions.count,
        "first": profile.first_seen_at, "last": profile.last_seen_at, "active": profile.active_at,
        "signed_up": profile.signed_up, "stage": profile.stage, "next": profile.next_deadline,
    }  # fmt: skip


def alone(events: list[Event], until: int) -> dict[str, Any] | None:
    """Return what a single profile with all these events says at a time (ms)."""
    lifecycle, outputs, counts = Lifecycle(default_playbook(policy=POLICY)), list[Output](), EngineCounters()
    profile = lifecycle.new(events[0].customer, True)
    for event in events:
        while (due := profile.next_deadline) is not None and due <= event.at:
            lifecycle.fire(profile, outputs, counts)
        lifecycle.apply(profile, event, outputs, counts)
    while (due := profile.next_deadline) is not None and due <= until:
        lifecycle.fire(profile, outputs, counts)
    return says(profile)


# -- what happens


def played(
    placed: list[Placed], partitions: int, seed: int | None = None, disabled_guard: str = "", steps: int = 250
) -> PartitionNetwork:
    """Return the network after all is read, and two days later."""
    network = PartitionNetwork(START, partitions, disabled_guard, POLICY)
    for partition, one in placed:
        network.append(partition % partitions, record(one.at, one.type, *customer_and_device(one), **fields_of(one)))
    if seed is not None:
        network.run_with_crashes(random.Random(seed), steps)
    network.run()
    network.now += 2 * DAY
    network.run()
    return network


def wrong(placed: list[Placed], network: PartitionNetwork, right: dict[str, Output]) -> Iterator[str]:
    """Yield each difference from the reference and from the right outputs."""
    told = Told(one for _, one in placed)
    until = START + 2 * DAY
    expected = {whose: alone(events, until) for whose, events in told.events.items()}
    found = {whose: says(profile) for whose, profile in network.profiles().items()}
    if found != expected:
        yield f"profiles: {found} for {expected}"
    owners = {device: owners[-REMEMBERED:] for device, owners in told.owners.items()}
    known = {key[1:].decode(): p.alias.owners for key, p in network.aliases().items() if key[:1] == b"a" and p.alias}
    if known != owners:
        yield f"aliases: {known} for {owners}"
    outputs = by_id(network.received)
    changes = {
        (o.type, o.anonymous_id or "", o.customer, o.occurred_at)
        for o in outputs.values()
        if isinstance(o, IdentityChange)
    }
    if changes != set(told.changes):
        yield f"identities: {changes} for {set(told.changes)}"
    if outputs != right:
        yield f"outputs: {[outputs.get(i) or right.get(i) for i in outputs.keys() ^ right.keys()]}"


@given(histories(), st.integers(1, 4), st.integers(0, 1 << 30))
def test_profiles_and_owners_after_crashes_are_those_of_the_reference(
    placed: list[Placed], partitions: int, seed: int
) -> None:
    right = by_id(played(placed, 1).received)
    assert list(wrong(placed, played(placed, partitions, seed), right)) == []


@pytest.mark.parametrize("seed", range(12))
def test_busy_history_with_crashes_loses_and_repeats_nothing(seed: int) -> None:
    placed = busy(seed)
    right = by_id(played(placed, 1).received)
    network = played(placed, 3, seed, steps=500)
    assert list(wrong(placed, network, right)) == []
    assert network.counts["repartition_received", "repeated"] > 0
    assert network.counts["internal_messages", "devices"] > 10
    assert network.counts["internal_messages", "carts"] > 0
    assert network.counts["identity_resolution", "merged"] > 1
    assert network.counts["identity_resolution", "switched"] > 1
    assert network.counts["identity_resolution", "refused"] > 1


@pytest.mark.parametrize("disabled_guard", ["numbers", "previous", "pending", "hold", "cut"])
def test_outputs_are_wrong_with_any_guard_disabled(disabled_guard: str) -> None:
    for seed in range(12):
        placed = busy(seed)
        right = by_id(played(placed, 1).received)
        try:
            if list(wrong(placed, played(placed, 3, seed, disabled_guard, 500), right)):
                return
        except AssertionError:
            return
    pytest.fail("all was right")


# -- what comes late

WITHIN = (0, 0, 1, SECOND, POLICY.lateness)
BEYOND = (*WITHIN, 20 * MINUTE, 2 * HOUR, DAY)


@st.composite
def late(draw: st.DrawFn, history: st.SearchStrategy[list[Placed]], delays: tuple[int, ...]) -> list[Placed]:
    """Return a history in order of arrival, if each record arrives so much (ms) after its time."""
    placed = draw(history)
    by = draw(st.lists(st.sampled_from(delays), min_size=len(placed), max_size=len(placed)))
    return [placed[n] for _, n in sorted((one.at + by[n], n) for n, (_, one) in enumerate(placed))]


@st.composite
def of_one_each(draw: st.DrawFn) -> list[Placed]:
    """Return a history in which each device and each cart has one customer, with links anywhere."""
    at, placed = START - 2 * DAY, list[Placed]()
    for _ in range(draw(st.integers(1, 40))):
        at += draw(st.sampled_from((1, SECOND, 3 * SECOND, MINUTE, 40 * MINUTE)))
        number = draw(st.integers(0, 2))
        customer, device = draw(st.sampled_from(((True, False), (True, True), (False, True), (False, True))))
        types = ("product_viewed", "checkout_started", "order_completed" if customer else "page_viewed")
        ids = f"c-{number}" if customer else None, f"d-{number}-{draw(st.integers(0, 1))}" if device else None
        fields = {"cart_id": f"k-{number}"} if draw(st.booleans()) else {}
        one = record(at, draw(st.sampled_from(types)), *ids, product_id="p", **fields)
        placed.append((draw(st.integers(0, 3)), one))
    return placed


def of_devices(network: PartitionNetwork) -> dict[str, list[IdentityChange]]:
    """Return the identity changes sent of each device, in order. Fail if one was sent twice."""
    found: dict[str, list[IdentityChange]] = defaultdict(list)
    changes = [output for output in network.received if isinstance(output, IdentityChange)]
    assert len({change.id for change in changes}) == len(changes)
    for change in changes:
        if change.type in ("linked", "switched"):
            assert change.anonymous_id is not None
            found[change.anonymous_id].append(change)
    return found


def owners_of(network: PartitionNetwork) -> dict[str, list[tuple[str, int]]]:
    """Return the owners of each device, in order."""
    return {key[1:].decode(): p.alias.owners for key, p in network.aliases().items() if key[:1] == b"a" and p.alias}


def arriving(
    placed: list[Placed], partitions: int, pieces: int, *, event_time_ordering: bool = False
) -> PartitionNetwork:
    """Return the network after all is read, where each piece arrives long after the one before was applied."""
    network = PartitionNetwork(START, partitions, policy=POLICY, event_time_ordering=event_time_ordering)
    for piece in range(pieces):
        for partition, one in placed[piece * len(placed) // pieces : (piece + 1) * len(placed) // pieces]:
            network.append(
                partition % partitions, record(one.at, one.type, *customer_and_device(one), **fields_of(one))
            )
        network.now += MINUTE
        network.run(rounds=4)
    network.run()
    return network


@given(late(of_one_each(), WITHIN), st.integers(1, 4), st.integers(0, 1 << 30))
def test_late_events_and_later_links_give_the_same_profiles(placed: list[Placed], partitions: int, seed: int) -> None:
    expected = {whose: alone(events, START) for whose, events in Told(one for _, one in placed).events.items()}
    network = played(placed, partitions, seed)
    found = {whose: says(profile) for whose, profile in network.profiles().items()}
    for known in (expected, found):
        for profile in known.values():
            assert profile is not None
            del profile["stage"], profile["next"]  # the history of stages, and deadlines that depend on it, may differ
    assert found == expected
    told = {(o.type, o.anonymous_id, o.customer) for o in network.received if isinstance(o, IdentityChange)}
    assert told == {("linked", device, f"c-{device[2]}") for device in owners_of(network)}


@given(late(histories(), BEYOND), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_latest_identity_change_of_a_device_is_right_whatever_comes_late(
    placed: list[Placed], partitions: int, pieces: int, event_time_ordering: bool
) -> None:
    """A subscriber that follows docs/identity.md ends with the right owner, however often devices change owners."""
    network = arriving(placed, partitions, pieces, event_time_ordering=event_time_ordering)
    told, owners = of_devices(network), owners_of(network)
    latest = {device: max((o.occurred_at, o.customer) for o in changes) for device, changes in told.items()}
    assert latest == {device: (since, customer) for device, known in owners.items() for customer, since in known[-1:]}
    for device, changes in told.items():  # the changes are consistent in the order in which they are sent
        assert [o.type for o in changes] == ["linked", *["switched"] * (len(changes) - 1)]
        assert [o.previous_customer for o in changes] == [None, *(o.customer for o in changes[:-1])]
        assert (changes[-1].occurred_at, changes[-1].customer) == latest[device]


@given(late(histories(), BEYOND), st.integers(1, 4), st.integers(1, 4))
def test_late_event_counts_once_for_some_customer(placed: list[Placed], partitions: int, pieces: int) -> None:
    profiles = arriving(placed, partitions, pieces).profiles().values()
    counted = Counter(one.type for _, one in placed)
    assert sum(profile.product_views for profile in profiles) == counted["product_viewed"]
    assert sum(profile.checkouts for profile in profiles) == counted["checkout_started"]
    assert sum(len(profile.order_book) for profile in profiles) == counted["order_completed"]


def test_late_busy_history_has_devices_change_owners_and_reports_them_right() -> None:
    """This shows that the histories of the tests above have such cases."""
    counts: EngineCounters = Counter()
    for seed in range(16):
        rng = random.Random(seed)
        placed = sorted(busy(seed), key=lambda one: one[1].at + rng.choice(BEYOND))
        network = arriving(placed, 3, 4)
        counts += network.counts
        latest = {
            device: max((o.occurred_at, o.customer) for o in changes) for device, changes in of_devices(network).items()
        }
        assert latest == {device: known[-1][::-1] for device, known in owners_of(network).items()}
    for outcome in ("linked", "switched", "earlier", "refused"):
        assert counts["identity_resolution", outcome] > 10
