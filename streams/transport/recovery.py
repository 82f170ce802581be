"""Faust's recovery, made to outlast a broker that is away, to look at what it goes on from, and to tell its end also to
who has nothing assigned."""

from __future__ import annotations

from typing import Any

from faust.tables.manager import TableManager as FaustTableManager
from faust.tables.recovery import Recovery as FaustRecovery
from faust.types import TP

from streams.transport.patience import patiently


class Recovery(FaustRecovery):
    """Waits as long as it takes.

    To Faust, a step that takes longer than `broker_request_timeout` looks like being told to stop: it ends without
    a word, and the worker stays in its group with nothing to do. The consumer retries and raises by itself.
    """

    async def _wait(self, coro: Any, timeout: Any = None) -> None:
        await super()._wait(coro)

    async def _build_highwaters(self, consumer: Any, tps: set[TP], destination: Any, title: str) -> None:
        """Called first: where the changelogs end, which is final once nobody else can write to them."""
        owner: Any = self.app
        await owner.fenced()
        await patiently(super()._build_highwaters, consumer, tps, destination, title)

    async def _build_offsets(self, consumer: Any, tps: set[TP], destination: Any, title: str) -> None:
        """Called before anything is read, with the offsets that states contain, some of them from disk."""
        await patiently(self._build_verified_offsets, consumer, tps, destination, title)

    async def _seek_offsets(self, consumer: Any, tps: set[TP], offsets: Any, title: str) -> None:
        """Called before anything is read, of what is ours and of copies.

        Not while a poll of before the rebalance is still out: it could bring records of after the seek. They are
        dropped because of when it began, and reading would go on behind them.
        """
        async with consumer.between_polls:
            await super()._seek_offsets(consumer, tps, offsets, title)

    async def read_again(self) -> None:
        """Read on from what the states contain, whatever the consumer takes for its position.

        What was fetched and dropped, because a rebalance began just then, is fetched so.
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
        """Called when the tables are recovered. With nothing assigned, Faust has nothing to seek and tells nobody."""
        await super().on_recovery_completed(generation_id)
        app: Any = self.app
        if app.consumer_generation_id == generation_id and not app.consumer.assignment():
            await app.on_sources_assigned(frozenset())


class TableManager(FaustTableManager):
    """Named in Faust's configuration."""

    @property
    def recovery(self) -> FaustRecovery:
        """Called by Faust and by our store."""
        if self._recovery is None:
            self._recovery = Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
