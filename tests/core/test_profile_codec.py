"""A profile packs to bytes and unpacks to the same profile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.model.policy import Policy
from streams.core.profile.codec import VERSION, Corrupt, NewerVersion, pack, peek, unpack
from streams.core.profile.profile import Profile
from streams.core.profile.sessions import spans
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
            click(3 * MINUTE, "checkout_started", checkout_id="x-1", event_id="e-5"),
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


def test_packing_leaves_the_profile_as_it_is() -> None:
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


def test_the_header_is_read_alone() -> None:
    profile = shopper().alive
    profile.applied, profile.commit = [7, 9], 12
    header = peek(pack(profile)[:60])  # nothing of the rest is needed
    assert (header.version, header.identified, header.stage) == (1, True, "customer")  # it has one track
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


def test_profile_packed_with_fewer_sources_is_read() -> None:
    profile = run([click(0)]).alive
    profile.applied = [41, -1]
    data = bytearray(pack(profile))
    data[18] = 1  # the number of sources
    del data[28:36]
    assert peek(bytes(data)).applied == (41,)
    assert unpack(bytes(data)).applied == [41, -1]


def test_a_newer_version_is_refused_with_what_to_do() -> None:
    data = bytes([VERSION + 1]) + pack(run([click(0)]).alive)[1:]
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
        unpack(bytes([VERSION]) + data)


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
    assert len(pack(looked.alive)) < 320


def golden() -> Profile:
    history = shopper()
    profile = history.alive
    profile.applied, profile.commit, profile.pending = [7, -1], 12, [history.changes[0], history.abandonments[0]]
    return profile


GOLDEN_V1 = bytes.fromhex(
    "010728976ecd990100000c0000000000000002080700000000000000ffffffffffffffff637573746f6d6572dc0027a3632d31c29000928e"
    "a66f7574707574ad73746167655f6368616e676564a26964d92464373736373163312d666163312d353062662d613462382d313163383765"
    "323532376666a8637573746f6d6572a3632d31aa6964656e746966696564c3aa73756273637269626564c0a5747261636ba96c6966656379"
    "636c65aa66726f6d5f7374616765c0a8746f5f7374616765a776697369746f72ab6f636375727265645f6174cf00000199c82cc000a87365"
    "7175656e636501a56379636c6501a5636175736584a46b696e64a86163746976697479a472756c65a776697369746f72a86576656e745f69"
    "64a3652d31aa6576656e745f74797065ae70726f647563745f766965776564b170726576696f75735f73746167655f6d73c0a770726f6669"
    "6c658aad66697273745f7365656e5f6174cf00000199c82cc000ac6c6173745f7365656e5f6174cf00000199c82cc000a873657373696f6e"
    "7301ad70726f647563745f766965777301a66f726465727300a7726576656e756500a863757272656e6379a3455552b3617665726167655f"
    "6f726465725f76616c7565c0aa636172745f6974656d7300aa636172745f76616c756500de001ba66f7574707574ab6162616e646f6e6d65"
    "6e74a26964d92430363762313031382d303234382d353733392d383735632d643963616436623961343932a474797065a96162616e646f6e"
    "6564a46b696e64a8636865636b6f7574ae6162616e646f6e6d656e745f6964d92430363762313031382d303234382d353733392d38373563"
    "2d643963616436623961343932a8637573746f6d6572a3632d31aa6964656e746966696564c3aa73756273637269626564c0a47374657001"
    "a5737465707303ab6f636375727265645f6174cf00000199c84af660b06c6173745f61637469766974795f6174cf00000199c82f7f20b265"
    "7069736f64655f737461727465645f6174cf00000199c82f7f20a56974656d739195a141a468617473cd03e8a345555201a576616c7565cd"
    "03e8a863757272656e6379a3455552a7636172745f6964a36b2d31ab636865636b6f75745f6964a3782d31aa73657373696f6e5f6964a373"
    "2d31aa73757065727365646573c0b3726563656e745f6162616e646f6e6d656e747300a86f726465725f6964c0ab6f726465725f746f7461"
    "6cc0ae6f726465725f63757272656e6379c0b27265636f76657265645f61667465725f6d73c0a56d61746368c0a6726561736f6ec0c0c0cf"
    "00000199c82e94c0030100cf00000199c82cc000cf00000199cd531fe8cf00000199cd531fe8c470317386494bf10d9f00c02cc899010000"
    "0706c581494c583ee8c32cc899010000ca457226f288ac3360aa2dc8990100007669afe22fd8a563c0942ec899010000e3434f1cfb051579"
    "207f2fc899010000b2cac8d61752c2e7001c53cd99010000ef18613ec7538242e81f53cd990100009402cf00000199cd531c00cf00000199"
    "cd531fe8cf00000199c82f7f20a3732d31cf00000199c82cc000c000c20201000001cd1388a345555200cf00000199c82e94c0c081a36f2d"
    "3297cf00000199c82e94c0a3455552cd138800c2c2c081a36f2d319194ae6f726465725f726566756e646564cf00000199c82daa60a34555"
    "5264939682a14195a468617473cd03e8a345555201cf00000199c82cc3e8a2c3bc95c0cd03e8a345555201cf00000199cd531fe8cf000001"
    "99c82f7f20a36b2d31cf00000199c82cc3e8a3782d31cf00000199c82f7f20919acf00000199cd531fe801a2c3bcc0cd03e8a345555201c0"
    "c0c09681a14195a468617473cd03e8a345555201cf00000199c82cc3e8cf00000199c82f7f20a36b2d31cf00000199c82cc3e8a3782d31cf"
    "00000199c82f7f2094cf00000199c82f7f20cf00000199cd531fe881a095c0c0a345555201cf00000199cd531c00c3c3dc0012d924303637"
    "62313031382d303234382d353733392d383735632d643963616436623961343932a8636865636b6f7574cf00000199c84af660cf00000199"
    "c82f7f2001cf00000199c84af660cf00000199c82f7f20cf00000199c82f7f209195a141a468617473cd03e8a345555201a3455552a36b2d"
    "31a3782d31a3732d31c000c0c3c291cf00000199c84af660cd0dac"
)


def test_profiles_packed_by_version_1_are_read() -> None:
    """The bytes that version 1 wrote keep their meaning, whatever becomes of the code."""
    profile = unpack(GOLDEN_V1)
    assert (profile.customer, profile.identified, profile.stage, profile.sequence) == ("c-1", True, "customer", 3)
    assert (profile.applied, profile.commit) == ([7, -1], 12)
    assert profile.next_deadline == T0 + DAY + SECOND + 30 * MINUTE
    assert (profile.first_seen_at, profile.last_seen_at) == (T0, T0 + DAY + SECOND)
    assert (profile.orders, profile.revenue, profile.currency, profile.checkouts) == (1, 5000, "EUR", 1)
    assert profile.sessions.count == 2
    assert spans(profile.sessions) == [(T0 + DAY, T0 + DAY + SECOND), (T0 + 3 * MINUTE, T0 + 3 * MINUTE)]  # all it kept
    assert set(profile.cart.now.lines) == {"A", "ü"}
    assert (profile.cart.now.cart_id, profile.cart.now.checkout_id) == ("k-1", "x-1")
    assert [(op.product, op.at) for op in profile.cart.log] == [("ü", T0 + DAY + SECOND)]
    assert list(profile.order_book) == ["o-2"]
    assert [note.total for note in profile.order_notes["o-1"]] == [100]
    assert profile.episode is not None
    assert list(profile.episode.views) == [""]
    assert profile.latest is not None
    assert (profile.latest.kind, profile.latest.step1_at) == ("checkout", T0 + 33 * MINUTE)
    assert [type(output).__name__ for output in profile.pending] == ["StageChange", "Abandonment"]
    again = CustomerHistory(Policy())
    again.profile = profile
    assert again.play(click(DAY + HOUR, event_id="e-7")).duplicates == 1
