"""Kill -9 at the worst moment, with and without the check of applied offsets: without it, states must be wrong. That
shows that the kills do come between a changelog and its offsets. Duplicate detection by event id is off, because it
would do the work of the check."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from streams.core.model.policy import Policy
from streams.core.profile.codec import unpack
from streams.shell.admin.topic_configs import changelog_topic
from streams.shell.commit.metadata import MARKER_KEY
from tests.integration.commit_faults import ahead_of_offsets, program, without_applied
from tests.support.customer_history import T0
from tests.support.customer_history import click as activity
from tests.support.kafka_cluster import ApacheKafka
from tests.support.process_cluster import ProcessCluster, wait_until
from tests.support.shop_events import MINUTE, click, now
from tests.support.single_partition import SinglePartitionHarness

CHECK = pytest.mark.parametrize("check", [True, False], ids=["checked", "unchecked"])


class Unchecked(SinglePartitionHarness):
    """A harness that recovers states without applied offsets."""

    def start(self) -> None:
        self.changelog = [(key, without_applied(value)) for key, value in self.changelog]
        super().start()

    restart = start


@CHECK
@pytest.mark.parametrize("step", ["changelog", "outputs"])
def test_crash_between_changelog_and_offsets_miscounts_only_without_applied_offsets(step: str, check: bool) -> None:
    rng = random.Random(step)
    harness = (SinglePartitionHarness if check else Unchecked)(T0, Policy(event_ids=0))
    expected: Counter[str] = Counter()
    for _ in range(20):
        customers = [f"c-{rng.randrange(30)}" for _ in range(25)]
        expected.update(customers)
        harness.append(
            *(activity(harness.now - T0, "product_viewed", "p", customer=customer) for customer in customers)
        )
        harness.fetch()
        if rng.random() < 0.5:
            harness.commit()
        else:
            harness.commit(crash_after=step)
            harness.restart()
            harness.fetch()
        harness.pass_time(1_000)
    found = {profile.customer: profile.product_views for _, profile in harness.engine.state.items()}
    assert found.keys() == expected.keys()
    assert (found == expected) is check


@pytest.fixture
def broker(apache_kafka: ApacheKafka) -> ApacheKafka:
    apache_kafka.check()
    return apache_kafka


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "store"),
    [(True, "memory"), (False, "memory"), (True, "rocksdb")],
    ids=["checked", "unchecked", "on_disk"],
)
async def test_kill_9_between_changelog_and_offsets_miscounts_only_without_applied_offsets(
    make_cluster: Callable[..., Awaitable[ProcessCluster]], check: bool, store: str
) -> None:
    rng = random.Random(9)
    start = now() - 20 * MINUTE
    customers = [f"c-{rng.randrange(200)}" for _ in range(3_000)]
    cluster = await make_cluster(state_store=store, session_timeout="2s", heartbeat_interval="300ms")
    views = [click(c, start + n, "product_viewed", product_id="p") for n, c in enumerate(customers)]
    for part in (views[:1_000], views[1_000:2_000]):
        await cluster.clicks(*part)
        worker = cluster.start_worker(program=program(check=check, dies=True))
        assert await wait_until(lambda killed=worker: killed.process.poll(), "the kill") == -9, worker.tail()  # type: ignore[misc]
        assert await ahead_of_offsets(cluster), "it was killed before the changelog had the commit: that shows nothing"
    await cluster.clicks(*views[2_000:])
    survivor = cluster.start_worker(program=program(check=check, dies=False))
    await survivor.ready()

    async def all_committed() -> bool:
        async with cluster.admin() as admin:
            committed = await admin.list_consumer_group_offsets(cluster.settings.app_id)
        topic = cluster.settings.clickstream_topic
        applied: int = sum(offset.offset for tp, offset in committed.items() if tp.topic == topic)
        return applied == len(views)

    await wait_until(all_committed, "the last commit")
    records = await cluster.read(changelog_topic(cluster.settings))
    profiles = map(unpack, {r.key: r.value for r in records if r.key != MARKER_KEY}.values())
    found = {profile.customer: profile.product_views for profile in profiles}
    expected = Counter(customers)
    assert found.keys() == expected.keys()
    assert (found == expected) is check
    assert survivor.metric("lifecycle_events_total", outcome="replayed") > 0 or not check
