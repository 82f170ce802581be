"""The ports of a worker to Kafka and to recovery, as Faust provides them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import faust
from faust.types import TP

from streams.shell.commit.outbox import BatchProducer
from streams.transport import driver


class FaustKafka:
    """Implements `KafkaPort` and `RecoveryPort` of `streams.shell.worker.context` with the clients of a Faust app."""

    def __init__(self, app: faust.App) -> None:
        self._app = app

    @property
    def consumer(self) -> driver.Consumer:
        consumer = self._app.consumer
        assert isinstance(consumer, driver.Consumer)
        return consumer

    @property
    def producer(self) -> BatchProducer:
        producer = self._app.producer
        assert isinstance(producer, driver.Producer)
        client: BatchProducer = producer.client
        return client

    @property
    def generation(self) -> int:
        return self._app.consumer_generation_id

    def remaining(self) -> Mapping[TP, int]:
        return self._recovery.active_remaining() if self._app.in_recovery else {}

    async def read_again(self) -> None:
        await self._recovery.read_again()

    @property
    def _recovery(self) -> Any:
        tables: Any = self._app.tables
        return tables.recovery
