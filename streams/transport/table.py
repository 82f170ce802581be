"""A Faust table whose partitions are the engine's own state objects, written behind.

Faust finds the changelog, assigns it, recovers it, keeps standbys; the state of a partition takes the records in
(`PartitionState.restore`) and says itself, at a commit, what to write. Nothing is sent per change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from faust.stores.base import Store
from faust.tables.table import Table
from faust.types import TP

from streams.transport.chunks import ChunkSchema


class PartitionState(Protocol):
    """The state of one partition."""

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take in one changelog record, in log order."""

    def __iter__(self) -> Iterator[bytes]:
        """The keys."""

    def __len__(self) -> int:
        """How many there are."""


class StateStore(Store[Any, Any]):
    """The partitions' states and how much of each changelog partition they contain."""

    app: Any
    table: Any

    def __post_init__(self) -> None:
        self.partitions: dict[int, PartitionState] = {}
        self._live: set[int] = set()
        self._generation = 0
        self._offsets: dict[TP, int] = {}

    def persisted_offset(self, tp: TP) -> int | None:
        """Called by recovery: the last changelog offset contained, None if nothing is."""
        return self._offsets.get(tp)

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """The state of `tp` now contains the changelog up to `offset`."""
        self._offsets[tp] = offset

    async def need_active_standby_for(self, tp: TP) -> bool:
        """Called by Faust: whether the partition has to be read."""
        return tp not in self._offsets

    def take(self, number: int) -> PartitionState:
        """The recovered state of a partition, to be worked on: from now on the changelog follows it."""
        self._live.add(number)
        return self.partition(number)

    def partition(self, number: int) -> PartitionState:
        """The state of a partition, empty if there was none."""
        state = self.partitions.get(number)
        if state is None:
            state = self.partitions[number] = self.table.new_state()
        return state

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:
        """Called by recovery with events that carry chunks."""
        for event in batch:
            tp = event.message.tp
            if tp.partition in self._live:
                continue  # what we wrote ourselves
            state, have = self.partition(tp.partition), self._offsets.get(tp, -1)
            try:
                if have >= 0 and event.message.value.start > have + 1:
                    raise ValueError(f"what lies between offsets {have} and {event.message.value.start} was not read")
                for record in event.message.value:
                    if record.offset > have:
                        state.restore(record.key, record.value)
            except Exception as exc:
                # Faust logs and goes on, which would lose the rest of the chunk: nothing may be built on such a state.
                self.app.fail(f"The changelog {tp.topic}, partition {tp.partition}, cannot be read: {exc}", exc)
                raise
            self._offsets[tp] = max(have, event.message.offset)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Called by Faust: drop what is no longer ours. What becomes a standby is read anew.

        So is all that was worked on if a generation of the group was missed: somebody else may have had it in between.
        """
        actives = self.app.assignor.assigned_actives()
        missed = generation_id != self._generation + 1
        self._generation = generation_id
        for number in set(self.partitions):
            tp = self.table.changelog_tp(number)
            if tp in revoked or (number in self._live and (missed or tp not in actives)):
                self.drop(tp)

    def drop(self, tp: TP) -> None:
        """Forget a partition: it will be read from the changelog again."""
        self.partitions.pop(tp.partition, None)
        self._live.discard(tp.partition)
        self._offsets.pop(tp, None)
        recovery = self.app.tables.recovery  # which else goes on from where it was
        recovery.active_offsets.pop(tp, None)
        recovery.standby_offsets.pop(tp, None)

    # What Faust's store interface has beside: nothing is kept outside memory.

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None: ...

    def reset_state(self) -> None: ...

    async def backup_partition(self, tp: Any, flush: bool = True, purge: bool = False, keep: int = 1) -> None: ...

    def restore_backup(self, tp: Any, latest: bool = True, backup_id: int = 0) -> None: ...

    def __getitem__(self, key: Any) -> Any:
        raise KeyError(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError("a state table is written by its engine")

    def __delitem__(self, key: Any) -> None:
        raise TypeError("a state table is written by its engine")

    def __iter__(self) -> Iterator[bytes]:
        return (key for state in self.partitions.values() for key in state)

    def __len__(self) -> int:
        return sum(len(state) for state in self.partitions.values())


class StateTable(Table[Any, Any]):
    """`StateTable(app, name=…, new_state=…)`: `new_state()` makes the empty state of a partition."""

    data: StateStore

    def __init__(self, app: Any, *, new_state: Callable[[], PartitionState], **kwargs: Any) -> None:
        self.new_state = new_state
        kwargs.setdefault("schema", ChunkSchema(key_type=bytes, value_type=bytes))
        kwargs.setdefault("recovery_buffer_size", 2)  # events are chunks; 1 has a meaning of its own to Faust
        super().__init__(app, **kwargs)

    def info(self) -> Mapping[str, Any]:
        """Called by Faust to clone the table."""
        return {**super().info(), "new_state": self.new_state}

    def _new_store(self) -> StateStore:
        return StateStore(
            "memory://", self.app, self, table_name=self.name, key_type=bytes, value_type=bytes, loop=self.loop
        )

    def changelog_tp(self, number: int) -> TP:
        """The changelog partition of a partition."""
        return TP(self.changelog_topic_name, number)
