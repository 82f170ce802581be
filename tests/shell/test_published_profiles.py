"""The profiles topic has the latest document of each profile, whatever crashes."""

from __future__ import annotations

import contextlib
import random

import pytest
from aiokafka.errors import CommitFailedError

from tests.shell.shop_runs import CLICKS, NOON
from tests.support.shell_harness import ShellHarness
from tests.support.shop_events import HOUR


def visitors(names: range) -> ShellHarness:
    """Return a harness with one event of each device. No deadline comes due for a day."""
    harness = ShellHarness(NOON, 1, profiles=True)
    for n in names:
        event = {"event_id": f"e-{n}", "type": "page_viewed", "anonymous_id": f"d-{n}", "occurred_at": NOON - HOUR}
        harness.append(CLICKS, 0, event, NOON - HOUR)
    return harness


@pytest.mark.parametrize("again", ["", "flush", "in flush", "flushed", "offsets"])
@pytest.mark.parametrize("crash_at", ["flush", "in flush", "flushed", "offsets"])
async def test_crash_between_changelog_and_documents_loses_no_profile_document(crash_at: str, again: str) -> None:
    harness = visitors(range(20))
    for step in ["", crash_at, again]:  # also if the successor crashes before it has sent anything
        harness.fetch(0, CLICKS, 6)
        await harness.tick(0)
        await harness.commit(0, crash_at=step)
    await harness.run()
    assert len(harness.profile_documents()) == 20
    assert harness.profiles_are_published()


@pytest.mark.parametrize("seed", range(10))
async def test_crashes_at_every_step_lose_no_profile_document(seed: int) -> None:
    rng, harness = random.Random(seed), visitors(range(60))
    await harness.run_randomly(rng, 300, 4)
    await harness.run()
    assert len(harness.profile_documents()) == 60
    assert harness.profiles_are_published()


@pytest.mark.parametrize("asked", [True, False])
async def test_stale_owner_publishes_nothing(asked: bool) -> None:
    """It was stopped before its flush. Its document would replace that of its successor."""
    harness = ShellHarness(NOON, 1, "" if asked else "group", profiles=True)
    for n in range(2):
        event = {"event_id": f"e-{n}", "type": "page_viewed", "anonymous_id": "d-0", "occurred_at": NOON - HOUR + n}
        harness.append(CLICKS, 0, event, NOON - HOUR)
    harness.fetch(0, CLICKS, 1)
    await harness.tick(0)
    stale = harness.tasks[0]
    snapshot = stale.snapshot()
    assert snapshot is not None
    harness.restart_task(0)
    await harness.run()
    assert harness.profiles_are_published()
    with pytest.raises(CommitFailedError) if asked else contextlib.nullcontext():
        await snapshot.write()
    assert harness.profiles_are_published() is asked
