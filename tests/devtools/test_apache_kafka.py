"""Apache Kafka for tests: it is fetched once, restarts after a kill, and ends with the process that started it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from streams.devtools import apache_kafka as kafka
from streams.devtools.apache_kafka import jars
from tests.support import machine_requirements
from tests.support.kafka_cluster import ApacheKafka, KafkaCluster, Unavailable
from tests.support.process_cluster import wait_until
from tests.support.processes import accepts_connections, process_ends

MAVEN = """#!/bin/sh
for argument; do case $argument in -DoutputDirectory=*) directory=${argument#*=};; esac; done
sleep 0.2; mkdir -p "$directory"; echo "$directory" >> "$FETCHED"; exit ${FAILS:-0}
"""


@pytest.fixture
def maven(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Install a Maven that only notes the directory to fill, with an empty cache."""
    program = tmp_path / "bin" / "mvn"
    program.parent.mkdir()
    program.write_text(MAVEN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FETCHED", str(tmp_path / "fetched"))
    return tmp_path / "fetched"


def test_jars_are_fetched_once_when_several_threads_need_them(maven: Path) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(jars())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(maven.read_text().splitlines()) == 1
    assert set(found) == {maven.parent / "cache" / "lifecycle-streams" / f"apache-kafka-{kafka.VERSION}"}
    assert found[0].is_dir()


def test_partial_fetch_of_the_jars_is_not_used(maven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILS", "1")
    with pytest.raises(Unavailable, match="Maven cannot fetch Apache Kafka's jars"):
        jars()
    monkeypatch.setenv("FAILS", "0")
    assert jars().is_dir()
    assert [path.name for path in jars().parent.iterdir() if path.is_dir()] == [f"apache-kafka-{kafka.VERSION}"]


def test_a_machine_without_java_or_maven_is_told_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda _program: None)
    with pytest.raises(Unavailable, match=r"fetched with Maven: install it"):
        jars()
    with pytest.raises(Unavailable, match=r"needs Java 17: install it"):
        ApacheKafka().start()


def test_missing_requirement_fails_under_ci_and_skips_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no such thing"):
        machine_requirements.skip_or_fail("no such thing")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="no such thing"):
        machine_requirements.skip_or_fail("no such thing")


@pytest.fixture(scope="module")
def apache_kafka() -> Iterator[ApacheKafka]:
    with machine_requirements.apache_kafka() as running:
        yield running


@pytest.mark.slow
async def test_topics_survive_a_kill_of_the_broker_and_its_directory_is_gone_after_a_stop(
    apache_kafka: ApacheKafka,
) -> None:
    with ApacheKafka() as broker:  # beside the one that runs: ports and data are its own
        assert broker.address != apache_kafka.address
        await create(broker, "kept")
        broker.kill()
        assert not accepts_connections(broker.address)
        address = broker.address
        broker.start()
        assert broker.address == address
        assert "kept" in await topics(broker)
        assert "kept" not in await topics(apache_kafka)
        pid, directory = broker.pid, broker.directory
    assert pid is not None
    assert process_ends(pid)
    assert directory is not None
    assert not directory.exists()


@pytest.mark.slow
async def test_cluster_of_three_goes_on_without_its_controller_which_may_return() -> None:
    with machine_requirements.kafka_cluster() as cluster:
        await create(cluster, "kept", copies=3)
        controller = await wait_until(cluster.controller, "a controller")
        controller.kill()
        left = [node for node in cluster.nodes if node is not controller]
        await wait_until(lambda: cluster.controller() not in (controller, None), "another controller")
        await wait_until(lambda: known(left[0], "kept"), "the topic")
        await wait_until(lambda: known(left[1], make="made-meanwhile"), "another topic")
        cluster.start([controller])
        cluster.check()
        await wait_until(lambda: known(controller, "kept", "made-meanwhile"), "both topics with the node that was away")
        cluster.kill()
        cluster.start()
        await wait_until(lambda: known(cluster, "kept", "made-meanwhile"), "both topics")


async def known(broker: ApacheKafka | KafkaCluster, *names: str, make: str = "") -> bool:
    """Return True if a broker knows these topics; create another one if asked. A broker may refer to a node that is
    gone."""
    try:
        if make:
            await create(broker, make, copies=2)
        return set(names) <= set(await topics(broker))
    except (KafkaError, TimeoutError):
        return False


async def create(broker: ApacheKafka | KafkaCluster, topic: str, copies: int = 1) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=broker.address, request_timeout_ms=20_000)
    await client.start()
    try:
        await client.create_topics([NewTopic(topic, 1, copies)])
    finally:
        await client.close()


async def topics(broker: ApacheKafka | KafkaCluster) -> list[str]:
    client = AIOKafkaAdminClient(bootstrap_servers=broker.address, request_timeout_ms=20_000)
    await client.start()
    try:
        return list(await client.list_topics())
    finally:
        await client.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_its_address_and_takes_the_broker_with_it(
    apache_kafka: ApacheKafka, number: signal.Signals, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "streams.devtools.apache_kafka", "--port", "0"]
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert accepts_connections(address)
        process.send_signal(number)
        assert process.wait(60) == (-number if number == signal.SIGKILL else 0)
    assert closes(address)


def closes(address: str) -> bool:
    deadline = time.monotonic() + 60
    while accepts_connections(address):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
