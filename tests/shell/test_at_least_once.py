"""The order of a commit at least once: whose the partitions are, before anything is written."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import CommitFailedError
from faust.types import TP

from streams.shell import at_least_once
from streams.shell.at_least_once import AtLeastOnce

CLICKS = TP("clicks", 0)


class World:
    """One task, a group that the test changes, a clock in its hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.done: list[str] = []
        self.refused = False
        self.kafka: Any = SimpleNamespace(group_generation=7, commit_offsets=self._commit_offsets)
        app: Any = SimpleNamespace(kafka=self.kafka, settings=SimpleNamespace(session_timeout=10_000))
        self.guarantee = AtLeastOnce(app, lambda: self.now)
        self.guarantee.begin({CLICKS: (5, "before")}, {})

    async def _commit_offsets(self, offsets: dict[TP, tuple[int, str]]) -> None:
        self.done.append(f"commit {offsets[CLICKS][0]}")
        if self.refused:
            raise CommitFailedError

    async def _write(self) -> Any:
        self.done.append("write")
        return {tuple(CLICKS): (9, "new")}

    async def commit(self, *, leaving: bool = False) -> list[str]:
        """What was done."""
        self.done.clear()
        await self.guarantee.write([self._write], leaving=leaving)
        return self.done


async def test_a_member_that_was_heard_of_just_now_writes_and_commits() -> None:
    world = World()
    assert await world.commit() == ["write", "commit 9"]
    world.now = 4.9
    assert await world.commit() == ["write", "commit 9"]


async def test_after_a_while_or_at_the_end_the_broker_is_asked_before_anything_is_written() -> None:
    world = World()
    world.now = 5.1
    assert await world.commit() == ["commit 5", "write", "commit 9"]
    assert await world.commit(leaving=True) == ["commit 9", "write", "commit 9"]
    world.refused = True
    with pytest.raises(CommitFailedError):
        await world.commit(leaving=True)
    assert world.done == ["commit 9"]


@pytest.mark.parametrize("generation", [-1, 8])
async def test_in_another_generation_of_the_group_nothing_is_written(generation: int) -> None:
    """Whatever the clock says: the partitions may have been somebody else's in between."""
    world = World()
    world.kafka.group_generation = generation
    with pytest.raises(CommitFailedError):
        await world.commit()
    assert world.done == []
    world.guarantee.begin({}, {CLICKS: (5, "")})
    assert await world.commit() == ["commit 5", "write", "commit 9"]


def test_it_is_said_what_that_means() -> None:
    said = World().guarantee.explain(CommitFailedError())
    assert said is not None
    assert "its partitions went to others" in said


async def test_after_the_clock_has_jumped_the_broker_is_asked_too() -> None:
    """The machine may have been suspended, and its other clock with it."""
    world = World()
    world.guarantee.doubt()
    assert await world.commit() == ["commit 5", "write", "commit 9"]
    assert await world.commit() == ["write", "commit 9"]


async def test_a_coordinator_that_does_not_answer_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    async def never(offsets: object) -> None:
        await asyncio.Event().wait()

    world.kafka.commit_offsets = never
    monkeypatch.setattr(at_least_once, "PATIENCE_S", 0.01)
    with pytest.raises(TimeoutError, match="has not taken the offsets"):
        await world.commit()
