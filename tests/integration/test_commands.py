"""`lifecycle worker` and `lifecycle topics` report an unsuitable Kafka in one sentence, without a traceback."""

from __future__ import annotations

import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiokafka.admin import NewTopic

from streams.devtools.ports import reserve_port
from streams.shell.admin.topic_configs import changelog_configs, changelog_topic
from tests.support.process_cluster import ProcessCluster

NewCluster = Callable[..., Awaitable[ProcessCluster]]


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line on standard error of a command that cannot start."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("lifecycle: ")
    return line


@pytest.mark.parametrize("command", ["worker", "topics"])
def test_unreachable_broker_ends_the_worker_with_a_sentence(command: str, tmp_path: Path) -> None:
    cluster = ProcessCluster(f"127.0.0.1:{reserve_port()}", tmp_path, broker_wait="500ms")
    said = sentence(cluster.command(command))
    assert f"no Kafka broker answers on {cluster.settings.broker}: set LIFECYCLE_BROKER to its address" in said


async def test_missing_input_topic_ends_the_worker_with_a_sentence(make_cluster: NewCluster) -> None:
    cluster = await make_cluster()
    said = sentence(cluster.command("worker", orders_topic="no-orders"))
    assert f"topic no-orders does not exist on {cluster.settings.broker}: create it with `lifecycle topics`" in said
    assert "LIFECYCLE_ORDERS_TOPIC" in said
    checked = cluster.command("topics", "--check", orders_topic="no-orders")
    assert checked.returncode == 1
    assert "no-orders does not exist" in checked.stdout
    assert checked.stderr == ""
    assert cluster.command("topics", "--check").returncode == 0  # the topic was not created meanwhile


async def test_input_topic_with_another_number_of_partitions_ends_the_worker_with_a_sentence(
    make_cluster: NewCluster,
) -> None:
    cluster = await make_cluster(partitions="2")
    said = sentence(cluster.command("worker", partitions="3"))
    topic = cluster.settings.clickstream_topic
    assert f"topic {topic} has 2 partitions, but LIFECYCLE_PARTITIONS is 3: set it to 2" in said
    checked = cluster.command("topics", partitions="3")
    assert checked.returncode == 1
    [line] = [line for line in checked.stdout.splitlines() if line.startswith(topic)]
    assert "has 2 partitions, but LIFECYCLE_PARTITIONS is 3" in line
    assert checked.stderr == ""


async def test_state_with_another_number_of_partitions_ends_the_worker_with_a_sentence(
    make_cluster: NewCluster,
) -> None:
    cluster = await make_cluster(partitions="2")
    changelog = changelog_topic(cluster.settings)
    configs = changelog_configs(cluster.settings)
    async with cluster.admin() as admin:
        await admin.create_topics([NewTopic(changelog, 3, 1, topic_configs=configs)])
    said = sentence(cluster.command("worker"))
    assert f"the state of {cluster.settings.app_id} in topic {changelog} has 3 partitions" in said
    assert "LIFECYCLE_APP_ID" in said
