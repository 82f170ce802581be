"""The peers of the common job: how each is started, what it keeps, what its modes mean."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from benchmarks.peers import arguments, bytewax_store, ours
from benchmarks.peers.arguments import Arguments

Store = Literal["changelog", "directory", "none"]
"""Where a peer's state outlasts it: on a topic of the broker, in its state directory alone, or nowhere."""


@dataclass(frozen=True)
class Peer:
    """One row of the report."""

    name: str
    module: str
    store: Store
    packages: tuple[str, ...]
    """The distributions whose versions are told."""
    default_interval: str
    """How often it commits by default, and by whose word."""
    settings: str
    """What else of its configuration is to be known."""
    parse: Callable[[bytes], dict[str, Any]] = json.loads
    """From a value on its output topic to the fields of the job's outputs."""
    prepare: Callable[[Arguments], None] | None = None
    """What is to be done before it can be started."""
    committed: Callable[[Arguments], int] | None = None
    """How many events it has made durable; None where its consumer group says so."""

    @property
    def versions(self) -> str:
        """Of what it is made of."""
        return ", ".join(f"{package} {version(package)}" for package in self.packages)

    def command(self, given: Arguments) -> list[str]:
        """How it is started."""
        return [sys.executable, "-m", self.module, *arguments.command(given)]


OURS = "lifecycle-streams"

PEERS = (
    Peer(
        OURS,
        "benchmarks.peers.ours",
        "changelog",
        ("lifecycle-streams", "faust-streaming", "aiokafka", "msgspec"),
        "1 s",
        "the worker as it ships, the job as its playbook; acks all, CRCs checked",
        parse=ours.as_output,
        prepare=ours.prepare,
    ),
    Peer(
        "confluent-kafka loop",
        "benchmarks.peers.confluent_loop",
        "none",
        ("confluent-kafka", "msgspec"),
        "5 s, the client's for automatic commits",
        "hand-written; consume() of up to 10,000, msgspec, linger 5 ms, acks all",
    ),
    Peer(
        "aiokafka loop",
        "benchmarks.peers.aiokafka_loop",
        "none",
        ("aiokafka", "msgspec"),
        "5 s, the client's for automatic commits",
        "hand-written; getmany(), msgspec, send_batch, acks all",
    ),
    Peer(
        "Quix Streams",
        "benchmarks.peers.quix",
        "changelog",
        ("quixstreams", "confluent-kafka", "rocksdict"),
        "5 s, its own",
        "StreamingDataFrame with state in RocksDB and on a changelog topic, as it comes",
    ),
    Peer(
        "Bytewax",
        "benchmarks.peers.bytewax_flow",
        "directory",
        ("bytewax", "confluent-kafka", "orjson"),
        "10 s, its default epoch",
        "one worker, orjson, stateful_flat_map, snapshots in SQLite",
        committed=bytewax_store.committed,
    ),
    Peer(
        "Faust",
        "benchmarks.peers.faust_idiomatic",
        "changelog",
        ("faust-streaming", "aiokafka", "orjson"),
        "2.8 s, its own",
        "an agent and a table as documented, memory store with changelog, Cython extensions in use",
    ),
)


def slug(name: str) -> str:
    """A peer's name as topics, directories and the command line have it."""
    return name.lower().replace(" ", "-")
