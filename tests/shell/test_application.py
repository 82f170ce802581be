"""The application where no broker is needed to show it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aiokafka.errors import KafkaTimeoutError
from faust.types import TP

from streams.core.activity import Source
from streams.shell.application import App


class Away(App):
    """Its broker does not answer."""

    def __init__(self) -> None:
        self.tasks = {}
        self._paused = {TP("orders", 0): Source.ORDERS}

    @property
    def kafka(self) -> Any:
        async def highwaters(*tps: TP) -> dict[TP, int]:
            raise KafkaTimeoutError

        return SimpleNamespace(highwaters=highwaters)


async def test_a_broker_that_is_away_while_a_partition_is_paused_ends_nothing() -> None:
    """What is raised there would end the worker: it is one of the loops that must not fail."""
    assert await Away()._lag_of_paused() == {}


class Full(App):
    """One task, of which so much is unwritten that it must commit after its first chunk."""

    def __init__(self, commit: Any) -> None:
        self.done: list[str] = []
        task: Any = SimpleNamespace(process=self._process, full=lambda source: False, flush=self._flush)
        task.must_commit = True
        self.loaded = task
        self.tasks = {0: task}
        self.failure = None
        self.consumer_generation_id = 1
        self.committer: Any = SimpleNamespace(commit=commit)

    def _process(self, source: Source, chunk: list[int]) -> None:
        self.done.append(f"process {chunk}")

    async def _flush(self) -> None:
        """As if it had been sent."""


async def test_a_chunk_that_leaves_too_much_unwritten_is_followed_by_a_commit() -> None:
    async def commit(tasks: dict[int, Any]) -> None:
        app.done.append(f"commit {sorted(tasks)}")
        app.loaded.must_commit = False

    app = Full(commit)
    polled: Any = [(TP("clicks", 0), [1]), (TP("clicks", 0), [2])]
    await app.process(Source.CLICKSTREAM, SimpleNamespace(generation_id=1), polled)
    assert app.done == ["process [1]", "commit [0]", "process [2]"]
