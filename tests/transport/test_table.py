"""The store of the table, as Faust's recovery uses it."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.errors import UserError
from streams.transport.chunks import Chunk
from streams.transport.table import StateStore

ON_DISK = 9
"""A partition with records on disk."""


class State(dict[bytes, bytes]):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.offset: int | None = 6 if number == ON_DISK else None
        self.in_doubt = False
        self.ended = ""

    def reason_to_discard(self, first: int, end: int) -> str | None:
        return f"it is not within {first} and {end}" if self.in_doubt else None

    def restore(self, records: Iterable[tuple[bytes, bytes | None]], offset: int) -> None:
        for key, value in records:
            if key == b"poison":
                raise ValueError("cannot be read")
            if value is None:
                self.pop(key, None)
            else:
                self[key] = value
        self.offset = offset

    def close(self) -> None:
        self.ended = "closed"

    def discard(self) -> None:
        self.ended = "discarded"


class App:
    def __init__(self) -> None:
        self.failures: list[str] = []
        self.actives: set[TP] = set()
        self.assignor = SimpleNamespace(assigned_actives=lambda: self.actives)
        self.read_from: dict[TP, int] = {}
        self.tables = SimpleNamespace(
            recovery=SimpleNamespace(active_offsets=self.read_from, standby_offsets=self.read_from)
        )

    def fail(self, cause: BaseException) -> None:
        self.failures.append(str(cause))


def tp(number: int) -> TP:
    return TP("log", number)


def chunk(number: int, *records: tuple[int, bytes, bytes | None]) -> Any:
    raw = Chunk([SimpleNamespace(offset=offset, key=key, value=value) for offset, key, value in records])
    raw.start, raw.next = records[0][0], records[-1][0] + 1
    return SimpleNamespace(message=SimpleNamespace(tp=tp(number), offset=records[-1][0], value=raw))


def state_of(store: StateStore, number: int) -> State:
    state = store.partition(number)
    assert isinstance(state, State)
    return state


@pytest.fixture
def store() -> StateStore:
    table = SimpleNamespace(new_state=State, name="t", changelog_topic_name="log", changelog_tp=tp)
    return StateStore("memory://", App(), table, table_name="t")  # type: ignore[arg-type]


def test_recovery_fills_a_partition_and_records_the_offset(store: StateStore) -> None:
    assert store.persisted_offset(tp(0)) is None
    store.apply_changelog_batch([chunk(0, (3, b"a", b"1"), (4, b"b", b"2")), chunk(0, (5, b"a", None))], None, None)
    assert dict(state_of(store, 0)) == {b"b": b"2"}
    assert store.persisted_offset(tp(0)) == 5


def test_changelog_records_already_contained_are_skipped(store: StateStore) -> None:
    store.apply_changelog_batch([chunk(0, (4, b"a", b"new"))], None, None)
    store.apply_changelog_batch([chunk(0, (3, b"a", b"old"))], None, None)
    assert dict(state_of(store, 0)) == {b"a": b"new"}
    assert store.persisted_offset(tp(0)) == 4


def test_gap_in_the_changelog_ends_the_worker(store: StateStore) -> None:
    store.apply_changelog_batch([chunk(0, (4, b"a", b"1"))], None, None)
    store.apply_changelog_batch([chunk(0, (5, b"a", b"2"))], None, None)
    with pytest.raises(ValueError, match="between offsets 5 and 7"):
        store.apply_changelog_batch([chunk(0, (7, b"b", b"1"))], None, None)
    assert len(store.app.failures) == 1


def test_processed_partition_does_not_read_its_own_writes(store: StateStore) -> None:
    state = store.take(0)
    store.set_persisted_offset(tp(0), 7)
    store.apply_changelog_batch([chunk(0, (8, b"a", b"1"))], None, None)
    assert len(state) == 0


def test_a_record_that_cannot_be_read_ends_the_worker(store: StateStore) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        store.apply_changelog_batch([chunk(0, (1, b"poison", b""))], None, None)
    store.apply_changelog_batch([chunk(0, (1, b"poison", b""))], None, None)  # again, when the worker stops
    assert store.app.failures == ["The changelog log, partition 0, cannot be read: cannot be read"]


async def test_rebalance_drops_states_of_released_partitions_and_of_new_standbys(store: StateStore) -> None:
    for number in range(4):
        store.apply_changelog_batch([chunk(number, (1, b"a", b"1"))], None, None)
    for number in (0, 1, 2):
        store.take(number)
    store.app.actives = {tp(0)}
    store.app.read_from |= {tp(number): 1 for number in range(4)}
    await store.on_rebalance({tp(0), tp(1), tp(3)}, revoked={tp(2)}, newly_assigned=set(), generation_id=1)
    assert set(store.app.read_from) == {tp(0), tp(3)}  # Faust would go on from there
    assert set(store.partitions) == {0, 3}  # kept as active, kept as standby
    assert store.persisted_offset(tp(1)) is None
    assert store.persisted_offset(tp(3)) == 1


async def test_processed_states_are_read_again_after_a_missed_generation(store: StateStore) -> None:
    store.apply_changelog_batch([chunk(0, (1, b"a", b"1")), chunk(1, (1, b"a", b"1"))], None, None)
    store.app.actives = {tp(0)}
    await store.on_rebalance({tp(0), tp(1)}, set(), {tp(0), tp(1)}, generation_id=41)
    store.take(0)
    await store.on_rebalance({tp(0), tp(1)}, set(), set(), generation_id=42)
    assert set(store.partitions) == {0, 1}
    await store.on_rebalance({tp(0), tp(1)}, set(), set(), generation_id=44)  # another worker may have had it in 43
    assert set(store.partitions) == {1}  # the standby only followed the changelog
    assert store.persisted_offset(tp(0)) is None


def test_store_contains_the_records_of_all_partitions(store: StateStore) -> None:
    store.apply_changelog_batch([chunk(0, (1, b"a", b"1")), chunk(1, (1, b"b", b"1"))], None, None)
    assert sorted(store) == [b"a", b"b"]
    assert len(store) == 2


def test_recovery_goes_on_from_the_state_on_disk(store: StateStore) -> None:
    assert store.persisted_offset(tp(ON_DISK)) == 6
    store.apply_changelog_batch([chunk(ON_DISK, (6, b"a", b"old"), (7, b"b", b"1"))], None, None)
    assert dict(state_of(store, ON_DISK)) == {b"b": b"1"}
    assert store.persisted_offset(tp(ON_DISK)) == 7


def test_state_in_doubt_is_read_from_the_beginning(store: StateStore) -> None:
    assert store.persisted_offset(tp(ON_DISK)) == 6
    assert store.verify(tp(ON_DISK), 0, 7)
    state = state_of(store, ON_DISK)
    state.in_doubt = True
    assert not store.verify(tp(ON_DISK), 0, 6)
    assert state.ended == "discarded"
    assert ON_DISK not in store.partitions


def test_state_of_a_running_task_is_not_in_doubt(store: StateStore) -> None:
    store.take(0)
    state_of(store, 0).in_doubt = True
    assert store.verify(tp(0), 0, 6)


async def test_state_of_a_revoked_partition_is_closed(store: StateStore) -> None:
    states = [state_of(store, number) for number in (0, 1)]
    await store.on_rebalance({tp(1)}, revoked={tp(0)}, newly_assigned=set(), generation_id=1)
    assert [state.ended for state in states] == ["closed", ""]
    await store.on_stop()
    assert [state.ended for state in states] == ["closed", "closed"]


def test_a_state_that_cannot_be_opened_ends_the_worker(store: StateStore) -> None:
    def refuse(number: int) -> State:
        raise UserError("the disk is away")

    store.table.new_state = refuse
    with pytest.raises(UserError):
        store.persisted_offset(tp(0))
    assert store.app.failures == ["the disk is away"]
