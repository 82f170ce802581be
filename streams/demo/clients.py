"""Kafka clients of the demo: they produce events and subscribe to outputs, as a shop and its services would."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.core.model.event import Source
from streams.demo.shop_history import DemoEvent
from streams.demo.statistics import Statistics
from streams.errors import UserError
from streams.settings import Settings

BATCH = 2_000
"""Most events that wait for their acknowledgement."""
STOP_TIMEOUT = 3.0
"""Seconds."""


def wall_clock() -> int:
    """Return the current time, ms."""
    return time.time_ns() // 1_000_000


async def produce(client: AIOKafkaProducer, topics: Mapping[Source, str], events: Iterable[DemoEvent]) -> int:
    """Send events to the topics of their sources, with their keys and in order. Return their number once all are
    acknowledged.

    The records' timestamps are the times of sending, as Kafka clients set them.
    """
    count, waiting = 0, []
    for count, event in enumerate(events, 1):
        waiting.append(await client.send(topics[event.source], event.value, key=event.key.encode()))
        if count % BATCH == 0:
            await asyncio.gather(*waiting)
            waiting = []
    await asyncio.gather(*waiting)
    return count


@asynccontextmanager
async def producer(broker: str) -> AsyncIterator[AIOKafkaProducer]:
    """Provide a connected producer, for both phases of the demo."""
    client = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=5, acks="all")
    try:
        await client.start()
    except KafkaError:
        await _stop(client)
        raise UserError(f"no Kafka broker answers on {broker}: leave --broker out to use the embedded one.") from None
    try:
        yield client
    finally:
        await _stop(client)


async def subscribe(settings: Settings, statistics: Statistics) -> None:
    """Add every record of the output topics to the statistics, from the first one on. Never returns."""
    topics = (
        settings.stage_changes_topic,
        settings.abandonments_topic,
        settings.identities_topic,
        settings.dead_letters_topic,
    )
    consumer = AIOKafkaConsumer(
        *topics, bootstrap_servers=settings.broker, auto_offset_reset="earliest", fetch_max_wait_ms=200
    )
    await consumer.start()
    try:
        async for record in consumer:
            statistics.add_output(record.topic, record.value, dict(record.headers))
    finally:
        await _stop(consumer)


async def _stop(client: AIOKafkaProducer | AIOKafkaConsumer) -> None:
    """Stop the client within `STOP_TIMEOUT`: without a broker it would wait for its unsent records."""
    with suppress(TimeoutError):
        await asyncio.wait_for(client.stop(), STOP_TIMEOUT)


async def delete_topics(broker: str, prefix: str) -> None:
    """Delete the topics that the demo made on a Kafka that is not its own."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    try:
        await admin.start()
        await admin.delete_topics([topic for topic in await admin.list_topics() if topic.startswith(prefix)])
    except KafkaError as error:
        raise UserError(
            f"the demo's topics could not be removed ({type(error).__name__}): delete those that begin with {prefix}."
        ) from None
    finally:
        await admin.close()
