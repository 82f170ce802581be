"""The summary of a replay says what is odd about its input, and the exit code says that too much was rejected."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from streams.cli import main
from streams.core.model.event import Event, Source
from streams.core.model.policy import DAY, HOUR
from streams.replay import log_run
from streams.replay.input_report import FAR_AHEAD, InputReport, meant

NOW = ("--now", "2026-04-01T00:00:00Z", "--until", "2026-04-01T00:00:00Z")


def event(n: int, at: str = "", type_: str = "page_viewed", **fields: Any) -> dict[str, Any]:
    time = at or f"2026-03-01T10:{n:02d}:00Z"
    return {"event_id": f"e-{n}", "type": type_, "occurred_at": time, "customer_id": "c-1"} | fields


def write(path: Path, *events: Any) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in events))
    return path


def replay(
    tmp_path: Path, clicks: list[Any], orders: Sequence[Any] = (), *more: str, command: str = "replay"
) -> Result:
    args: list[object] = ["--clickstream", write(tmp_path / "c.jsonl", *clicks)]
    if orders:
        args += ["--orders", write(tmp_path / "o.jsonl", *orders)]
    if command == "backtest":
        args += ["--playbook", "ecommerce"]
    return CliRunner().invoke(main, [command, "--out", str(tmp_path / "out"), *map(str, args), *NOW, *more])


def line(result: Result, name: str) -> str | None:
    """Return the text of a line of the summary."""
    return next((text[15:] for text in result.stdout.splitlines() if text[:15].rstrip() == name), None)


HISTORY = [event(n) for n in range(20)]


def test_proper_history_has_none_of_these_lines(tmp_path: Path) -> None:
    result = replay(tmp_path, HISTORY)
    assert result.exit_code == 0
    assert line(result, "late") == "0"
    for name in ("read as", "wrong clock", "wrong file", "unknown types"):
        assert line(result, name) is None


@pytest.mark.parametrize("command", ["replay", "backtest"])
def test_unsorted_history_is_named_and_sorted_when_asked(tmp_path: Path, command: str) -> None:
    shuffled = [*HISTORY[10:], *HISTORY[:10]]
    result = replay(tmp_path, shuffled, command=command)
    assert "10 (up to 19 min older than one before; --sort puts them in order)" in result.stdout
    result = replay(tmp_path, shuffled, [], "--sort", command=command)
    assert "older than one before" not in result.stdout
    assert result.exit_code == 0


def test_sorted_replay_of_a_shuffled_history_gives_the_outputs_of_the_history(tmp_path: Path) -> None:
    orders = [event(30, type_="order_completed", order_id="1", total="5.00")]
    replay(tmp_path, HISTORY, orders)
    expected = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    replay(tmp_path, HISTORY[::-1], orders, "--sort")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == expected


def test_wrong_clock_is_named_with_the_late_events_that_it_makes(tmp_path: Path) -> None:
    wrong = [*HISTORY[:5], event(50, "2026-03-25T00:00:00Z"), event(51, "2026-03-20T00:00:00Z"), *HISTORY[5:]]
    result = replay(tmp_path, wrong)
    assert line(result, "late") == "16 (up to 24 d older than one before; --sort puts them in order)"
    assert line(result, "wrong clock") == (
        "2 in clickstream, over 1 d ahead of all that follows and is late by that; the furthest is number 6, "
        "2026-03-25T00:00:00.000Z"
    )


def test_unknown_types_are_named_with_the_types_that_they_may_stand_for(tmp_path: Path) -> None:
    clicks = [event(0, type_="Product Added"), event(1, type_="productViewed"), event(2, type_="Product Added")]
    orders = [event(3, type_="order_canceled", order_id="1")]
    result = replay(tmp_path, [*clicks, event(4, type_="zzz")], orders)
    found = [text[15:] for text in result.stdout.splitlines() if text.startswith("unknown types")]
    assert found == [
        "4 (Product Added 2, perhaps product_added; productViewed 1, perhaps product_viewed; zzz 1)",
        "1 (order_canceled 1, perhaps order_cancelled)",
    ]


def test_events_in_the_file_of_the_other_source_are_named(tmp_path: Path) -> None:
    clicks = [*HISTORY, event(30, type_="order_completed", order_id="1")]
    orders = [event(31, type_="order_completed", order_id="1"), event(32, type_="page_viewed")]
    result = replay(tmp_path, clicks, orders)
    found = [text[15:] for text in result.stdout.splitlines() if text.startswith("wrong file")]
    assert found == [
        "1 (order_completed 1) in clickstream; belongs to orders",
        "1 (page_viewed 1) in orders; belongs to clickstream",
    ]


@pytest.mark.parametrize("command", ["replay", "backtest"])
@pytest.mark.parametrize(
    ("rejected", "more", "code"),
    [
        (2, (), 0),
        (3, (), 1),
        (3, ("--max-rejected", "20"), 0),
        (0, ("--max-rejected", "0"), 0),
        (1, ("--max-rejected", "0"), 1),
    ],
)
def test_exit_code_is_1_if_more_is_rejected_than_allowed(
    tmp_path: Path, command: str, rejected: int, more: tuple[str, ...], code: int
) -> None:
    result = replay(tmp_path, HISTORY[rejected:] + [{}] * rejected, [], *more, command=command)
    assert result.exit_code == code
    assert ("records were rejected, more than" in result.stderr) == bool(code)


@pytest.mark.parametrize("command", ["replay", "backtest"])
def test_source_of_which_no_record_is_an_event_is_given_up_and_nothing_is_written(
    tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_run, "GIVE_UP_AFTER", 50)
    foreign = [{"event": "Product Added", "userId": "7"}] * 60
    result = replay(tmp_path, HISTORY, foreign, command=command)
    assert result.exit_code == 2
    assert "the first 50 records of orders are all rejected, the last of them for" in result.stderr
    out = tmp_path / "out"
    assert not out.exists() or not any(out.iterdir())
    result = replay(tmp_path, HISTORY, foreign, "--max-rejected", "100", command=command)
    assert result.exit_code == 0


def test_formats_of_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("type,occurred_at,customer_id\npage_viewed,2026-03-01T10:00:00Z,c-1\n", "utf-16")
    result = CliRunner().invoke(main, ["replay", "--clickstream", str(path), "--out", str(tmp_path / "out"), *NOW])
    assert line(result, "read as") == "events.csv: UTF-16, CSV"
    assert line(result, "applied") == "1"


@given(times=st.lists(st.integers(0, 400).map(lambda n: n * HOUR), max_size=30))
def test_far_ahead_is_each_event_that_is_over_a_day_ahead_of_all_that_follow(times: list[int]) -> None:
    report = InputReport(Source.ORDERS)
    report.note(Event(Source.ORDERS, n, at, 0, at, "c", True, f"e-{n}", "x") for n, at in enumerate(times))
    expected = [(at, n) for n, at in enumerate(times[:-1]) if all(later + FAR_AHEAD < at for later in times[n + 1 :])]
    assert report.far_ahead == expected
    behind = [max(times[:n], default=0) - at for n, at in enumerate(times)]
    assert report.late == sum(back > 0 for back in behind)
    assert report.furthest_back == max([0, *behind])
    assert FAR_AHEAD == DAY


@pytest.mark.parametrize(
    ("type_", "known"),
    [
        ("Product Added", "product_added"),
        ("orderCompleted", "order_completed"),
        ("order-canceled", "order_cancelled"),
        ("order.refunded", "order_refunded"),
        ("x", None),
        ("price_dropped", None),
    ],
)
def test_meant_type_is_one_that_is_spelled_alike(type_: str, known: str | None) -> None:
    assert meant(type_, ["product_added", "order_completed", "order_cancelled", "order_refunded"]) == known
