from __future__ import annotations

import hashlib

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from streams.contracts.dead_letters import MAX_KEY, DeadLetter, dead_letter
from streams.contracts.rejected import Rejected

REJECTED = Rejected("invalid_money", "price: negative")


def letter(key: bytes | None, value: bytes | None, max_bytes: int = 1_000_000) -> DeadLetter:
    return dead_letter(
        REJECTED,
        key=key,
        value=value,
        timestamp=1_795_255_200_000,
        topic="clickstream",
        partition=3,
        offset=17,
        max_bytes=max_bytes,
    )


@pytest.mark.parametrize("key", [None, b"", b"c-1", b"\xff"])
@pytest.mark.parametrize("value", [None, b"", b"{}", b"\xff"])
def test_dead_letter_holds_the_record_unchanged(key: bytes | None, value: bytes | None) -> None:
    assert letter(key, value) == DeadLetter(
        key,
        value,
        1_795_255_200_000,
        [
            ("__streams.errors.exception", b"streams.contracts.rejected.Rejected"),
            ("__streams.errors.message", b"price: negative"),
            ("__streams.errors.topic", b"clickstream"),
            ("__streams.errors.partition", b"3"),
            ("__streams.errors.offset", b"17"),
            ("__streams.errors.reason", b"invalid_money"),
        ],
    )


def test_oversized_value_is_cut() -> None:
    value = bytes(range(256)) * 5_000
    cut = letter(b"c-1", value)
    assert cut.value is not None
    assert value.startswith(cut.value)
    assert 998_000 < len(cut.value) < 1_000_000
    assert cut.key == b"c-1"
    headers = dict(cut.headers)
    assert headers["__streams.errors.size"] == b"1280000"
    assert headers["__streams.errors.sha256"] == hashlib.sha256(value).hexdigest().encode()


def test_oversized_key_is_cut() -> None:
    cut = letter(b"k" * 2_000_000, None)
    assert cut.key == b"k" * MAX_KEY
    assert cut.value is None
    assert dict(cut.headers)["__streams.errors.size"] == b"0"


@given(key=st.none() | st.integers(0, 8_000), value=st.none() | st.integers(0, 8_000), room=st.integers(2_500, 6_000))
def test_dead_letter_fits_its_limit(key: int | None, value: int | None, room: int) -> None:
    cut = letter(_bytes(key), _bytes(value), max_bytes=room)
    batch = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 10**9)
    assert batch.append(0, cut.timestamp, cut.key, cut.value, cut.headers)
    assert len(batch.build()) <= room


def _bytes(size: int | None) -> bytes | None:
    return None if size is None else b"x" * size
