"""Faust's recovery, with three changes.

It waits for a broker that is away, it verifies the state on disk that it continues from, and it reports its end also to
a worker without partitions.
"""

from __future__ import annotations

from typing import Any

from faust.tables.manager import TableManager as FaustTableManager
from faust.tables.recovery import Recovery as FaustRecovery
from faust.types import TP

from streams.transport.patience import patiently


class Recovery(FaustRecovery):
    """Recovery without time limits.

    Faust treats a step that takes longer than `broker_request_timeout` as a signal to stop: recovery ends silently, and
    the worker stays in its group without work. The consumer retries and raises by itself.
    """

    async def _wait(self, coro: Any, timeout: Any = None) -> None:
        await super()._wait(coro)

    async def _build_highwaters(self, consumer: Any, tps: set[TP], destination: Any, title: str) -> None:
        """Find the ends of the changelogs. Called first. They are final once no other worker can write."""
        owner: Any = self.app
        await owner.fenced()
        await patiently(super()._build_highwaters, consumer, tps, destination, title)

    async def _build_offsets(self, consumer: Any, tps: set[TP], destination: Any, title: str) -> None:
        """Set the offsets that the states contain, some of them from disk. Called before anything is read."""
        await patiently(self._build_verified_offsets, consumer, tps, destination, title)

    async def _seek_offsets(self, consumer: Any, tps: set[TP], offsets: Any, title: str) -> None:
        """Seek, for assigned partitions and for standbys. Called before anything is read.

        A poll from before the rebalance must have ended: it could return records from after the seek. They would be
        dropped, because the poll began before, and reading would go on behind them.
        """
        async with consumer.between_polls:
            await super()._seek_offsets(consumer, tps, offsets, title)

    async def read_again(self) -> None:
        """Seek to the offsets that the states contain, whatever the position of the consumer.

        So records are fetched again that were fetched and dropped because a rebalance began just then.
        """
        await self._seek_offsets(self.app.consumer, self.active_tps, self.active_offsets, "active")

    async def _build_verified_offsets(self, consumer: Any, tps: set[TP], destination: Any, title: str) -> None:
        tables: Any = self.tp_to_table  # all of them `StateTable`s
        if known := {tp for tp in tps if destination[tp] is not None}:
            ends, firsts = await consumer.highwaters(*known), await consumer.earliest_offsets(*known)
            for tp in known:
                if not tables[tp].data.verify(tp, firsts.get(tp) or 0, ends.get(tp) or 0):
                    destination[tp] = None
        await super()._build_offsets(consumer, tps, destination, title)

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Report the end of recovery to a worker without partitions: Faust does not, because it has nothing to seek."""
        await super().on_recovery_completed(generation_id)
        app: Any = self.app
        if app.consumer_generation_id == generation_id and not app.consumer.assignment():
            await app.on_sources_assigned(frozenset())


class TableManager(FaustTableManager):
    """Manager of tables with this recovery. Faust's configuration names it."""

    @property
    def recovery(self) -> FaustRecovery:
        """Recovery service, made on first use. Called by Faust and by our store."""
        if self._recovery is None:
            self._recovery = Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
