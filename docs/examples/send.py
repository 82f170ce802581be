"""Put events on an input topic: `python docs/examples/send.py TOPIC < events.jsonl`.

The key is the customer's id. That is what keeps a customer's events together and in order, and what a worker checks.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from aiokafka import AIOKafkaProducer

BROKER = os.environ.get("LIFECYCLE_BROKER", "127.0.0.1:9092")


async def main(topic: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=BROKER, acks="all") as producer:
        for line in filter(str.strip, sys.stdin):
            event = json.loads(line)
            customer = event.get("customer_id") or event["anonymous_id"]
            sent = await producer.send_and_wait(topic, line.strip().encode(), key=str(customer).encode())
            print(f"{topic} partition {sent.partition} offset {sent.offset}: {event['type']} of {customer}")


asyncio.run(main(sys.argv[1]))
