"""Why a worker ended, told by the next one in its data directory."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from faust.types import TP

from streams import playbooks
from streams.errors import UserError
from streams.settings import Settings
from streams.shell import faults, last_failure
from streams.shell.application import App
from streams.shell.factory import create_app
from streams.shell.marks import OtherSalt
from streams.shell.recovering import RecoveryStuck

ORDERS = TP("orders", 0)


def app(directory: Path, now: int) -> App:
    settings = Settings(data_dir=directory, web_port=0)
    made = create_app(settings, playbook=playbooks.load(playbooks.DEFAULT), clock=lambda: now)
    made._watchdog = lambda: None  # type: ignore[method-assign]  # it would end the tests
    made.end = lambda error: None  # type: ignore[method-assign]
    return made


def shown(worker: App) -> list[str]:
    text = worker.metrics.exposition()[0].decode()
    return [line for line in text.splitlines() if line.startswith("lifecycle_last_failure_timestamp_seconds")]


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (faults.OutOfRange(ORDERS, 3), "out_of_range"),
        (faults.TopicAnew("orders"), "topic_anew"),
        (faults.NoOffset(ORDERS), "no_offset"),
        (faults.Truncated("orders", 0, 3, 2), "truncated"),
        (faults.Hole("orders", 0, 2, 3), "hole"),
        (faults.StateBehind("changelog", 0, 3, 2), "state_behind"),
        (faults.WasApart("orders", 4), "was_apart"),
        (faults.Grown("orders"), "grown"),
        (faults.CountChanged("orders", 6, 4), "count_changed"),
        (OtherSalt(), "other_salt"),
        (RecoveryStuck(3, [0]), "recovery_stuck"),
        (UserError("Two workers do not fit."), "other"),
        (RuntimeError("the broker is away"), "other"),
        (None, "other"),
    ],
)
async def test_the_next_worker_says_why(tmp_path: Path, cause: Exception | None, reason: str) -> None:
    ended = app(tmp_path, 1_700_000_000_000)
    assert shown(ended) == []

    ended.fail("It cannot go on.", cause)

    assert shown(app(tmp_path, 1_700_000_060_000)) == [
        f'lifecycle_last_failure_timestamp_seconds{{reason="{reason}"}} 1.7e+09'
    ]


async def test_what_is_written_names_nobody(tmp_path: Path) -> None:
    app(tmp_path, 5).fail("Customer c-17 cannot be packed.", ValueError("c-17"))
    assert b"c-17" not in (tmp_path / last_failure.FILE).read_bytes()


def test_a_file_that_is_no_such_thing_is_no_reason_not_to_start(tmp_path: Path) -> None:
    (tmp_path / last_failure.FILE).write_bytes(b"\x00")
    assert last_failure.last(tmp_path) is None


def test_a_directory_that_is_away_is_said_and_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        last_failure.note(tmp_path / "gone", None, 5)
    assert "cannot be noted" in caplog.text
