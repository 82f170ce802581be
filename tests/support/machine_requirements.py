"""Programs that tests need and that not every machine has.

Without them a test fails under CI, and is skipped elsewhere, with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NoReturn, TypeVar

import pytest

from tests.support.kafka_cluster import ApacheKafka, KafkaCluster, Unavailable

Broker = TypeVar("Broker", ApacheKafka, KafkaCluster)


def skip_or_fail(reason: str) -> NoReturn:
    """End the test because this machine lacks something: fail under CI, skip elsewhere."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@contextmanager
def apache_kafka() -> Iterator[ApacheKafka]:
    """Run an Apache Kafka for the length of the block."""
    with _running(ApacheKafka()) as broker:
        yield broker


@contextmanager
def kafka_cluster() -> Iterator[KafkaCluster]:
    """Run an Apache Kafka of three nodes for the length of the block."""
    with _running(KafkaCluster()) as cluster:
        yield cluster


@contextmanager
def _running(broker: Broker) -> Iterator[Broker]:
    with ExitStack() as ends:
        try:
            ends.enter_context(broker)
        except Unavailable as reason:
            skip_or_fail(str(reason))
        yield broker
