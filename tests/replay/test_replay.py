"""`lifecycle replay`, from files to files.

The files in data/expected are those of `lifecycle replay --clickstream data/clickstream.jsonl --orders
data/orders.jsonl --now 2026-11-21T12:00:00Z --until 2027-03-15T00:00:00Z`.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from streams.errors import UserError
from streams.replay import file_layout, log_run
from streams.replay import replay as runner
from streams.replay.result_files import NAMES
from streams.settings import Settings
from streams.values import parse_time
from tests.support.replay_data import CLICKS, DATA, ORDERS

NOW = parse_time("2026-11-21T12:00:00Z")
UNTIL = parse_time("2027-03-15T00:00:00Z")


def replay(
    out: Path,
    clickstream: Iterable[Path] = (CLICKS,),
    orders: Iterable[Path] = (ORDERS,),
    until: int | None = UNTIL,
    now: int = NOW,
) -> dict[str, bytes]:
    code = runner.run(
        Settings(), clickstream=[*clickstream], orders=[*orders], out=out, until=until, now=now, max_rejected=100
    )
    assert code == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(NAMES)
    return {name: (out / name).read_bytes() for name in NAMES}


def expected() -> dict[str, bytes]:
    return {name: (DATA / "expected" / name).read_bytes() for name in NAMES}


def documents(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def in_any_order(files: dict[str, bytes]) -> dict[str, list[bytes]]:
    return {name: sorted(content.splitlines()) for name, content in files.items()}


def write(path: Path, *events: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def view(number: int, at: str, customer: str = "c-1") -> dict[str, Any]:
    return {"event_id": f"e-{number}", "type": "product_viewed", "occurred_at": at, "customer_id": customer}


# ---------------------------------------------------------------------------------------------------- the outputs


def test_replay_writes_exactly_the_expected_files(tmp_path: Path) -> None:
    assert replay(tmp_path) == expected()


def test_stage_changes_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    changes = documents(replay(tmp_path)["stage-changes.jsonl"])
    assert {
        customer: [
            (change["to_stage"], change["occurred_at"], change["cause"]["kind"])
            for change in changes
            if change["customer_id"] == customer
        ]
        for customer in ("c-1", "a-1", "c-2", "c-3")
    } == {
        "c-1": [
            ("visitor", "2026-11-20T10:00:00.000Z", "activity"),
            ("prospect", "2026-11-20T10:05:00.000Z", "activity"),
            ("customer", "2026-11-20T11:30:00.000Z", "activity"),
            ("at_risk", "2027-02-18T11:30:00.000Z", "inactivity"),
        ],
        "a-1": [
            ("visitor", "2026-11-20T10:06:00.000Z", "activity"),
            ("dormant", "2026-12-20T10:06:00.000Z", "inactivity"),
            (None, "2027-02-18T10:06:00.000Z", "forgotten"),
        ],
        "c-2": [
            ("visitor", "2026-11-20T13:20:00.000Z", "activity"),
            ("dormant", "2026-12-20T13:20:00.000Z", "inactivity"),
        ],
        "c-3": [
            ("visitor", "2026-11-20T12:00:00.000Z", "activity"),
            ("customer", "2026-11-20T12:00:00.000Z", "activity"),
            ("prospect", "2026-11-20T13:00:00.000Z", "activity"),
            ("dormant", "2026-12-20T13:00:00.000Z", "inactivity"),
        ],
    }


def test_abandonments_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    made = documents(replay(tmp_path)["abandonments.jsonl"])
    of_c1, of_a1 = ([m for m in made if m["customer_id"] == customer] for customer in ("c-1", "a-1"))
    assert [(m["type"], m["kind"], m["occurred_at"], m["value"]) for m in of_c1] == [
        ("abandoned", "checkout", "2026-11-20T10:40:00.000Z", "25.00"),
        ("recovered", "checkout", "2026-11-20T11:30:00.000Z", "25.00"),
    ]
    assert (of_c1[1]["match"], of_c1[1]["order_id"], of_c1[1]["seconds_to_recover"]) == ("checkout", "1001", 3000.0)
    assert [(m["type"], m["kind"], m["occurred_at"]) for m in of_a1] == [
        ("abandoned", "browse", "2026-11-20T10:36:00.000Z")
    ]


def test_dead_letters_have_place_reason_and_record(tmp_path: Path) -> None:
    letters = documents(replay(tmp_path)["dead-letters.jsonl"])
    assert [(letter["topic"], letter["offset"], letter["reason"]) for letter in letters] == [
        ("clickstream", 4, "not_json"),
        ("clickstream", 7, "clock_skew"),
        ("clickstream", 8, "invalid_identity"),
        ("clickstream", 10, "not_utf8"),
        ("orders", 3, "invalid_field"),
    ]
    assert letters[0]["value"] == '{"event_id":"e-4","type":"page_viewed",'
    assert "value" not in letters[3]
    assert "value_base64" in letters[3]


def test_profiles_are_those_that_are_not_forgotten_by_id(tmp_path: Path) -> None:
    profiles = documents(replay(tmp_path)["profiles.jsonl"])
    assert [(profile["customer_id"], profile["stage"], profile["orders"]) for profile in profiles] == [
        ("c-1", "at_risk", 1),
        ("c-2", "dormant", 0),
        ("c-3", "dormant", 0),
    ]


# ------------------------------------------------------------------------------------------ same input, same output


def test_outputs_do_not_depend_on_the_present_time(tmp_path: Path) -> None:
    assert replay(tmp_path, now=NOW + 86_400_000) == expected()


def test_gzip_files_give_the_same_outputs(tmp_path: Path) -> None:
    zipped = [tmp_path / "clickstream.jsonl.gz", tmp_path / "orders-without-suffix"]
    for path, source in zip(zipped, (CLICKS, ORDERS), strict=True):
        path.write_bytes(gzip.compress(source.read_bytes()))
    assert replay(tmp_path / "out", zipped[:1], zipped[1:]) == expected()


def test_several_files_of_a_role_are_read_in_turn(tmp_path: Path) -> None:
    content = CLICKS.read_bytes().splitlines(keepends=True)
    parts = [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]
    parts[0].write_bytes(b"".join(content[:5]))
    parts[1].write_bytes(b"".join(content[5:]))
    assert in_any_order(replay(tmp_path / "out", parts)) == in_any_order(expected())


@pytest.mark.parametrize(("chunk", "snapshots"), [(1, 1), (1, 1000), (300, 2)])
def test_chunks_change_at_most_the_order_between_customers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, snapshots: int
) -> None:
    monkeypatch.setattr(file_layout, "CHUNK", chunk)
    monkeypatch.setattr(log_run, "COMMIT_EVERY", snapshots)
    files = replay(tmp_path)
    assert in_any_order(files) == in_any_order(expected())
    sequences: dict[str, list[int]] = {}
    for change in documents(files["stage-changes.jsonl"]):
        sequences.setdefault(change["customer_id"], []).append(change["sequence"])
    assert all(sequence == sorted(sequence) for sequence in sequences.values())


# -------------------------------------------------------------------------------------------------- the end of time


def test_without_until_time_ends_at_the_last_event_less_lateness(tmp_path: Path) -> None:
    def abandoned(last: str) -> int:
        clicks = write(tmp_path / "c.jsonl", view(1, "2026-11-20T10:00:00Z"), view(2, last, "c-2"))
        return len(documents(replay(tmp_path / "out", [clicks], [], None)["abandonments.jsonl"]))

    assert abandoned("2026-11-20T10:30:09.999Z") == 0
    assert abandoned("2026-11-20T10:30:10.000Z") == 1


def test_a_rejected_event_does_not_move_the_end_of_time(tmp_path: Path) -> None:
    clicks = write(tmp_path / "c.jsonl", view(1, "2026-11-20T10:00:00Z"), view(2, "2026-11-21T13:00:00Z", "c-2"))
    assert replay(tmp_path / "out", [clicks], [], None)["abandonments.jsonl"] == b""


def test_deadline_at_until_fires_and_a_later_one_does_not(tmp_path: Path) -> None:
    clicks = write(tmp_path / "c.jsonl", view(1, "2026-11-20T10:00:00Z"))
    due = parse_time("2026-11-20T10:30:00Z")
    assert replay(tmp_path / "out", [clicks], [], due - 1)["abandonments.jsonl"] == b""
    assert len(documents(replay(tmp_path / "out", [clicks], [], due)["abandonments.jsonl"])) == 1


def test_events_after_until_are_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = parse_time("2026-11-20T10:05:00Z")
    files = replay(tmp_path, until=last)
    assert [change["to_stage"] for change in documents(files["stage-changes.jsonl"])] == ["visitor", "prospect"]
    summary = capsys.readouterr().out
    assert "not read       6 after --until" in summary


def test_source_without_files_blocks_nothing(tmp_path: Path) -> None:
    changes = documents(replay(tmp_path, [], [ORDERS], None)["stage-changes.jsonl"])
    assert [change["customer_id"] for change in changes] == ["c-1", "c-1", "c-3", "c-3", "c-3"]


def test_empty_files_give_empty_files(tmp_path: Path) -> None:
    empty = write(tmp_path / "empty.jsonl")
    assert set(replay(tmp_path / "out", [empty], [empty], None).values()) == {b""}


# --------------------------------------------------------------------------------------------------- reading ahead


def test_order_prevents_an_abandonment_however_the_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_layout, "CHUNK", 1)
    carts, sales = [], []
    for n in range(60):  # one an hour, each bought half an hour later
        hour = f"2026-11-{1 + n // 24:02d}T{n % 24:02d}"
        carts.append(view(n, f"{hour}:00:00Z", f"c-{n}") | {"type": "product_added"})
        sales.append(view(100 + n, f"{hour}:30:00Z", f"c-{n}") | {"type": "order_completed", "order_id": f"{n}"})
    clicks, orders = write(tmp_path / "c.jsonl", *carts), write(tmp_path / "o.jsonl", *sales)
    assert replay(tmp_path / "out", [clicks], [orders])["abandonments.jsonl"] == b""
    without = documents(replay(tmp_path / "out", [clicks], [])["abandonments.jsonl"])
    assert sum(made["type"] == "abandoned" and made["step"] == 1 for made in without) == 60


# -------------------------------------------------------------------------------------------------------- mistakes


def damaged(path: Path) -> Path:
    path.write_bytes(gzip.compress(CLICKS.read_bytes())[:-12])
    return path


def misnamed(path: Path) -> Path:
    path.write_bytes(CLICKS.read_bytes())
    return path


def test_unreadable_input_is_reported_in_a_sentence(tmp_path: Path) -> None:
    unreadable = {
        tmp_path / "missing.jsonl": "missing.jsonl cannot be read: No such file or directory.",
        tmp_path: "cannot be read: Is a directory.",
        damaged(tmp_path / "damaged.gz"): "damaged.gz is damaged or cut off",
        misnamed(tmp_path / "misnamed.gz"): "misnamed.gz is not gzip although it is called so",
    }
    for path, sentence in unreadable.items():
        with pytest.raises(UserError, match=sentence):
            replay(tmp_path / "out", [CLICKS], [ORDERS, path])


def test_a_failed_run_leaves_the_files_of_the_last_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    replay(out)
    with pytest.raises(UserError):
        replay(out, [CLICKS], [damaged(tmp_path / "damaged.gz")])
    assert {path.name: path.read_bytes() for path in out.iterdir()} == expected()


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_unusable_output_directory_is_reported_in_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        replay(tmp_path / name)


def test_a_pipe_can_be_replayed(tmp_path: Path) -> None:
    read, write_to = os.pipe()
    os.write(write_to, CLICKS.read_bytes())
    os.close(write_to)
    try:
        assert replay(tmp_path, [Path(f"/dev/fd/{read}")]) == expected()
    finally:
        os.close(read)


# --------------------------------------------------------------------------------------------------------- summary


def test_only_the_summary_is_shown_without_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replay(tmp_path)
    captured = capsys.readouterr()
    assert captured.err == ""
    summary = dict(line.split(maxsplit=1) for line in captured.out.splitlines()[1:] if line.split()[0] != "written")
    assert summary["applied"] == "8"
    assert summary["duplicate"] == "1"
    assert summary["rejected"] == "5 (clock_skew 1, invalid_field 1, invalid_identity 1, not_json 1, not_utf8 1)"
    assert summary["abandoned"] == "2 (browse 1, checkout 1)"
    assert summary["recovered"] == "1 (checkout 1)"
    assert summary["customers"] == "3 (dormant 2, at_risk 1)"
    assert summary["time"] == "2026-11-20T10:00:00.000Z to 2026-11-20T13:20:00.000Z"
