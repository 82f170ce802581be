"""A profile packs to bytes and unpacks to the same profile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.model.alias import Alias
from streams.core.model.sources import InputId, UpstreamId
from streams.core.model.tracks import TrackState
from streams.core.profile.codec import NEWEST_FORMAT, Corrupt, NewerVersion, pack, peek, unpack
from streams.core.profile.profile import Profile
from tests.support.customer_history import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    T0,
    CustomerHistory,
    Event,
    click,
    item,
    order,
    run,
)


def shopper() -> CustomerHistory:
    """Return a customer with some value in every part of the profile."""
    return run(
        [
            click(0, "product_viewed", "A", session_id="s-1", event_id="e-1"),
            click(SECOND, "product_added", "A", category="hats", cart_id="k-1", event_id="e-2"),
            order(MINUTE, "o-1", "order_refunded", total=100, event_id="e-3"),
            order(2 * MINUTE, "o-2", items=(item("B"),), event_id="e-4"),
            click(10 * MINUTE, "checkout_started", checkout_id="x-1", event_id="e-5"),
            click(DAY, "product_viewed", None, price=None, event_id="e-6"),
            click(DAY + SECOND, "product_added", "ü", event_id="e-7"),
        ]
    )


def test_packed_profile_round_trips() -> None:
    history = shopper()
    profile = history.alive
    profile.applied, profile.commit, profile.pending = [7, -1], 12, list(history.outputs)
    assert len(profile.pending) > 3
    data = pack(profile)
    assert unpack(data) == profile
    assert pack(unpack(data)) == data


def test_packing_does_not_change_the_profile() -> None:
    profile, same = shopper().alive, shopper().alive
    same.applied, profile.applied = [5, 6], [5, 6]
    pack(profile)
    assert profile == same


def test_an_unpacked_profile_goes_on_as_the_one_that_was_packed() -> None:
    kept, unpacked = shopper(), shopper()
    unpacked.profile = unpack(pack(unpacked.alive))
    for history in (kept, unpacked):
        history.play(
            click(DAY, "product_removed", "ü", event_id="e-8"),
            order(DAY + HOUR, "o-1", event_id="e-9"),
            until=100 * DAY,
        )
    assert unpacked.outputs == kept.outputs
    assert unpacked.profile == kept.profile


def test_header_is_read_without_the_rest() -> None:
    profile = shopper().alive
    profile.applied, profile.commit = [7, 9], 12
    header = peek(pack(profile)[:60])  # nothing of the rest is needed
    assert (header.identified, header.stage, header.is_alias) == (True, "customer", False)
    assert (header.applied, header.commit, header.forgotten) == ((7, 9), 12, False)
    assert header.next_deadline == profile.next_deadline == T0 + DAY + SECOND + 30 * MINUTE


def test_header_of_a_forgotten_profile_is_marked() -> None:
    history = run([click(0, identified=False)], until=80 * DAY)
    profile = history.alive
    profile.pending = list(history.outputs)
    history.play(until=90 * DAY)
    header = peek(pack(profile))
    assert (header.forgotten, header.stage, header.next_deadline, header.identified) == (True, None, None, False)
    assert unpack(pack(profile)).pending == profile.pending


@pytest.mark.parametrize(
    "damaged",
    [
        bytes([0]),
        bytes([NEWEST_FORMAT]),
        bytes([NEWEST_FORMAT, 32]) + bytes(33) + b"\x05\0\0\0place",
        bytes([NEWEST_FORMAT, 64]) + bytes(33) + b"\x05\0\0\0not a map",
        bytes([NEWEST_FORMAT, 64]) + bytes(33) + b"\x05\0\0\0",
    ],
)
def test_damaged_header_is_corrupt(damaged: bytes) -> None:
    for read in (peek, unpack):
        with pytest.raises(Corrupt):
            read(damaged)


def test_a_newer_version_is_refused_with_what_to_do() -> None:
    data = bytes([NEWEST_FORMAT + 1]) + pack(run([click(0)]).alive)[1:]
    for read in (peek, unpack):
        with pytest.raises(NewerVersion, match=r"newer version of this program .* upgrade this worker"):
            read(data)


@pytest.mark.parametrize("cut", [0, 1, 10, 25, 60, -1])
def test_truncated_profile_is_corrupt(cut: int) -> None:
    with pytest.raises(Corrupt):
        unpack(pack(shopper().alive)[:cut])


@given(st.binary(max_size=80))
def test_garbage_is_corrupt(data: bytes) -> None:
    with pytest.raises((Corrupt, NewerVersion)):
        unpack(bytes([NEWEST_FORMAT]) + data)


events = st.one_of(
    st.builds(
        click,
        st.integers(0, 40 * DAY),
        st.sampled_from(["product_viewed", "product_added", "product_removed", "checkout_started", "subscribed"]),
        st.sampled_from(["A", None, 'ü"\\\x00']),
        session_id=st.none() | st.text(max_size=3),
        price=st.none() | st.integers(0, 10**12),
    ),
    st.builds(
        order,
        st.integers(0, 40 * DAY),
        st.sampled_from(["o-1", "o-2"]),
        st.sampled_from(["order_completed", "order_refunded", "order_updated"]),
        total=st.none() | st.integers(0, 10**12),
    ),
)


@given(st.lists(events, min_size=1, max_size=10))
def test_any_profile_round_trips(history: list[Event]) -> None:
    profile = run(sorted(history, key=lambda event: event.at)).alive
    assert unpack(pack(profile)) == profile


def test_small_customers_take_few_bytes() -> None:
    looked = run([click(n * MINUTE, "product_viewed", f"p-{n}", session_id="s-1") for n in range(3)])
    assert len(pack(looked.alive)) < 340


def golden() -> Profile:
    history = shopper()
    profile = history.alive
    profile.applied, profile.commit, profile.pending = [7, -1], 12, [history.changes[0], history.abandonments[0]]
    return profile


def golden_in_tracks() -> Profile:
    profile = golden()
    profile.tracks = [TrackState("loyalty", "gold", 5, 1), TrackState("mail")]
    profile.applied, profile.of_upstreams, profile.erased_at = [1, 2, 3], {UpstreamId(7): 8}, 3
    return profile


def golden_with_offset_gaps() -> Profile:
    profile = golden_in_tracks()
    profile.offset_gaps, profile.first_dropped_at = {InputId(0): {5, 3}, InputId(1): set()}, 9
    return profile


def golden_alias() -> Profile:
    profile = Profile("d", False)
    profile.alias, profile.next_deadline = Alias([("c", 1)], 2, [("x", 3)]), 4
    return profile


@pytest.mark.parametrize(
    ("flags", "profile", "digest"),
    [
        (0b0000111, golden, "4fb62eefe18f84179d7f5528da070520bcc71c174d4b764ebcdf44720595f8cc"),
        (0b0110111, golden_in_tracks, "f4fc4adf466aaee1d6ddfefd71fc70dfe564a07facd2ba12c39610fa0a9bdff0"),
        (0b0001010, golden_alias, "b605428c99ddfcd1e990eb6035918faff57d6568106bb8d0eff8e305f5a7422b"),
        (0b1110111, golden_with_offset_gaps, "0b347afc2d3a0b019a8dacc549084fbadb6b23b24e3d48624028c9ed22ac3633"),
    ],
)
def test_bytes_of_a_profile_stay_the_same(flags: int, profile: Callable[[], Profile], digest: str) -> None:
    data = pack(profile())
    assert (data[0], data[1]) == (1, flags)
    assert hashlib.sha256(data).hexdigest() == digest
    assert pack(unpack(data)) == data
