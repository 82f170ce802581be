"""The outbox with a fake producer: order, batches, acknowledgements, errors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.partitioner import murmur2

from streams.shell.commit.outbox import Outbox, OutgoingRecord
from tests.support.fake_producer import FakeProducer


def record(n: int, topic: str = "t", key: bytes | None = b"k") -> OutgoingRecord:
    return OutgoingRecord(topic, key, b"%d" % n)


def ignore_sent(records: Sequence[OutgoingRecord]) -> None:
    """Ignore the report."""


async def test_records_are_sent_in_order_even_if_two_flushes_overlap() -> None:
    producer = FakeProducer(room=2)
    outbox = Outbox(lambda: producer, ignore_sent)
    for n in range(3):
        outbox.put(record(n))
    first = asyncio.create_task(outbox.flush())
    await asyncio.sleep(0)
    outbox.put(record(3))
    await asyncio.gather(first, outbox.flush())
    assert [value for *_, value in producer.sent] == [b"0", b"1", b"2", b"3"]


async def test_records_are_sent_in_one_batch_for_each_partition() -> None:
    producer = FakeProducer(partitions=3)
    outbox = Outbox(lambda: producer, ignore_sent)
    for n in range(30):
        outbox.put(record(n, key=b"%d" % n))
    await outbox.flush()
    assert producer.batches == 3
    assert {(int(key or b""), partition) for _, partition, key, _ in producer.sent} == {
        (n, (murmur2(b"%d" % n) & 0x7FFFFFFF) % 3) for n in range(30)
    }


async def test_record_without_a_key_is_sent() -> None:
    producer = FakeProducer(partitions=3)
    outbox = Outbox(lambda: producer, ignore_sent)
    outbox.put(record(1, key=None))
    await outbox.flush()
    assert [(key, value) for _, _, key, value in producer.sent] == [(None, b"1")]


async def test_settled_waits_for_every_acknowledgement_and_reports_the_records_sent() -> None:
    producer, told = FakeProducer(acknowledging=False), list[bytes | None]()
    outbox = Outbox(lambda: producer, lambda records: told.extend(record.value for record in records))
    outbox.put(record(1, "a"))
    outbox.put(record(2, "b"))
    settled = asyncio.create_task(outbox.settled())
    while len(producer.acknowledgements) < 2:
        await asyncio.sleep(0)
    producer.acknowledgements[1].set_result(None)
    await asyncio.sleep(0)
    assert not settled.done()
    assert told == [b"2"]
    producer.acknowledgements[0].set_result(None)
    await settled
    assert told == [b"2", b"1"]


async def test_settled_waits_for_records_that_another_flush_still_hands_over() -> None:
    producer = FakeProducer(acknowledging=False, room=1)
    outbox = Outbox(lambda: producer, ignore_sent)
    outbox.put(record(1))
    outbox.put(record(2))
    flush = asyncio.create_task(outbox.flush())
    await asyncio.sleep(0)
    settled = asyncio.create_task(outbox.settled())
    await flush
    producer.acknowledgements[0].set_result(None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not settled.done()
    producer.acknowledgements[1].set_result(None)
    await settled


async def test_a_failed_send_is_raised_by_every_settled_after_it() -> None:
    producer = FakeProducer(acknowledging=False)
    outbox = Outbox(lambda: producer, ignore_sent)
    outbox.put(record(1))
    await outbox.flush()
    producer.acknowledgements[0].set_exception(ConnectionError("gone"))
    for _ in range(2):
        with pytest.raises(ConnectionError, match="gone"):
            await outbox.settled()


class Topicless(FakeProducer):
    """A producer whose broker does not know the topic, and reports that late."""

    async def partitions_for(self, topic: str) -> set[int]:
        await asyncio.sleep(0)
        raise UnknownTopicOrPartitionError


async def test_settled_fails_if_a_record_could_not_be_handed_to_the_producer() -> None:
    """Otherwise a commit would go past the record."""
    outbox = Outbox(Topicless, ignore_sent)
    outbox.put(record(1))
    flush = asyncio.create_task(outbox.flush())
    await asyncio.sleep(0)
    settled = asyncio.create_task(outbox.settled())
    for ending in (flush, settled):
        with pytest.raises(UnknownTopicOrPartitionError):
            await ending


async def test_settled_fails_if_a_flush_was_cancelled() -> None:
    outbox = Outbox(Topicless, ignore_sent)
    outbox.put(record(1))
    flush = asyncio.create_task(outbox.flush())
    await asyncio.sleep(0)
    flush.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flush
    with pytest.raises(ConnectionError, match="cancelled"):
        await outbox.settled()


async def test_record_too_large_for_a_batch_is_an_error_with_its_size() -> None:
    outbox = Outbox(lambda: FakeProducer(room=0), ignore_sent)
    outbox.put(record(1))
    with pytest.raises(ValueError, match="a record of 1 bytes does not fit a batch of t"):
        await outbox.flush()
