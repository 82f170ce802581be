"""Requests to the cluster about topics: connect, read configurations, create topics."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    InvalidReplicationFactorError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from streams.errors import UserError
from streams.settings import PREFIX, Settings
from streams.transport.topic_metadata import partition_counts

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
"""Pause between two attempts to reach a broker. It doubles from the first to the longest."""
LOG_INTERVAL_S = 5.0
"""Interval at which it is logged that no broker answers."""

log = logging.getLogger(__name__)


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Yield a connected client.

    Raises `UserError` if no broker answers within `broker_wait`, or if one stops answering later.
    """
    with _aiokafka_silenced():
        admin = await _connected(settings)
        try:
            yield admin
        except (KafkaError, TimeoutError) as error:
            raise UserError(
                f"the Kafka broker on {settings.broker} failed to answer a request ({type(error).__name__}): check "
                "that the addresses that it advertises can be reached from here."
            ) from error
        finally:
            await admin.close()


async def _connected(settings: Settings) -> AIOKafkaAdminClient:
    loop = asyncio.get_running_loop()
    began = logged_at = loop.time()
    pause, wait = FIRST_PAUSE_S, math.inf if settings.broker_wait is None else settings.broker_wait / 1000
    while True:
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.broker, request_timeout_ms=10_000)
        try:
            await admin.start()
        except KafkaError:
            await admin.close()
            left = began + wait - loop.time()
            if left <= 0:
                raise UserError(
                    f"no Kafka broker answers on {settings.broker}: set {PREFIX}BROKER to its address, or start one "
                    "(`lifecycle broker` runs a small one)."
                ) from None
            if loop.time() - logged_at >= LOG_INTERVAL_S:
                logged_at = loop.time()
                limit = "without a limit" if wait == math.inf else f"for another {left:.0f} s"
                log.warning("No Kafka broker answers on %s yet: trying again %s", settings.broker, limit)
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE_S)
        else:
            return admin


@contextmanager
def _aiokafka_silenced() -> Iterator[None]:
    """Silence aiokafka's log of each attempt: our own sentence reports the result."""
    logger = logging.getLogger("aiokafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


async def partitions_once_created(admin: AIOKafkaAdminClient, topics: set[str]) -> dict[str, int]:
    """Return `partition_counts` once it has these topics: another broker than the one that created them may answer."""
    async with asyncio.timeout(10):
        while not topics <= (partitions := await partition_counts(admin)).keys():
            await asyncio.sleep(0.1)
    return partitions


async def configs_of(admin: AIOKafkaAdminClient, topic: str) -> Mapping[str, str]:
    responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return {
        entry[0]: entry[1] or "" for response in responses for resource in response.resources for entry in resource[4]
    }


async def create(admin: AIOKafkaAdminClient, settings: Settings, configs: Mapping[str, Mapping[str, str]]) -> None:
    """Create topics with these configurations. Raises `UserError` if the broker refuses one."""
    topics = [
        NewTopic(topic, settings.partitions, settings.replication, topic_configs=dict(made))
        for topic, made in configs.items()
    ]
    response: Any = await admin.create_topics(topics)
    for topic, code, *message in response.topic_errors:
        error: type[Exception] = for_code(code)
        if code == 0 or error is TopicAlreadyExistsError:  # another process was faster
            continue
        if error is InvalidReplicationFactorError:
            raise UserError(
                f"topic {topic} cannot have {settings.replication} copies: set {PREFIX}REPLICATION to the number of "
                "brokers at most."
            )
        if error is TopicAuthorizationFailedError:
            raise UserError(
                f"topic {topic} cannot be created by this user: have another user create it, or grant the right to."
            )
        raise UserError(f"topic {topic} cannot be created: {(message and message[0]) or error.__name__}.")
