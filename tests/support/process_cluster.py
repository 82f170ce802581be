"""Worker processes as an operator runs them, on a real broker over TCP, with their own topics and consumer group."""

from __future__ import annotations

import asyncio
import json
import os
import signal
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

from streams.devtools.ports import reserve_port
from streams.settings import Settings, load
from streams.shell.admin import topics

PATIENCE_S = 120.0
"""How long a test waits for something that must happen. It bounds a failing test; no test passes because of it."""

ROLES = (
    "clickstream", "orders", "stage_changes", "abandonments", "triggers", "profiles", "identities", "erasures",
    "dead_letters",
)  # fmt: skip


def http_get(port: int, path: str) -> tuple[int, str]:
    """Return (status, body) of a request to this machine; (0, '') while nothing listens on the port."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


async def wait_until(condition: Callable[[], Any], what: str, patience: float = PATIENCE_S) -> Any:
    """Wait until a condition is true, and return its result. Fail with `what` if it does not become true in time."""
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
    """One application on a broker: its topics, its workers, and clients that write to and read from the topics."""

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
            "LIFECYCLE_SESSION_TIMEOUT": "4s",
            "LIFECYCLE_HEARTBEAT_INTERVAL": "1s",
            "LIFECYCLE_REBALANCE_TIMEOUT": "8s",
            "LIFECYCLE_SHUTDOWN_TIMEOUT": "60s",
            **{f"LIFECYCLE_{role.upper()}_TOPIC": f"{role.replace('_', '-')}-{name}" for role in ROLES},
            **{f"LIFECYCLE_{key.upper()}": value for key, value in settings.items()},
        }  # fmt: skip
        self.settings: Settings = load(self.environ)
        self.workers: list[WorkerProcess] = []

    async def create_topics(self, partitions_of: Mapping[str, int] | None = None) -> None:
        """Create the topics. `partitions_of` gives other numbers of partitions for some of them, by role."""
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
        """Start `lifecycle worker`, or a Python program in its place."""
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
        """Open an admin client for the length of the block."""
        client = AIOKafkaAdminClient(bootstrap_servers=self.settings.broker)
        await client.start()
        try:
            yield client
        finally:
            await client.close()

    async def make_anew(self, topic: str) -> None:
        """Delete a topic, and create it again under the same name."""
        async with self.admin() as admin:
            await admin.delete_topics([topic])
            await wait_until(
                lambda: topic_is_gone(admin, topic), "the end of the topic"
            )  # else it would not be created
        await self.create_topics()

    async def set_offset(self, topic: str, offset: int, metadata: str = "") -> None:
        """Set the group's offset in partition 0, as kafka-consumer-groups --reset-offsets does. No worker may run."""
        async with AIOKafkaConsumer(
            bootstrap_servers=self.settings.broker,
            group_id=self.settings.app_id,
            enable_auto_commit=False,  # at its end it would commit its position, which may be the old one
        ) as group:
            group.assign([TopicPartition(topic, 0)])
            await group.commit({TopicPartition(topic, 0): (offset, metadata)})

    def stop(self) -> None:
        """Kill all workers."""
        for worker in self.workers:
            worker.kill()

    async def produce(self, topic: str, records: Iterable[tuple[str | None, Any]]) -> None:
        """Send records (key, event or raw bytes) in order, each to the partition of its key."""
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
        """Return all records that a topic has now, as an independent client reads them."""
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
                """Judge by the ends that fetches report: they are right also where those of ListOffsets are not."""
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
        """Return the decoded values of all records of a topic."""
        return [json.loads(record.value) for record in await self.read(topic)]

    async def stage_changes(self) -> list[dict[str, Any]]:
        return await self.documents(self.settings.stage_changes_topic)

    async def abandonments(self) -> list[dict[str, Any]]:
        return await self.documents(self.settings.abandonments_topic)


async def topic_is_gone(admin: AIOKafkaAdminClient, topic: str) -> bool:
    """Return True if the broker no longer knows a topic of this name."""
    return topic not in {found["topic"] for found in await admin.describe_topics() if not found["error_code"]}


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    consumer.subscribe([topic])
    return await wait_until(lambda: consumer.partitions_for_topic(topic), f"the partitions of {topic}")  # type: ignore[no-any-return]


class WorkerProcess:
    """One worker process."""

    def __init__(self, cluster: ProcessCluster, number: int, environ: dict[str, str], program: str) -> None:
        self.port = reserve_port()
        self.log = cluster.directory / f"worker-{number}.log"
        arguments = ["-c", program] if program else ["-m", "streams", "worker"]
        environ = environ | {"LIFECYCLE_WEB_PORT": str(self.port)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *arguments], env=environ, stdout=log, stderr=subprocess.STDOUT
            )

    def get(self, path: str) -> tuple[int, str]:
        """Request a path from the web server of the worker. See `http_get`."""
        return http_get(self.port, path)

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the series with this name and these labels."""
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
        """Wait until the worker has partitions and processes them."""

        def check() -> bool:
            assert self.process.poll() is None, f"the worker ended with {self.process.returncode}:\n{self.tail()}"
            return self.get("/readyz")[0] == 200

        try:
            await wait_until(check, "a ready worker")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    async def ready_or_gone(self) -> None:
        """Wait as `ready` does, for a worker that may end or stop as soon as it processes."""
        await wait_until(
            lambda: self.process.poll() is not None or self.stopped or self.get("/readyz")[0] == 200, "a ready worker"
        )

    def exit_code(self) -> int:
        """Wait until the process ends, and return its exit code."""
        return self.process.wait(timeout=PATIENCE_S)

    def tail(self) -> str:
        """Return the end of the log."""
        return self.log.read_text()[-4000:]

    @property
    def stopped(self) -> bool:
        """Return True if the process is stopped (SIGSTOP)."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def key_of(event: dict[str, Any]) -> str:
    """Return the key of an event in a co-partitioned topic: its customer, else its device."""
    return str(event.get("customer_id") or event["anonymous_id"])
