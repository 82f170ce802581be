"""A Faust table whose partitions are the engine's own state objects, written behind.

Faust finds the changelog, assigns it, recovers it, keeps standbys; the state of a partition takes the records in
(`PartitionState.restore`) and says itself, at a commit, what to write. Nothing is sent per change. A state may outlive
the process on disk: recovery then goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from faust.stores.base import Store
from faust.tables.table import Table
from faust.types import TP

from streams.errors import Fault, UserError
from streams.transport.chunks import ChunkSchema

log = logging.getLogger(__name__)


class Unreadable(Fault):
    """No state can be made of what a changelog holds."""

    reason = "changelog_unreadable"

    def __init__(self, tp: TP, cause: Exception) -> None:
        super().__init__(f"The changelog {tp.topic}, partition {tp.partition}, cannot be read: {cause}")
        self.behind = None if isinstance(cause, ValueError) else cause  # that one says all there is


class RestorableState(Protocol):
    """The state of one partition."""

    @property
    def offset(self) -> int | None:
        """The last changelog offset it contains, None if there is none. Asked when it was made: what was on disk."""

    def reason_to_discard(self, first: int, end: int) -> str | None:
        """Why recovery cannot go on from `offset` in a changelog that begins and ends so; None: it can."""

    def restore(self, records: Iterable[tuple[bytes, bytes | None]], offset: int) -> None:
        """Take in changelog records, in log order, up to `offset`. Raises `UserError` for what is to be put right."""

    def close(self) -> None:
        """It is not used any more, here; what is on disk stays."""

    def discard(self) -> None:
        """As `close`, and nothing stays."""

    def __iter__(self) -> Iterator[bytes]:
        """The keys."""

    def __len__(self) -> int:
        """How many there are."""


class StateStore(Store[Any, Any]):
    """The partitions' states and how much of each changelog partition they contain."""

    app: Any
    table: Any

    def __post_init__(self) -> None:
        self.partitions: dict[int, RestorableState] = {}
        self._live: set[int] = set()
        self._generation = 0
        self._offsets: dict[TP, int] = {}
        self._read = 0
        self._failed = False

    def persisted_offset(self, tp: TP) -> int | None:
        """Called by recovery: the last changelog offset contained, None if nothing is."""
        if tp not in self._offsets and (offset := self.partition(tp.partition).offset) is not None:
            self._offsets[tp] = offset
        return self._offsets.get(tp)

    def verify(self, tp: TP, first: int, end: int) -> bool:
        """Called by recovery before it goes on from what a state contains. False: it has to be read from the start."""
        state = self.partitions.get(tp.partition)
        if state is None or tp.partition in self._live or (doubt := state.reason_to_discard(first, end)) is None:
            return True
        log.warning("The state of partition %d is read from the beginning of %s: %s.", tp.partition, tp.topic, doubt)
        self._drop(tp).discard()
        return False

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """The state of `tp` now contains the changelog up to `offset`."""
        self._offsets[tp] = offset

    async def need_active_standby_for(self, tp: TP) -> bool:
        """Called by Faust: whether the partition has to be read."""
        return self.persisted_offset(tp) is None

    def take(self, number: int) -> RestorableState:
        """The recovered state of a partition, to be worked on: from now on the changelog follows it."""
        self._live.add(number)
        return self.partition(number)

    def partition(self, number: int) -> RestorableState:
        """The state of a partition, empty if there was none."""
        state = self.partitions.get(number)
        if state is None:
            try:
                state = self.partitions[number] = self.table.new_state(number)
            except UserError as exc:
                self.app.fail(exc)
                raise
        return state

    def take_count(self) -> int:
        """How many changelog records were read since the last call."""
        read, self._read = self._read, 0
        return read

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:
        """Called by recovery with events that carry chunks; also at the end, with those that had failed."""
        for event in [] if self._failed else batch:
            tp = event.message.tp
            if tp.partition in self._live:
                continue  # what we wrote ourselves
            state, have = self.partition(tp.partition), self._offsets.get(tp, -1)
            try:
                if (lost := event.message.value.lost) is not None:
                    raise ValueError(f"what is at offset {lost.offset} is damaged ({lost.why})")
                if have >= 0 and event.message.value.start > have + 1:
                    raise ValueError(f"what lies between offsets {have} and {event.message.value.start} was not read")
                records = [(record.key, record.value) for record in event.message.value if record.offset > have]
                have = max(have, event.message.offset)
                state.restore(records, have)
            except Exception as exc:
                self._failed = True
                # Faust logs and goes on, which would lose the rest of the chunk: nothing may be built on such a state.
                self.app.fail(exc if isinstance(exc, UserError) else Unreadable(tp, exc))
                raise
            self._offsets[tp] = have
            self._read += len(records)

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
        """Forget a partition: it will be read again, from disk as far as it is there, and from the changelog."""
        self._drop(tp).close()

    def _drop(self, tp: TP) -> RestorableState:
        state = self.partitions.pop(tp.partition)
        self._live.discard(tp.partition)
        self._offsets.pop(tp, None)
        recovery = self.app.tables.recovery  # which else goes on from where it was
        recovery.active_offsets.pop(tp, None)
        recovery.standby_offsets.pop(tp, None)
        return state

    async def on_stop(self) -> None:
        """Called by Faust at the end, after the last commit."""
        await super().on_stop()
        for state in self.partitions.values():
            state.close()

    # What Faust's store interface has beside, and nobody asks for.

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None: ...

    def reset_state(self) -> None: ...

    async def backup_partition(self, tp: Any, flush: bool = True, purge: bool = False, keep: int = 1) -> None: ...

    def restore_backup(self, tp: Any, latest: bool = True, backup_id: int = 0) -> None: ...

    def __contains__(self, key: object) -> bool:
        """Asked by Faust's web view of a key, which then does not find it: no route shows anything of a customer."""
        return False

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
    """`StateTable(app, name=…, new_state=…)`: `new_state(number)` makes a partition's state, with what is on disk."""

    data: StateStore

    def __init__(self, app: Any, *, new_state: Callable[[int], RestorableState], **kwargs: Any) -> None:
        self.new_state = new_state
        kwargs.setdefault("schema", ChunkSchema(key_type=bytes, value_type=bytes))
        kwargs.setdefault("recovery_buffer_size", 2)  # events are chunks; 1 has a meaning of its own to Faust
        kwargs.setdefault(
            "standby_buffer_size", 1
        )  # a copy takes in each chunk at once: the next may be long in coming
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
