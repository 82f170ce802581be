"""Apache Kafka for tests: one node, or a cluster of three nodes that can be killed one by one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from streams.devtools.apache_kafka import ApacheKafka, Membership, Unavailable

__all__ = ["ApacheKafka", "KafkaCluster", "Unavailable"]


class KafkaCluster:
    """Nodes of Apache Kafka, each both broker and controller. A context manager, as `ApacheKafka` is."""

    def __init__(self, nodes: int = 3) -> None:
        membership = Membership.of(nodes)
        self.nodes = [ApacheKafka(node=n, membership=membership) for n in range(1, nodes + 1)]

    @property
    def address(self) -> str:
        """Return the addresses of all nodes, in the form of LIFECYCLE_BROKER."""
        return ",".join(node.address for node in self.nodes)

    def start(self, nodes: Iterable[ApacheKafka] | None = None) -> Self:
        """Start nodes (default: all) at the same time: no node answers before a majority runs."""
        starting = list(self.nodes if nodes is None else nodes)
        with ThreadPoolExecutor(len(starting)) as pool:
            list(pool.map(lambda node: node.start(), starting))
        return self

    def kill(self) -> None:
        """Send SIGKILL to all nodes."""
        for node in self.nodes:
            node.kill()

    def check(self) -> None:
        """Raise `UserError` if a node no longer runs."""
        for node in self.nodes:
            node.check()

    def controller(self) -> ApacheKafka | None:
        """Return the node that leads the quorum, as the running nodes have recorded it; None during an election."""
        noted = []
        for node in self.nodes:
            if node.pid is not None and node.directory is not None:
                state = json.loads((node.directory / "data/__cluster_metadata-0/quorum-state").read_text())
                noted.append((state["leaderEpoch"], state["leaderId"]))
        _, leader = max(noted)
        return next((node for node in self.nodes if node.node == leader), None)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        for node in self.nodes:
            node.stop()
