"""The peers on the JVM give the outputs of the oracle, and recover their state."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.job import PARTITIONS, differences, events, oracle
from benchmarks.jvm import build
from benchmarks.jvm.build import Peer
from streams.errors import UserError
from tests.support import machine_requirements
from tests.support.kafka_cluster import ApacheKafka, Unavailable

EVENTS = 5_000
CUSTOMERS = 500
ROUNDS = 2

# ------------------------------------------------------------------------------------------------------ what they do


@pytest.fixture(scope="module")
def apache_kafka() -> Iterator[ApacheKafka]:
    with machine_requirements.apache_kafka() as running:
        yield running


@pytest.mark.slow
@pytest.mark.timeout(600)  # the first builds them
@pytest.mark.parametrize(
    ("peer", "mode", "store"),
    [("kafka-streams", "default", "rocksdb"), ("kafka-streams", "1s", "rocksdb"), ("flink", "1s", "heap"),
     ("flink", "1s", "rocksdb")],
)  # fmt: skip
async def test_every_round_gives_the_outputs_of_the_oracle_and_its_state_is_recovered(
    apache_kafka: ApacheKafka, tmp_path: Path, peer: Peer, mode: str, store: str
) -> None:
    records = list(events(EVENTS, CUSTOMERS))
    expected = oracle(iter(records))
    name = f"{peer}-{uuid.uuid4().hex[:8]}"
    await create(apache_kafka, f"{name}-in", *(f"{name}-out-{n}" for n in range(1, ROUNDS + 1)))
    await produce(apache_kafka, f"{name}-in", records)

    broker = ["--bootstrap", apache_kafka.address, "--input", f"{name}-in", "--output", f"{name}-out", "--group", name]
    options = ["--events", str(EVENTS), "--mode", mode, "--store", store, "--state-dir", str(tmp_path)]
    said = run(peer, *broker, *options, "--rounds", str(ROUNDS))
    assert said[::2] == ["ready"] * ROUNDS
    rounds = [json.loads(line) for line in said[1::2]]
    assert [done["round"] for done in rounds] == list(range(1, ROUNDS + 1))
    assert all(done["cpu_s"] > 0 and done["peak_rss_mb"] > 0 for done in rounds)
    for n in range(1, ROUNDS + 1):
        assert differences(expected, await outputs(apache_kafka, f"{name}-out-{n}")) is None
        if peer == "kafka-streams":  # Flink keeps its offsets in checkpoints; those of the group are only informative
            assert await committed(apache_kafka, f"{name}-{n}", f"{name}-in") == EVENTS

    ready, recovered = run(peer, *broker, *options, "--recover")
    assert ready == "ready"
    restored = json.loads(recovered)["records"]
    assert restored >= len(expected) if peer == "kafka-streams" else restored == len(expected)
    assert differences(expected, await outputs(apache_kafka, f"{name}-out-1")) is None  # nothing was done twice


def run(peer: Peer, *options: str) -> list[str]:
    try:
        command = build.command(peer)
    except Unavailable as reason:
        machine_requirements.skip_or_fail(str(reason))
    done = subprocess.run(
        [*command, *options, "--paced"], input="\n" * ROUNDS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


async def create(broker: ApacheKafka, *topics: str) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await client.start()
    try:
        await client.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in topics])
    finally:
        await client.close()


async def produce(broker: ApacheKafka, topic: str, records: list[tuple[bytes, bytes]]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker.address, linger_ms=20)
    await producer.start()
    try:
        for key, value in records:
            await producer.send(topic, value, key=key)
    finally:
        await producer.stop()


async def outputs(broker: ApacheKafka, topic: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.address)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, n) for n in range(PARTITIONS)]
        consumer.assign(partitions)
        for partition, end in (await consumer.end_offsets(partitions)).items():
            consumer.seek(partition, 0)
            while await consumer.position(partition) < end:
                for record in (await consumer.getmany(partition, timeout_ms=1_000)).get(partition, []):
                    output = json.loads(record.value)
                    assert record.key.decode() == output["customer"]
                    found[output["customer"]].append(output)
    finally:
        await consumer.stop()
    return dict(found)


async def committed(broker: ApacheKafka, group: str, topic: str) -> int:
    client = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await client.start()
    try:
        offsets = await client.list_consumer_group_offsets(group)
    finally:
        await client.close()
    return sum(known.offset for partition, known in offsets.items() if partition.topic == topic)


# ------------------------------------------------------------------------------------------------ how they are built

MAVEN = """#!/bin/sh
echo "$@" >> "$BUILDS"
[ -z "$FAILS" ] || { echo "[ERROR] COMPILATION ERROR : "; echo "[ERROR] Job.java: ; expected"; exit 1; }
for argument; do case $argument in -Doutput=*) mkdir -p "${argument#*=}";; esac; done
"""


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Install a Maven that only notes each call, a Java, and sources of one file."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for program, text in {"mvn": MAVEN, "java": "#!/bin/sh\n", "javac": "#!/bin/sh\n"}.items():
        (programs / program).write_text(text)
        (programs / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("BUILDS", str(tmp_path / "builds"))
    monkeypatch.setattr(build, "HERE", tmp_path / "sources")
    monkeypatch.setattr(build, "OUTPUT", tmp_path / "cache")
    (tmp_path / "sources" / "job" / "src").mkdir(parents=True)
    (tmp_path / "sources" / "job" / "src" / "Job.java").write_text("class Job {}")
    return tmp_path / "builds"


def test_jvm_peers_are_built_once_and_again_when_a_source_has_changed(builds: Path, tmp_path: Path) -> None:
    leftover = tmp_path / "cache" / "flink" / "lib" / "of-another-version.jar"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    assert build.command("flink")[-1] == "benchmarks.flink.FlinkPeer"
    assert build.command("kafka-streams")[-1] == "benchmarks.kafkastreams.KafkaStreamsPeer"
    assert len(builds.read_text().splitlines()) == 1
    assert not leftover.exists()
    (tmp_path / "sources" / "job" / "src" / "Job.java").write_text("class Job { int other; }")
    build.command("flink")
    assert len(builds.read_text().splitlines()) == 2


def test_failed_build_reports_its_error_and_is_tried_again(builds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILS", "1")
    with pytest.raises(UserError, match=r"cannot build .*: .*Job\.java: ; expected"):
        build.command("flink")
    monkeypatch.delenv("FAILS")
    build.command("flink")
    assert len(builds.read_text().splitlines()) == 2


@pytest.mark.parametrize("missing", ["java", "javac", "mvn"])
def test_error_without_a_jdk_or_maven_names_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None if program == missing else program)
    monkeypatch.setattr(build, "_build", lambda _maven: None)
    with pytest.raises(Unavailable, match=rf"need {missing} .*: install it \(Debian: apt-get install"):
        build.command("flink")
