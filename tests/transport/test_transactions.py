"""Fencing: each assignment makes a new producer for each partition, and never two with one id at once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownError

from streams.transport import transactions
from streams.transport.transactions import CLIENTS, Transactions


class Producer:
    """A producer that starts when the test lets it."""

    made: list[Producer]

    def __init__(self, client: Any, transactional_id: str, timeout_ms: int) -> None:
        self.client, self.id, self.timeout_ms = client, transactional_id, timeout_ms
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.stopped = False
        self.made.append(self)

    async def start(self) -> None:
        await self.started

    async def stop(self) -> None:
        self.stopped = True


class Driven(Transactions):
    """A fencing without brokers."""

    def __init__(self) -> None:
        super().__init__("kafka:9092", "shop", 15_000)
        self.connected: list[int] = []

    async def _connect(self, number: int) -> Any:
        self.connected.append(number)

        async def close() -> None:
            """Pretend that there were connections."""

        return SimpleNamespace(number=number, close=close)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Producer]:
    Producer.made = []
    monkeypatch.setattr(transactions, "TransactionalProducer", Producer)
    return Producer.made


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_each_partition_has_its_transactional_id_and_a_few_clients_serve_them_all(made: list[Producer]) -> None:
    driven = Driven()
    driven.fence(range(20))
    fenced = asyncio.create_task(driven.fenced())
    await turns()
    assert {producer.id for producer in made} == {f"shop-{n}" for n in range(20)}
    assert sorted(driven.connected) == list(range(CLIENTS))
    for producer in made[1:]:
        producer.started.set_result(None)
    await turns()
    assert not fenced.done()
    made[0].started.set_result(None)
    await fenced
    current: list[Any] = [driven.producer(n) for n in range(20)]
    assert [producer.id for producer in current] == [f"shop-{n}" for n in range(20)]


async def test_a_partition_that_is_kept_gets_a_fresh_producer_once_the_one_before_has_started(
    made: list[Producer],
) -> None:
    """The earlier producer could fence the later one if its request came second."""
    driven = Driven()
    driven.fence({0})
    await turns()
    driven.fence({0})
    await turns()
    assert len(made) == 1
    made[0].started.set_result(None)
    await turns()
    assert len(made) == 2
    assert made[0].stopped
    made[1].started.set_result(None)
    await driven.fenced()
    current: Any = driven.producer(0)
    assert current is made[1]


async def test_waiting_for_fences_waits_for_the_last_assignment(made: list[Producer]) -> None:
    driven = Driven()
    driven.fence({0})
    fenced = asyncio.create_task(driven.fenced())
    await turns()
    driven.fence({0, 1})
    made[0].started.set_result(None)
    await turns()
    assert not fenced.done()
    for producer in made[1:]:
        producer.started.set_result(None)
    await fenced
    assert len(made) == 3


async def test_a_partition_that_is_gone_has_its_producer_stopped(made: list[Producer]) -> None:
    driven = Driven()
    driven.fence({0, 1})
    await turns()
    for producer in made:
        producer.started.set_result(None)
    await driven.fenced()
    driven.fence({1})
    await turns()
    assert {producer.id: producer.stopped for producer in made[:2]} == {"shop-0": True, "shop-1": True}
    assert [producer.id for producer in made[2:]] == ["shop-1"]


async def test_refusal_of_a_broker_is_raised_and_fencing_can_be_retried(made: list[Producer]) -> None:
    driven = Driven()
    driven.fence({0})
    await turns()
    made[0].started.set_exception(UnknownError())
    with pytest.raises(UnknownError):
        await driven.fenced()
    driven.fence({0})
    await turns()
    made[1].started.set_result(None)
    await driven.fenced()


async def test_a_broker_that_is_away_refuses_nothing(made: list[Producer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "RETRY_S", 0.0)
    driven = Driven()
    driven.fence({0})
    await turns()
    away = KafkaError("as aiokafka tells of any fault of the search for a coordinator")
    away.__cause__ = KafkaConnectionError()
    made[0].started.set_exception(away)
    await turns()
    assert made[0].stopped
    made[1].started.set_result(None)
    await driven.fenced()
    current: Any = driven.producer(0)
    assert current is made[1]


async def test_refusal_for_a_revoked_assignment_is_ignored(made: list[Producer]) -> None:
    driven = Driven()
    driven.fence({0, 1})
    fenced = asyncio.create_task(driven.fenced())
    await turns()
    driven.fence({1})
    for producer in made:
        if producer.id == "shop-0":
            producer.started.set_exception(UnknownError())
        else:
            producer.started.set_result(None)
    await turns()
    made[-1].started.set_result(None)
    await fenced


async def test_all_producers_are_closed_at_the_end(made: list[Producer]) -> None:
    driven = Driven()
    driven.fence({0, 1})
    await turns()
    for producer in made:
        producer.started.set_result(None)
    await driven.fenced()
    await driven.close()
    assert all(producer.stopped for producer in made)
