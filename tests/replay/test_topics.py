"""A backtest from Kafka gives the findings of files, wherever the records are, and leaves no trace."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.core.model.event import Source
from streams.demo.clients import producer
from streams.devtools.broker import LocalBroker
from streams.errors import UserError
from streams.replay import topic_reader
from streams.replay.backtest import Backtest, decoders, ignore_rejected
from streams.replay.backtest_page import Findings
from streams.replay.topic_reader import TopicReader
from streams.settings import Settings
from streams.values import parse_time
from tests.replay.backtest_helpers import OLD, QUICKER, event, find, write
from tests.support.replay_data import CLICKS, ORDERS

PARTITIONS = 3


@pytest.fixture
def settings(broker: LocalBroker) -> Settings:
    """Return settings with topics of their own, which `fill` creates."""
    name = uuid.uuid4().hex[:8]
    return Settings(broker=broker.address, clickstream_topic=f"clicks-{name}", orders_topic=f"orders-{name}")


def fill(settings: Settings, files: dict[Source, Path]) -> None:
    async def work() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.broker)
        await admin.start()
        names = list(settings.source_topics.values())
        await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
        await admin.close()
        async with producer(settings.broker) as client:
            for source, path in files.items():
                for number, line in enumerate(path.read_bytes().splitlines()):
                    # Without a key, the records of one customer are on several partitions.
                    await client.send_and_wait(settings.source_topics[source], line, partition=number % PARTITIONS)

    asyncio.run(work())


def find_in_topics(settings: Settings, until: int | None = None) -> tuple[Findings, int, int]:
    with TopicReader(settings, decoders(settings, QUICKER, OLD), ignore_rejected, until=until) as reader:
        test = Backtest(settings, reader, QUICKER, OLD, until=until)
        while test.step():
            pass
        return test.finish(), reader.done, reader.size


def test_backtest_of_topics_finds_the_same_as_of_files(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_reader, "RECORDS", 7)
    shoppers = [
        event(
            n,
            f"2026-01-{1 + n // 20:02}T{n % 20:02}:{(n * 7) % 60:02}:00Z",
            ("page_viewed", "product_added", "product_viewed")[n % 3],
            f"c-{n % 11}",
            product_id=f"p-{n % 5}",
        )
        for n in range(200)
    ]
    sales = [
        event(1000 + n, f"2026-01-{2 + n:02}T12:00:00Z", "order_completed", f"c-{n}", order_id=f"o-{n}", total=10)
        for n in range(8)
    ]
    clicks, orders = write(tmp_path / "c.jsonl", *shoppers), write(tmp_path / "o.jsonl", *sales)
    clicks.write_text(clicks.read_text() + "not JSON\n")
    fill(settings, {Source.CLICKSTREAM: clicks, Source.ORDERS: orders})
    found, done, size = find_in_topics(settings)
    expected = find(QUICKER, OLD, clicks, [orders], None)
    assert (done, size) == (209, 209)
    assert found.new.daily == expected.new.daily
    assert found.new.flows == expected.new.flows
    assert (found.old and found.old.daily) == (expected.old and expected.old.daily)
    assert found.tally.rejected == expected.tally.rejected == {"not_json": 1}
    assert found.tally.valid == 208
    assert found.differences is not None
    assert expected.differences is not None
    assert found.differences.customers == expected.differences.customers > 0


def test_records_after_until_are_not_read(settings: Settings) -> None:
    fill(settings, {Source.CLICKSTREAM: CLICKS, Source.ORDERS: ORDERS})
    until = parse_time("2026-11-20T11:00:00Z")
    found, done, size = find_in_topics(settings, until)
    assert done == size
    assert found.tally.after_until > 0
    assert found.tally.last is not None
    assert found.tally.last <= until


def test_missing_topic_is_reported(settings: Settings) -> None:
    fill(settings, {})
    missing = dataclasses.replace(settings, orders_topic="ordres")
    with pytest.raises(UserError, match="there is no topic ordres"):
        TopicReader(missing, decoders(missing, OLD, None), ignore_rejected, until=None).__enter__()
