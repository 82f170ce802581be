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
        sent = []
        for line in filter(str.strip, sys.stdin):
            event = json.loads(line)
            customer = str(event.get("customer_id") or event["anonymous_id"])
            acknowledgement = await producer.send(topic, line.strip().encode(), key=customer.encode())
            sent.append((acknowledgement, f"{event['type']} of {customer}"))
        for acknowledgement, what in sent:
            record = await acknowledgement
            print(f"{topic} partition {record.partition} offset {record.offset}: {what}")


asyncio.run(main(sys.argv[1]))
