"""The time at which a commit is due, and its end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import CommitFailedError, KafkaTimeoutError

from streams.errors import Fault
from streams.settings import Settings
from streams.shell.commit import checkpoint
from streams.shell.commit.at_least_once import AtLeastOnce
from streams.shell.commit.committer import POLL_S, REST, Committer
from streams.shell.commit.guarantee import Offsets
from streams.shell.faults import CommitFailed, MembershipLost
from streams.transport.rocks import DiskFailed


class Waited:
    """A task that others wait for from some time on. Time passes while the committer sleeps."""

    def __init__(self, since: float, forwards: bool) -> None:
        self.now = 0.0
        self.looks = 0
        self.forwards = forwards
        self._since = since

    @property
    def awaited(self) -> bool:
        self.looks += 1
        return self.forwards and self.now >= self._since

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def idle() -> Committer:
    """Return a committer that never commits."""
    unused: Any = None
    return Committer(unused, unused, unused)


@pytest.mark.parametrize(
    ("since", "took", "due"),
    [
        (9.0, 0.0, 1.0),  # no task waits
        (0.0, 0.0, POLL_S),
        (0.32, 0.0, 0.35),
        (0.0, 0.1, REST * 0.1),  # the last commit took long, so there is a pause
        (0.0, 3.0, 1.0),
    ],
)
async def test_awaited_commit_is_made_before_the_interval_ends(
    since: float, took: float, due: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    one: Any = Waited(since, forwards=True)
    committer = idle()
    committer._took = took
    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "sleep", one.sleep)
        await committer.due(lambda: [one], 1.0)
    assert one.now == pytest.approx(due)


async def test_committer_polls_only_tasks_that_others_can_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each poll would wake the thread of a worker that may be idle."""
    one: Any = Waited(0.0, forwards=False)
    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "sleep", one.sleep)
        await idle().due(lambda: [one], 1.0)
    assert (one.now, one.looks) == (pytest.approx(1.0), 1)


class CommitterHarness:
    """A committer with one task that does or does not have changes, and records of its calls to the application."""

    def __init__(self, *, changed: bool = True, refused: Exception | None = None) -> None:
        self.committed: list[bool] = []
        """One entry for each commit: True if it wrote anything."""
        self.failed: list[BaseException] = []
        self._refused = refused
        metrics: Any = SimpleNamespace(committed=lambda seconds: self.committed.append(seconds is not None))
        worker: Any = SimpleNamespace(failure=None, fail=self.failed.append)
        unused: Any = None
        explain = AtLeastOnce(Settings(), lambda: 0, group=unused, producer=unused).explain
        guarantee: Any = SimpleNamespace(
            confirm_ownership=self._confirm, commit_offsets=self._commit_offsets, explain=explain
        )
        self.committer = Committer(guarantee, metrics, worker)
        self.task: Any = SimpleNamespace(
            closed=False,
            trust=SimpleNamespace(given=True),
            snapshot=lambda *, force: self if changed else None,
        )

    async def _confirm(self, *, leaving: bool) -> None:
        if self._refused is not None:
            raise self._refused

    async def _commit_offsets(self, offsets: Any) -> None:
        """Accept all offsets."""

    async def write(self) -> Offsets:
        """Write the snapshot, which is the harness itself."""
        return {}


@pytest.mark.parametrize("changed", [True, False])
async def test_commit_is_reported_with_and_without_changes(changed: bool) -> None:
    harness = CommitterHarness(changed=changed)
    await harness.committer.commit([harness.task])
    assert harness.committed == [changed]
    assert harness.failed == []


@pytest.mark.parametrize(
    ("refused", "fault", "said"),
    [
        (CommitFailedError(), MembershipLost, "out of touch with its group"),
        (KafkaTimeoutError(), CommitFailed, "A commit failed (KafkaTimeoutError: "),
        (DiskFailed(Path("/state"), OSError("no room")), DiskFailed, "The state in /state cannot be read or written"),
    ],
)
async def test_failed_commit_ends_the_worker_with_its_cause(refused: Exception, fault: type[Fault], said: str) -> None:
    harness = CommitterHarness(refused=refused)
    await harness.committer.commit([harness.task])
    assert harness.committed == []
    [failed] = harness.failed
    assert type(failed) is fault
    assert said in str(failed)


async def test_between_snapshots_the_event_loop_is_free_for_as_long_as_a_snapshot_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pause is bounded, and a snapshot without changes causes none."""
    harness, now, pauses = CommitterHarness(), 0.0, list[float]()
    tasks = []
    for took in (0.0001, 0.003, 1.0):

        def snapshot(*, force: bool, took: float = took) -> CommitterHarness:
            nonlocal now
            now += took
            return harness

        tasks.append(SimpleNamespace(**{**vars(harness.task), "snapshot": snapshot}))

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "time", SimpleNamespace(perf_counter=lambda: now))
        patched.setattr(asyncio, "sleep", sleep)
        await harness.committer.commit(tasks)
    assert pauses == [0.0, pytest.approx(0.003), checkpoint.LONGEST_PAUSE_S]
    assert harness.failed == []
