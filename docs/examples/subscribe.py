"""Read the outputs: `python docs/examples/subscribe.py [GROUP]`, ended with Ctrl-C.

Prints each event once, as one line of JSON. With a GROUP it goes on where that group has stopped; without, it begins
at the beginning.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

from aiokafka import AIOKafkaConsumer

BROKER = os.environ.get("LIFECYCLE_BROKER", "127.0.0.1:9092")
TOPICS = ("lifecycle-stage-changes", "lifecycle-abandonments")


async def main(group: str | None) -> None:
    seen: set[str] = set()  # a service keeps these with what it did because of them, for as long as it cares
    consumer = AIOKafkaConsumer(
        *TOPICS,
        bootstrap_servers=BROKER,
        group_id=group,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    async with consumer:
        async for record in consumer:
            event_id = dict(record.headers)["ce_id"].decode()
            if event_id not in seen:  # delivered at least once: a repetition has the same id
                seen.add(event_id)
                print(record.value.decode(), flush=True)


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
