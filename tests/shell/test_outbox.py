"""The outbox against a driven producer: order, acknowledgement, failure."""

from __future__ import annotations

import asyncio

import pytest

from streams.shell.outbox import Headers, Outbox, Record


class Producer:
    """Acknowledges when told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes | None]] = []
        self.acknowledgements: list[asyncio.Future[object]] = []

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Headers | None = None,
    ) -> asyncio.Future[object]:
        self.sent.append((topic, value))
        await asyncio.sleep(0)  # another task gets its turn, as in aiokafka
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.acknowledgements.append(future)
        return future


def record(n: int, told: list[int] | None = None) -> Record:
    return Record("t", b"k", b"%d" % n, acknowledged=None if told is None else lambda: told.append(n))


async def test_records_leave_in_the_order_put_also_when_two_flush_at_once() -> None:
    producer = Producer()
    outbox = Outbox(lambda: producer)
    for n in range(3):
        outbox.put(record(n))
    first = asyncio.create_task(outbox.flush())
    await asyncio.sleep(0)
    outbox.put(record(3))
    await asyncio.gather(first, outbox.flush())
    assert [value for _, value in producer.sent] == [b"0", b"1", b"2", b"3"]


async def test_settled_waits_for_every_acknowledgement_and_tells_who_asked() -> None:
    producer, told = Producer(), list[int]()
    outbox = Outbox(lambda: producer)
    outbox.put(record(1, told))
    outbox.put(record(2, told))
    settled = asyncio.create_task(outbox.settled())
    while len(producer.acknowledgements) < 2:
        await asyncio.sleep(0)
    producer.acknowledgements[1].set_result(None)
    await asyncio.sleep(0)
    assert not settled.done()
    assert told == [2]
    producer.acknowledgements[0].set_result(None)
    await settled
    assert told == [2, 1]


async def test_a_failed_send_is_raised_by_every_settled_after_it() -> None:
    producer = Producer()
    outbox = Outbox(lambda: producer)
    outbox.put(record(1))
    await outbox.flush()
    producer.acknowledgements[0].set_exception(ConnectionError("gone"))
    for _ in range(2):
        with pytest.raises(ConnectionError, match="gone"):
            await outbox.settled()
