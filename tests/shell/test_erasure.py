"""An erasure in several tasks that crash: the customer is gone from all of them, and others lose nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from typing import Any

import msgspec
import pytest

from streams.core.event_time.inputs import ERASURES, REPARTITION
from streams.core.model.event import Source
from streams.core.store.task_state import record_key
from streams.settings import Settings
from streams.shell.admin import erasure_requests
from streams.shell.admin.erasure_requests import NoCustomerNamed
from tests.shell.shop_runs import by_id, expected
from tests.support.shell_harness import ShellHarness
from tests.support.shop_events import DAY, HOUR, MINUTE, click, order, shop

NOON = 1_763_719_200_000
CLICKS, ORDERS = Source.CLICKSTREAM, Source.ORDERS
PERSON = "c-2"
KEY = record_key(PERSON, True)


def of_others(outputs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {id: output for id, output in outputs.items() if output["customer_id"] != PERSON}


def held(harness: ShellHarness) -> list[bytes]:
    """Return the values in the compacted changelogs that name the person."""
    latest = {(n, key): value for n, log in harness.changelogs.items() for key, value in log}
    packed = msgspec.msgpack.encode(PERSON)  # as a string; hashes may contain its characters by chance
    return [value for value in latest.values() if value is not None and packed in value]


async def some_steps(harness: ShellHarness, rng: random.Random, steps: int) -> None:
    """Take random steps, crashes included."""
    for _ in range(steps):
        number = rng.randrange(3)
        match rng.randrange(10):
            case 0 | 1 | 2 | 3 | 4:
                rank = rng.choice([CLICKS, ORDERS, REPARTITION, REPARTITION, ERASURES])
                harness.fetch(number, rank, rng.randrange(1, 30))
            case 5 | 6:
                harness.now += rng.choice([0, 100, 2_000])
                await harness.tick(number)
            case 7:
                await harness.commit(number)
            case 8:
                await harness.commit(number, crash_at=rng.choice(["flush", "in flush", "flushed", "offsets"]))


@pytest.mark.parametrize("seed", range(10))
async def test_crashes_at_every_step_restore_no_erased_customer_and_lose_nothing_of_others(seed: int) -> None:
    rng = random.Random(seed)
    clicks, orders = shop(seed, customers=12, events=300, end=NOON)
    right = await expected(clicks, orders, NOON)
    assert len(right) > len(of_others(right))

    harness = ShellHarness(NOON, 3, profiles=True)
    for source, events in ((CLICKS, clicks), (ORDERS, orders)):
        for event in events:
            harness.append(source, rng.randrange(3), event, event["occurred_at"])
    await some_steps(harness, rng, 250)
    harness.request_erasure(PERSON, NOON)
    await some_steps(harness, rng, 250)
    await harness.run()
    harness.now += 2 * DAY
    await harness.run()
    assert of_others(by_id(harness.outputs())) == of_others(right)
    for task in harness.tasks.values():
        assert task.state.profiles.get(KEY) is None
        assert task.state.profiles.markers.erased_at(KEY) == NOON
        assert task.engine.erasures_position == 1
    assert held(harness) == []
    documents = harness.profile_documents()
    assert documents.get(PERSON) is None  # also if a crash came before its tombstone
    assert documents["c-1"] is not None
    mine = [output for output in harness.outputs() if output["customer_id"] == PERSON]
    assert len({output["id"] for output in mine if output["type"] == "erased"}) == 1
    assert (
        mine[-1]["type"] == "erased"
    )  # a stage change sent just before a crash may have no end; this output always comes


async def test_late_events_of_an_erased_customer_are_dropped_on_every_partition(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    harness = ShellHarness(NOON, 3)
    for n in range(3):
        harness.append(CLICKS, n, click(PERSON, NOON - HOUR + n * MINUTE))
    await harness.run()
    harness.request_erasure(PERSON, NOON)
    await harness.run()
    for n in range(3):
        harness.append(ORDERS, n, order(PERSON, NOON - n, f"o-{n}"))
    await harness.run()
    assert harness.counts["erased", "orders"] == 3
    assert harness.counts["erasures", "applied"] == 1
    assert sum(len(task.state.profiles) for task in harness.tasks.values()) == 0
    for n in range(3):
        harness.restart_task(n)
    await harness.run()
    assert held(harness) == []
    audit = [record.getMessage() for record in caplog.records if record.name == "streams.shell.tasks.partition_task"]
    digest = harness.tasks[0].state.profiles.markers.key_of(KEY)[1:].hex()
    assert audit == [f"Erased, request r-{NOON}: {digest}"]
    assert PERSON not in caplog.text


async def test_crash_between_the_changelog_and_the_documents_leaves_no_document() -> None:
    """The request counts as done by then, and is not carried out again."""
    harness = ShellHarness(NOON, 1, profiles=True)
    harness.append(CLICKS, 0, click(PERSON, NOON - HOUR), NOON)
    await harness.run()
    log = harness.logs[harness.settings.profiles_topic, 0]
    assert [record.value is not None for record in log] == [True]
    harness.request_erasure(PERSON, NOON)
    harness.fetch(0, ERASURES)
    await harness.commit(0, crash_at="flushed")
    await harness.run()
    assert log[-1].value is None
    assert harness.counts["erasures", "repeated"] == 1


async def test_invalid_erasure_request_is_a_dead_letter_and_blocks_nothing() -> None:
    harness = ShellHarness(NOON, 2)
    for partition in range(2):
        harness.append_record((harness.settings.erasures_topic, partition), b"k", b'{"request_id": "r-1"}', [])
    harness.request_erasure(PERSON, NOON)
    await harness.run()
    letters = [
        r for (topic, _), log in harness.logs.items() if topic == harness.settings.dead_letters_topic for r in log
    ]
    assert [dict(letter.headers)["__streams.errors.reason"] for letter in letters] == [b"invalid_identity"] * 2
    assert [dict(letter.headers)["__streams.errors.topic"] for letter in letters] == [b"lifecycle-erasures"] * 2
    assert all(task.state.profiles.markers.number == 1 for task in harness.tasks.values())


async def test_erasure_requests_do_not_block_the_watermark_nor_wait_for_it() -> None:
    harness = ShellHarness(NOON, 1)
    harness.append(CLICKS, 0, click(PERSON, NOON - HOUR), NOON)
    harness.request_erasure(PERSON, NOON)
    harness.fetch(0, ERASURES)
    harness.fetch(0, CLICKS)
    await harness.commit(0)
    assert [output["type"] for output in harness.outputs()] == ["erased"]
    await harness.run()
    assert harness.counts["erased", "clickstream"] == 1
    before = harness.tasks[0].engine.watermark
    harness.request_erasure("c-9", NOON)  # no task reads it
    for _ in range(5):
        harness.now += 1_000
        for rank in (CLICKS, ORDERS):
            harness.fetch(0, rank)
        await harness.tick(0)
    assert before is not None
    after = harness.tasks[0].engine.watermark
    assert after is not None
    assert after >= before + 4_000


class Sending:
    """A producer whose broker refuses the records for one partition."""

    def __init__(self, refuses: int | None = None) -> None:
        self.sent: list[tuple[str, int, bytes, dict[str, Any]]] = []
        self._refuses = refuses

    async def send(self, topic: str, value: bytes, *, key: bytes, partition: int) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if partition == self._refuses:
            future.set_exception(ConnectionError("away"))
        else:
            self.sent.append((topic, partition, key, json.loads(value)))
            future.set_result(None)
        return future


async def test_request_fails_unless_every_partition_has_it() -> None:
    producer, settings = Sending(), Settings(partitions=3)
    request_id = await erasure_requests.send_request(producer, settings, "c-1", True)
    document = {"request_id": request_id, "customer_id": "c-1"}  # the time at which the broker received it
    assert producer.sent == [("lifecycle-erasures", n, b"c-1", document) for n in range(3)]
    with pytest.raises(ConnectionError):
        await erasure_requests.send_request(Sending(refuses=1), settings, "c-1", True)
    with pytest.raises(NoCustomerNamed):
        await erasure_requests.send_request(Sending(), settings, "undefined", True)
