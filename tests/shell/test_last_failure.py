"""A worker reports why the previous one ended, from a file in the data directory."""

from __future__ import annotations

import logging
import re
import traceback
from pathlib import Path

import pytest
from aiokafka.errors import KafkaTimeoutError
from faust.types import TP

from streams import playbooks
from streams.errors import UserError
from streams.observe.catalogue import FAILURES
from streams.settings import Settings
from streams.shell import faults
from streams.shell.commit.metadata import SaltChanged
from streams.shell.monitoring import last_failure
from streams.shell.monitoring.recovery_progress import RecoveryStuck
from streams.shell.worker.application import App
from streams.shell.worker.factory import create_app
from streams.transport.table import ChangelogUnreadable

ORDERS = TP("orders", 0)


def app(directory: Path, now: int) -> App:
    settings = Settings(data_dir=directory, web_port=0)
    made = create_app(settings, playbook=playbooks.load(playbooks.DEFAULT), clock=lambda: now)
    made.lifetime.start_exit_timer = lambda: None  # type: ignore[method-assign]  # it would end the tests
    made.end = lambda error: None  # type: ignore[method-assign]
    return made


def shown(worker: App) -> list[str]:
    text = worker.metrics.exposition()[0].decode()
    return [line for line in text.splitlines() if line.startswith("lifecycle_last_failure_timestamp_seconds")]


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (faults.OutOfRange(ORDERS, 3), "out_of_range"),
        (faults.TopicRecreated("orders"), "topic_recreated"),
        (faults.NoOffset(ORDERS), "no_offset"),
        (faults.Truncated("orders", 0, 3, 2), "truncated"),
        (faults.RecordsMissing("orders", 0, 2, 3), "records_missing"),
        (faults.StateBehind("changelog", 0, 3, 2), "state_behind"),
        (faults.CoPartitioningChanged("orders", 4), "co_partitioning_changed"),
        (faults.PartitionsAdded("orders"), "partitions_added"),
        (faults.PartitionCountChanged("orders", 6, 4), "partition_count_changed"),
        (SaltChanged(), "salt_changed"),
        (RecoveryStuck(3, [0]), "recovery_stuck"),
        (faults.CommitFailed(KafkaTimeoutError()), "commit_failed"),
        (faults.CommitLate(), "commit_late"),
        (faults.Fenced(), "fenced"),
        (faults.MembershipLost(), "membership_lost"),
        (faults.Defect(KeyError(), {ORDERS: 7}), "defect"),
        (ChangelogUnreadable(ORDERS, ValueError("it is damaged")), "changelog_unreadable"),
        (UserError("Two workers do not fit."), "other"),
        (RuntimeError("the broker is away"), "other"),
    ],
)
async def test_next_worker_reports_the_last_failure(tmp_path: Path, cause: Exception, reason: str) -> None:
    ended = app(tmp_path, 1_700_000_000_000)
    assert shown(ended) == []

    ended.fail(cause)

    assert shown(app(tmp_path, 1_700_000_060_000)) == [
        f'lifecycle_last_failure_timestamp_seconds{{reason="{reason}"}} 1.7e+09'
    ]


async def test_failures_are_counted_over_restarts(tmp_path: Path) -> None:
    """A counter in the memory of the worker that ends is gone before it is scraped."""
    for fault in (faults.Fenced(), faults.CommitLate(), faults.Fenced()):
        app(tmp_path, 5).fail(fault)
    text = app(tmp_path, 5).metrics.exposition()[0].decode()
    counts = dict(re.findall(r'^lifecycle_failures_total{reason="(\w+)"} (\S+)$', text, re.MULTILINE))
    assert {reason: float(count) for reason, count in counts.items() if float(count)} == {"fenced": 2, "commit_late": 1}
    assert set(counts) == set(FAILURES)


async def test_only_the_first_reason_counts(tmp_path: Path) -> None:
    ended = app(tmp_path, 5)
    ended.fail(faults.Fenced())
    ended.fail(faults.CommitLate())
    assert last_failure.last(tmp_path) == last_failure.LastFailure("fenced", 5, {"fenced": 1})


@pytest.mark.parametrize(
    ("cause", "traceback"),
    [
        (faults.Fenced(), False),
        (UserError("Two workers do not fit."), False),
        (faults.CommitFailed(KafkaTimeoutError("30 s")), True),
        (RuntimeError("what nobody foresaw"), True),
    ],
)
async def test_traceback_is_logged_only_for_unexplained_failures(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, cause: Exception, traceback: bool
) -> None:
    app(tmp_path, 5).fail(cause)
    [said] = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert str(cause) in said.getMessage()
    assert bool(said.exc_info) is traceback


async def test_failure_file_names_no_customer(tmp_path: Path) -> None:
    app(tmp_path, 5).fail(ValueError("Customer c-17 cannot be packed."))
    assert b"c-17" not in (tmp_path / last_failure.FILE).read_bytes()


def test_failed_commit_names_no_customer() -> None:
    failed = faults.CommitFailed(ValueError("Customer c-17 cannot be packed."))
    assert str(failed).startswith("A commit failed (ValueError). ")
    assert "c-17" not in "".join(traceback.format_exception(failed.behind))
    assert str(faults.CommitFailed(KafkaTimeoutError("30 s"))).startswith("A commit failed (KafkaTimeoutError: ")


async def test_crash_of_faust_ends_the_worker_with_its_error_after_the_commit(tmp_path: Path) -> None:
    broken = app(tmp_path, 5)
    broken._crash(RuntimeError("a service of Faust's"))
    committed: list[bool] = []

    async def release(timeout: float) -> None:
        committed.append(broken.failure is None)

    broken._assignments.release = release  # type: ignore[method-assign]
    await broken.stop()
    assert committed == [True]
    assert broken.failure == "RuntimeError: a service of Faust's"
    assert last_failure.last(tmp_path) == last_failure.LastFailure("other", 5, {"other": 1})


def test_invalid_failure_file_does_not_prevent_a_start(tmp_path: Path) -> None:
    (tmp_path / last_failure.FILE).write_bytes(b"\x00")
    assert last_failure.last(tmp_path) is None


def test_failure_file_of_the_previous_version_is_continued(tmp_path: Path) -> None:
    (tmp_path / last_failure.FILE).write_bytes(b'{"reason": "records_missing", "at": 3}')
    last_failure.note(tmp_path, faults.Fenced(), 5)
    assert last_failure.last(tmp_path) == last_failure.LastFailure("fenced", 5, {"fenced": 1})


def test_full_disk_leaves_the_previous_failure_file(tmp_path: Path) -> None:
    last_failure.note(tmp_path, faults.Fenced(), 5)
    (tmp_path / f"{last_failure.FILE}.new").mkdir()  # cannot be written, as on a full disk
    last_failure.note(tmp_path, faults.Fenced(), 6)
    assert last_failure.last(tmp_path) == last_failure.LastFailure("fenced", 5, {"fenced": 1})


def test_missing_data_directory_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        last_failure.note(tmp_path / "gone", RuntimeError(), 5)
    assert "cannot be kept" in caplog.text
