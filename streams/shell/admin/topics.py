"""Create missing topics, and check all of them: `lifecycle topics`, the demo, and the check at a worker's start."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient

from streams.core.model.event import Source
from streams.settings import PREFIX, Settings
from streams.shell.admin import cluster
from streams.shell.admin.topic_configs import (
    APPENDED,
    COMPACTED_WITHIN,
    ERASURES_TOPIC,
    KEPT,
    PROFILES_TOPIC,
    TIMESTAMPS,
    changelog_topic,
    repartition_configs,
    topic_configs,
)
from streams.transport.topic_metadata import partition_counts

_INPUTS = ("clickstream_topic", "orders_topic", ERASURES_TOPIC)
"""Settings of the topics that should have as many partitions as there are tasks."""


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
        [TopicProblem(status.topic, status.detail) for status in report if status.state == "problem"],
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


async def _run(settings: Settings, create: bool) -> list[TopicStatus]:
    async with cluster.connect(settings) as admin:
        partitions = await partition_counts(admin)
        missing = [key for key, topic in settings.topics.items() if topic not in partitions]
        if create and missing:
            configs = {settings.topics[key]: topic_configs(settings, key) for key in missing}
            await cluster.create(admin, settings, configs)
            partitions = await cluster.partitions_once_created(admin, {settings.topics[key] for key in missing})
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
        if key == ERASURES_TOPIC:
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
    if key == PROFILES_TOPIC:
        configs = await cluster.configs_of(admin, topic)
        if "compact" not in configs.get("cleanup.policy", ""):
            return TopicStatus(
                topic,
                "problem",
                f"topic {topic} is not compacted: set its cleanup.policy to compact, or choose another topic.",
            )
        return _bounded(topic, partitions, configs, "max.compaction.lag.ms", COMPACTED_WITHIN)
    if key in KEPT:
        configs = await cluster.configs_of(admin, topic)
        status = _bounded(topic, partitions, configs, "retention.ms", KEPT[key])
        if key == ERASURES_TOPIC and status.state == "ok" and configs.get(TIMESTAMPS) != APPENDED:
            return TopicStatus(
                topic,
                "advice",
                f"{partitions} partitions; {TIMESTAMPS} is not {APPENDED}: the time of an erasure comes from the "
                f"requester's clock, which may be wrong, so set it to {APPENDED}.",
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
        await cluster.create(admin, settings, {topic: repartition_configs(settings)})
        await cluster.partitions_once_created(admin, {topic})
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
    configs = await cluster.configs_of(admin, topic)
    if "compact" not in configs.get("cleanup.policy", ""):
        return TopicStatus(
            topic, "problem", f"topic {topic} is not compacted and will lose state: set its cleanup.policy to compact."
        )
    if configs.get(TIMESTAMPS, APPENDED) != APPENDED:
        return TopicStatus(
            topic,
            "advice",
            f"topic {topic} has no append times, so a worker does not notice when its clock is wrong, and would fire "
            "deadlines by it: set its message.timestamp.type to LogAppendTime.",
        )
    return _bounded(topic, partitions, configs, "max.compaction.lag.ms", COMPACTED_WITHIN)
