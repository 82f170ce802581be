"""What tests need and not every machine has. Missing, it is a failure under CI, elsewhere a skip with its reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NoReturn, TypeVar

import pytest

from tests.support.kafka_cluster import ApacheKafka, KafkaCluster, Unavailable

Broker = TypeVar("Broker", ApacheKafka, KafkaCluster)


def skip_or_fail(reason: str) -> NoReturn:
    """End the test because this machine has not what it takes."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@contextmanager
def apache_kafka() -> Iterator[ApacheKafka]:
    """A running one, for the length of the block."""
    with _running(ApacheKafka()) as broker:
        yield broker


@contextmanager
def kafka_cluster() -> Iterator[KafkaCluster]:
    """As `apache_kafka`, of three nodes."""
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
