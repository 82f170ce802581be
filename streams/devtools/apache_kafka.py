"""Apache Kafka for `lifecycle demo --broker kafka`, `make kafka` and tests: KRaft mode, from its Maven jars. No Docker.

The jars are fetched once, into `lifecycle-streams` in XDG_CACHE_HOME or in ~/.cache. Topics are in a directory of the
broker: they survive `kill`, and are deleted by `stop`.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
import xml.etree.ElementTree as ET
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import NamedTuple, Self

from streams.devtools.broker import LocalBroker, in_foreground
from streams.devtools.ports import HOST, reserve_port
from streams.errors import UserError

POM = Path(__file__).with_name("kafka-pom.xml")
VERSION = ET.parse(POM).findtext(".//{*}kafka.version")

PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={directory}/data
auto.create.topics.enable=false
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
"""
"""The last two settings bound the time after which a killed node is noticed, and can join again."""


class Unavailable(UserError):
    """This machine lacks something that Apache Kafka needs."""


class Membership(NamedTuple):
    """Configuration that the nodes of a cluster share."""

    cluster: str
    """Id of the cluster, in Kafka's form."""
    controller_ports: tuple[int, ...]
    """Ports of the controllers of the nodes 1, 2, …"""

    @classmethod
    def of(cls, nodes: int) -> Self:
        """Return the membership of a new cluster with this number of nodes."""
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        return cls(cluster, tuple(reserve_port() for _ in range(nodes)))


class ApacheKafka(LocalBroker):
    """A node that is broker and controller, by default of a cluster of one.

    It keeps its port and its topics when it is killed and started again.
    """

    name = "Apache Kafka"
    remedy = "its topics are kept, so start it again"
    jvm: tuple[str, ...] = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    """Options for a broker that starts fast and leaves the processors to the code under test."""

    def __init__(self, port: int = 0, node: int = 1, membership: Membership | None = None) -> None:
        super().__init__(port or reserve_port())
        self.node = node
        self._membership = membership
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    @property
    def directory(self) -> Path | None:
        """Directory of its topics; None before `start` and after `stop`."""
        return Path(self._directory.name) if self._directory else None

    def start(self, timeout: float = 60.0) -> Self:
        """Start the node and wait until it answers. Raise `Unavailable` if the machine lacks something."""
        try:
            return super().start(timeout)
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """End the process with SIGKILL. Acknowledged records are in files or the page cache, so `start` finds them."""
        super().stop()

    def stop(self) -> None:
        """End the process, and delete its topics."""
        self.kill()
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None

    def _command(self) -> list[str]:
        java = [_java(), *self.jvm, "-cp", f"{jars()}/*"]
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="lifecycle-kafka-")
            self._format(java, Path(self._directory.name))
        return [*java, "kafka.Kafka", f"{self._directory.name}/server.properties"]

    def _format(self, java: list[str], directory: Path) -> None:
        properties = directory / "server.properties"
        cluster, controllers = self._membership or Membership.of(1)
        properties.write_text(
            PROPERTIES.format(
                host=HOST,
                port=self._port,
                node=self.node,
                controller_port=controllers[self.node - 1],
                voters=",".join(f"{n}@{HOST}:{port}" for n, port in enumerate(controllers, 1)),
                copies=len(controllers),
                in_sync=max(1, len(controllers) - 1),
                directory=directory,
            )
        )
        tool = [*java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config", str(properties)]
        done = subprocess.run(tool, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"Apache Kafka's storage cannot be formatted: {_last_line(done.stderr or done.stdout)}.")


def jars() -> Path:
    """Return the directory with Apache Kafka's jars. Fetch them if necessary; only one process fetches at a time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lifecycle-streams"
    cache.mkdir(parents=True, exist_ok=True)
    complete = cache / f"apache-kafka-{VERSION}"
    with (cache / f"{complete.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.is_dir():
            with tempfile.TemporaryDirectory(prefix=f"{complete.name}-", dir=cache) as partial:
                _fetch(Path(partial) / "jars")
                (Path(partial) / "jars").rename(complete)
    return complete


def _fetch(into: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable("Apache Kafka's jars are fetched with Maven: install it (Debian: apt-get install maven).")
    command = [maven, "--batch-mode", "--quiet", "--file", str(POM), "dependency:copy-dependencies"]
    command.append(f"-DoutputDirectory={into}")
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stdout.splitlines() if "ERROR" in line]
        raise Unavailable(f"Maven cannot fetch Apache Kafka's jars: {errors[0] if errors else _last_line(done.stderr)}")


def _java() -> str:
    java = shutil.which("java")
    if java is None:
        raise Unavailable("Apache Kafka needs Java 17: install it (Debian: apt-get install openjdk-17-jre-headless).")
    return java


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no output")


def main() -> int:
    """Run `make kafka`: print the address once the broker answers, and end with SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make kafka", description=__doc__)
    parser.add_argument("--port", type=int, default=9092, help="0 selects a free port.")
    try:
        return in_foreground(ApacheKafka(parser.parse_args().port), announce=lambda address: print(address, flush=True))
    except UserError as error:
        print(f"kafka: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
