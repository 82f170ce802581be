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


class Client:
    """Consumer and producer of librdkafka, stopped by SIGTERM, and the commit of processed events."""

    def __init__(self, given: Arguments) -> None:
        self.ended = False
        self.consumer = Consumer(
            {
                "bootstrap.servers": given.bootstrap,
                "group.id": given.group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        self.producer = Producer(
            {"bootstrap.servers": given.bootstrap, "partitioner": "murmur2_random", "linger.ms": 5}
        )
        self._interval = given.interval(AUTO_COMMIT_S)
        self._failed: list[object] = []
        signal.signal(signal.SIGTERM, self._end)
        self.consumer.subscribe([given.input])
        arguments.ready()
        self._due = time.monotonic() + self._interval

    def delivered(self, error: object, _message: object) -> None:
        """Note the failure of an output, if any. The callback of each output."""
        if error is not None:
            self._failed.append(error)

    def commit_if_due(self, uncommitted: int) -> int:
        """Commit if the interval is over. Return the number of uncommitted records."""
        if time.monotonic() < self._due:
            return uncommitted
        if uncommitted:
            self.commit()
        self._due = time.monotonic() + self._interval
        return 0

    def commit(self) -> None:
        """Send all outputs, then commit the offsets."""
        if self.producer.flush(30) or self._failed:
            sys.exit(f"outputs were not delivered: {self._failed[:1]}")
        self.consumer.commit(asynchronous=False)

    def _end(self, _signal: int, _frame: FrameType | None) -> None:
        self.ended = True


def run(given: Arguments) -> None:
    """Run until SIGTERM."""
    client = Client(given)
    consumer, producer, delivered = client.consumer, client.producer, client.delivered
    decode = msgspec.json.Decoder(plain.Event).decode
    encode = msgspec.json.Encoder().encode
    states: dict[str, plain.State] = {}
    uncommitted = 0
    while not client.ended:
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
        uncommitted = client.commit_if_due(uncommitted)
    if uncommitted:
        client.commit()
    consumer.close()


if __name__ == "__main__":
    run(arguments.parse(__doc__))
