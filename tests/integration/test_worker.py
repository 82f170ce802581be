"""The worker as a process against a real broker over TCP: parity with a replay, restarts, takeovers, dead letters, end.
All of it runs on the embedded broker and on Apache Kafka."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams.devtools.broker import LocalBroker
from streams.shell.worker.lifetime import EXIT_FORCED
from tests.support.broker_fixtures import ON_APACHE_KAFKA
from tests.support.process_cluster import ProcessCluster, wait_until
from tests.support.replay_comparison import differing_outputs, ids_until, replay_outputs
from tests.support.shop_events import HOUR, MINUTE, click, now, order, shop


async def test_worker_gives_the_outputs_of_a_replay_across_a_restart(
    make_cluster: Callable[..., Any], tmp_path: Path
) -> None:
    end = now() - 10 * MINUTE
    clicks, orders = shop(seed=7, customers=60, events=1500, end=end)
    expected = replay_outputs(tmp_path / "replay", clicks, orders)
    last = max(event["occurred_at"] for event in (*clicks, *orders))
    cluster: ProcessCluster = await make_cluster(backfill_idle="5s")

    half = (
        len(clicks) // 2,
        next(n for n, o in enumerate(orders) if o["occurred_at"] > clicks[len(clicks) // 2]["occurred_at"]),
    )
    await cluster.clicks(*clicks[: half[0]])
    await cluster.orders(*orders[: half[1]])
    first = cluster.start_worker(backfill_idle="5m")  # what comes after its end is not late, however long it runs
    await first.ready()
    await wait_until(lambda: first.metric("lifecycle_events_total", outcome="applied") > 200, "some progress")
    first.kill()  # in the middle, without a graceful stop
    await cluster.clicks(*clicks[half[0] :])
    await cluster.orders(*orders[half[1] :])
    second = cluster.start_worker()
    await second.ready()

    def ids(documents: list[dict[str, Any]]) -> set[str]:
        return ids_until(last - 10_000, documents)

    async def all_there() -> bool:
        live = await cluster.stage_changes() + await cluster.abandonments()
        return ids(expected) <= {d["id"] for d in live}

    await wait_until(all_there, "every output of the replay")
    live = await cluster.stage_changes() + await cluster.abandonments()
    assert differing_outputs(live, expected, last - 10_000) == []
    assert len(ids(expected)) > 100
    by_id = {d["id"]: d for d in live}
    assert all(by_id[d["id"]] == d for d in expected if d["id"] in ids(expected))


async def test_worker_sends_the_triggers_of_its_playbook(make_cluster: Callable[..., Any]) -> None:
    cluster: ProcessCluster = await make_cluster(playbook="ecommerce-triggers")
    at = now() - 5 * HOUR
    clicks = [
        click("c-1", at, "signed_up", properties={"birthday": "1990-05-17"}),
        click("c-1", at + MINUTE, "product_added", product_id="p", price=20),
        click("c-2", at, "survey_answered", properties={"score": 3}),
        click("c-2", at + MINUTE, "credit_granted", properties={"amount": 5, "expires_at": at + 26 * HOUR}),
    ]
    await cluster.clicks(*clicks)
    worker = cluster.start_worker()
    await worker.ready()

    async def sent() -> list[dict[str, Any]]:
        found = await cluster.documents(cluster.settings.triggers_topic)
        return found if len(found) >= 7 else []

    documents = await wait_until(sent, "all triggers")
    assert sorted((d["customer_id"], d["trigger"]) for d in documents) == [
        ("c-1", "added-to-cart"),
        ("c-1", "cart-abandoned"),
        ("c-1", "welcome-signed-up"),
        ("c-1", "welcome-visitor"),
        ("c-2", "credit-expires-tomorrow"),
        ("c-2", "low-satisfaction"),
        ("c-2", "welcome-visitor"),
    ]
    by_name = {d["trigger"]: d for d in documents}
    assert by_name["low-satisfaction"]["data"] == {"score": 3}
    assert by_name["added-to-cart"]["data"]["cart_value"] == "20.00"
    assert by_name["cart-abandoned"]["about"]["output_id"] == (await cluster.abandonments())[0]["id"]
    assert worker.metric("lifecycle_triggers_total", trigger="welcome-visitor", step="1") == 2


async def test_pending_deadlines_fire_after_a_restart_without_any_new_input(make_cluster: Callable[..., Any]) -> None:
    cluster: ProcessCluster = await make_cluster()
    at = now() - 31 * MINUTE
    await cluster.clicks(*(click(f"c-{n}", at, "product_viewed", product_id="p") for n in range(20)))
    first = cluster.start_worker(lateness="2h")  # by its clock, the deadline is in two hours
    await first.ready()
    await wait_until(lambda: first.metric("lifecycle_events_total", outcome="applied") == 20, "20 events applied")
    first.terminate()
    assert first.exit_code() == 0
    assert await cluster.abandonments() == []
    second = cluster.start_worker()
    await second.ready()

    async def all_abandoned() -> bool:
        return len({d["id"] for d in await cluster.abandonments()}) == 20

    await wait_until(all_abandoned, "20 abandonments")
    assert {(d["customer_id"], d["kind"]) for d in await cluster.abandonments()} == {
        (f"c-{n}", "browse") for n in range(20)
    }


async def test_a_second_worker_takes_over_its_share_and_then_all(make_cluster: Callable[..., Any]) -> None:
    cluster: ProcessCluster = await make_cluster()
    first = cluster.start_worker()
    await first.ready()
    second = cluster.start_worker()
    await second.ready()
    assigned = "lifecycle_partitions_assigned"
    await wait_until(lambda: first.metric(assigned) == 1 and second.metric(assigned) == 1, "one partition each")
    await cluster.clicks(*(click(f"c-{n}", now() - HOUR // 2, event_id=f"a-{n}") for n in range(40)))

    def applied() -> float:
        return sum(w.metric("lifecycle_events_total", outcome="applied") for w in (first, second))

    await wait_until(lambda: applied() == 40, "40 events between the two")
    assert all(w.metric("lifecycle_events_total", outcome="applied") > 0 for w in (first, second))
    first.kill()
    await wait_until(lambda: second.metric(assigned) == 2, "the second to take over")
    await wait_until(lambda: second.metric("lifecycle_customers") == 40, "all customers with the second")
    await cluster.orders(*(order(f"c-{n}", now(), f"o-{n}") for n in range(40)))

    async def all_customers() -> bool:
        changes = await cluster.stage_changes()
        return len({d["customer_id"] for d in changes if d["to_stage"] == "customer"}) == 40

    await wait_until(all_customers, "40 first orders")
    changes = await cluster.stage_changes()
    visitor = [d for d in changes if d["to_stage"] == "visitor"]
    assert len({d["id"] for d in visitor}) == 40  # no customer was new a second time


BAD: list[tuple[str, bytes | None, str]] = [
    ("not JSON", b"{", "not_json"),
    ("not an object", b"[1]", "not_object"),
    ("not UTF-8", b'{"type":"page_viewed","customer_id":"\xff"}', "not_utf8"),
    ("no ids", b'{"type":"page_viewed","occurred_at":1763719200}', "invalid_identity"),
    ("invalid identity", b'{"type":"page_viewed","occurred_at":1763719200,"customer_id":"null"}', "invalid_identity"),
    ("no time", b'{"type":"page_viewed","customer_id":"c"}', "missing_time"),
    ("unparsable time", b'{"type":"page_viewed","customer_id":"c","occurred_at":"soon"}', "invalid_time"),
    ("negative money", b'{"type":"product_added","customer_id":"c","occurred_at":1.7e9,"price":-1}', "invalid_money"),
    ("no quantity", b'{"type":"product_added","customer_id":"c","occurred_at":1.7e9,"quantity":0}', "invalid_field"),
    ("null", None, "null_value"),
    ("1 MB", b'{"type":"' + b"x" * 1_000_000 + b'"}', "too_large"),
    ("a huge integer", b'{"type":"page_viewed","customer_id":"c","occurred_at":' + b"9" * 500 + b"}", "invalid_time"),
    ("deep nesting", b'{"properties":' + b"[" * 20_000 + b"]" * 20_000 + b"}", "too_deep"),
]  # fmt: skip


async def dead_letters(cluster: ProcessCluster, number: int) -> list[Any]:
    """Wait until the topic of dead letters has this number of records, and return them."""
    letters: list[Any] = []

    async def all_there() -> bool:
        letters[:] = await cluster.read(cluster.settings.dead_letters_topic)
        return len(letters) >= number

    await wait_until(all_there, f"{number} dead letters")
    assert len(letters) == number
    return letters


async def test_bad_input_is_dead_lettered_each_with_its_reason_and_the_partition_goes_on(
    make_cluster: Callable[..., Any],
) -> None:
    cluster: ProcessCluster = await make_cluster(partitions="1")
    worker = cluster.start_worker()
    topic = cluster.settings.clickstream_topic
    await cluster.produce(topic, [("c", value) for _, value, _ in BAD])
    await cluster.clicks(click("good", now()))
    await worker.ready()

    async def good_came_through() -> bool:
        return [d["customer_id"] for d in await cluster.stage_changes()] == ["good"]

    await wait_until(good_came_through, "the good event behind the bad ones")
    letters = await dead_letters(cluster, len(BAD))
    headers = [{name: value.decode() for name, value in letter.headers} for letter in letters]
    assert [h["__streams.errors.reason"] for h in headers] == [reason for _, _, reason in BAD]
    assert [(h["__streams.errors.topic"], h["__streams.errors.offset"]) for h in headers] == [
        (topic, str(n)) for n in range(len(BAD))
    ]
    for (name, value, _), letter in zip(BAD, letters, strict=True):
        assert letter.key == b"c"
        if name != "1 MB":
            assert letter.value == value
    for reason in {reason for _, _, reason in BAD}:
        expected = sum(r == reason for _, _, r in BAD)
        assert worker.metric("lifecycle_dead_letters_total", topic=topic, reason=reason) == expected


async def test_a_record_on_a_partition_that_is_not_its_customers_is_dead_lettered(
    make_cluster: Callable[..., Any],
) -> None:
    cluster: ProcessCluster = await make_cluster()
    worker = cluster.start_worker()
    await worker.ready()
    topic = cluster.settings.clickstream_topic
    await cluster.produce(topic, [(f"another-{n}", click("c", now(), event_id=str(n))) for n in range(20)])

    def all_done() -> bool:
        return worker.metric("lifecycle_events_total") == 20

    await wait_until(all_done, "20 events")
    wrong = worker.metric("lifecycle_wrong_partition_total", topic=topic)
    assert 0 < wrong < 20
    letters = await dead_letters(cluster, int(wrong))
    assert all(dict(letter.headers)["__streams.errors.reason"] == b"wrong_partition" for letter in letters)


async def test_sigterm_ends_the_worker_with_offsets_committed(make_cluster: Callable[..., Any]) -> None:
    cluster: ProcessCluster = await make_cluster(commit_interval="60s")  # only the end commits
    worker = cluster.start_worker()
    await worker.ready()
    await cluster.clicks(*(click(f"c-{n}", now()) for n in range(10)))
    await wait_until(lambda: worker.metric("lifecycle_events_total", outcome="applied") == 10, "10 events")
    worker.terminate()
    assert worker.exit_code() == 0, worker.tail()
    again = cluster.start_worker()
    await again.ready()
    await wait_until(lambda: again.metric("lifecycle_customers") == 10, "the 10 customers")
    assert again.metric("lifecycle_events_total") == 0  # nothing was read a second time


async def test_sigterm_ends_the_worker_in_time_also_when_the_broker_is_gone(
    broker_type: Callable[[], LocalBroker], tmp_path: Path
) -> None:
    with broker_type() as broker:
        cluster = ProcessCluster(broker.address, tmp_path, shutdown_timeout="3s")
        await cluster.create_topics()
        worker = cluster.start_worker(program=PATIENT + 'main(["worker"])')
        try:
            await worker.ready()
            await cluster.clicks(*(click(f"c-{n}", now()) for n in range(10)))
            await wait_until(lambda: worker.metric("lifecycle_events_total", outcome="applied") == 10, "10 events")
            broker.stop()
            assert worker.get("/healthz")[0] == 200  # a broker outage is no reason for a restart
            worker.terminate()
            # By itself, or by the watchdog after 3 s.
            assert worker.exit_code() in (0, EXIT_FORCED), worker.tail()
        finally:
            cluster.stop()


PATIENT = """
from streams.cli import main
from streams.shell.worker import lifetime

lifetime.STUCK_S = 60.0  # a busy machine may take more than 2 s to run the watchdog, which has a code of its own
"""


BROKEN_OFF = """
import asyncio, os, signal
from faust.transport.drivers.aiokafka import Transport
from streams.cli import main

async def broken_off(self, *args, **kwargs):
    if {told}:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.01)
    raise asyncio.InvalidStateError("as of a future that was cancelled")

Transport._really_create_topic = broken_off
main(["worker"])
"""


@pytest.mark.parametrize(("told", "code"), [(True, 0), (False, 1)])
async def test_worker_stopped_while_it_starts_has_not_failed(
    make_cluster: Callable[..., Any], told: bool, code: int
) -> None:
    cluster: ProcessCluster = await make_cluster()
    worker = cluster.start_worker(program=BROKEN_OFF.format(told=told))
    assert worker.exit_code() == code, worker.tail()


STUCK = """
import ctypes
from streams.cli import main
from streams.shell.worker.assignment import Assignment

async def never(self, timeout):
    if self._lifetime.stopping:
        ctypes.PyDLL(None).sleep(3600)  # as a library that does not give the interpreter back

Assignment.release = never
main(["worker"])
"""


async def test_sigterm_ends_the_worker_also_when_a_library_holds_the_interpreter(
    make_cluster: Callable[..., Any],
) -> None:
    cluster: ProcessCluster = await make_cluster(shutdown_timeout="2s")
    worker = cluster.start_worker(program=STUCK)
    await worker.ready()
    worker.terminate()
    assert worker.exit_code() == 1
    assert "in never" in worker.log.read_text()  # where it stood


BLOCKED = f"""{PATIENT}
import time
from streams.shell.commit.committer import Committer

commit = Committer._commit

async def stalled(self, working, leaving):
    if leaving:
        time.sleep(3600)  # as a write to a full disk: the event loop waits for it, and others have the interpreter
    return await commit(self, working, leaving)

Committer._commit = stalled
main(["worker"])
"""


async def test_worker_ended_before_its_last_commit_and_its_successor_report_that(
    make_cluster: Callable[..., Any],
) -> None:
    cluster: ProcessCluster = await make_cluster(shutdown_timeout="2s")
    began = time.time()
    worker = cluster.start_worker(program=BLOCKED)
    await worker.ready()
    await wait_until(lambda: worker.metric("lifecycle_last_commit_timestamp_seconds") > began, "the first commit")
    worker.terminate()
    assert worker.exit_code() == 70
    assert "CRITICAL streams.shell.worker.lifetime: Shutting down took longer" in worker.log.read_text()
    again = cluster.start_worker()
    await again.ready()
    assert again.metric("lifecycle_failures_total", reason="shutdown_forced") == 1
    assert again.metric("lifecycle_failures_total") == 1
    failed_at = again.metric("lifecycle_last_failure_timestamp_seconds", reason="shutdown_forced")
    assert began < failed_at < time.time()


DEFECTIVE = """
from streams.cli import main
from streams.shell.tasks.partition_task import PartitionTask

process = PartitionTask.process

def defective(self, source, chunk):
    for record in chunk:
        if b"poi" + b"son" in record.value:
            raise KeyError(record.value)
    process(self, source, chunk)

PartitionTask.process = defective
main(["worker"])
"""


@pytest.mark.slow
@ON_APACHE_KAFKA
async def test_record_that_ends_every_worker_is_named_in_their_logs_and_can_be_skipped(
    make_cluster: Callable[..., Any],
) -> None:
    cluster: ProcessCluster = await make_cluster(partitions="1")
    topic = cluster.settings.clickstream_topic
    first = cluster.start_worker(program=DEFECTIVE)
    await first.ready()
    await cluster.clicks(*(click(f"c-{n}", now()) for n in range(5)))
    await wait_until(lambda: first.metric("lifecycle_events_total", outcome="applied") == 5, "5 events")
    applied_at = time.time()
    await wait_until(lambda: first.metric("lifecycle_last_commit_timestamp_seconds") > applied_at + 1, "their commit")
    await cluster.clicks(click("poison", now()))
    assert first.exit_code() == 1, first.tail()
    second = cluster.start_worker(program=DEFECTIVE)
    assert second.exit_code() == 1, second.tail()
    for worker in (first, second):
        said = next(line for line in worker.log.read_text().splitlines() if " CRITICAL " in line)
        assert re.search(rf"KeyError at {topic}, partition 0, offsets \d to 5\b.*: a defect of this program", said)
        assert "in defective" in worker.log.read_text()
        assert "poison" not in worker.log.read_text()
    await cluster.set_offset(topic, 6)
    third = cluster.start_worker(program=DEFECTIVE)
    await third.ready()
    await cluster.clicks(click("good", now()))
    await wait_until(lambda: third.metric("lifecycle_customers") == 6, "all but that of the record")
    assert third.metric("lifecycle_failures_total", reason="defect") == 2


async def test_profiles_are_published_if_asked_for(make_cluster: Callable[..., Any]) -> None:
    cluster: ProcessCluster = await make_cluster(profiles="on")
    worker = cluster.start_worker()
    await worker.ready()
    await cluster.clicks(click("c-1", now(), "product_viewed", product_id="p"))
    await cluster.orders(order("c-1", now() + 1, "o-1", total="5.00", currency="EUR"))

    async def latest() -> bool:
        documents = await cluster.documents(cluster.settings.profiles_topic)
        return bool(documents) and documents[-1]["stage"] == "customer" and documents[-1]["revenue"] == "5.00"

    await wait_until(latest, "the profile of a customer")
