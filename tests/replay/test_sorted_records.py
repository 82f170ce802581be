"""A history in any order is replayed in time order when asked, in memory or on disk, and records keep their values."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import UserError
from streams.replay.input_files import Lines
from streams.replay.sorted_records import SortedRecords


def values(path: Path, memory: int) -> list[bytes]:
    """Return the sorted records, after a check that their offsets count up."""
    with SortedRecords(Lines([path]), memory) as records:
        found = []
        while (chunk := records.chunk()) is not None:
            found += chunk
        assert [offset for offset, _ in found] == list(range(len(found))) == list(range(records.position))
        assert records.read == records.size
    return [value for _, value in found]


TIMES = st.one_of(st.integers(0, 30).map(lambda n: 1_700_000_000 + n), st.just("2023-11-14T22:13:25Z"))


@given(times=st.lists(TIMES, max_size=40), memory=st.sampled_from([1, 400, 1 << 20]))
def test_records_come_in_time_order_and_equal_times_in_their_own(
    tmp_path_factory: pytest.TempPathFactory, times: list[int | str], memory: int
) -> None:
    lines = [json.dumps({"n": n, "occurred_at": time}).encode() for n, time in enumerate(times)]
    path = tmp_path_factory.mktemp("sort") / "events.jsonl"
    path.write_bytes(b"\n".join(lines))

    def seconds(n: int) -> int:
        time = times[n]
        return 1_700_000_005 if isinstance(time, str) else time

    assert values(path, memory) == [lines[n] for n in sorted(range(len(times)), key=seconds)]


@pytest.mark.parametrize("memory", [1, 1 << 20])
def test_record_without_a_time_stays_behind_the_one_before_it(tmp_path: Path, memory: int) -> None:
    lines = [
        b'{"occurred_at":1700000009}',
        b"no JSON",
        b'{"occurred_at":1700000001}',
        b'{"type":"x"}',
        b'{"occurred_at":"?"}',
        b'{"x":' + b"[" * 100_000,
    ]
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join(lines))
    assert values(path, memory) == [*lines[2:], lines[0], lines[1]]


def test_lack_of_room_for_sorting_is_reported_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"occurred_at":1}\n')

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with SortedRecords(Lines([path]), 1) as records, pytest.raises(UserError, match=r"No space left.*set TMPDIR"):
        records.chunk()
