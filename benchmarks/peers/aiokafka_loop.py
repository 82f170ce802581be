"""A hand-written loop on aiokafka, as quick as its author could make it. Its state is in memory only.

Records come from `getmany`, are decoded by msgspec into no more than the job needs, outputs go out as batches on the
partition of the same number (the key is the same, so it is the one the partitioner would choose); every so often, once
outputs are acknowledged, the offsets are committed. After a crash the state is gone.
"""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.peers import arguments, plain
from benchmarks.peers.arguments import Arguments

AUTO_COMMIT_S = 5.0
"""aiokafka's default."""


async def run(given: Arguments) -> None:
    """Run until SIGTERM."""
    consumer = AIOKafkaConsumer(
        given.input,
        bootstrap_servers=given.bootstrap,
        group_id=given.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    producer = AIOKafkaProducer(bootstrap_servers=given.bootstrap, acks="all", linger_ms=5, max_batch_size=1 << 19)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    interval = given.interval(AUTO_COMMIT_S)
    arguments.ready()
    await producer.start()
    await consumer.start()
    states: dict[str, plain.State] = {}
    unacknowledged: list[asyncio.Future[Any]] = []
    uncommitted = False
    due = time.monotonic() + interval
    while not ended.is_set():
        for partition, records in (await consumer.getmany(timeout_ms=100)).items():
            uncommitted = True
            outputs = [output for record in records for output in process(states, record.value)]
            unacknowledged += await send(producer, given.output, partition.partition, outputs)
        if time.monotonic() >= due:
            if uncommitted:
                await asyncio.gather(*unacknowledged)
                await consumer.commit()
                unacknowledged.clear()
                uncommitted = False
            due = time.monotonic() + interval
    await asyncio.gather(*unacknowledged)
    await consumer.commit()
    await consumer.stop()
    await producer.stop()


_decode = msgspec.json.Decoder(plain.Event).decode
_encode = msgspec.json.Encoder().encode


def process(states: dict[str, plain.State], value: bytes) -> list[tuple[bytes, bytes]]:
    """Process one record and return keys and values of its outputs."""
    event = _decode(value)
    customer = event.customer_id
    state = states.get(customer)
    if state is None:
        state = states[customer] = plain.new()
    outputs = plain.step(state, customer, event.type, event.occurred_at, event.product_id, event.quantity)
    return [(customer.encode(), _encode(output)) for output in outputs]


async def send(
    producer: AIOKafkaProducer, topic: str, partition: int, outputs: list[tuple[bytes, bytes]]
) -> list[asyncio.Future[Any]]:
    """Send the outputs in as few batches as possible and return their acknowledgements."""
    futures = []
    batch = producer.create_batch()
    for key, value in outputs:
        if batch.append(key=key, value=value, timestamp=None) is None:
            futures.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=None)
    if batch.record_count():
        futures.append(await producer.send_batch(batch, topic, partition=partition))
    return futures


if __name__ == "__main__":
    asyncio.run(run(arguments.parse(__doc__)))
