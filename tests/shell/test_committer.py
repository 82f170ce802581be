"""When it is time for a commit."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from streams.shell.committer import LOOK_S, REST, Committer


class Waited:
    """As somebody who waits for a commit from some instant on; time passes as the committer sleeps."""

    def __init__(self, since: float) -> None:
        self.now = 0.0
        self._since = since

    @property
    def awaited(self) -> bool:
        return self.now >= self._since

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("since", "took", "due"),
    [
        (9.0, 0.0, 1.0),  # nobody waits
        (0.0, 0.0, LOOK_S),
        (0.32, 0.0, 0.35),
        (0.0, 0.1, REST * 0.1),  # the last one took long: there must be time for other things
        (0.0, 3.0, 1.0),
    ],
)
async def test_a_commit_that_others_wait_for_does_not_wait_for_the_interval(
    since: float, took: float, due: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    one: Any = Waited(since)
    committer = Committer(SimpleNamespace(), SimpleNamespace())
    committer._took = took
    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "sleep", one.sleep)
        await committer.due(lambda: [one], 1.0)
    assert one.now == pytest.approx(due)
