"""Create missing topics, and check all of them: `lifecycle topics`, the demo, and the check at a worker's start."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    InvalidReplicationFactorError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from streams.core.model.event import Source
from streams.core.model.policy import DAY, HOUR
from streams.errors import UserError
from streams.settings import PREFIX, Settings

STATE_TABLE = "profiles"
"""Name of the Faust table of profiles. It is part of the name of the changelog."""

DELETES_KEPT = DAY
"""Shortest time for which the changelog keeps the tombstone of a customer, ms."""

REPARTITION_KEPT = 7 * DAY
"""Retention of the repartition topic, ms."""

COMPACTED_WITHIN = 7 * DAY
"""Longest time for which a compacted topic keeps overwritten or deleted records (docs/erasure.md), ms."""

KEPT = {"dead_letters_topic": 14 * DAY, "erasures_topic": 7 * DAY}
"""Retention of topics that must not keep ids of persons for longer, ms: time to inspect a dead letter, and time for a
worker to carry out an erasure request."""

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
"""Pause between two attempts to reach a broker. It doubles from the first to the longest."""
LOG_INTERVAL_S = 5.0
"""Interval at which it is logged that no broker answers."""

log = logging.getLogger(__name__)

_REQUESTS = "erasures_topic"
_INPUTS = ("clickstream_topic", "orders_topic", _REQUESTS)
_COMPACTED = "profiles_topic"
_ORIGINAL_TIMESTAMPS = "dead_letters_topic"
_TIMESTAMPS = "message.timestamp.type"
_APPENDED = "LogAppendTime"


class TopicStatus(NamedTuple):
    """Result of the check of one topic. The `detail` of a problem is a sentence that says what to do."""

    topic: str
    state: Literal["created", "ok", "repartitioned", "advice", "problem"]
    """`repartitioned`: an input topic that repartition tasks read. A worker starts in spite of an `advice`."""
    detail: str


class TopicProblem(NamedTuple):
    """A problem with a topic that keeps a worker from starting."""

    topic: str
    sentence: str


def changelog_topic(settings: Settings) -> str:
    """Return the name of the topic that holds the state. Faust creates it when the first worker starts."""
    return f"{settings.app_id}-{STATE_TABLE}-changelog"


def changelog_configs(settings: Settings) -> dict[str, str]:
    """Return the configuration of the changelog: the table's `extra_topic_configs`.

    Overwritten records stay for an hour, so that recovery can distinguish the record of a stale owner from the right
    one. Append times show the broker's clock, and a worker checks its own clock against them.
    """
    return {
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": str(HOUR),
        "max.compaction.lag.ms": str(COMPACTED_WITHIN),
        "delete.retention.ms": str(DELETES_KEPT),
        _TIMESTAMPS: _APPENDED,
        **_durability(settings),
    }


def topic_configs(settings: Settings, key: str) -> dict[str, str]:
    """Return the configuration of the topic of a setting.

    Timestamps are the broker's, so that retention counts from arrival also when history is loaded. Dead letters keep
    the timestamp of their record.
    """
    configs = _durability(settings)
    if key != _ORIGINAL_TIMESTAMPS:
        configs[_TIMESTAMPS] = _APPENDED
    if key == _COMPACTED:
        configs |= {"cleanup.policy": "compact", "max.compaction.lag.ms": str(COMPACTED_WITHIN)}
    if key in KEPT:
        configs["retention.ms"] = str(KEPT[key])
    return configs


def repartition_configs(settings: Settings) -> dict[str, str]:
    """Return the configuration of the repartition topic. Records wait there while workers are away."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(REPARTITION_KEPT),
        _TIMESTAMPS: _APPENDED,
        **_durability(settings),
    }


def _durability(settings: Settings) -> dict[str, str]:
    return {"min.insync.replicas": "2"} if settings.replication >= 3 else {}


async def check(settings: Settings) -> list[TopicProblem]:
    """Return the problems with the topics: a worker starts only if there are none.

    Raises `UserError` if no broker answers.
    """
    problems, _ = await check_for_worker(settings)
    return problems


async def check_for_worker(settings: Settings) -> tuple[list[TopicProblem], frozenset[Source]]:
    """Return the problems as `check` does, and the sources that repartition tasks read."""
    report = await _run(settings, create=False)
    repartitioned = {status.topic for status in report if status.state == "repartitioned"}
    return (
        [TopicProblem(status.topic, status.detail) for status in report if _bad(status)],
        frozenset(source for source, topic in settings.source_topics.items() if topic in repartitioned),
    )


async def ensure(settings: Settings) -> list[TopicStatus]:
    """Create the missing topics, and check the others.

    Raises `UserError` if no broker answers, or if it refuses to create a topic.
    """
    return await _run(settings, create=True)


def run(settings: Settings, create: bool) -> list[TopicStatus]:
    """Run `lifecycle topics`. Called outside an event loop."""
    return asyncio.run(_run(settings, create))


def _bad(status: TopicStatus) -> bool:
    return status.state == "problem"


async def _run(settings: Settings, create: bool) -> list[TopicStatus]:
    async with _admin(settings) as admin:
        partitions = await _partitions(admin)
        missing = [key for key, topic in settings.topics.items() if topic not in partitions]
        if create and missing:
            await _create(admin, settings, {settings.topics[key]: topic_configs(settings, key) for key in missing})
            partitions = await _partitions_once_created(admin, {settings.topics[key] for key in missing})
        created = set(missing) if create else set()
        report = [
            TopicStatus(topic, "created", f"{partitions[topic]} partitions")
            if key in created
            else await _status(admin, settings, key, topic, partitions.get(topic))
            for key, topic in settings.topics.items()
        ]
        if settings.upstream_sources:
            count = partitions.get(settings.repartition_topic)
            report.append(await _repartition_status(admin, settings, count, create))
        if (changelog := changelog_topic(settings)) in partitions:
            report.append(await _changelog_status(admin, settings, changelog, partitions[changelog]))
        return report


# ---------------------------------------------------------------------------------------------------------- checks


async def _status(
    admin: AIOKafkaAdminClient, settings: Settings, key: str, topic: str, partitions: int | None
) -> TopicStatus:
    if partitions is None:
        return TopicStatus(
            topic,
            "problem",
            f"topic {topic} does not exist on {settings.broker}: create it with `lifecycle topics`, or set "
            f"{PREFIX}{key.upper()} to its name.",
        )
    if key in _INPUTS and partitions != settings.partitions:
        co_partitioned = key.replace("_topic", "_co_partitioned")
        if key == _REQUESTS:
            return TopicStatus(
                topic,
                "problem",
                f"topic {topic} has {partitions} partitions, but {PREFIX}PARTITIONS is {settings.partitions}: give the "
                f"topic {settings.partitions} partitions, because each request is written once per task.",
            )
        if not getattr(settings, co_partitioned):
            return TopicStatus(topic, "repartitioned", f"{partitions} partitions, read by repartition tasks")
        return TopicStatus(
            topic,
            "problem",
            f"topic {topic} has {partitions} partitions, but {PREFIX}PARTITIONS is {settings.partitions}: set it to "
            f"{partitions}, or give the topic {settings.partitions} partitions, or set "
            f"{PREFIX}{co_partitioned.upper()}=off, so that repartition tasks read the topic.",
        )
    if key == _COMPACTED:
        configs = await _configs(admin, topic)
        if "compact" not in configs.get("cleanup.policy", ""):
            return TopicStatus(
                topic,
                "problem",
                f"topic {topic} is not compacted: set its cleanup.policy to compact, or choose another topic.",
            )
        return _bounded(topic, partitions, configs, "max.compaction.lag.ms", COMPACTED_WITHIN)
    if key in KEPT:
        configs = await _configs(admin, topic)
        status = _bounded(topic, partitions, configs, "retention.ms", KEPT[key])
        if key == _REQUESTS and status.state == "ok" and configs.get(_TIMESTAMPS) != _APPENDED:
            return TopicStatus(
                topic,
                "advice",
                f"{partitions} partitions; {_TIMESTAMPS} is not {_APPENDED}: the time of an erasure comes from the "
                f"requester's clock, which may be wrong, so set it to {_APPENDED}.",
            )
        return status
    return TopicStatus(topic, "ok", f"{partitions} partitions")


def _bounded(topic: str, partitions: int, configs: Mapping[str, str], name: str, most: int) -> TopicStatus:
    """Return an advice if a topic may keep ids of persons for longer than `most` ms; without a value it does."""
    value = configs.get(name, "-1")
    if 0 <= int(value) <= most:
        return TopicStatus(topic, "ok", f"{partitions} partitions")
    return TopicStatus(
        topic,
        "advice",
        f"{partitions} partitions; {name} is {value}: the topic may keep ids of erased persons for too long, so set it "
        f"to {most}.",
    )


async def _repartition_status(
    admin: AIOKafkaAdminClient, settings: Settings, partitions: int | None, create: bool
) -> TopicStatus:
    topic = settings.repartition_topic
    if partitions is None and create:
        await _create(admin, settings, {topic: repartition_configs(settings)})
        await _partitions_once_created(admin, {topic})
        return TopicStatus(topic, "created", f"{settings.partitions} partitions")
    if partitions is None:
        return TopicStatus(
            topic,
            "problem",
            f"topic {topic}, on which workers send to each other, does not exist on {settings.broker}: create it with "
            "`lifecycle topics`.",
        )
    if partitions != settings.partitions:
        return TopicStatus(
            topic,
            "problem",
            f"topic {topic} has {partitions} partitions, but {PREFIX}PARTITIONS is {settings.partitions}: set it to "
            f"{partitions}, or set {PREFIX}APP_ID to a new name to start without state.",
        )
    return TopicStatus(topic, "ok", f"{partitions} partitions")


async def _changelog_status(admin: AIOKafkaAdminClient, settings: Settings, topic: str, partitions: int) -> TopicStatus:
    if partitions != settings.partitions:
        return TopicStatus(
            topic,
            "problem",
            f"the state of {settings.app_id} in topic {topic} has {partitions} partitions, but {PREFIX}PARTITIONS is "
            f"{settings.partitions}: set it to {partitions}, or set {PREFIX}APP_ID to a new name to start without "
            "state.",
        )
    configs = await _configs(admin, topic)
    if "compact" not in configs.get("cleanup.policy", ""):
        return TopicStatus(
            topic, "problem", f"topic {topic} is not compacted and will lose state: set its cleanup.policy to compact."
        )
    if configs.get("message.timestamp.type", "LogAppendTime") != "LogAppendTime":
        return TopicStatus(
            topic,
            "advice",
            f"topic {topic} has no append times, so a worker does not notice when its clock is wrong, and would fire "
            "deadlines by it: set its message.timestamp.type to LogAppendTime.",
        )
    return _bounded(topic, partitions, configs, "max.compaction.lag.ms", COMPACTED_WITHIN)


# ----------------------------------------------------------------------------------------------------- the cluster


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
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


async def _partitions(admin: AIOKafkaAdminClient) -> dict[str, int]:
    """Return the number of partitions of each topic. Ask for all topics, because a request for one can create it."""
    return {
        topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics() if not topic["error_code"]
    }


async def _partitions_once_created(admin: AIOKafkaAdminClient, topics: set[str]) -> dict[str, int]:
    """Return `_partitions` once it has these topics: another broker than the one that created them may answer."""
    async with asyncio.timeout(10):
        while not topics <= (partitions := await _partitions(admin)).keys():
            await asyncio.sleep(0.1)
    return partitions


async def _configs(admin: AIOKafkaAdminClient, topic: str) -> Mapping[str, str]:
    responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return {
        entry[0]: entry[1] or "" for response in responses for resource in response.resources for entry in resource[4]
    }


async def _create(admin: AIOKafkaAdminClient, settings: Settings, configs: Mapping[str, Mapping[str, str]]) -> None:
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
