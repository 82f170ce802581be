"""Exactly once on Apache Kafka: outputs for a subscriber that reads committed records, while workers are killed,
stopped and replaced within a commit. With a guard disabled, the outputs must be wrong."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from streams.devtools.broker import EmbeddedBroker
from tests.integration.transaction_faults import STEPS, program
from tests.support.kafka_cluster import ApacheKafka
from tests.support.process_cluster import ProcessCluster, WorkerProcess, key_of, wait_until
from tests.support.replay_comparison import differing_outputs, ids_until, replay_outputs
from tests.support.shop_events import HOUR, MINUTE, click, now, order, shop

NewCluster = Callable[..., Awaitable[ProcessCluster]]

EXACTLY_ONCE = {
    "processing_guarantee": "exactly_once",
    "session_timeout": "2s",
    "heartbeat_interval": "300ms",
    "commit_interval": "100ms",
    "backfill_idle": "5m",
}
"""The last setting keeps days that are replayed in seconds from counting as silence."""
LATER = 40
"""Enough customers for each partition to have some."""
COMMITTED = "read_committed"


@pytest.fixture
def broker(apache_kafka: ApacheKafka) -> ApacheKafka:
    apache_kafka.check()
    return apache_kafka


class Shop:
    """Days of a shop in the past, produced in parts, with the outputs expected."""

    def __init__(self, directory: Path, seed: int, events: int = 3_000, *, keyed: bool = True) -> None:
        """`keyed`: each event is on the partition of its customer."""
        clicks, orders = shop(seed=seed, customers=80, events=events, end=now() - 90 * MINUTE)
        self.events = sorted((*clicks, *orders), key=lambda event: event["occurred_at"])
        self.outputs = replay_outputs(directory / "replay", clicks, orders)
        lines = (directory / "replay" / "out" / "profiles.jsonl").read_text().splitlines()
        self.profiles = {profile["customer_id"]: profile for profile in map(json.loads, lines)}
        self.last = self.events[-1]["occurred_at"] - 10_000
        self._fed = 0
        self._rng = None if keyed else random.Random(seed)

    async def feed(self, cluster: ProcessCluster, share: float = 1.0) -> None:
        """Produce the next part of the events, up to this share of all. The first part must precede any worker, to
        which it would otherwise be late."""
        part = self.events[self._fed : int(len(self.events) * share)]
        self._fed += len(part)
        await self._put(cluster, part)

    async def _put(self, cluster: ProcessCluster, events: Iterable[dict[str, Any]]) -> None:
        settings = cluster.settings
        by_topic: dict[str, list[tuple[str, dict[str, Any]]]] = {
            settings.clickstream_topic: [],
            settings.orders_topic: [],
        }
        for event in events:
            topic = settings.orders_topic if "order_id" in event else settings.clickstream_topic
            by_topic[topic].append((key_of(event) if self._rng is None else f"k-{self._rng.randrange(50)}", event))
        for topic, records in by_topic.items():
            await cluster.produce(topic, records)

    async def seen(self, cluster: ProcessCluster) -> list[dict[str, Any]]:
        """Return the outputs that are committed."""
        settings = cluster.settings
        topics = (settings.stage_changes_topic, settings.abandonments_topic)
        return [json.loads(record.value) for topic in topics for record in await cluster.read(topic, COMMITTED)]

    async def judge(self, cluster: ProcessCluster) -> None:
        """Produce the rest. Once every output is there, assert that none is wrong or repeated, that each customer's are
        in order, and that every profile is right."""
        await self.feed(cluster)
        later = self.events[-1]["occurred_at"] + MINUTE  # these events let time pass in every partition
        await self._put(cluster, (click(f"later-{n}", later) for n in range(LATER)))
        await self._put(cluster, (order(f"later-{n}", later, f"later-{n}") for n in range(LATER)))

        async def all_there() -> bool:
            return ids_until(self.last, self.outputs) <= ids_until(self.last, await self.seen(cluster))

        await wait_until(all_there, "every output of the replay")
        seen = await self.seen(cluster)
        assert differing_outputs(seen, self.outputs, self.last) == []
        assert [id for id, copies in Counter(output["id"] for output in seen).items() if copies > 1] == []
        sequences: dict[str, list[int]] = {}
        for output in seen:
            if output["type"] == "stage_changed":
                sequences.setdefault(output["customer_id"], []).append(output["sequence"])
        assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in sequences.values())

        async def profiles_are_right() -> bool:
            records = await cluster.read(cluster.settings.profiles_topic, COMMITTED)
            latest = {json.loads(record.value)["customer_id"]: json.loads(record.value) for record in records}
            return {customer: p for customer, p in latest.items() if not customer.startswith("later")} == self.profiles

        await wait_until(profiles_are_right, "the profiles of the replay")


def replayed_events(worker: WorkerProcess) -> float:
    """Return how many events were skipped because a profile had them already. In this mode there must be none."""
    return worker.metric("lifecycle_events_total", outcome="replayed")


async def killed(worker: WorkerProcess) -> None:
    code = await wait_until(lambda: worker.process.poll(), "the kill")
    assert code == -signal.SIGKILL, worker.tail()


async def feed_until_killed(
    worker: WorkerProcess, history: Shop, cluster: ProcessCluster, begin: float, end: float
) -> None:
    """Produce this stretch of the events between a tenth and nine tenths, in small parts, so that even a slow worker
    commits more than once. The rest after its death comes with the next part."""
    for part in range(1, 41):
        if worker.process.poll() is not None:
            break
        await history.feed(cluster, 0.1 + 0.8 * (begin + (end - begin) * part / 40))
        await asyncio.sleep(0.1)
    await killed(worker)


# ---------------------------------------------------------------------------------------------------------- crashes


@pytest.mark.slow
@pytest.mark.parametrize("store", ["memory", "rocksdb"])
async def test_kill_9_at_every_step_of_a_transaction_loses_and_repeats_nothing(
    make_cluster: NewCluster, tmp_path: Path, store: str
) -> None:
    history = Shop(tmp_path, seed=11)
    cluster = await make_cluster(state_store=store, profiles="on", **EXACTLY_ONCE)
    for n, step in enumerate(STEPS):
        await history.feed(cluster, (n + 1) / (len(STEPS) + 1))
        await killed(cluster.start_worker(program=program(step)))
    survivor = cluster.start_worker()
    await survivor.ready()
    await history.judge(cluster)
    assert replayed_events(survivor) == 0
    assert survivor.metric("lifecycle_transactions_total", outcome="committed") > 0
    assert survivor.metric("lifecycle_transaction_seconds_count") > 0


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "standbys"), [(1, "0"), (2, "1")])
async def test_a_second_worker_takes_over_from_those_killed_within_a_commit(
    make_cluster: NewCluster, tmp_path: Path, seed: int, standbys: str
) -> None:
    rng = random.Random(seed)
    history = Shop(tmp_path, seed=seed)
    cluster = await make_cluster(profiles="on", standby_replicas=standbys, partitions="4", **EXACTLY_ONCE)
    await history.feed(cluster, 0.1)
    successor = cluster.start_worker(data_dir=str(tmp_path / "successor"))
    await successor.ready()
    steps = rng.sample(STEPS, 4)
    for n, step in enumerate(steps):
        doomed = cluster.start_worker(program=program(step, commits=rng.randrange(1, 3)))
        await doomed.ready_or_gone()
        await feed_until_killed(doomed, history, cluster, n / len(steps), (n + 1) / len(steps))
    await history.judge(cluster)
    assert successor.process.poll() is None
    assert replayed_events(successor) == 0


@pytest.mark.slow
async def test_a_worker_stopped_within_a_commit_is_fenced_and_gone_in_time(
    make_cluster: NewCluster, tmp_path: Path
) -> None:
    """It is stopped when only the end of the transaction is missing, replaced, and continued."""
    history = Shop(tmp_path, seed=5)
    cluster = await make_cluster(profiles="on", **EXACTLY_ONCE)
    await history.feed(cluster, 0.1)
    stale_owner = cluster.start_worker(program=program("settled", commits=3, stops=True))
    await stale_owner.ready_or_gone()
    for part in range(11, 51):  # a slow worker takes several in one commit
        if stale_owner.stopped:
            break
        await history.feed(cluster, part / 100)
        await asyncio.sleep(0.2)
    await wait_until(lambda: stale_owner.stopped, "the stop")
    successor = cluster.start_worker(data_dir=str(tmp_path / "successor"))
    await successor.ready()
    await wait_until(lambda: successor.metric("lifecycle_partitions_assigned") == 2, "the successor to take over")
    await history.feed(cluster, 0.8)
    stale_owner.process.send_signal(signal.SIGCONT)
    await wait_until(lambda: stale_owner.process.poll() is not None, "the end of the stale owner")
    assert stale_owner.process.returncode == 1, stale_owner.tail()  # the watchdog's is another,
    assert "Timeout (" not in stale_owner.log.read_text()  # and faulthandler, behind it, says so
    assert "Another worker has taken over partitions of this one" in stale_owner.tail()
    assert "Traceback" not in stale_owner.log.read_text()
    await history.judge(cluster)
    assert replayed_events(successor) == 0


@pytest.mark.slow
async def test_repartitioned_records_are_part_of_the_transactions(make_cluster: NewCluster, tmp_path: Path) -> None:
    """The topics have arbitrary keys, and workers are killed at some steps of a transaction."""
    history = Shop(tmp_path, seed=3, keyed=False)
    badly_keyed = {"clickstream_co_partitioned": "off", "orders_co_partitioned": "off"}
    cluster = await make_cluster(profiles="on", **badly_keyed, **EXACTLY_ONCE)
    await history.feed(cluster, 0.1)
    successor = cluster.start_worker(data_dir=str(tmp_path / "successor"))
    await successor.ready()
    steps = ("outputs", "settled", "ending")
    for n, step in enumerate(steps):
        doomed = cluster.start_worker(program=program(step, commits=2))
        await doomed.ready_or_gone()
        await feed_until_killed(doomed, history, cluster, n / len(steps), (n + 1) / len(steps))
    await history.judge(cluster)
    assert successor.metric("lifecycle_repartition_sent_records_total") > 0


@pytest.mark.slow
async def test_one_worker_serves_two_hundred_partitions(make_cluster: NewCluster) -> None:
    slow = {"session_timeout": "10s", "heartbeat_interval": "1s", "rebalance_timeout": "30s", "commit_interval": "1s"}
    cluster = await make_cluster(partitions="200", **{**EXACTLY_ONCE, **slow})
    worker = cluster.start_worker()
    await worker.ready()
    await wait_until(lambda: worker.metric("lifecycle_partitions_assigned") == 200, "200 partitions")
    count = 2_000
    await visits(cluster, count)

    async def all_there() -> bool:
        return len(await first_changes(cluster)) == count

    await wait_until(all_there, "every customer's first change")
    assert set((await first_changes(cluster)).values()) == {1}
    await wait_until(
        lambda: worker.metric("lifecycle_transactions_total", outcome="committed") >= 200, "200 transactions"
    )
    worker.terminate()
    assert worker.exit_code() == 0, worker.tail()


# ------------------------------------------------------------------------------------------------ guards taken away


async def visits(cluster: ProcessCluster, count: int) -> None:
    """Send events of new customers, each with one output."""
    at = now() - HOUR
    await cluster.clicks(*(click(f"c-{n}", at, event_id=f"e-{n}") for n in range(count)))


async def first_changes(cluster: ProcessCluster) -> Counter[str]:
    """Return the number of first stage changes of each customer."""
    records = await cluster.read(cluster.settings.stage_changes_topic, COMMITTED)
    return Counter(record.key.decode() for record in records)


@pytest.mark.slow
@pytest.mark.parametrize("guarded", [True, False], ids=["committed", "uncommitted"])
async def test_a_changelog_that_is_read_uncommitted_loses_outputs(make_cluster: NewCluster, guarded: bool) -> None:
    """The state of an aborted commit has its events as applied, but their outputs were never visible."""
    cluster = await make_cluster(partitions="1", **EXACTLY_ONCE)
    await visits(cluster, 30)
    await killed(cluster.start_worker(program=program("settled")))
    survivor = cluster.start_worker(program=program(uncommitted=not guarded))
    await survivor.ready()
    await cluster.clicks(click("last", now() - HOUR))
    await wait_until(lambda: survivor.metric("lifecycle_customers") == 31, "all customers")

    async def last_is_there() -> bool:
        return "last" in await first_changes(cluster)

    await wait_until(last_is_there, "the output of the last event")
    seen = await first_changes(cluster)
    lost = {f"c-{n}" for n in range(30)} - seen.keys()
    assert bool(lost) is not guarded
    assert not [customer for customer, count in seen.items() if count > 1]


@pytest.mark.slow
@pytest.mark.parametrize("guarded", [True, False], ids=["fences_first", "reads_first"])
async def test_reading_before_the_predecessor_is_fenced_repeats_outputs(
    make_cluster: NewCluster, tmp_path: Path, guarded: bool
) -> None:
    """The predecessor can still commit after its changelog was read."""
    cluster = await make_cluster(partitions="1", transaction_timeout="5m", **EXACTLY_ONCE)
    go = tmp_path / "go"
    await visits(cluster, 30)
    predecessor = cluster.start_worker(program=program("settled", stops=True))
    await wait_until(lambda: predecessor.stopped, "the stop")
    successor = cluster.start_worker(
        program=program(fences_after="" if guarded else str(go)), data_dir=str(tmp_path / "successor")
    )
    if guarded:
        await successor.ready()
    else:
        await wait_until(go.with_suffix(".read").exists, "the successor to have read")
    predecessor.process.send_signal(signal.SIGCONT)
    await wait_until(lambda: predecessor.process.poll() is not None, "the end of the predecessor")
    go.touch()
    await successor.ready()
    await wait_until(lambda: successor.metric("lifecycle_customers") == 30, "all customers")

    async def all_there() -> bool:
        return len(await first_changes(cluster)) == 30

    await wait_until(all_there, "all outputs")
    repeated = [customer for customer, count in (await first_changes(cluster)).items() if count > 1]
    assert bool(repeated) is not guarded
    assert predecessor.process.returncode == (1 if guarded else -signal.SIGKILL)


# ------------------------------------------------------------------------------------------------ where it cannot be


async def test_a_broker_without_transactions_ends_the_worker_with_a_sentence(
    embedded_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    cluster = ProcessCluster(embedded_broker.address, tmp_path, **EXACTLY_ONCE)
    await cluster.create_topics()
    worker = cluster.start_worker()
    try:
        await wait_until(lambda: worker.process.poll() is not None, "the end of the worker")
        assert worker.process.returncode == 1, worker.tail()
        said = worker.log.read_text()
        assert "Traceback" not in said
        assert "LIFECYCLE_PROCESSING_GUARANTEE=exactly_once needs an Apache Kafka" in said.splitlines()[-1]
    finally:
        cluster.stop()
