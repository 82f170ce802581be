"""A Faust table whose partitions are the engine's own state objects, written behind.

Faust finds the changelog, assigns it, recovers it and keeps standbys. The state of a partition takes the records in
(`RestorableState.restore`), and returns at a commit the records to write. Nothing is sent per change. A state may
outlive the process on disk: recovery then goes on from there.
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


class ChangelogUnreadable(Fault):
    """A changelog holds records from which no state can be built."""

    reason = "changelog_unreadable"

    def __init__(self, tp: TP, cause: Exception) -> None:
        super().__init__(f"The changelog {tp.topic}, partition {tp.partition}, cannot be read: {cause}")
        self.behind = None if isinstance(cause, ValueError) else cause  # its text is enough


class RestorableState(Protocol):
    """State of one partition."""

    @property
    def offset(self) -> int | None:
        """Last changelog offset that it contains; None if there is none. Asked after it was created from disk."""

    def reason_to_discard(self, first: int, end: int) -> str | None:
        """Return why recovery cannot go on from `offset` in a changelog from `first` to `end`; None if it can."""

    def restore(self, records: Iterable[tuple[bytes, bytes | None]], offset: int) -> None:
        """Take in changelog records, in log order, up to `offset`. Raises `UserError` for a state to be corrected."""

    def close(self) -> None:
        """End the use of the state by this process. The state on disk stays."""

    def discard(self) -> None:
        """End the use of the state, and delete the state on disk."""

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the keys."""

    def __len__(self) -> int:
        """Return the number of keys."""


class StateStore(Store[Any, Any]):
    """States of the partitions, and the changelog offsets that they contain."""

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
        """Return the last changelog offset that the state contains, None if there is none. Called by recovery."""
        if tp not in self._offsets and (offset := self.partition(tp.partition).offset) is not None:
            self._offsets[tp] = offset
        return self._offsets.get(tp)

    def verify(self, tp: TP, first: int, end: int) -> bool:
        """Return False if the state has to be read from the start. Called by recovery before it uses a state."""
        state = self.partitions.get(tp.partition)
        if state is None or tp.partition in self._live or (reason := state.reason_to_discard(first, end)) is None:
            return True
        log.warning("The state of partition %d is read from the beginning of %s: %s.", tp.partition, tp.topic, reason)
        self._drop(tp).discard()
        return False

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Record that the state of `tp` contains the changelog up to `offset`."""
        self._offsets[tp] = offset

    async def need_active_standby_for(self, tp: TP) -> bool:
        """Return True if the partition has to be read. Called by Faust."""
        return self.persisted_offset(tp) is None

    def take(self, number: int) -> RestorableState:
        """Return the recovered state of a partition for processing. From now on the changelog follows it."""
        self._live.add(number)
        return self.partition(number)

    def partition(self, number: int) -> RestorableState:
        """Return the state of a partition. Create it if there is none: from disk if it is there, else empty."""
        state = self.partitions.get(number)
        if state is None:
            try:
                state = self.partitions[number] = self.table.new_state(number)
            except UserError as exc:
                self.app.fail(exc)
                raise
        return state

    def take_count(self) -> int:
        """Return the number of changelog records read since the last call."""
        read, self._read = self._read, 0
        return read

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:
        """Restore from events that carry chunks. Called by recovery; at its end, once more with events that failed."""
        for event in [] if self._failed else batch:
            tp = event.message.tp
            if tp.partition in self._live:
                continue  # written by this worker
            state, have = self.partition(tp.partition), self._offsets.get(tp, -1)
            try:
                if (lost := event.message.value.lost) is not None:
                    raise ValueError(f"the batch at offset {lost.offset} is damaged ({lost.why})")
                if have >= 0 and event.message.value.start > have + 1:
                    raise ValueError(
                        f"the records between offsets {have} and {event.message.value.start} were not read"
                    )
                records = [(record.key, record.value) for record in event.message.value if record.offset > have]
                have = max(have, event.message.offset)
                state.restore(records, have)
            except Exception as exc:
                self._failed = True
                # Faust logs the error and goes on, which loses the rest of the chunk: such a state must not be used.
                self.app.fail(exc if isinstance(exc, UserError) else ChangelogUnreadable(tp, exc))
                raise
            self._offsets[tp] = have
            self._read += len(records)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Drop the states of released partitions, and of partitions that become standbys: these are read again.

        If a generation of the group was missed, drop all states that were processed: another worker may have had the
        partitions in between. Called by Faust.
        """
        actives = self.app.assignor.assigned_actives()
        missed = generation_id != self._generation + 1
        self._generation = generation_id
        for number in set(self.partitions):
            tp = self.table.changelog_tp(number)
            if tp in revoked or (number in self._live and (missed or tp not in actives)):
                self.drop(tp)

    def drop(self, tp: TP) -> None:
        """Drop a partition. It will be read again, from disk as far as it is there, and from the changelog."""
        self._drop(tp).close()

    def _drop(self, tp: TP) -> RestorableState:
        state = self.partitions.pop(tp.partition)
        self._live.discard(tp.partition)
        self._offsets.pop(tp, None)
        recovery = self.app.tables.recovery  # otherwise it would go on from these offsets
        recovery.active_offsets.pop(tp, None)
        recovery.standby_offsets.pop(tp, None)
        return state

    async def on_stop(self) -> None:
        """Close all states. Called by Faust at the end, after the last commit."""
        await super().on_stop()
        for state in self.partitions.values():
            state.close()

    # The rest of Faust's store interface, which is not used.

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None: ...

    def reset_state(self) -> None: ...

    async def backup_partition(self, tp: Any, flush: bool = True, purge: bool = False, keep: int = 1) -> None: ...

    def restore_backup(self, tp: Any, latest: bool = True, backup_id: int = 0) -> None: ...

    def __contains__(self, key: object) -> bool:
        """Return False, so that Faust's web view of a key finds none: no route shows data of a customer."""
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
    """Table of states: `StateTable(app, name=…, new_state=…)`.

    `new_state(number)` returns the state of a partition, as it is on disk.
    """

    data: StateStore

    def __init__(self, app: Any, *, new_state: Callable[[int], RestorableState], **kwargs: Any) -> None:
        self.new_state = new_state
        kwargs.setdefault("schema", ChunkSchema(key_type=bytes, value_type=bytes))
        kwargs.setdefault("recovery_buffer_size", 2)  # events are chunks; 1 has a special meaning to Faust
        # A standby takes in each chunk at once: the next one may come much later.
        kwargs.setdefault("standby_buffer_size", 1)
        super().__init__(app, **kwargs)

    def info(self) -> Mapping[str, Any]:
        """Return the arguments for a clone of the table. Called by Faust."""
        return {**super().info(), "new_state": self.new_state}

    def _new_store(self) -> StateStore:
        return StateStore(
            "memory://", self.app, self, table_name=self.name, key_type=bytes, value_type=bytes, loop=self.loop
        )

    def changelog_tp(self, number: int) -> TP:
        """Return the changelog partition of a partition."""
        return TP(self.changelog_topic_name, number)
