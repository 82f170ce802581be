"""A loop on confluent-kafka as its documentation writes it: one record at a time. Its state is in memory only.

Beside `confluent_loop`, so that one sees what is owed to batches and to a decoder that knows the fields.
"""

from __future__ import annotations

import orjson
from confluent_kafka import KafkaException

from benchmarks.peers import arguments, plain
from benchmarks.peers.arguments import Arguments
from benchmarks.peers.confluent_loop import Client


def run(given: Arguments) -> None:
    """Run until SIGTERM."""
    client = Client(given)
    consumer, producer = client.consumer, client.producer
    states: dict[str, plain.State] = {}
    uncommitted = 0
    while not client.ended:
        message = consumer.poll(0.1)
        if message is not None:
            if message.error():
                raise KafkaException(message.error())
            uncommitted += 1
            event = orjson.loads(message.value())
            customer = event["customer_id"]
            state = states.get(customer)
            if state is None:
                state = states[customer] = plain.new()
            for output in plain.step(
                state, customer, event["type"], event["occurred_at"], event["product_id"], event["quantity"]
            ):
                producer.produce(given.output, orjson.dumps(output), customer, on_delivery=client.delivered)
            producer.poll(0)
        uncommitted = client.commit_if_due(uncommitted)
    if uncommitted:
        client.commit()
    consumer.close()


if __name__ == "__main__":
    run(arguments.parse(__doc__))
