"""A worker as its operator has it: a process, with a real broker over TCP. Topics and group are the test's own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.settings import Settings, load
from streams.shell import topics

PATIENCE_S = 60.0
"""How long a test waits for what must happen. It bounds a failure; nothing passes because of it."""

ROLES = (
    "clickstream", "orders", "stage_changes", "abandonments", "triggers", "profiles", "identities", "erasures",
    "dead_letters",
)  # fmt: skip


_drawn: set[int] = set()
"""Ports that somebody may not listen on yet."""


def free_port() -> int:
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port: int = s.getsockname()[1]
            if port not in _drawn:
                _drawn.add(port)
                return port


def get(port: int, path: str) -> tuple[int, str]:
    """(status, body); (0, '') while nothing listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


async def until(condition: Callable[[], Any], what: str, patience: float = PATIENCE_S) -> Any:
    """Wait for a condition, and fail saying what did not come."""
    deadline = time.monotonic() + patience
    while True:
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:g} s in vain for {what}")
        await asyncio.sleep(0.05)


class ProcessCluster:
    """One application on a broker: its topics, its workers, and clients to feed and read it."""

    def __init__(self, address: str, directory: Path, **settings: str) -> None:
        name = uuid.uuid4().hex[:8]
        self.directory = directory
        self.environ = {
            "LIFECYCLE_BROKER": address,
            "LIFECYCLE_APP_ID": f"app-{name}",
            "LIFECYCLE_DATA_DIR": str(directory / "data"),
            "LIFECYCLE_PARTITIONS": "2",
            "LIFECYCLE_EMIT_AFTER": "always",
            "LIFECYCLE_MAX_EMIT_DELAY": "off",
            "LIFECYCLE_BACKFILL_IDLE": "1s",
            "LIFECYCLE_COMMIT_INTERVAL": "200ms",
            "LIFECYCLE_SESSION_TIMEOUT": "3s",
            "LIFECYCLE_HEARTBEAT_INTERVAL": "1s",
            "LIFECYCLE_REBALANCE_TIMEOUT": "3s",
            **{f"LIFECYCLE_{role.upper()}_TOPIC": f"{role.replace('_', '-')}-{name}" for role in ROLES},
            **{f"LIFECYCLE_{key.upper()}": value for key, value in settings.items()},
        }  # fmt: skip
        self.settings: Settings = load(self.environ)
        self.workers: list[WorkerProcess] = []

    async def create_topics(self, partitions_of: Mapping[str, int] | None = None) -> None:
        """`partitions_of`: by role, of topics that somebody else has made."""
        if partitions_of:
            async with self.admin() as admin:
                await admin.create_topics(
                    [
                        NewTopic(getattr(self.settings, f"{role}_topic"), count, 1)
                        for role, count in partitions_of.items()
                    ]
                )
        await topics.ensure(self.settings)

    def start_worker(self, *, program: str = "", **settings: str) -> WorkerProcess:
        """`lifecycle worker`, or a Python program in its place."""
        worker = WorkerProcess(self, len(self.workers), self._environ(settings), program)
        self.workers.append(worker)
        return worker

    def command(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a `lifecycle` command to its end."""
        command = [sys.executable, "-m", "streams", *arguments]
        environ = self._environ(settings)
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    def _environ(self, settings: dict[str, str]) -> dict[str, str]:
        others = {k: v for k, v in os.environ.items() if not k.startswith("LIFECYCLE_")}
        return others | self.environ | {f"LIFECYCLE_{key.upper()}": value for key, value in settings.items()}

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """A client for what neither producers nor consumers can do."""
        client = AIOKafkaAdminClient(bootstrap_servers=self.settings.broker)
        await client.start()
        try:
            yield client
        finally:
            await client.close()

    async def make_anew(self, topic: str) -> None:
        """Delete a topic, and make it again under its name."""
        async with self.admin() as admin:
            await admin.delete_topics([topic])
            await until(lambda: is_gone(admin, topic), "the end of the topic")  # else nothing would be missing
        await self.create_topics()

    async def set_offset(self, topic: str, offset: int, metadata: str = "") -> None:
        """Of the group, in partition 0, as kafka-consumer-groups --reset-offsets does, while no worker runs."""
        async with AIOKafkaConsumer(
            bootstrap_servers=self.settings.broker,
            group_id=self.settings.app_id,
            enable_auto_commit=False,  # as it ends it would commit where it is once more, which may be from before
        ) as group:
            group.assign([TopicPartition(topic, 0)])
            await group.commit({TopicPartition(topic, 0): (offset, metadata)})

    def stop(self) -> None:
        for worker in self.workers:
            worker.kill()

    async def produce(self, topic: str, records: Iterable[tuple[str | None, Any]]) -> None:
        """Send (key, event or raw bytes) in order, to the partition of the key."""
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.broker, linger_ms=5)
        await producer.start()
        try:
            sent = []
            for key, event in records:
                value = event if event is None or isinstance(event, bytes) else json.dumps(event).encode()
                sent.append(await producer.send(topic, value, key=None if key is None else key.encode()))
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

    async def clicks(self, *events: dict[str, Any]) -> None:
        await self.produce(self.settings.clickstream_topic, [(key_of(e), e) for e in events])

    async def orders(self, *events: dict[str, Any]) -> None:
        await self.produce(self.settings.orders_topic, [(key_of(e), e) for e in events])

    async def read(self, topic: str, isolation_level: str = "read_uncommitted") -> list[Any]:
        """All records of a topic at present, as an independent client sees them."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.broker, enable_auto_commit=False, isolation_level=isolation_level
        )
        await consumer.start()
        try:
            await consumer._client.force_metadata_update()
            partitions = [
                TopicPartition(topic, p)
                for p in sorted(consumer.partitions_for_topic(topic) or await _partitions(consumer, topic))
            ]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            records: list[Any] = []
            quiet, deadline = 0, time.monotonic() + PATIENCE_S
            end_of = consumer.last_stable_offset if isolation_level == "read_committed" else consumer.highwater

            async def at_the_end() -> bool:
                """By what fetches have shown: it is true also where ListOffsets is not."""
                ends = {tp: end_of(tp) for tp in partitions}
                return all([end is not None and await consumer.position(tp) >= end for tp, end in ends.items()])

            while quiet < 2 or not await at_the_end():
                assert time.monotonic() < deadline, f"{topic} cannot be read to its end"
                batch = await consumer.getmany(timeout_ms=300)
                for part in batch.values():
                    records += part
                quiet = 0 if batch else quiet + 1
            return records
        finally:
            await consumer.stop()

    async def documents(self, topic: str) -> list[dict[str, Any]]:
        """The values of a topic's records, decoded."""
        return [json.loads(record.value) for record in await self.read(topic)]

    async def stage_changes(self) -> list[dict[str, Any]]:
        return await self.documents(self.settings.stage_changes_topic)

    async def abandonments(self) -> list[dict[str, Any]]:
        return await self.documents(self.settings.abandonments_topic)


async def is_gone(admin: AIOKafkaAdminClient, topic: str) -> bool:
    """Whether the broker knows no topic of that name any more."""
    return topic not in {found["topic"] for found in await admin.describe_topics() if not found["error_code"]}


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    consumer.subscribe([topic])
    return await until(lambda: consumer.partitions_for_topic(topic), f"the partitions of {topic}")  # type: ignore[no-any-return]


class WorkerProcess:
    """One worker process."""

    def __init__(self, cluster: ProcessCluster, number: int, environ: dict[str, str], program: str) -> None:
        self.port = free_port()
        self.log = cluster.directory / f"worker-{number}.log"
        arguments = ["-c", program] if program else ["-m", "streams", "worker"]
        environ = environ | {"LIFECYCLE_WEB_PORT": str(self.port)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *arguments], env=environ, stdout=log, stderr=subprocess.STDOUT
            )

    def get(self, path: str) -> tuple[int, str]:
        """As `get`, of its own HTTP."""
        return get(self.port, path)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the series of that name with those labels."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            if (
                line.startswith(name)
                and line[len(name)] in "{ "
                and all(f'{k}="{v}"' in line for k, v in labels.items())
            ):
                total += float(line.rsplit(" ", 1)[1])
        return total

    async def ready(self) -> None:
        """Wait until the worker has partitions and processes."""

        def check() -> bool:
            assert self.process.poll() is None, f"the worker ended with {self.process.returncode}:\n{self.tail()}"
            return self.get("/readyz")[0] == 200

        try:
            await until(check, "a ready worker")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    async def ready_or_gone(self) -> None:
        """As `ready`, of one that may stop, or be killed, as soon as it processes."""
        await until(
            lambda: self.process.poll() is not None or self.stopped or self.get("/readyz")[0] == 200, "a ready worker"
        )

    def tail(self) -> str:
        return self.log.read_text()[-4000:]

    @property
    def stopped(self) -> bool:
        """Whether the process stands still (SIGSTOP)."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def key_of(event: dict[str, Any]) -> str:
    return str(event.get("customer_id") or event["anonymous_id"])
