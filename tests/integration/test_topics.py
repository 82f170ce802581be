"""`lifecycle topics` and the check at a worker's start, against the embedded broker."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from click.testing import CliRunner

from streams.cli import main
from streams.core.model.event import Source
from streams.devtools.broker import EmbeddedBroker
from streams.errors import UserError
from streams.settings import Settings
from streams.shell.admin import cluster, topics
from streams.shell.admin.topic_configs import changelog_configs, changelog_topic

HOUR = 3_600_000
DAY = 24 * HOUR


@pytest.fixture
def settings() -> Iterator[Settings]:
    with EmbeddedBroker() as broker:
        yield Settings(broker=broker.address, partitions=2, broker_wait=5_000)


@pytest.fixture
async def admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=settings.broker)
    await client.start()
    yield client
    await client.close()


async def make(admin: AIOKafkaAdminClient, topic: str, partitions: int, **configs: str) -> None:
    names = {key.replace("_", "."): value for key, value in configs.items()}
    await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=names)])


async def configs(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    [response] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return {entry[0]: entry[1] for entry in response.resources[0][4]}


async def test_missing_topics_are_created_once(settings: Settings) -> None:
    first = await topics.ensure(settings)
    assert {status.topic for status in first} == set(settings.topics.values())
    assert {status.state for status in first} == {"created"}
    assert {status.state for status in await topics.ensure(settings)} == {"ok"}
    assert await topics.check(settings) == []


async def test_created_topics_have_the_settings_of_their_role(settings: Settings, admin: AIOKafkaAdminClient) -> None:
    settings = dataclasses.replace(settings, profiles=True)
    await topics.ensure(settings)
    partitions = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    assert partitions == dict.fromkeys(settings.topics.values(), 2)
    for key, topic in settings.topics.items():
        made = await configs(admin, topic)
        assert made.get("message.timestamp.type") == (None if key == "dead_letters_topic" else "LogAppendTime")
        assert made.get("cleanup.policy", "delete") == ("compact" if key == "profiles_topic" else "delete")
        assert made.get("max.compaction.lag.ms") == (str(7 * DAY) if key == "profiles_topic" else None)
        kept = {"dead_letters_topic": str(14 * DAY), "erasures_topic": str(7 * DAY)}
        assert made.get("retention.ms") == kept.get(key)


async def test_check_of_topics_creates_none(settings: Settings, admin: AIOKafkaAdminClient) -> None:
    problems = await topics.check(settings)
    assert {problem.topic for problem in problems} == set(settings.topics.values())
    assert await admin.list_topics() == []


async def test_missing_input_topic_is_reported_by_a_check(settings: Settings) -> None:
    await topics.ensure(settings)
    [problem] = await topics.check(dataclasses.replace(settings, orders_topic="shop.orders"))
    assert problem.sentence == (
        f"topic shop.orders does not exist on {settings.broker}: create it with `lifecycle topics`, or set "
        "LIFECYCLE_ORDERS_TOPIC to its name."
    )


async def test_input_topic_with_another_number_of_partitions_is_refused(
    settings: Settings, admin: AIOKafkaAdminClient
) -> None:
    await make(admin, "orders", 3)
    await topics.ensure(settings)
    [problem] = await topics.check(settings)
    assert problem.sentence == (
        "topic orders has 3 partitions, but LIFECYCLE_PARTITIONS is 2: set it to 3, or give the topic 2 partitions, or "
        "set LIFECYCLE_ORDERS_CO_PARTITIONED=off, so that repartition tasks read the topic."
    )


async def test_input_topic_that_is_not_co_partitioned_may_have_another_number_of_partitions(
    settings: Settings, admin: AIOKafkaAdminClient
) -> None:
    await make(admin, "orders", 3)
    settings = dataclasses.replace(settings, orders_co_partitioned=False)
    report = {status.topic: status for status in await topics.ensure(settings)}
    assert (report["orders"].state, report["clickstream"].state) == ("repartitioned", "created")
    assert report["orders"].detail == "3 partitions, read by repartition tasks"
    assert await topics.check_for_worker(settings) == ([], frozenset({Source.ORDERS}))
    co_partitioned = dataclasses.replace(settings, partitions=3, clickstream_co_partitioned=False)
    _, not_co_partitioned = await topics.check_for_worker(co_partitioned)
    assert not_co_partitioned == {Source.CLICKSTREAM}


async def test_output_topic_may_have_any_number_of_partitions(settings: Settings, admin: AIOKafkaAdminClient) -> None:
    await make(admin, "lifecycle-abandonments", 7)
    await topics.ensure(settings)
    assert await topics.check(settings) == []


async def test_profiles_topic_that_is_not_compacted_is_reported(settings: Settings, admin: AIOKafkaAdminClient) -> None:
    settings = dataclasses.replace(settings, profiles=True)
    await make(admin, "lifecycle-profiles", 2)
    await topics.ensure(settings)
    [problem] = await topics.check(settings)
    assert "set its cleanup.policy to compact" in problem.sentence


async def test_topics_that_retain_erased_customers_too_long_are_reported(
    settings: Settings, admin: AIOKafkaAdminClient
) -> None:
    """Topics created before there were erasures have such settings. Workers start all the same."""
    settings = dataclasses.replace(settings, profiles=True)
    await make(admin, "lifecycle-profiles", 2, cleanup_policy="compact")
    await make(admin, "lifecycle-dead-letters", 2, retention_ms=str(30 * DAY))
    await make(admin, "lifecycle-erasures", 2, retention_ms="-1")
    await make(admin, changelog_topic(settings), 2, cleanup_policy="compact")
    report = {status.topic: status for status in await topics.ensure(settings)}
    named = {topic: status.detail for topic, status in report.items() if status.state == "advice"}
    assert named.keys() == {
        "lifecycle-profiles", "lifecycle-dead-letters", "lifecycle-erasures", changelog_topic(settings)
    }  # fmt: skip
    assert named["lifecycle-dead-letters"] == (
        f"2 partitions; retention.ms is {30 * DAY}: the topic may keep ids of erased persons for too long, so "
        f"set it to {14 * DAY}."
    )
    assert "max.compaction.lag.ms is -1" in named["lifecycle-profiles"]
    assert await topics.check(settings) == []


async def test_erasures_topic_without_append_times_is_reported(settings: Settings, admin: AIOKafkaAdminClient) -> None:
    await make(admin, "lifecycle-erasures", 2, retention_ms=str(7 * DAY))
    [named] = [status for status in await topics.ensure(settings) if status.state == "advice"]
    assert named.topic == "lifecycle-erasures"
    assert "from the requester's clock, which may be wrong, so set it to LogAppendTime" in named.detail


async def test_unsuitable_changelog_is_reported(settings: Settings, admin: AIOKafkaAdminClient) -> None:
    await topics.ensure(settings)
    changelog = changelog_topic(settings)
    await make(admin, changelog, 2, cleanup_policy="compact")
    assert await topics.check(settings) == []

    [*others, problem] = await topics.check(dataclasses.replace(settings, partitions=4))
    assert {other.topic for other in others} == {"clickstream", "orders", "lifecycle-erasures"}
    assert problem.topic == changelog
    assert "LIFECYCLE_APP_ID to a new name to start without state" in problem.sentence

    another = dataclasses.replace(settings, app_id="another")
    await make(admin, changelog_topic(another), 2)
    [problem] = await topics.check(another)
    assert "is not compacted and will lose state" in problem.sentence


async def test_changelog_without_append_times_is_reported(settings: Settings, admin: AIOKafkaAdminClient) -> None:
    changelog = changelog_topic(settings)
    await make(admin, changelog, 2, cleanup_policy="compact", message_timestamp_type="CreateTime")
    report = {status.topic: status for status in await topics.ensure(settings)}
    assert report[changelog].state == "advice"
    assert "set its message.timestamp.type to LogAppendTime" in report[changelog].detail
    assert await topics.check(settings) == []


def test_changelog_is_compacted_and_has_append_times() -> None:
    assert changelog_configs(Settings()) == {
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": str(HOUR),
        "max.compaction.lag.ms": str(7 * DAY),
        "delete.retention.ms": str(DAY),
        "message.timestamp.type": "LogAppendTime",
    }
    assert changelog_configs(Settings(replication=3))["min.insync.replicas"] == "2"


@pytest.mark.parametrize("create", [True, False])
def test_unreachable_broker_is_reported_after_the_wait(create: bool) -> None:
    with EmbeddedBroker() as broker:
        settings = Settings(broker=broker.address, broker_wait=200)
    with pytest.raises(UserError, match=f"no Kafka broker answers on {settings.broker}: set LIFECYCLE_BROKER"):
        topics.run(settings, create)


def test_requests_to_an_unreachable_broker_become_rarer_and_are_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with EmbeddedBroker() as broker:
        address = broker.address

    def ours() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == cluster.__name__]

    pauses: list[float] = []
    loop = SimpleNamespace(now=0.0)
    loop.time = lambda: loop.now

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        loop.now += seconds
        if loop.now > 60:
            raise KeyboardInterrupt  # ends a client that would wait for ever

    monkeypatch.setattr(cluster, "asyncio", SimpleNamespace(sleep=sleep, get_running_loop=lambda: loop))
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(cluster._connected(Settings(broker=address, broker_wait=None)))
    assert pauses[:7] == [0.25, 0.5, 1, 2, 4, 5, 5]
    assert ours()[0] == f"No Kafka broker answers on {address} yet: trying again without a limit"
    pauses.clear()
    loop.now = 0.0
    with pytest.raises(UserError, match="no Kafka broker answers"):
        asyncio.run(cluster._connected(Settings(broker=address, broker_wait=20_000)))
    assert sum(pauses) == 20
    assert "trying again for another" in ours()[-1]


def test_topics_command_reports_and_exits_with_the_result(settings: Settings) -> None:
    environ = {"LIFECYCLE_BROKER": settings.broker, "LIFECYCLE_PARTITIONS": "2"}

    def lifecycle(*args: str, **more: str) -> tuple[int, list[str]]:
        result = CliRunner().invoke(main, args, env=environ | more)
        return result.exit_code, [" ".join(line.split()) for line in result.stdout.splitlines()]

    code, lines = lifecycle("topics", "--check")
    assert code == 1
    assert lines[0].startswith("clickstream problem topic clickstream does not exist")
    code, lines = lifecycle("topics")
    assert code == 0
    assert lines[0] == "clickstream created 2 partitions"
    assert lifecycle("topics", "--check") == (0, [line.replace("created", "ok") for line in lines])
    code, lines = lifecycle("topics", LIFECYCLE_PARTITIONS="3")
    assert code == 1
    assert lines[0].startswith("clickstream problem topic clickstream has 2 partitions, but LIFECYCLE_PARTITIONS is 3")
