"""Faust's recovery, made to outlast a broker that is away."""

from __future__ import annotations

from typing import Any

from faust.tables.manager import TableManager as FaustTableManager
from faust.tables.recovery import Recovery as FaustRecovery


class Recovery(FaustRecovery):
    """Waits as long as it takes.

    To Faust, a step that takes longer than `broker_request_timeout` looks like being told to stop: it ends without
    a word, and the worker stays in its group with nothing to do. The consumer retries and raises by itself.
    """

    async def _wait(self, coro: Any, timeout: Any = None) -> None:
        await super()._wait(coro)


class TableManager(FaustTableManager):
    """Named in Faust's configuration."""

    @property
    def recovery(self) -> FaustRecovery:
        """Called by Faust and by our store."""
        if self._recovery is None:
            self._recovery = Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
