"""Erasures by command and over HTTP: workers on a real broker, and the contents of topics and files."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from streams.core.store.erasure_markers import is_marker
from streams.shell.admin.erasure_requests import send_request
from streams.shell.admin.topic_configs import changelog_topic
from streams.shell.commit.metadata import MARKER_KEY
from tests.integration import recovery_faults
from tests.integration.erasure_faults import REWRITING, STEPS, program
from tests.support.broker_fixtures import IN_BOTH_GUARANTEES, ON_APACHE_KAFKA
from tests.support.process_cluster import ProcessCluster, WorkerProcess, wait_until
from tests.support.shop_events import HOUR, MINUTE, click, now, order

NewCluster = Callable[..., Awaitable[ProcessCluster]]

PERSON = "somebody@example.org"
TOKEN = "a-token"


async def latest(cluster: ProcessCluster, topic: str) -> dict[bytes, bytes | None]:
    """Return the latest value of each key of a topic."""
    return {record.key: record.value for record in await cluster.read(topic)}


async def notices(cluster: ProcessCluster, isolation: str = "read_uncommitted") -> list[dict[str, Any]]:
    records = await cluster.read(cluster.settings.identities_topic, isolation)
    return [json.loads(record.value) for record in records]


async def is_told(cluster: ProcessCluster, number: int = 1) -> None:
    async def told() -> bool:
        return len({notice["id"] for notice in await notices(cluster)}) == number

    await wait_until(told, "the notice of an erasure")


async def is_gone(cluster: ProcessCluster, person: str = PERSON) -> None:
    """Wait until the changelog and the profiles topic have a tombstone of the person, if they had anything, each
    partition has an erasure marker, and nothing else names the person."""

    async def gone() -> bool:
        state = await latest(cluster, changelog_topic(cluster.settings))
        profiles = await latest(cluster, cluster.settings.profiles_topic)
        marks = [r for r in await cluster.read(changelog_topic(cluster.settings)) if is_marker(r.key)]
        held = [value for key, value in (*state.items(), *profiles.items()) if key != MARKER_KEY]
        return (
            state.get(b"c" + person.encode()) is None
            and profiles.get(person.encode()) is None
            and {mark.partition for mark in marks} == set(range(cluster.settings.partitions))
            and not any(person.encode() in (value or b"") for value in held)
        )

    await wait_until(gone, "a state that does not know the person")


def asked_over_http(worker: WorkerProcess, path: str, token: str) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{worker.port}{path}", method="DELETE", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def in_files(directory: Path, what: bytes) -> list[str]:
    """Return the files below a directory that contain the bytes, as they are or in hexadecimal."""
    found = []
    for file in directory.rglob("*"):
        if file.is_file():
            try:
                data = file.read_bytes()
            except FileNotFoundError:  # RocksDB has done with it
                continue
            if what in data or what.hex().encode() in data.lower():
                found.append(file.name)
    return found


async def with_a_past(cluster: ProcessCluster, *others: str) -> int:
    """Give the person and others a history that ends with a full cart. Return its time."""
    at = now() - HOUR
    for person in (PERSON, *others):
        await cluster.clicks(click(person, at, "product_viewed", product_id="p-1"))
        await cluster.orders(order(person, at + MINUTE, f"o-{person}", total="10"))
        await cluster.clicks(click(person, at + 2 * MINUTE, "product_added", product_id="p-2", price="5"))

    async def applied() -> bool:
        profiles = await latest(cluster, cluster.settings.profiles_topic)
        return all(
            (profile := profiles.get(person.encode())) is not None and json.loads(profile)["cart"]
            for person in (PERSON, *others)
        )

    await wait_until(applied, "profiles of all")
    return at


@pytest.mark.parametrize("store", ["memory", pytest.param("rocksdb", marks=pytest.mark.slow)])
async def test_erased_customer_is_removed_everywhere_and_does_not_come_back(
    make_cluster: NewCluster, store: str
) -> None:
    cluster = await make_cluster(profiles="on", erasure_token=TOKEN, state_store=store)
    worker = cluster.start_worker()
    await worker.ready()
    at = await with_a_past(cluster, "c-1", "c-2", "c-3")
    data = cluster.directory / "data"
    done = cluster.command("erase", PERSON)
    assert done.returncode == 0, done.stderr
    await is_told(cluster)
    [notice] = await notices(cluster)
    assert (notice["type"], notice["customer_id"], notice["identified"]) == ("erased", PERSON, True)
    assert notice["cause"] == {"request_id": done.stdout.strip()}
    [last] = [change for change in await cluster.stage_changes() if change["to_stage"] is None]
    assert (last["customer_id"], last["cause"]["kind"], last["from_stage"]) == (PERSON, "erased", "customer")
    await is_gone(cluster)
    await wait_until(lambda: worker.metric("lifecycle_erasure_residue") == 0, "nothing of the person here")
    if store == "rocksdb":
        await wait_until(lambda: in_files(data, b"c-1"), "what is looked for where it can be found")
    assert in_files(data, PERSON.encode()) == []

    # Events from before the erasure come late; one from after it starts a new profile.
    await cluster.orders(order(PERSON, at + 3 * MINUTE, "late", total="70"))
    await wait_until(lambda: worker.metric("lifecycle_events_total", outcome="erased") == 1, "a late event passed over")
    await is_gone(cluster)
    await cluster.clicks(click(PERSON, now(), "page_viewed"))

    async def began_anew() -> bool:
        changes = [change for change in await cluster.stage_changes() if change["customer_id"] == PERSON]
        return bool(changes[-1]["to_stage"] == "visitor" and changes[-1]["sequence"] == 1)

    await wait_until(began_anew, "a fresh profile")
    status, answer = asked_over_http(worker, f"/v1/customers/{PERSON}", TOKEN)
    assert (status, answer["status"]) == (202, "accepted")
    await is_told(cluster, 2)
    await is_gone(cluster)
    assert asked_over_http(worker, f"/v1/customers/{PERSON}", "another")[0] == 401

    logged = worker.log.read_text()
    assert PERSON not in logged
    assert PERSON not in worker.get("/metrics")[1]
    assert f"Erased, request {answer['request_id']}: " in logged
    assert worker.metric("lifecycle_erasures_total", outcome="applied") == 2
    await wait_until(lambda: worker.metric("lifecycle_customers") == 3, "those who are there")
    worker.terminate()
    assert worker.exit_code() == 0, worker.tail()
    worker = cluster.start_worker()
    await worker.ready()
    await wait_until(lambda: worker.metric("lifecycle_customers") == 3, "those who were there")
    assert worker.metric("lifecycle_erasures_total") == 0  # nothing is done again
    await wait_until(lambda: worker.metric("lifecycle_erasure_residue") == 0, "nothing of the person here")
    assert await cluster.documents(cluster.settings.dead_letters_topic) == []


@pytest.mark.slow
@ON_APACHE_KAFKA
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "on the way"])
async def test_devices_of_an_erased_customer_are_unlinked(make_cluster: NewCluster, kept: bool) -> None:
    """This holds also if the request overtakes the event that makes the profile: then no profile is kept."""
    cluster = await make_cluster(profiles="on", identity_resolution="on")
    worker = cluster.start_worker()
    await worker.ready()
    at, device = now() - HOUR, {"customer_id": None, "anonymous_id": "d-1"}
    await cluster.clicks(click("d-1", at, "product_viewed", product_id="p-1", **device))
    await cluster.clicks(click(PERSON, at + MINUTE, "signed_up", anonymous_id="d-1"))

    async def linked() -> bool:
        return [(n["type"], n["customer_id"]) for n in await notices(cluster)] == [("linked", PERSON)]

    async def known() -> bool:
        profiles = await latest(cluster, cluster.settings.profiles_topic)
        return profiles.get(PERSON.encode()) is not None

    await wait_until(linked, "the device to be the person's")
    if kept:
        await wait_until(known, "the person's profile")
        assert cluster.command("erase", PERSON).returncode == 0
    else:
        async with AIOKafkaProducer(bootstrap_servers=cluster.settings.broker, acks="all") as producer:
            await send_request(producer, cluster.settings, PERSON, True)
    await is_told(cluster, 2)
    await is_gone(cluster)
    await wait_until(lambda: worker.metric("lifecycle_aliases") == 0, "nothing to be known of the device")
    await cluster.clicks(click("d-1", now(), "page_viewed", **device))

    async def a_stranger() -> bool:
        changes = await cluster.stage_changes()
        return (changes[-1]["customer_id"], changes[-1]["to_stage"]) == ("d-1", "visitor")

    await wait_until(a_stranger, "a stranger on the device")
    await is_gone(cluster)


async def test_invalid_erasure_request_is_a_dead_letter_and_a_placeholder_id_is_refused(
    make_cluster: NewCluster,
) -> None:
    cluster = await make_cluster(profiles="on", erasure_token=TOKEN)
    worker = cluster.start_worker()
    await worker.ready()
    await cluster.produce(cluster.settings.erasures_topic, [("k", {"request_id": "r-1"}), ("k", b"{")])

    async def refused() -> bool:
        letters = await cluster.read(cluster.settings.dead_letters_topic)
        reasons = [dict(letter.headers)["__streams.errors.reason"] for letter in letters]
        return reasons == [b"invalid_identity", b"not_json"]

    await wait_until(refused, "two dead letters")
    done = cluster.command("erase", "undefined")
    assert (done.returncode, "names no customer" in done.stderr) == (2, True)
    assert asked_over_http(worker, "/v1/customers/null", TOKEN)[0] == 400
    await is_told(cluster, 0)


@pytest.mark.slow
@ON_APACHE_KAFKA
async def test_changed_salt_is_refused_after_an_erasure(make_cluster: NewCluster) -> None:
    cluster = await make_cluster()
    worker = cluster.start_worker()
    await worker.ready()
    assert cluster.command("erase", "--anonymous", "a-7").returncode == 0
    await is_told(cluster)
    [notice] = await notices(cluster)
    assert (notice["customer_id"], notice["identified"]) == ("a-7", False)
    await wait_until(lambda: worker.metric("lifecycle_consumer_lag_records") == 0, "a lag of nothing")
    worker.terminate()
    assert worker.exit_code() == 0, worker.tail()
    worker = cluster.start_worker(erasure_salt="another")
    await wait_until(lambda: worker.process.poll() is not None, "the worker to end")
    assert worker.process.returncode == 1
    assert "LIFECYCLE_ERASURE_SALT (or, without it, LIFECYCLE_ID_NAMESPACE) is not what it was" in worker.tail()


# ----------------------------------------------------------------------------------------------------------- crashes


@pytest.mark.slow
@IN_BOTH_GUARANTEES
@pytest.mark.parametrize("step", [*STEPS, REWRITING])
async def test_kill_at_any_step_of_an_erasure_leaves_nothing_of_the_customer(
    make_cluster: NewCluster, step: str, guarantee: str
) -> None:
    cluster = await make_cluster(
        profiles="on",
        processing_guarantee=guarantee,
        state_store="rocksdb",
        session_timeout="2s",
        heartbeat_interval="300ms",
        commit_interval="100ms",
    )
    victim = cluster.start_worker(program=program(step))
    await victim.ready()
    at = await with_a_past(cluster, "c-1")
    assert cluster.command("erase", PERSON).returncode == 0
    await wait_until(lambda: victim.process.poll() is not None, f"the end of a worker: {step}")
    assert victim.process.returncode == -signal.SIGKILL, victim.tail()
    await cluster.orders(order(PERSON, at + 3 * MINUTE, "late", total="70"))  # a late event meanwhile

    successor = cluster.start_worker()
    await successor.ready()
    await is_told(cluster)
    await is_gone(cluster)
    await cluster.orders(order(PERSON, at + 4 * MINUTE, "later", total="70"))
    # The late event may have been read before the request, and was then erased with the rest.
    await wait_until(
        lambda: successor.metric("lifecycle_events_total", outcome="erased") >= 1, "a late event passed over"
    )
    seen = await notices(cluster, "read_committed" if guarantee == "exactly_once" else "read_uncommitted")
    assert len({notice["id"] for notice in seen}) == 1
    if guarantee == "exactly_once":
        assert len(seen) == 1
    await wait_until(lambda: successor.metric("lifecycle_customers") == 1, "who is there")
    await wait_until(lambda: successor.metric("lifecycle_erasure_residue") == 0, "nothing of the person here")
    successor.terminate()
    assert successor.exit_code() == 0, successor.tail()
    data = cluster.directory / "data"
    assert in_files(data, b"c-1")
    assert in_files(data, PERSON.encode()) == []
    await is_gone(cluster)


# ------------------------------------------------------------------------------------------------------ a stale owner


@pytest.mark.slow
@ON_APACHE_KAFKA
@pytest.mark.parametrize(
    ("guarantee", "guarded"),
    [("at_least_once", True), ("at_least_once", False), ("exactly_once", True)],
    ids=["at least once", "at least once, writes", "exactly once"],
)
async def test_stale_owner_that_resumes_after_an_erasure_restores_no_erased_customer(
    make_cluster: NewCluster, tmp_path: Path, guarantee: str, guarded: bool
) -> None:
    """It was stopped for longer than its session, with unwritten events of the person. If not `guarded`, it was stopped
    after its last ownership check, and so does write them."""
    cluster = await make_cluster(partitions="1", profiles="on", processing_guarantee=guarantee)
    stale_owner = cluster.start_worker(
        program="" if guarded else recovery_faults.stopped_with(b"p-3"), commit_interval="6s"
    )
    await stale_owner.ready()
    at = await with_a_past(cluster, "c-1")
    applied = stale_owner.metric("lifecycle_events_total", outcome="applied")
    more = [click(who, at + 3 * MINUTE, "product_added", product_id="p-3") for who in (PERSON, "c-1")]
    await cluster.clicks(*more)
    if guarded:
        both = applied + 2
        await wait_until(
            lambda: stale_owner.metric("lifecycle_events_total", outcome="applied") == both, "two more events"
        )
        stale_owner.process.send_signal(signal.SIGSTOP)
    else:
        await wait_until(lambda: stale_owner.stopped, "its way to the changelog")

    async def written() -> bytes:
        return (await latest(cluster, changelog_topic(cluster.settings)))[b"c" + PERSON.encode()] or b""

    assert b"p-3" not in await written()  # otherwise there is nothing to restore
    successor = cluster.start_worker(data_dir=str(tmp_path / "successor"))
    await successor.ready()
    await wait_until(
        lambda: successor.metric("lifecycle_events_total", outcome="applied") == 2, "the successor to read them again"
    )
    assert cluster.command("erase", PERSON).returncode == 0
    await is_told(cluster)
    await is_gone(cluster)

    stale_owner.process.send_signal(signal.SIGCONT)
    if guarded:
        await wait_until(lambda: stale_owner.process.poll() is not None, "the end of the stale owner")
        assert stale_owner.process.returncode == 1, stale_owner.tail()
        await is_gone(cluster)
    else:

        async def back() -> bool:
            return b"p-3" in await written()

        await wait_until(back, "what the stale owner writes")
    stale_owner.kill()
    successor.kill()

    last = cluster.start_worker(data_dir=str(tmp_path / "last"))
    await last.ready()
    await is_gone(cluster)
    await cluster.orders(order(PERSON, at + 4 * MINUTE, "late", total="70"))
    await wait_until(lambda: last.metric("lifecycle_events_total", outcome="erased") == 1, "a late event passed over")
    await is_gone(cluster)
    await wait_until(lambda: last.metric("lifecycle_customers") == 1, "who is there")
    seen = await cluster.read(cluster.settings.stage_changes_topic, "read_committed")
    of_person = [json.loads(record.value) for record in seen if record.key == PERSON.encode()]
    assert [change["to_stage"] for change in of_person if change["cause"]["kind"] == "erased"] == [None]
    assert of_person[-1]["cause"]["kind"] == "erased"
