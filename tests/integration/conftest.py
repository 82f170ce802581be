from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from streams.shell.broker import EmbeddedBroker
from tests.integration.cluster import Cluster


@pytest.fixture(scope="session")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        yield running


@pytest_asyncio.fixture
async def make_cluster(broker: EmbeddedBroker, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """`await make_cluster(setting="value")`: an application with its topics; its workers end with the test."""
    clusters: list[Cluster] = []

    async def make(**settings: str) -> Cluster:
        directory = tmp_path / str(len(clusters))
        directory.mkdir()
        cluster = Cluster(broker.address, directory, **settings)
        clusters.append(cluster)
        await cluster.create_topics()
        return cluster

    yield make
    for cluster in clusters:
        cluster.stop()
