"""Erasure requests: valid ones, and the reasons for which others are rejected."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams.contracts.erasures import decode_all, encode
from streams.contracts.partitioning import Partitioner
from streams.contracts.rejected import Rejected
from streams.core.model.sources import Erasure
from tests.contracts.samples import AT

EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples" / "lifecycle-erasures"
PARTITIONER = Partitioner(4)
HOME = PARTITIONER.partition(b"c-1")


def decoded(value: bytes | None, partition: int = HOME, timestamp: int = AT) -> Erasure | Rejected:
    record: Any = SimpleNamespace(offset=0, timestamp=timestamp, key=b"k", value=value)
    requests, rejections = decode_all([record], partition, PARTITIONER)
    assert len(requests) + len(rejections) == 1
    return requests[0] if requests else rejections[0][1]


@pytest.mark.parametrize("path", sorted((EXAMPLES / "valid").iterdir()), ids=lambda path: path.stem)
def test_valid_requests_are_read(path: Path) -> None:
    document, request = json.loads(path.read_bytes()), decoded(path.read_bytes())
    assert isinstance(request, Erasure)
    assert (request.at, request.request_id) == (AT, document["request_id"])
    assert request.identified == ("customer_id" in document)
    assert request.customer == (document.get("customer_id") or document["anonymous_id"])


@pytest.mark.parametrize("path", sorted((EXAMPLES / "invalid").iterdir()), ids=lambda path: path.stem)
def test_invalid_requests_are_rejected_with_their_reason(path: Path) -> None:
    rejected = decoded(path.read_bytes())
    assert isinstance(rejected, Rejected)
    assert rejected.reason == path.name.partition(".")[0]
    assert "example.org" not in str(rejected)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "null_value"),
        (b"x" * 5000, "too_large"),
        (b'{"customer_id": "\xff"}', "not_utf8"),
        (b"customer_id", "not_json"),
        (encode("x" * 257, True, "r"), "invalid_identity"),
    ],
)
def test_invalid_request_that_the_schema_accepts_is_rejected(value: bytes | None, reason: str) -> None:
    rejected = decoded(value)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == reason


@pytest.mark.parametrize("identified", [True, False])
def test_encoded_request_reads_the_same_on_every_partition_and_has_one_home(identified: bool) -> None:
    value = encode("c-1", identified, "r-1")
    read = [decoded(value, partition) for partition in range(4)]
    assert read == [Erasure("c-1", identified, AT, "r-1", home=partition == HOME) for partition in range(4)]


@pytest.mark.parametrize(
    ("requested_at", "counts_from"),
    [(None, AT), (AT - 60_000, AT - 60_000), (AT, AT), (AT + 1, AT), (AT + 360_000, AT), (AT + 10**12, AT)],
)
def test_request_counts_from_its_time_and_at_the_latest_from_its_record(
    requested_at: int | None, counts_from: int
) -> None:
    """A clock that is wrong neither makes a request void nor drops later events."""
    request = decoded(encode("c-1", True, "r-1", requested_at), timestamp=AT)
    assert isinstance(request, Erasure)
    assert request.at == counts_from


def test_a_request_without_any_time_is_rejected() -> None:
    rejected = decoded(encode("c-1", True, "r-1"), timestamp=-1)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "missing_time"
    request = decoded(encode("c-1", True, "r-1", AT), timestamp=-1)
    assert isinstance(request, Erasure)
    assert request.at == AT
