"""The order of an at-least-once commit: ownership is checked before anything is written and before internal messages
are sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import CommitFailedError
from faust.types import TP

from streams.settings import Settings
from streams.shell.admin.topic_configs import changelog_topic
from streams.shell.commit import at_least_once
from streams.shell.commit.at_least_once import AtLeastOnce
from streams.shell.commit.checkpoint import Checkpoint
from streams.shell.commit.guarantee import Commit, Offsets
from streams.shell.commit.outbox import OutgoingRecord
from streams.shell.faults import MembershipLost
from tests.support.fake_producer import FakeProducer

CLICKS = TP("clicks", 0)
CHANGELOG = changelog_topic(Settings())


class AtLeastOnceHarness(FakeProducer):
    """An at-least-once guarantee with its producer, a group that the test controls, and a driven clock."""

    def __init__(self, rebalance_timeout: int = 30_000) -> None:
        super().__init__()
        self.now = 0.0
        self.done: list[str] = []
        self.refused = False
        self.takes: dict[str, float] = {}
        """Seconds for which the worker is stopped after a step."""
        self.kafka: Any = SimpleNamespace(group_generation=7, commit_offsets=self._commit_offsets)
        self.guarantee = AtLeastOnce(
            Settings(session_timeout=10_000, rebalance_timeout=rebalance_timeout),
            lambda: 0,
            group=lambda: self.kafka,
            producer=lambda: self,
            monotonic=self._monotonic,
        )
        self.guarantee.begin({CLICKS: (5, "before")}, {})

    def _monotonic(self) -> float:
        self.now += 0.000_001
        return self.now

    def _does(self, what: str) -> None:
        self.done.append(what)
        self.now += self.takes.get(what, 0.0)

    async def _commit_offsets(self, offsets: dict[TP, tuple[int, str]]) -> None:
        self._does(f"commit {offsets[CLICKS][0]}")
        await asyncio.sleep(0)
        if self.refused:
            raise CommitFailedError

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[object]:
        """Record the step, and acknowledge the batch."""
        acknowledgement = await super().send_batch(batch, topic, partition=partition)
        self._does(f"changelog of {partition}" if topic == CHANGELOG else topic)
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        future.set_result(SimpleNamespace(offset=0, timestamp=0, timestamp_type=0))
        return future if topic == CHANGELOG else acknowledgement

    def _task(self, number: int, messages: Iterable[OutgoingRecord] | None) -> Any:
        """Return a task that has one snapshot."""
        channel = self.guarantee.open_channel(number, lambda records: None)

        async def write() -> Offsets:
            channel.cut(outputs=True)
            offsets: Offsets = {("clicks", 0): (9, "new")}
            await channel.write(Commit(offsets, [], b"marker", [OutgoingRecord("outputs", b"k", b"v")], messages))
            return offsets

        return SimpleNamespace(
            trust=SimpleNamespace(given=True), snapshot=lambda *, force: SimpleNamespace(write=write)
        )

    async def commit(self, *, passes: bool = False, leaving: bool = False, tasks: int = 1) -> list[str]:
        """Commit, and return the steps done."""
        self.done.clear()
        participants = [
            self._task(number, [OutgoingRecord("items", b"k", b"v", partition=0)] if passes else None)
            for number in range(tasks)
        ]
        checkpoint = Checkpoint(self.guarantee, leaving=leaving)
        await checkpoint.take(participants)
        await checkpoint.commit()
        return self.done


WRITTEN = ["changelog of 0", "outputs"]


async def test_ownership_is_checked_at_the_first_commit_and_not_while_that_check_is_recent() -> None:
    harness = AtLeastOnceHarness()
    assert await harness.commit() == ["commit 5", *WRITTEN, "commit 9"]
    harness.now = 4.9
    assert await harness.commit() == [*WRITTEN, "commit 9"]


async def test_ownership_is_checked_before_a_write_after_a_while_and_at_the_end() -> None:
    harness = AtLeastOnceHarness()
    await harness.commit()
    harness.now = 5.1
    assert await harness.commit() == ["commit 9", *WRITTEN, "commit 9"]
    assert await harness.commit(leaving=True) == ["commit 9", *WRITTEN, "commit 9"]
    harness.refused = True
    with pytest.raises(CommitFailedError):
        await harness.commit(leaving=True)
    assert harness.done == ["commit 9"]


async def test_short_rebalance_timeout_makes_the_ownership_check_due_earlier() -> None:
    harness = AtLeastOnceHarness(rebalance_timeout=2_000)
    await harness.commit()
    harness.now = 1.1
    assert await harness.commit() == ["commit 9", *WRITTEN, "commit 9"]


@pytest.mark.parametrize("generation", [-1, 8])
async def test_commit_writes_no_record_in_another_generation_of_the_group(generation: int) -> None:
    """The clock does not matter: another worker may have owned the partitions in between."""
    harness = AtLeastOnceHarness()
    harness.kafka.group_generation = generation
    with pytest.raises(CommitFailedError):
        await harness.commit()
    assert harness.done == []
    harness.guarantee.begin({}, {CLICKS: (5, "")})
    assert await harness.commit() == ["commit 5", *WRITTEN, "commit 9"]


async def test_ownership_is_confirmed_as_of_the_time_of_the_request() -> None:
    """A worker that is stopped before it reads the answer may have lost its partitions by then."""
    harness = AtLeastOnceHarness()
    harness.takes = {"commit 9": 60.0}
    await harness.commit()
    harness.takes = {}
    assert await harness.commit() == ["commit 9", *WRITTEN, "commit 9"]


# -- what is passed on


async def test_internal_messages_leave_last_and_need_no_further_ownership_check() -> None:
    harness = AtLeastOnceHarness()
    await harness.commit()
    assert await harness.commit(passes=True) == [*WRITTEN, "items", "commit 9"]


@pytest.mark.parametrize("behind", ["changelog of 0", "commit 9"])
async def test_worker_stopped_within_a_commit_sends_internal_messages_only_after_a_new_ownership_check(
    behind: str,
) -> None:
    """The outputs are sent in any case: no successor makes outputs again that the changelog has."""
    harness = AtLeastOnceHarness()
    await harness.commit()
    harness.now = 6.0
    harness.takes = {behind: 60.0}
    assert await harness.commit(passes=True) == ["commit 9", *WRITTEN, "commit 9", "items", "commit 9"]
    harness.takes = {"changelog of 0": 60.0}
    harness.now += 6.0
    harness.refused = True
    harness.guarantee._confirmed_at = harness.now  # the check is refused only after the flush
    with pytest.raises(CommitFailedError):
        await harness.commit(passes=True)
    assert harness.done == [*WRITTEN, "commit 9"]


async def test_leaving_worker_checks_ownership_again_before_it_sends_internal_messages() -> None:
    """A rebalance is under way, and may end without the worker at any time."""
    harness = AtLeastOnceHarness()
    await harness.commit()
    assert await harness.commit(passes=True, leaving=True) == ["commit 9", *WRITTEN, "commit 9", "items", "commit 9"]


async def test_internal_messages_are_not_sent_in_another_generation() -> None:
    harness = AtLeastOnceHarness()
    await harness.commit()

    async def dealt_anew(offsets: Any) -> None:
        harness.kafka.group_generation = 8

    harness.kafka.commit_offsets = dealt_anew
    harness.now = 6.0
    with pytest.raises(CommitFailedError):
        await harness.commit(passes=True)
    assert harness.done == WRITTEN


async def test_ownership_is_checked_once_for_all_flushed_partitions() -> None:
    harness = AtLeastOnceHarness()
    await harness.commit()
    harness.now = 4.0
    harness.takes = {"changelog of 4": 2.0}
    done = await harness.commit(passes=True, tasks=5)
    assert (done.count("items"), done.count("commit 9")) == (5, 2)  # one check and one commit of offsets
    harness.takes = {}
    done = await harness.commit(passes=True, leaving=True, tasks=5)
    # One check before, one after the first flush, one for flushes that ended later, and the commit of offsets.
    assert (done.count("items"), done.count("commit 9")) == (5, 4)


def test_refused_commit_is_explained_as_out_of_touch() -> None:
    said = AtLeastOnceHarness().guarantee.explain(CommitFailedError())
    assert isinstance(said, MembershipLost)
    assert "its partitions were given to others" in str(said)


async def test_ownership_is_checked_after_a_clock_jump() -> None:
    """The machine may have been suspended, and its monotonic clock with it."""
    harness = AtLeastOnceHarness()
    harness.guarantee.doubt()
    assert await harness.commit() == ["commit 5", *WRITTEN, "commit 9"]
    assert await harness.commit() == [*WRITTEN, "commit 9"]
    harness.guarantee.doubt()
    assert await harness.commit() == ["commit 9", *WRITTEN, "commit 9"]


async def test_ownership_check_during_a_clock_jump_confirms_nothing() -> None:
    harness = AtLeastOnceHarness()
    await harness.commit()
    answer = harness.kafka.commit_offsets

    async def suspended(offsets: Any) -> None:
        await answer(offsets)
        harness.guarantee.doubt()

    harness.kafka.commit_offsets = suspended
    await harness.commit()
    harness.kafka.commit_offsets = answer
    assert await harness.commit() == ["commit 9", *WRITTEN, "commit 9"]


async def test_silent_coordinator_is_given_up_after_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = AtLeastOnceHarness()

    async def never(offsets: object) -> None:
        await asyncio.Event().wait()

    harness.kafka.commit_offsets = never
    monkeypatch.setattr(at_least_once, "PATIENCE_S", 0.01)
    with pytest.raises(TimeoutError, match="has not taken the offsets"):
        await harness.commit()
