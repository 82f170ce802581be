from __future__ import annotations

import pytest
from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from streams.contracts.partitioning import Partitioner
from streams.core.model.event import Source
from streams.core.model.sources import StoredProgress
from streams.errors import UserError
from streams.shell.commit.metadata import (
    CommitMarker,
    OffsetMetadata,
    decode_marker,
    decode_metadata,
    encode,
    metadata_at_marker,
)


@pytest.mark.parametrize(
    ("key", "hash_", "crc32"),
    [  # murmur2: the vectors of Kafka's own UtilsTest (then `& 0x7fffffff`); crc32: of the IEEE polynomial
        (b"21", -973932308, None),
        (b"foobar", -790332482, 0x9EF61F95),
        (b"a-little-bit-long-string", -985981536, None),
        (b"abc", 479470107, 0x352441C2),
    ],
)
def test_partitioners_agree_with_those_of_producers(key: bytes, hash_: int, crc32: int | None) -> None:
    prime = 9973
    assert Partitioner(prime).partition(key) == (hash_ & 0x7FFFFFFF) % prime
    if crc32 is not None:
        assert Partitioner(prime, "crc32").partition(key) == crc32 % prime


@given(st.binary(max_size=40))
def test_murmur2_agrees_with_aiokafka(key: bytes) -> None:
    assert Partitioner(2**31).partition(key) == murmur2(key) & 0x7FFFFFFF


MARK = StoredProgress(progress=1_763_719_200_000, backfilling=True, last_record_at=1_763_719_300_000)


def test_offset_metadata_round_trips() -> None:
    mark = OffsetMetadata(commit=7, started_at=1_763_000_000_000, progress=MARK)
    assert decode_metadata(encode(mark).decode()) == mark


def test_commit_of_a_newer_version_is_refused() -> None:
    mark = OffsetMetadata(7, 1, StoredProgress(), version=2)
    with pytest.raises(UserError, match="upgrade this worker"):
        decode_metadata(encode(mark).decode())
    with pytest.raises(UserError, match="Nothing was changed"):
        decode_marker(encode(CommitMarker(7, 1, {}, version=2)))


@pytest.mark.parametrize("foreign", ["", "set by hand", "{}", '{"commit":"x"}'])
def test_foreign_offset_metadata_counts_as_none(foreign: str) -> None:
    assert decode_metadata(foreign) is None


def test_commit_marker_round_trips() -> None:
    task = CommitMarker(commit=7, started_at=5, progress={int(Source.ORDERS): MARK})
    marker = decode_marker(encode(task))
    assert marker == task
    assert metadata_at_marker(marker, Source.ORDERS) == OffsetMetadata(7, 5, MARK)
    assert metadata_at_marker(marker, Source.CLICKSTREAM) == OffsetMetadata(7, 5, StoredProgress())
    assert decode_marker(None) is None
