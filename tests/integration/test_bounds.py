"""Faults that must not stop a group for good, and faults that must: damaged batches, topics created again, state of a
newer version. On Apache Kafka, whose files can be damaged and which has topic ids."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from streams.core.profile.codec import NEWEST_FORMAT, pack
from streams.core.profile.profile import Profile
from streams.core.store.task_state import record_key
from streams.shell.admin.topic_configs import changelog_topic
from streams.shell.commit.metadata import decode_metadata
from tests.integration.outcomes import committed, last_words, process_and_stop
from tests.support.kafka_cluster import ApacheKafka
from tests.support.process_cluster import ProcessCluster, WorkerProcess, topic_is_gone, wait_until
from tests.support.shop_events import click, now

pytestmark = pytest.mark.slow

NewCluster = Callable[..., Awaitable[ProcessCluster]]


@pytest.fixture
def broker(apache_kafka: ApacheKafka) -> ApacheKafka:
    apache_kafka.check()
    return apache_kafka


async def applied(worker: WorkerProcess, events: int) -> None:
    await wait_until(lambda: worker.metric("lifecycle_events_total", outcome="applied") == events, f"{events} events")


# ----------------------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_records_of_every_compression_codec_are_read(make_cluster: NewCluster, codec: str) -> None:
    cluster = await make_cluster(partitions="1")
    worker = cluster.start_worker()
    await worker.ready()
    async with AIOKafkaProducer(bootstrap_servers=cluster.settings.broker, compression_type=codec) as producer:
        for n in range(50):
            value = f'{{"type":"page_viewed","customer_id":"c-{n}","occurred_at":{now()}}}'
            await producer.send(cluster.settings.clickstream_topic, value.encode(), key=f"c-{n}".encode())
    await applied(worker, 50)


async def test_damaged_batch_is_a_dead_letter_and_ends_no_worker(make_cluster: NewCluster, broker: ApacheKafka) -> None:
    cluster = await make_cluster(partitions="1")
    topic = cluster.settings.clickstream_topic
    for name in ("a", "b", "c"):  # a batch each
        await cluster.clicks(*(click(f"{name}-{n}", now()) for n in range(3)))
    assert broker.directory is not None
    segment = Path(broker.directory) / "data" / f"{topic}-0" / "00000000000000000000.log"
    await wait_until(lambda: segment.read_bytes().count(b'"b-1"') == 1, "the records on disk")
    with segment.open("r+b") as file:
        file.seek(segment.read_bytes().index(b'"b-1"'))
        file.write(b'"x-1"')
    worker = cluster.start_worker()
    await worker.ready()
    await applied(worker, 6)
    assert worker.metric("lifecycle_dead_letters_total", topic=topic, reason="corrupt_batch") == 1
    [letter] = await wait_until(lambda: cluster.read(cluster.settings.dead_letters_topic), "the dead letter")
    headers = {name: value.decode() for name, value in letter.headers}
    assert headers["__streams.errors.message"] == "offsets 3 to 5: the checksum is wrong"
    assert letter.value is None
    assert worker.get("/healthz")[0] == 200
    await wait_until(lambda: worker.metric("lifecycle_customers") == 6, "six customers")
    worker.terminate()
    assert worker.exit_code() == 0, worker.tail()
    assert (await committed(cluster))[topic] == 9


# ------------------------------------------------------------------------------------------------ topics made anew


@pytest.mark.parametrize("events", [2, 40])
async def test_a_topic_created_again_under_a_running_worker_ends_it(make_cluster: NewCluster, events: int) -> None:
    """The new topic has fewer records than the worker has read, or more. With more, no offset is missing."""
    cluster = await make_cluster(partitions="1", rebalance_timeout="30s")
    topic = cluster.settings.clickstream_topic
    worker = cluster.start_worker()
    await worker.ready()
    await cluster.clicks(*(click(f"c-{n}", now()) for n in range(10)))
    await applied(worker, 10)
    await cluster.make_anew(topic)
    await cluster.clicks(*(click(f"d-{n}", now()) for n in range(events)))
    said = await last_words(worker)
    assert f"{topic} was deleted and created again" in said or f"{topic}, partition 0" in said
    assert "start with another LIFECYCLE_APP_ID" in said


async def test_a_topic_created_again_while_no_worker_ran_is_known_by_its_id(make_cluster: NewCluster) -> None:
    """This holds even if the offset was set back to the old one, and the topic has as many records again."""
    cluster = await make_cluster(partitions="1")
    topic = cluster.settings.clickstream_topic
    await process_and_stop(cluster, 5)
    async with cluster.admin() as admin:
        before = (await admin.list_consumer_group_offsets(cluster.settings.app_id)).items()
        [kept] = [offset for tp, offset in before if tp.topic == topic]
    assert (decode_metadata(kept.metadata) or pytest.fail("no metadata")).topic_id
    await cluster.make_anew(topic)
    await cluster.clicks(*(click(f"d-{n}", now()) for n in range(20)))
    await cluster.set_offset(topic, kept.offset, kept.metadata)
    said = await last_words(cluster.start_worker())
    assert f"{topic} was deleted and created again" in said


async def test_a_changelog_created_again_under_a_running_worker_ends_it(make_cluster: NewCluster) -> None:
    """Otherwise the few records written since would count as the whole state at the next start."""
    cluster = await make_cluster(partitions="1")
    changelog = changelog_topic(cluster.settings)
    worker = cluster.start_worker()
    await worker.ready()
    await cluster.clicks(*(click(f"c-{n}", now()) for n in range(10)))
    await applied(worker, 10)
    async with cluster.admin() as admin:
        await admin.delete_topics([changelog])
        await wait_until(lambda: topic_is_gone(admin, changelog), "the end of the topic")

        await admin.create_topics([NewTopic(changelog, 1, 1, topic_configs={"cleanup.policy": "compact"})])
    said = await last_words(worker)
    assert f"{changelog} was deleted and created again" in said


# ----------------------------------------------------------------------------------------------------- newer state


async def test_state_of_a_newer_version_is_refused_and_left_as_it_is(make_cluster: NewCluster) -> None:
    cluster = await make_cluster(partitions="1")
    await process_and_stop(cluster, 5)
    changelog = changelog_topic(cluster.settings)
    newer = bytearray(pack(Profile("c-9", True)))
    newer[0] = NEWEST_FORMAT + 1
    async with AIOKafkaProducer(bootstrap_servers=cluster.settings.broker) as producer:
        await producer.send_and_wait(changelog, bytes(newer), key=record_key("c-9", True), partition=0)
    before = [(record.key, record.value) for record in await cluster.read(changelog)]
    offsets = await committed(cluster)
    for _ in range(2):  # a supervisor starts it again
        worker = cluster.start_worker()
        await wait_until(lambda: worker.process.poll() is not None, "the worker to end")  # noqa: B023
        assert worker.process.returncode == 1, worker.tail()
        [said] = [line for line in worker.log.read_text().splitlines() if " CRITICAL " in line]
        assert "a newer version of this program" in said
        assert "upgrade this worker" in said
        assert "Traceback" not in worker.log.read_text()
    await asyncio.sleep(1)
    assert [(record.key, record.value) for record in await cluster.read(changelog)] == before
    assert await committed(cluster) == offsets
