"""The output channel of a task in exactly-once mode, with a fake transactional producer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import ProducerFenced, UnknownError

from streams.errors import UserError
from streams.observe.prometheus import Metrics
from streams.settings import Settings
from streams.shell.commit.changelog import Changelog
from streams.shell.commit.exactly_once import FULL, FULL_BYTES, ExactlyOnce, TransactionalOutput
from streams.shell.commit.guarantee import Commit
from streams.shell.commit.metadata import MARKER_KEY
from streams.shell.commit.outbox import OutgoingRecord
from streams.shell.faults import Fenced
from tests.support.fake_producer import FakeProducer


class FakeTransactionalProducer(FakeProducer):
    """A transactional producer that acknowledges at once, or when the test lets it."""

    def __init__(self, *, acknowledging: bool = True) -> None:
        super().__init__(acknowledging=False)
        self.steps: list[str] = []
        self.offsets: Mapping[Any, Any] = {}
        self._at_once = acknowledging

    async def begin_transaction(self) -> None:
        """Begin a transaction."""
        self.steps.append("begin")

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[object]:
        """Send a batch within the transaction."""
        assert self.steps[-1:] == ["begin"], "nothing leaves outside of a transaction"
        acknowledgement = await super().send_batch(batch, topic, partition=partition)
        if self._at_once:
            self.acknowledge(len(self.acknowledgements) - 1)
        return acknowledgement

    def acknowledge(self, n: int) -> None:
        """Acknowledge the n-th batch."""
        self.acknowledgements[n].set_result(SimpleNamespace(offset=10, timestamp=0, timestamp_type=0))

    async def send_offsets(self, offsets: Mapping[Any, Any], group: str) -> None:
        """Add offsets to the transaction."""
        self.offsets = {group: offsets}

    async def commit_transaction(self) -> None:
        """Commit the transaction."""
        self.steps.append("commit")


class TransactionHarness:
    def __init__(self, producer: FakeTransactionalProducer) -> None:
        self.producer = producer
        self.reported: list[bytes | None] = []
        self.metrics = Metrics(version="0", ready=lambda: True, event_loop_lag=lambda: 0.0, strict=True)
        self.channel = TransactionalOutput(
            lambda: producer,  # type: ignore[arg-type, return-value]
            Changelog(lambda: producer, "changelog", 0, clock=lambda: 0, separate_marker=False),
            group="shop",
            sent=self._sent,
            metrics=self.metrics,
        )

    def _sent(self, records: Sequence[OutgoingRecord]) -> None:
        self.reported += [record.value for record in records]

    def transactions(self, outcome: str) -> float | None:
        labels = {"outcome": outcome}
        return self.metrics._registry.get_sample_value("lifecycle_transactions_total", labels)


def record(value: bytes, topic: str = "out") -> OutgoingRecord:
    return OutgoingRecord(topic, b"k", value)


OFFSETS = {("clicks", 0): (7, "mark")}


def commit(*outputs: bytes, changes: Sequence[tuple[bytes, bytes | None]] = ((b"c", b"state"),)) -> Commit:
    return Commit(OFFSETS, changes, b"marker", map(record, outputs))


async def test_outputs_changelog_and_offsets_are_sent_in_one_transaction_and_none_before() -> None:
    harness = TransactionHarness(FakeTransactionalProducer())
    harness.channel.put(record(b"1"))
    await harness.channel.flush()
    assert harness.producer.sent == []
    assert harness.channel.owes
    harness.channel.cut(outputs=True)
    assert not harness.channel.owes
    flush = await harness.channel.write(commit(b"2"))
    assert harness.producer.steps == ["begin", "commit"]
    by_topic: dict[str, list[bytes | None]] = {}
    for topic, _, _, value in harness.producer.sent:
        by_topic.setdefault(topic, []).append(value)
    assert by_topic == {"out": [b"1", b"2"], "changelog": [b"state", b"marker"]}
    assert [key for topic, _, key, _ in harness.producer.sent if topic == "changelog"] == [b"c", MARKER_KEY]
    assert harness.producer.offsets == {"shop": OFFSETS}
    assert (flush.first, flush.last, flush.whole) == (10, 12, True)  # the control record behind the marker included
    assert harness.transactions("committed") == 1


async def test_output_put_after_a_snapshot_leaves_with_the_next_commit() -> None:
    harness = TransactionHarness(FakeTransactionalProducer(acknowledging=False))
    harness.channel.put(record(b"1"))
    harness.channel.cut(outputs=False)
    harness.channel.put(record(b"2"))
    first = asyncio.create_task(harness.channel.write(commit()))
    await until_sent(harness.producer, 2)
    harness.channel.put(record(b"3"))
    for n in range(2):
        harness.producer.acknowledge(n)
    await first
    assert [value for topic, _, _, value in harness.producer.sent if topic == "out"] == [b"1"]
    harness.channel.cut(outputs=False)
    second = asyncio.create_task(harness.channel.write(commit()))
    await until_sent(harness.producer, 4)
    for n in (2, 3):
        harness.producer.acknowledge(n)
    await second
    assert [value for topic, _, _, value in harness.producer.sent if topic == "out"] == [b"1", b"2", b"3"]


async def test_outputs_are_reported_as_sent_when_they_are_committed() -> None:
    harness = TransactionHarness(FakeTransactionalProducer(acknowledging=False))
    harness.channel.put(record(b"1"))
    harness.channel.cut(outputs=False)
    writing = asyncio.create_task(harness.channel.write(commit()))
    await until_sent(harness.producer, 2)
    [output] = [n for n, (topic, *_) in enumerate(first_of_each(harness.producer)) if topic == "out"]
    harness.producer.acknowledge(output)
    for _ in range(5):
        await asyncio.sleep(0)
    assert harness.reported == []
    harness.producer.acknowledge(1 - output)
    await writing
    assert harness.reported == [b"1"]


@pytest.mark.parametrize("fails", ["out", "changelog"])
async def test_a_batch_that_failed_is_not_committed(fails: str) -> None:
    """aiokafka would commit it: its `commit_transaction` waits for batches and ignores their errors."""
    harness = TransactionHarness(FakeTransactionalProducer(acknowledging=False))
    harness.channel.put(record(b"1"))
    harness.channel.cut(outputs=False)
    writing = asyncio.create_task(harness.channel.write(commit()))
    await until_sent(harness.producer, 2)
    for n, (topic, *_) in enumerate(first_of_each(harness.producer)):
        if topic == fails:
            harness.producer.acknowledgements[n].set_exception(ProducerFenced())
        else:
            harness.producer.acknowledge(n)
    with pytest.raises(ProducerFenced):
        await writing
    assert harness.producer.steps == ["begin"]
    assert harness.reported == []
    assert (harness.transactions("fenced"), harness.transactions("committed")) == (1, 0)


async def test_output_channel_is_full_after_a_number_of_records_or_bytes() -> None:
    harness = TransactionHarness(FakeTransactionalProducer())
    for _ in range(FULL):
        harness.channel.put(record(b"1"))
    assert not harness.channel.full
    harness.channel.put(record(b"1"))
    assert harness.channel.full
    harness.channel.cut(outputs=False)
    assert not harness.channel.full
    harness.channel.put(record(b"1" * (FULL_BYTES + 1)))
    assert harness.channel.full


def guarantee_of(app_id: str = "lifecycle") -> ExactlyOnce:
    metrics = Metrics(version="0", ready=lambda: True, event_loop_lag=lambda: 0.0, strict=True)
    return ExactlyOnce(Settings(app_id=app_id), metrics, lambda: 0)


class Refused:
    """Transactions with a broker that supports none."""

    async def fenced(self) -> None:
        raise UnknownError


async def test_broker_without_transactions_is_reported_in_a_sentence() -> None:
    guarantee = guarantee_of("shop")
    guarantee._transactions = Refused()  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"refuses a transaction \(UnknownError\).* set at_least_once\.$"):
        await guarantee.fenced()


def test_fencing_is_explained_and_other_errors_are_not() -> None:
    guarantee = guarantee_of()
    said = guarantee.explain(ProducerFenced())
    assert isinstance(said, Fenced)
    assert "Another worker has taken over partitions of this one" in str(said)
    assert guarantee.explain(UnknownError()) is None


async def until_sent(producer: FakeProducer, batches: int) -> None:
    while len(producer.acknowledgements) < batches:
        await asyncio.sleep(0)


def first_of_each(producer: FakeProducer) -> list[Any]:
    """Return the first record of each batch, if all records of a topic are one batch."""
    return list({topic: (topic, *rest) for topic, *rest in reversed(producer.sent)}.values())[::-1]
