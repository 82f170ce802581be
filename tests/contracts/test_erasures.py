"""Requests to erase somebody: what is one, and why what is none is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams.contracts.erasures import decode_all, encode
from streams.contracts.partitioning import Partitioner
from streams.contracts.rejected import Rejected
from streams.core.sources import Erasure
from tests.contracts.samples import AT

EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples" / "lifecycle-erasures"
PARTITIONER = Partitioner(4)
HOME = PARTITIONER.partition(b"c-1")


def decoded(value: bytes | None, partition: int = HOME, timestamp: int = AT) -> Erasure | Rejected:
    record: Any = SimpleNamespace(offset=0, timestamp=timestamp, key=b"k", value=value)
    requests, refused = decode_all([record], partition, PARTITIONER, 300_000)
    assert len(requests) + len(refused) == 1
    return requests[0] if requests else refused[0][1]


@pytest.mark.parametrize("path", sorted((EXAMPLES / "valid").iterdir()), ids=lambda path: path.stem)
def test_valid_requests(path: Path) -> None:
    document, request = json.loads(path.read_bytes()), decoded(path.read_bytes())
    assert isinstance(request, Erasure)
    assert (request.at, request.request_id) == (AT, document["request_id"])
    assert request.identified == ("customer_id" in document)
    assert request.customer == (document.get("customer_id") or document["anonymous_id"])


@pytest.mark.parametrize("path", sorted((EXAMPLES / "invalid").iterdir()), ids=lambda path: path.stem)
def test_invalid_requests(path: Path) -> None:
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
        (encode("x" * 257, True, AT, "r"), "invalid_identity"),
        (encode("c-1", True, AT + 300_001, "r"), "clock_skew"),
    ],
)
def test_what_no_schema_sees(value: bytes | None, reason: str) -> None:
    rejected = decoded(value)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == reason


@pytest.mark.parametrize("identified", [True, False])
def test_what_is_encoded_is_a_request_on_every_partition_and_lives_on_one(identified: bool) -> None:
    value = encode("c-1", identified, AT, "r-1")
    read = [decoded(value, partition) for partition in range(4)]
    assert read == [Erasure("c-1", identified, AT, "r-1", home=partition == HOME) for partition in range(4)]
