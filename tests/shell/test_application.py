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
