"""Fixtures for tests against a broker. A broker starts with the first test that asks for it, and ends with the session.

A test that asks for `broker` or `make_cluster` runs on each kind of broker, unless it has a mark below. Most slow tests
have one: what they show does not depend on the broker. The embedded broker keeps no metadata of commits, so recovery
takes another way there. Fast tests with restarts use it, and so does a slow one with kills, in tests/integration.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from streams.devtools.broker import EmbeddedBroker, LocalBroker
from tests.support import machine_requirements
from tests.support.kafka_cluster import ApacheKafka
from tests.support.process_cluster import ProcessCluster

ON_APACHE_KAFKA = pytest.mark.parametrize("broker", ["apache_kafka"], indirect=True)
IN_BOTH_GUARANTEES = pytest.mark.parametrize(
    ("broker", "guarantee"), [("apache_kafka", "at_least_once"), ("apache_kafka", "exactly_once")], indirect=["broker"]
)
"""The test runs on Apache Kafka, with `processing_guarantee` set by its parameter `guarantee`."""


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        yield running


@pytest.fixture(scope="session")
def apache_kafka() -> Iterator[ApacheKafka]:
    with machine_requirements.apache_kafka() as running:
        yield running


@pytest.fixture(params=["embedded_broker", pytest.param("apache_kafka", marks=pytest.mark.slow)])
def broker(request: pytest.FixtureRequest) -> LocalBroker:
    """Return a running broker, of each kind in turn."""
    running: LocalBroker = request.getfixturevalue(request.param)
    running.check()
    return running


@pytest.fixture
def broker_type(broker: LocalBroker) -> type[LocalBroker]:
    """Return the kind of broker, for a test that damages its broker and so starts its own."""
    return type(broker)


@pytest_asyncio.fixture
async def make_cluster(broker: LocalBroker, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Return a function that makes an application with its topics: `await make_cluster(setting="value")`.

    Its workers end with the test. `partitions_of` gives other numbers of partitions for some topics, by role.
    """
    clusters: list[ProcessCluster] = []

    async def make(partitions_of: Mapping[str, int] | None = None, **settings: str) -> ProcessCluster:
        directory = tmp_path / str(len(clusters))
        directory.mkdir()
        cluster = ProcessCluster(broker.address, directory, **settings)
        clusters.append(cluster)
        await cluster.create_topics(partitions_of)
        return cluster

    yield make
    for cluster in clusters:
        cluster.stop()
