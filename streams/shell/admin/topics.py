"""The topics: made where they are missing, and checked. By `lifecycle topics`, the demo, and a worker at its start."""

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
"""The Faust table that holds the customers; its name is part of the changelog's."""

DELETES_KEPT = DAY
"""How long the changelog shows at least that a customer was forgotten, ms."""

REPARTITION_KEPT = 7 * DAY
"""How long what is forwarded stays, ms."""

COMPACTED_WITHIN = 7 * DAY
"""How long a compacted topic still shows at most what was overwritten or deleted (docs/erasure.md), ms."""

KEPT = {"dead_letters_topic": 14 * DAY, "erasures_topic": 7 * DAY}
"""How long records stay in topics that are not to hold what names a person for longer, ms: time to look at a dead
letter, and for a worker to carry a request out."""

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
"""Between two attempts to reach a broker, doubling."""
SAID_S = 5.0
"""How often it is said that none answers."""

log = logging.getLogger(__name__)

_REQUESTS = "erasures_topic"
_INPUTS = ("clickstream_topic", "orders_topic", _REQUESTS)
_COMPACTED = "profiles_topic"
_ORIGINAL_TIMESTAMPS = "dead_letters_topic"
_TIMESTAMPS = "message.timestamp.type"
_APPENDED = "LogAppendTime"


class TopicStatus(NamedTuple):
    """What is to be said about one topic; `detail` of a problem is a sentence that says what to do."""

    topic: str
    state: Literal["created", "ok", "apart", "advice", "problem"]
    """`apart`: an input topic that is read independently. With `advice` a worker starts all the same."""
    detail: str


class TopicProblem(NamedTuple):
    """What keeps a worker from starting."""

    topic: str
    sentence: str


def changelog_topic(settings: Settings) -> str:
    """The topic that holds the state, made by Faust when the first worker starts."""
    return f"{settings.app_id}-{STATE_TABLE}-changelog"


def changelog_configs(settings: Settings) -> dict[str, str]:
    """How the changelog has to be made; the table's `extra_topic_configs`.

    What is overwritten stays for an hour, so that recovery can tell the record of a worker that had lost the partition
    from the right one. Append times show the broker's clock, against which a worker checks its own.
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
    """How the topic of a setting has to be made.

    Times are the broker's, so that retention counts from arrival also when history is loaded. Dead letters keep the
    time of the record that they are.
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
    """How the activity topic has to be made: what is forwarded waits there while workers are away."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(REPARTITION_KEPT),
        _TIMESTAMPS: _APPENDED,
        **_durability(settings),
    }


def _durability(settings: Settings) -> dict[str, str]:
    return {"min.insync.replicas": "2"} if settings.replication >= 3 else {}


async def check(settings: Settings) -> list[TopicProblem]:
    """What is wrong with the topics; a worker starts only if nothing is. Raises `UserError` if no broker answers."""
    problems, _ = await check_for_worker(settings)
    return problems


async def check_for_worker(settings: Settings) -> tuple[list[TopicProblem], frozenset[Source]]:
    """As `check`, and the sources that are read independently."""
    report = await _run(settings, create=False)
    apart = {status.topic for status in report if status.state == "apart"}
    return (
        [TopicProblem(status.topic, status.detail) for status in report if _bad(status)],
        frozenset(source for source, topic in settings.source_topics.items() if topic in apart),
    )


async def ensure(settings: Settings) -> list[TopicStatus]:
    """Create what is missing, check the rest. Raises `UserError` if no broker answers or it refuses."""
    return await _run(settings, create=True)


def run(settings: Settings, create: bool) -> list[TopicStatus]:
    """`lifecycle topics`, for use outside an event loop."""
    return asyncio.run(_run(settings, create))


def _bad(status: TopicStatus) -> bool:
    return status.state == "problem"


async def _run(settings: Settings, create: bool) -> list[TopicStatus]:
    async with _admin(settings) as admin:
        partitions = await _partitions(admin)
        missing = [key for key, topic in settings.topics.items() if topic not in partitions]
        if create and missing:
            await _create(admin, settings, {settings.topics[key]: topic_configs(settings, key) for key in missing})
            partitions = await _partitions_once_there(admin, {settings.topics[key] for key in missing})
        created = set(missing) if create else set()
        report = [
            TopicStatus(topic, "created", f"{partitions[topic]} partitions")
            if key in created
            else await _status(admin, settings, key, topic, partitions.get(topic))
            for key, topic in settings.topics.items()
        ]
        if settings.upstream_sources:
            report.append(await _activity_status(admin, settings, partitions.get(settings.repartition_topic), create))
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
            f"{PREFIX}{key.upper()} to the name that it has.",
        )
    if key in _INPUTS and partitions != settings.partitions:
        co_partitioned = key.replace("_topic", "_co_partitioned")
        if key == _REQUESTS:
            return TopicStatus(
                topic,
                "problem",
                f"topic {topic} has {partitions} partitions, but {PREFIX}PARTITIONS is {settings.partitions}: give it "
                f"{settings.partitions}, so that each request can be on all of them.",
            )
        if not getattr(settings, co_partitioned):
            return TopicStatus(topic, "apart", f"{partitions} partitions, read independently of the tasks")
        return TopicStatus(
            topic,
            "problem",
            f"topic {topic} has {partitions} partitions, but {PREFIX}PARTITIONS is {settings.partitions}: set it to "
            f"{partitions}, or give the topic {settings.partitions}, or set {PREFIX}{co_partitioned.upper()}=off to "
            "have it read by repartition tasks.",
        )
    if key == _COMPACTED:
        configs = await _configs(admin, topic)
        if "compact" not in configs.get("cleanup.policy", ""):
            return TopicStatus(
                topic,
                "problem",
                f"topic {topic} is not compacted: set its cleanup.policy to compact, or choose another.",
            )
        return _bounded(topic, partitions, configs, "max.compaction.lag.ms", COMPACTED_WITHIN)
    if key in KEPT:
        configs = await _configs(admin, topic)
        status = _bounded(topic, partitions, configs, "retention.ms", KEPT[key])
        if key == _REQUESTS and status.state == "ok" and configs.get(_TIMESTAMPS) != _APPENDED:
            return TopicStatus(
                topic,
                "advice",
                f"{partitions} partitions; {_TIMESTAMPS} is not {_APPENDED}: erasures go by the clock of who asks for "
                f"them, right or wrong, so set it to {_APPENDED}.",
            )
        return status
    return TopicStatus(topic, "ok", f"{partitions} partitions")


def _bounded(topic: str, partitions: int, configs: Mapping[str, str], name: str, most: int) -> TopicStatus:
    """Whether a topic keeps what names a person for no longer than it should: for ever, if nothing is said."""
    value = configs.get(name, "-1")
    if 0 <= int(value) <= most:
        return TopicStatus(topic, "ok", f"{partitions} partitions")
    return TopicStatus(
        topic,
        "advice",
        f"{partitions} partitions; {name} is {value}: who was erased may be in it for too long, so set it to {most}.",
    )


async def _activity_status(
    admin: AIOKafkaAdminClient, settings: Settings, partitions: int | None, create: bool
) -> TopicStatus:
    topic = settings.repartition_topic
    if partitions is None and create:
        await _create(admin, settings, {topic: repartition_configs(settings)})
        await _partitions_once_there(admin, {topic})
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
            f"{partitions}, or {PREFIX}APP_ID to a new name to start from nothing.",
        )
    return TopicStatus(topic, "ok", f"{partitions} partitions")


async def _changelog_status(admin: AIOKafkaAdminClient, settings: Settings, topic: str, partitions: int) -> TopicStatus:
    if partitions != settings.partitions:
        return TopicStatus(
            topic,
            "problem",
            f"the state of {settings.app_id} in topic {topic} has {partitions} partitions, but {PREFIX}PARTITIONS is "
            f"{settings.partitions}: set it to {partitions}, or {PREFIX}APP_ID to a new name to start from nothing.",
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
            f"topic {topic} does not keep append times, by which a worker finds out that its clock is wrong, and fires "
            "nothing: set its message.timestamp.type to LogAppendTime.",
        )
    return _bounded(topic, partitions, configs, "max.compaction.lag.ms", COMPACTED_WITHIN)


# ----------------------------------------------------------------------------------------------------- the cluster


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected client; `UserError` if none answers within `broker_wait`, or one falls silent later."""
    with _hushed():
        admin = await _connected(settings)
        try:
            yield admin
        except (KafkaError, TimeoutError) as error:
            raise UserError(
                f"the Kafka broker on {settings.broker} does not do what was asked ({type(error).__name__}): see that "
                "the addresses it advertises can be reached from here."
            ) from error
        finally:
            await admin.close()


async def _connected(settings: Settings) -> AIOKafkaAdminClient:
    loop = asyncio.get_running_loop()
    began = said = loop.time()
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
            if loop.time() - said >= SAID_S:
                said = loop.time()
                until = "for as long as it takes" if wait == math.inf else f"for another {left:.0f} s"
                log.warning("No Kafka broker answers on %s yet: asking again %s", settings.broker, until)
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE_S)
        else:
            return admin


@contextmanager
def _hushed() -> Iterator[None]:
    """Without aiokafka's word on every attempt: what they come to is our own sentence."""
    logger = logging.getLogger("aiokafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


async def _partitions(admin: AIOKafkaAdminClient) -> dict[str, int]:
    """Topic to number of partitions. It asks for all topics, for asking for one can create it."""
    return {
        topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics() if not topic["error_code"]
    }


async def _partitions_once_there(admin: AIOKafkaAdminClient, topics: set[str]) -> dict[str, int]:
    """As `_partitions`, once a broker other than the one that made them has heard of them."""
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
    """Create topics, given how each has to be made."""
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
            raise UserError(f"topic {topic} may not be created by this user: have it created, or grant the right to.")
        raise UserError(f"topic {topic} cannot be created: {(message and message[0]) or error.__name__}.")
