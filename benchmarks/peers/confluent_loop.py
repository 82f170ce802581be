"""A hand-written loop on confluent-kafka, as quick as its author could make it. Its state is in memory only.

Records are consumed in batches, decoded by msgspec into no more than the job needs, outputs are batched by librdkafka;
every so often outputs are flushed and then the offsets committed. After a crash the state is gone: this is what one has
before durability is paid for.
"""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType

import msgspec
from confluent_kafka import Consumer, KafkaException, Producer

from benchmarks.peers import arguments, plain
from benchmarks.peers.arguments import Arguments

BATCH = 10_000
AUTO_COMMIT_S = 5.0
"""librdkafka's default."""


def run(given: Arguments) -> None:
    """Until SIGTERM."""
    consumer = Consumer(
        {
            "bootstrap.servers": given.bootstrap,
            "group.id": given.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    producer = Producer({"bootstrap.servers": given.bootstrap, "partitioner": "murmur2_random", "linger.ms": 5})
    ended = False

    def end(_signal: int, _frame: FrameType | None) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    interval = given.interval(AUTO_COMMIT_S)
    decode = msgspec.json.Decoder(plain.Event).decode
    encode = msgspec.json.Encoder().encode
    states: dict[str, plain.State] = {}
    failed: list[object] = []
    uncommitted = 0

    def delivered(error: object, _message: object) -> None:
        if error is not None:
            failed.append(error)

    def commit() -> None:
        if producer.flush(30) or failed:
            sys.exit(f"outputs were not delivered: {failed[:1]}")
        consumer.commit(asynchronous=False)

    consumer.subscribe([given.input])
    arguments.ready()
    due = time.monotonic() + interval
    while not ended:
        for message in consumer.consume(BATCH, timeout=0.1):
            if message.error():
                raise KafkaException(message.error())
            uncommitted += 1
            event = decode(message.value())
            customer = event.customer_id
            state = states.get(customer)
            if state is None:
                state = states[customer] = plain.new()
            for output in plain.step(state, customer, event.type, event.occurred_at, event.product_id, event.quantity):
                producer.produce(given.output, encode(output), customer, on_delivery=delivered)
        producer.poll(0)
        if time.monotonic() >= due:
            if uncommitted:
                commit()
                uncommitted = 0
            due = time.monotonic() + interval
    if uncommitted:
        commit()
    consumer.close()


if __name__ == "__main__":
    run(arguments.parse(__doc__))
