"""The peers of the common job: how each is started, what it keeps, what its modes mean."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final, Literal

from benchmarks.jvm import build
from benchmarks.peers import arguments, bytewax_store, ours
from benchmarks.peers.arguments import Arguments
from streams.core.engine import partition_engine

Store = Literal["changelog", "directory", "none"]
"""Place where a peer's state survives it: a topic of the broker, its state directory, or none."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A peer in Python: one process for each trial."""

    name: str
    module: str
    store: Store
    packages: tuple[str, ...]
    """Distributions whose versions the report shows."""
    default_interval: str
    """Default interval between commits, with its source."""
    settings: str
    """The rest of the configuration that a reader must know."""
    parse: Callable[[bytes], dict[str, Any]] = json.loads
    """Parses a value of its output topic into the fields of the job's outputs."""
    prepare: Callable[[Arguments], None] | None = None
    """Called before the peer is started."""
    committed: Callable[[Arguments], int] | None = None
    """Returns the number of events made durable; None if the offsets of its consumer group show it."""

    @property
    def versions(self) -> str:
        """Versions of its distributions."""
        return ", ".join(f"{package} {version(package)}" for package in self.packages)

    def command(self, given: Arguments) -> list[str]:
        """Return the command that starts it."""
        return [sys.executable, "-m", self.module, *arguments.command(given)]


@dataclass(frozen=True, kw_only=True)
class JvmPeer:
    """A peer on the JVM: it does the job several times in one process. The first time is cold, the others are warm."""

    name: str
    program: build.Peer
    store: Store
    packages: dict[str, str]
    """Names of its packages, with their names in the pom."""
    default_interval: str
    settings: str
    options: tuple[str, ...] = ()
    """Options of the program beside the common ones."""

    @property
    def versions(self) -> str:
        """Versions of its packages; the README of these peers has the rest."""
        pom = ET.parse(build.HERE / "pom.xml")
        return ", ".join(f"{name} {pom.findtext(f'.//{{*}}{key}.version')}" for name, key in self.packages.items())

    def command(self, given: Arguments, *options: str) -> list[str]:
        """Return the command that starts it."""
        common = [part for option in arguments.command(given) for part in option.split("=", 1)]
        return [*build.command(self.program), *common, *self.options, *options]


OURS: Final = "lifecycle-streams"
COMPILED: Final = "compiled" if not str(partition_engine.__file__).endswith(".py") else "not compiled"

_JVM: Final = f"one thread; {' '.join(build.JVM)}"

_FLINK: Final = {"Flink": "flink", "its Kafka connector": "flink.kafka", "Jackson": "jackson"}

PEERS: Final[tuple[Peer | JvmPeer, ...]] = (
    Peer(
        name=OURS,
        module="benchmarks.peers.ours",
        store="changelog",
        packages=("lifecycle-streams", "faust-streaming", "aiokafka", "msgspec"),
        default_interval="1 s",
        settings=f"the worker as it ships, the job as its playbook; acks all, CRCs checked; its core is {COMPILED}",
        parse=ours.as_output,
        prepare=ours.prepare,
    ),
    Peer(
        name="confluent-kafka loop",
        module="benchmarks.peers.confluent_loop",
        store="none",
        packages=("confluent-kafka", "msgspec"),
        default_interval="5 s, the client's for automatic commits",
        settings="hand-written; consume() of up to 10,000, msgspec, linger 5 ms, acks all",
    ),
    Peer(
        name="confluent-kafka loop, as documented",
        module="benchmarks.peers.confluent_documented",
        store="none",
        packages=("confluent-kafka", "orjson"),
        default_interval="5 s, the client's for automatic commits",
        settings="hand-written; poll() of one record, orjson, linger 5 ms, acks all",
    ),
    Peer(
        name="aiokafka loop",
        module="benchmarks.peers.aiokafka_loop",
        store="none",
        packages=("aiokafka", "msgspec"),
        default_interval="5 s, the client's for automatic commits",
        settings="hand-written; getmany(), msgspec, send_batch, acks all, CRCs checked",
    ),
    JvmPeer(
        name="Kafka Streams",
        program="kafka-streams",
        store="changelog",
        packages={"Kafka Streams": "kafka", "Jackson": "jackson"},
        default_interval="30 s, its own",
        settings=f"Processor API, RocksDB, default cache, changelog, Jackson; {_JVM}",
    ),
    JvmPeer(
        name="Flink, heap",
        program="flink",
        store="directory",
        packages=_FLINK,
        default_interval="1 s: it takes no checkpoints by default",
        settings=f"KeyedProcessFunction, state on the heap, Jackson; {_JVM}",
        options=("--store", "heap"),
    ),
    JvmPeer(
        name="Flink, RocksDB",
        program="flink",
        store="directory",
        packages=_FLINK,
        default_interval="1 s: it takes no checkpoints by default",
        settings=f"KeyedProcessFunction, state in RocksDB, Jackson; {_JVM}",
        options=("--store", "rocksdb"),
    ),
    Peer(
        name="Quix Streams",
        module="benchmarks.peers.quix",
        store="changelog",
        packages=("quixstreams", "confluent-kafka", "rocksdict", "orjson"),
        default_interval="5 s, its own",
        settings="StreamingDataFrame with state in RocksDB and on a changelog topic, as it comes",
    ),
    Peer(
        name="Bytewax",
        module="benchmarks.peers.bytewax_flow",
        store="directory",
        packages=("bytewax", "confluent-kafka", "orjson"),
        default_interval="10 s, its default epoch",
        settings="one worker, orjson, stateful_flat_map, snapshots in SQLite",
        committed=bytewax_store.committed,
    ),
    Peer(
        name="Faust",
        module="benchmarks.peers.faust_idiomatic",
        store="changelog",
        packages=("faust-streaming", "aiokafka", "orjson"),
        default_interval="2.8 s, its own",
        settings="an agent and a table as documented, memory store with changelog, its Cython extensions in use",
    ),
)


def slug(name: str) -> str:
    """A peer's name as topics, directories and the command line have it."""
    return name.lower().replace(",", "").replace(" ", "-")
