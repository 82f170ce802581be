"""The list of all private names of Faust and aiokafka that streams/transport relies on. If a test fails here after an
upgrade, review streams/transport before you trust anything."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import aiokafka
import faust
import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer import fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState, TopicPartitionState
from aiokafka.producer.message_accumulator import MessageAccumulator
from aiokafka.producer.sender import Sender
from aiokafka.protocol.fetch import FetchRequest
from faust.tables.base import Collection
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer, ThreadDelegateConsumer
from faust.transport.drivers import aiokafka as driver

import streams.transport

CHECKED_WITH = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0"}

RELIED_ON: dict[Any, dict[str, str]] = {
    # -- aiokafka
    aiokafka.AIOKafkaConsumer: {
        "_isolation_level": "read_committed, which Faust sets only for its own exactly_once",
        "_fetcher": "its results become chunks",
        "_client": "requests metadata of topics",
        "_subscription": "knows when the consumer was last polled",
        "_coordinator": "committed offsets with metadata; the generation of the member",
        "_max_poll_records": "passed on with each poll",
        "_closed": "polled no more",
    },
    aiokafka.AIOKafkaProducer: {
        "_sender": "started and closed by itself, on another client",
        "_message_accumulator": "is given the other client's cluster",
        "_metadata": "the client's cluster",
        "_closed": "whether it was stopped",
    },
    MessageAccumulator: {"_cluster": "who leads a partition"},
    SubscriptionState: {
        "fetch_context": "notes that the consumer is polled",
        "reassignment_in_progress": "then a poll waits, also without a timeout",
    },
    AIOKafkaClient: {"_bootstrap_servers": "given to a producer's own client, which is not used"},
    GroupCoordinator: {
        "fetch_committed_offsets": "with metadata",
        "generation": "negative: no member any more",
        "_pending_exception": "an error that it raises at the next poll",
        "_coordination_task": "takes part in the group; ends of itself only by a fault",
    },
    fetcher.Fetcher: {
        "_records": "where results wait, one a partition",
        "_proc_fetch_request": "one request and its answer",
        "_fetch_task": "sends the requests; ends of itself only by a fault",
    },
    FetchRequest: {"_max_wait_ms": "set by the pacing", "_min_bytes": "set by the pacing"},
    fetcher.FetchResult: {
        "_partition_records": "the records of a result",
        "getall": "takes them out",
        "check_assignment": "whether they are still wanted",
        "has_more": "whether they are still there",
        "_topic_partition": "the partition of the records",
        "_assignment": "has its position",
        "_update_position": "to behind them",
    },
    fetcher.PartitionRecords: {
        "next_fetch_offset": "moves over control records and aborted batches too",
        "_unpack_records": "replaced here by batches",
        "_records": "the batches",
        "_records_iterator": "in a cycle with them",
        "_tp": "the partition of the records",
        "_check_crcs": "whether the checksum is looked at",
        "_isolation_level": "read_committed",
        "_aborted_producers": "producers of aborted transactions",
        "_consume_aborted_up_to": "keeps them",
        "_contains_abort_marker": "whether a control batch ends an aborted transaction",
    },
    TopicPartitionState: {
        "lso": "the end for who reads committed records",
        "highwater": "the end",
        "timestamp": "set by each successful fetch",
        "awaiting_reset": "the position was out of range",
    },
    # -- Faust
    driver.AIOKafkaConsumerThread: {
        "_create_worker_consumer": "makes the aiokafka consumer",
        "_ensure_consumer": "the aiokafka consumer",
        "_fetch_records": "one poll, on the consumer's thread",
    },
    driver.Consumer: {"_new_consumer_thread": "makes the thread"},
    driver.Producer: {"_settings_extra": "settings of the aiokafka producer", "_ensure_producer": "that producer"},
    Consumer: {
        "_get_active_partitions": "what is to be polled",
        "_getmany": "one poll",
        "_read_offset": "the last offset handed out; None after a seek",
        "can_resume_flow": "set while records may flow",
    },
    ThreadDelegateConsumer: {"_thread": "the consumer's thread"},
    Recovery: {
        "_wait": "a step, with Faust's timeout on it",
        "_build_highwaters": "where reading ends; asked before anything else",
        "_build_offsets": "where reading starts",
        "_seek_offsets": "puts the consumer there",
        "active_offsets": "by partition: what was read",
        "standby_offsets": "by partition: what was read",
        "tp_to_table": "the table of a changelog partition",
    },
    TableManager: {"_recovery": "the recovery service, made on first use"},
    Collection: {"_new_store": "makes the store of a table"},
}
NAMES = {name for names in RELIED_ON.values() for name in names}
MODULES = sorted(Path(inspect.getfile(streams.transport)).parent.glob("[a-z]*.py"))


def test_installed_versions_are_those_that_were_checked() -> None:
    assert {"faust-streaming": faust.__version__, "aiokafka": aiokafka.__version__} == CHECKED_WITH


@pytest.mark.parametrize(
    ("owner", "name"),
    [(owner, name) for owner, names in RELIED_ON.items() for name in names],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_every_listed_private_name_exists(owner: type, name: str) -> None:
    assert name in known_to(owner)


def test_code_around_private_names_is_unchanged() -> None:
    assert list(inspect.signature(fetcher.Fetcher._proc_fetch_request).parameters) == [
        "self", "assignment", "node_id", "request",
    ]  # fmt: skip
    assert list(inspect.signature(Recovery._build_offsets).parameters) == [
        "self", "consumer", "tps", "destination", "title",
    ]  # fmt: skip
    assert list(inspect.signature(Recovery._build_highwaters).parameters) == [
        "self", "consumer", "tps", "destination", "title",
    ]  # fmt: skip
    recovery = inspect.getsource(Recovery)
    assert recovery.index("T(self._build_highwaters)") < recovery.index("T(self._build_offsets)")
    producer = inspect.getsource(aiokafka.AIOKafkaProducer)
    assert (
        "await self.client.bootstrap()\n        await self._sender.start()" in producer
    )  # the other things that `start` does
    assert "self._metadata = self.client.cluster" in producer
    assert "Sender(\n            self.client," in producer
    assert "await self._maybe_wait_for_pid()" in inspect.getsource(Sender.start)
    assert list(inspect.signature(Recovery._wait).parameters) == ["self", "coro", "timeout"]
    assert list(inspect.signature(Recovery.on_recovery_completed).parameters) == ["self", "generation_id"]
    assert '        if assignment:\n            self.log.info("Seek stream' in recovery  # otherwise it reports nothing
    assert isinstance(TopicPartitionState.awaiting_reset, property)
    assert list(inspect.signature(driver.AIOKafkaConsumerThread._fetch_records).parameters) == [
        "self", "consumer", "active_partitions", "timeout", "max_records",
    ]  # fmt: skip
    polled = inspect.getsource(fetcher.Fetcher.fetched_records)
    assert polled.index("reassignment_in_progress") < polled.index("if drained or not timeout:")
    assert polled.count("await ") == 2
    assert polled.rindex("await ") > polled.index("if drained or not timeout:")
    consumer = inspect.getsource(Consumer)
    assert "self.wait_first(" in consumer  # overridden: what Faust's fetcher calls
    assert "await self.sleep(0)" in consumer
    built = inspect.getsource(FetchRequest.build)
    assert built.count("self._max_wait_ms,") == built.count("self._min_bytes,") > 1
    source = inspect.getsource(fetcher)
    for text in ("self._records[tp] = FetchResult(", "self._proc_fetch_request(", "tp_state.timestamp = now_ms",
                 "tp_state.lso = lso",
                 "type(res_or_error) is FetchResult", "if record.offset < self.next_fetch_offset:",
                 "self.next_fetch_offset = next_batch.next_offset"):  # fmt: skip
        assert text in source, text


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_list_of_private_names_is_complete(path: Path) -> None:
    """Each private name that a module uses is listed or its own, and its own names hide none of the library's."""
    tree = ast.parse(path.read_text())
    made = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    used = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            used.add(node.attr)
            if isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
                made.add(node.attr)
    used, made = {name for name in used if private(name)}, {name for name in made if private(name)}
    assert used - made <= NAMES
    module = importlib.import_module(f"streams.transport.{path.stem}")
    assert made & of_library_bases(module) <= NAMES


def test_list_of_private_names_has_no_unused_name() -> None:
    everything = "".join(path.read_text() for path in MODULES)
    assert {name for name in NAMES if name not in everything} == set()


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def known_to(owner: type) -> set[str]:
    """Return the names of a class, and the attributes that its methods use."""
    return set(dir(owner)) | set(re.findall(r"self\.(\w+)", inspect.getsource(owner)))


def of_library_bases(module: ModuleType) -> set[str]:
    classes = [cls for cls in vars(module).values() if isinstance(cls, type) and cls.__module__ == module.__name__]
    bases = {base for cls in classes for base in cls.__mro__ if base.__module__.startswith(("faust.", "aiokafka."))}
    return {name for base in bases for name in known_to(base)}
