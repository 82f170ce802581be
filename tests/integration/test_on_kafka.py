"""Behaviour that needs Apache Kafka: append times, offset metadata, transactions, deleted records, and kills of a
broker that keeps acknowledged records."""

from __future__ import annotations

import asyncio
import json
import random
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.shell.admin.topic_configs import changelog_topic
from streams.shell.commit.metadata import OffsetMetadata, decode_metadata
from tests.integration.outcomes import committed, last_words, process_and_stop
from tests.support import machine_requirements
from tests.support.kafka_cluster import ApacheKafka
from tests.support.process_cluster import PATIENCE_S, ProcessCluster, WorkerProcess, key_of, wait_until
from tests.support.replay_comparison import differing_outputs, ids_until, replay_outputs
from tests.support.shop_events import DAY, MINUTE, click, now, order, shop

pytestmark = pytest.mark.slow

NewCluster = Callable[..., Awaitable[ProcessCluster]]


@pytest.fixture
def broker(apache_kafka: ApacheKafka) -> ApacheKafka:
    apache_kafka.check()
    return apache_kafka


# ------------------------------------------------------------------------------------------------------------ topics


async def configs(cluster: ProcessCluster, topic: str) -> dict[str, str]:
    async with cluster.admin() as admin:
        [response] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return {entry[0]: entry[1] for entry in response.resources[0][4]}


async def test_topics_keep_append_times_and_the_changelog_is_compacted_but_not_at_once(
    make_cluster: NewCluster,
) -> None:
    cluster = await make_cluster(profiles="on")
    worker = cluster.start_worker()
    await worker.ready()
    settings = cluster.settings
    made = {topic: await configs(cluster, topic) for topic in (*settings.topics.values(), changelog_topic(settings))}
    kinds = {topic: c["message.timestamp.type"] for topic, c in made.items()}
    assert kinds.pop(settings.dead_letters_topic) == "CreateTime"  # it keeps the time of the record that it is
    assert set(kinds.values()) == {"LogAppendTime"}
    compacted = {topic for topic, c in made.items() if c["cleanup.policy"] == "compact"}
    assert compacted == {settings.profiles_topic, changelog_topic(settings)}
    assert made[changelog_topic(settings)]["min.compaction.lag.ms"] == "3600000"
    assert [status for status in cluster.command("topics").stdout.splitlines() if " ok " not in status] == []


async def test_replication_beyond_the_number_of_brokers_is_a_clear_error(make_cluster: NewCluster) -> None:
    cluster = await make_cluster()
    done = cluster.command("topics", orders_topic=f"{cluster.settings.orders_topic}-copied", replication="3")
    assert done.returncode == 2
    [said] = done.stderr.splitlines()
    assert "cannot have 3 copies: set LIFECYCLE_REPLICATION to the number of brokers at most" in said


# --------------------------------------------------------------------------------------------- offsets and restarts


async def marks(cluster: ProcessCluster) -> dict[TopicPartition, OffsetMetadata]:
    """Return the committed offset metadata of the event topics."""
    async with cluster.admin() as admin:
        committed = await admin.list_consumer_group_offsets(cluster.settings.app_id)
    sources = cluster.settings.source_topics.values()
    found = {
        tp: decode_metadata(offset.metadata)
        for tp, offset in committed.items()
        if offset.offset >= 0 and tp.topic in sources
    }
    return {tp: mark for tp, mark in found.items() if mark is not None}


async def committed_everywhere(cluster: ProcessCluster, enough: Callable[[OffsetMetadata], bool]) -> bool:
    """Return True if every partition has a committed offset whose metadata has the fields wanted."""
    found = await marks(cluster)
    return len(found) == 2 * cluster.settings.partitions and all(map(enough, found.values()))


async def all_outputs(cluster: ProcessCluster) -> list[dict[str, Any]]:
    return await cluster.stage_changes() + await cluster.abandonments()


async def test_a_graceful_restart_sends_nothing_twice_and_goes_on_from_the_stored_progress(
    make_cluster: NewCluster, tmp_path: Path
) -> None:
    began = now()
    end = began - 10 * MINUTE
    clicks, orders = shop(seed=3, customers=50, events=1200, end=end)
    expected = replay_outputs(tmp_path / "replay", clicks, orders)
    cluster = await make_cluster(backfill_idle="10s")
    half = len(clicks) // 2
    middle = clicks[half]["occurred_at"]
    await cluster.clicks(*clicks[:half])
    await cluster.orders(*(o for o in orders if o["occurred_at"] < middle))
    first = cluster.start_worker(backfill_idle="5m")  # it does not count as caught up, however long it runs
    await first.ready()
    await wait_until(
        lambda: committed_everywhere(cluster, lambda mark: mark.progress.progress is not None), "some progress"
    )
    first.terminate()
    assert first.exit_code() == 0, first.tail()

    stored = await marks(cluster)
    settings = cluster.settings
    topics = (settings.clickstream_topic, settings.orders_topic)
    assert stored.keys() == {TopicPartition(topic, p) for topic in topics for p in range(2)}
    assert all(mark.commit > 0 and began <= mark.started_at <= now() for mark in stored.values())
    for mark in stored.values():
        assert mark.progress.backfilling
        assert mark.progress.progress is not None
        assert end - 3 * DAY <= mark.progress.progress <= middle

    await cluster.clicks(*clicks[half:])
    await cluster.orders(*(o for o in orders if o["occurred_at"] >= middle))
    second = cluster.start_worker()
    await second.ready()
    last = max(event["occurred_at"] for event in (*clicks, *orders)) - 10_000

    async def all_there() -> bool:
        return ids_until(last, expected) <= ids_until(last, await all_outputs(cluster))

    await wait_until(all_there, "every output of the replay")
    second.terminate()
    assert second.exit_code() == 0, second.tail()
    outputs = await all_outputs(cluster)
    assert differing_outputs(outputs, expected, last) == []
    assert len(outputs) == len({output["id"] for output in outputs})
    later = await marks(cluster)
    assert all(later[tp].commit > stored[tp].commit for tp in stored)
    assert all((later[tp].progress.progress or 0) >= (stored[tp].progress.progress or 0) for tp in stored)
    assert {mark.started_at for mark in later.values()} == {mark.started_at for mark in stored.values()}


@pytest.mark.parametrize(("seed", "store"), [(1, "memory"), (2, "memory"), (3, "rocksdb")])
async def test_kills_at_random_moments_lose_nothing_and_repeat_only_equal_outputs(
    make_cluster: NewCluster, tmp_path: Path, seed: int, store: str
) -> None:
    """On disk, every other worker ends in order, and the next one continues from its files and is killed with them."""
    rng = random.Random(seed)
    end = now() - 90 * MINUTE  # so all of it is a backfill, in which a pause does not count as silence
    clicks, orders = shop(seed=seed, customers=80, events=4000, end=end)
    events = sorted((*clicks, *orders), key=lambda event: event["occurred_at"])
    expected = replay_outputs(tmp_path / "replay", clicks, orders)
    cluster = await make_cluster(
        state_store=store,
        backfill_idle="10s",
        session_timeout="2s",
        heartbeat_interval="300ms",
        commit_interval="100ms",
    )
    topic_of = {True: cluster.settings.orders_topic, False: cluster.settings.clickstream_topic}

    async def stream() -> None:
        """Produce the events in time order, 40 at a time, for about 15 s."""
        producer = AIOKafkaProducer(bootstrap_servers=cluster.settings.broker)
        await producer.start()
        try:
            for n in range(0, len(events), 40):
                for event in events[n : n + 40]:
                    topic, key = topic_of["order_id" in event], key_of(event).encode()
                    await producer.send(topic, json.dumps(event).encode(), key=key)
                await producer.flush()
                await asyncio.sleep(0.15)
        finally:
            await producer.stop()

    streaming = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(stream())))
    for n in range(4):
        worker = cluster.start_worker()
        await worker.ready()
        await asyncio.sleep(rng.uniform(0, 1))
        if store == "rocksdb" and n % 2 == 0:
            worker.terminate()
            assert worker.exit_code() == 0
        else:
            worker.kill()
    survivor = cluster.start_worker()
    await survivor.ready()
    await streaming
    last = events[-1]["occurred_at"] - 10_000

    async def all_there() -> bool:
        return ids_until(last, expected) <= ids_until(last, await all_outputs(cluster))

    await wait_until(all_there, "every output of the replay")
    outputs = await all_outputs(cluster)
    assert differing_outputs(outputs, expected, last) == []
    values = defaultdict(set)
    for output in outputs:
        values[output["id"]].add(json.dumps(output, sort_keys=True))
    assert [id for id, different in values.items() if len(different) > 1] == []


async def test_a_worker_outlives_the_broker(tmp_path: Path) -> None:
    """The broker is killed and started again on the same data. The worker waits and continues; no output is lost or
    invented."""
    with machine_requirements.apache_kafka() as broker:
        cluster = ProcessCluster(broker.address, tmp_path)
        await cluster.create_topics()
        try:
            worker = cluster.start_worker()
            await worker.ready()
            at = now() - 25 * MINUTE  # the browse would be abandoned in five minutes
            await cluster.clicks(*(click(f"c-{n}", at, "product_viewed", product_id="p") for n in range(20)))
            await wait_until(lambda: worker.metric("lifecycle_events_total", outcome="applied") == 20, "20 events")
            broker.kill()
            await asyncio.sleep(3)
            assert worker.get("/healthz")[0] == 200
            broker.start()
            await cluster.orders(*(order(f"c-{n}", now(), f"o-{n}") for n in range(20)))

            async def all_customers() -> bool:
                return len({d["id"] for d in await cluster.stage_changes() if d["to_stage"] == "customer"}) == 20

            await wait_until(all_customers, "20 first orders")
            assert await cluster.abandonments() == []
        finally:
            cluster.stop()


async def test_time_of_the_first_start_is_stored_and_kept_by_later_starts(make_cluster: NewCluster) -> None:
    cluster = await make_cluster(emit_after="start")
    before = now()
    first = cluster.start_worker()
    await first.ready()
    await wait_until(lambda: committed_everywhere(cluster, lambda mark: mark.commit > 0), "the first commits")
    between = now()
    first.terminate()
    assert first.exit_code() == 0, first.tail()
    await cluster.clicks(*(click(f"old-{n}", before - MINUTE) for n in range(10)))
    await cluster.clicks(*(click(f"new-{n}", between) for n in range(10)))
    second = cluster.start_worker()
    await second.ready()

    async def all_new() -> bool:
        return len({d["customer_id"] for d in await cluster.stage_changes()} & {f"new-{n}" for n in range(10)}) == 10

    await wait_until(all_new, "what occurred between the two starts")
    assert {d["customer_id"] for d in await cluster.stage_changes()} == {f"new-{n}" for n in range(10)}
    # The old customers are known.
    await wait_until(lambda: second.metric("lifecycle_customers") == 20, "20 customers")
    assert all(before <= mark.started_at <= between for mark in (await marks(cluster)).values())


# ------------------------------------------------------------------------------------------------------------ clocks

WORKER_WITH_A_WRONG_CLOCK = """
import sys
from pathlib import Path
from streams.transport import driver
right = driver.wall_clock
driver.wall_clock = lambda: right() + int(Path({path!r}).read_text() or 0)
from streams.cli import main
main(["worker"])
"""


@pytest.mark.parametrize("hours", [2, -2])
async def test_worker_with_a_wrong_clock_fires_nothing_and_reports_the_skew(
    make_cluster: NewCluster, tmp_path: Path, hours: int
) -> None:
    cluster = await make_cluster(partitions="1", lateness="1s", clickstream_delay="1s", orders_delay="1s")
    wrong = tmp_path / "wrong"
    wrong.write_text(str(hours * 60 * MINUTE))
    worker = cluster.start_worker(program=WORKER_WITH_A_WRONG_CLOCK.format(path=str(wrong)))
    due = now() + 6_000
    await cluster.clicks(click("c", due - 30 * MINUTE, "product_viewed", product_id="p"))
    await wait_until(lambda: "clock_skew" in worker.get("/readyz")[1], "readiness to fail")
    assert worker.get("/readyz")[0] == 503
    assert worker.get("/healthz")[0] == 200
    await wait_until(
        lambda: worker.metric("lifecycle_events_total", outcome="applied") == 1, "the event"
    )  # these go on
    assert worker.metric("lifecycle_clock_skew_seconds") == pytest.approx(hours * 3600, abs=60)
    [said] = [line for line in worker.log.read_text().splitlines() if "clock" in line]
    skew = re.search(r"This machine's clock is ([+-]\d+) s off the broker's", said)
    assert skew is not None
    assert int(skew[1]) == pytest.approx(hours * 3600, abs=60)  # a send may take a while
    assert "Set the clocks (NTP)" in said
    await asyncio.sleep(max(0, due - now()) / 1000 + 4)  # it is due by the right clock too
    assert await cluster.abandonments() == []

    wrong.write_text("0")  # somebody has set it
    await wait_until(lambda: worker.get("/readyz")[0] == 200, "readiness to return")
    await wait_until(cluster.abandonments, "the abandonment")
    assert len(await cluster.abandonments()) == 1


ERASING_BY_A_WRONG_CLOCK = """
import time
right = time.time
time.time = lambda: right() + {seconds}
from streams.cli import main
main(["erase", "c"])
"""


@pytest.mark.parametrize("minutes", [6, -6])
async def test_erasure_request_from_a_wrong_clock_has_the_time_of_the_broker(
    make_cluster: NewCluster, minutes: int
) -> None:
    cluster = await make_cluster(partitions="2")
    worker = cluster.start_worker()
    await worker.ready()
    began = now()
    program = ERASING_BY_A_WRONG_CLOCK.format(seconds=60 * minutes)
    subprocess.run([sys.executable, "-c", program], env=cluster._environ({}), check=True, timeout=PATIENCE_S)

    async def told() -> bool:
        return bool(await cluster.documents(cluster.settings.identities_topic))

    await wait_until(told, "the notice of the erasure")
    [notice] = await cluster.documents(cluster.settings.identities_topic)
    assert began - 1_000 <= datetime.fromisoformat(notice["occurred_at"]).timestamp() * 1_000 <= now() + 1_000
    assert await cluster.documents(cluster.settings.dead_letters_topic) == []


# ------------------------------------------------------------------------------------------------------ transactions


async def test_aborted_records_are_never_read_and_control_records_block_no_deadline(make_cluster: NewCluster) -> None:
    cluster = await make_cluster(partitions="1")
    worker = cluster.start_worker()
    await worker.ready()
    topic = cluster.settings.clickstream_topic
    at = now() - 31 * MINUTE  # so the browse is due at once

    async def send(producer: AIOKafkaProducer, customer: str) -> None:
        event = click(customer, at, "product_viewed", product_id="p")
        await producer.send_and_wait(topic, json.dumps(event).encode(), key=customer.encode())

    async def abandoned() -> set[str]:
        return {d["customer_id"] for d in await cluster.abandonments()}

    async with AIOKafkaProducer(
        bootstrap_servers=cluster.settings.broker, transactional_id=cluster.settings.app_id, enable_idempotence=True
    ) as producer:
        async with producer.transaction():
            await send(producer, "first")
        await producer.begin_transaction()
        await send(producer, "aborted")
        await producer.abort_transaction()  # the log ends in aborted records and a control record
        await wait_until(lambda: _is(abandoned, {"first"}), "the abandonment of the first")

        await producer.begin_transaction()
        await send(producer, "open")
        await wait_until(lambda: worker.metric("lifecycle_consumer_lag_records") == 0, "a lag of nothing")
        await asyncio.sleep(1)
        assert await abandoned() == {"first"}  # an open transaction is not there yet
        await producer.commit_transaction()
        await wait_until(lambda: _is(abandoned, {"first", "open"}), "the abandonment of the second")

    assert worker.metric("lifecycle_events_total") == 2
    assert {d["customer_id"] for d in await cluster.stage_changes()} == {"first", "open"}
    worker.terminate()
    assert worker.exit_code() == 0, worker.tail()
    async with cluster.admin() as admin:
        committed = await admin.list_consumer_group_offsets(cluster.settings.app_id)
    assert committed[TopicPartition(topic, 0)].offset == 6  # three records and three control records: nothing is left


async def _is(what: Callable[[], Awaitable[Any]], expected: Any) -> bool:
    return bool(await what() == expected)


# --------------------------------------------------------------------------------------------------- missing records


async def test_records_deleted_before_they_were_read_end_the_worker_with_the_remedy(make_cluster: NewCluster) -> None:
    cluster = await make_cluster(partitions="1")
    await process_and_stop(cluster, 5)
    await cluster.clicks(*(click(f"d-{n}", now(), event_id=f"b-{n}") for n in range(10)))
    topic = cluster.settings.clickstream_topic
    async with cluster.admin() as admin:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=12)})
    worker = cluster.start_worker()
    said = await last_words(worker)
    assert f"{topic}, partition 0" in said
    assert "offset 5" in said
    assert "deleted" in said
    assert "kafka-consumer-groups --reset-offsets" in said
    assert (await committed(cluster))[topic] == 5  # nothing was reset


async def test_an_offset_beyond_the_end_of_a_topic_ends_the_worker_with_the_remedy(make_cluster: NewCluster) -> None:
    cluster = await make_cluster(partitions="1")
    await process_and_stop(cluster, 5)
    topic = cluster.settings.clickstream_topic
    await cluster.set_offset(topic, 7)
    said = await last_words(cluster.start_worker())
    assert f"{topic}, partition 0, has no offset 7" in said
    assert "kafka-consumer-groups --reset-offsets" in said
    assert (await committed(cluster))[topic] == 7


@pytest.mark.parametrize("events", [1, 9])
async def test_a_topic_created_again_ends_the_worker_with_the_remedy(make_cluster: NewCluster, events: int) -> None:
    """The new topic has fewer or more records. The broker deletes the group's offset with the topic."""
    cluster = await make_cluster(partitions="1")
    await process_and_stop(cluster, 5)
    topic = cluster.settings.clickstream_topic
    await cluster.make_anew(topic)
    await cluster.clicks(*(click(f"d-{n}", now()) for n in range(events)))
    said = await last_words(cluster.start_worker())
    assert f"{topic}, partition 0: this group has state but no committed offset: the topic was" in said
    assert "start with another LIFECYCLE_APP_ID" in said
    assert topic not in await committed(cluster)
    if events < 5:  # an offset set by hand does not help: records that the state has applied would be skipped
        await cluster.set_offset(topic, 0)
        said = await last_words(cluster.start_worker())  # it might be a leader that was just elected
        assert f"{topic}, partition 0, ends at offset {events}, but the state contains the record at 4" in said
        assert "start with another LIFECYCLE_APP_ID" in said


async def killed_at_its_first_step(worker: WorkerProcess) -> None:
    await wait_until(lambda: "Processing partitions" in worker.log.read_text(), "a first step")
    worker.kill()


async def test_killed_first_start_is_repeated_by_the_next_worker(make_cluster: NewCluster) -> None:
    """The state of a worker that never committed must not end its successor."""
    cluster = await make_cluster(partitions="1")
    await cluster.clicks(*(click(f"c-{n}", now(), event_id=f"a-{n}") for n in range(5)))
    for _ in range(3):
        await killed_at_its_first_step(cluster.start_worker())
    worker = cluster.start_worker()
    await worker.ready()

    async def all_customers() -> bool:
        return {d["customer_id"] for d in await cluster.stage_changes()} == {f"c-{n}" for n in range(5)}

    await wait_until(all_customers, "5 customers")


# ---------------------------------------------------------------------------------------------------- another client


async def test_another_client_reads_key_headers_and_value(make_cluster: NewCluster) -> None:
    kcat = shutil.which("kcat")
    if kcat is None:
        machine_requirements.skip_or_fail("kcat is not on this machine (Debian: apt-get install kcat)")
    cluster = await make_cluster()
    worker = cluster.start_worker()
    at = now() - MINUTE
    await cluster.clicks(click("c-ü", at))
    await worker.ready()
    await wait_until(cluster.stage_changes, "a stage change")
    topic = cluster.settings.stage_changes_topic
    command = [kcat, "-b", cluster.settings.broker, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    [record] = [json.loads(line) for line in done.stdout.splitlines()]
    value = json.loads(record["payload"])
    headers = dict(zip(record["headers"][::2], record["headers"][1::2], strict=True))
    assert record["key"] == value["customer_id"] == "c-ü"
    assert record["tstype"] == "logappend"
    assert at <= record["ts"] <= now()
    assert headers == {
        "ce_specversion": "1.0",
        "ce_id": value["id"],
        "ce_type": headers["ce_type"],
        "ce_source": "/lifecycle-streams",
        "ce_time": value["occurred_at"],
        "content-type": "application/json",
        "ce_playbook": headers["ce_playbook"],
    }
    assert headers["ce_type"].endswith("stage_changed")
    assert re.fullmatch("ecommerce/[0-9]+/[0-9a-f]{16}", headers["ce_playbook"])
