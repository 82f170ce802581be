"""The peers on the JVM: Kafka Streams and Flink. Maven builds them, once, into .cache/benchmarks-jvm. See README.md.

python -m benchmarks.jvm.build      # builds, and prints the command of each peer; the orchestrator adds the options
"""

from __future__ import annotations

import fcntl
import hashlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, get_args

from streams.devtools.apache_kafka import Unavailable
from streams.errors import UserError

Peer = Literal["kafka-streams", "flink"]

HERE: Final = Path(__file__).parent
OUTPUT: Final = HERE.parents[1] / ".cache" / "benchmarks-jvm"
MAIN: Final[dict[Peer, str]] = {
    "kafka-streams": "benchmarks.kafkastreams.KafkaStreamsPeer",
    "flink": "benchmarks.flink.FlinkPeer",
}
JVM: Final = ["-Xmx1g", "-XX:+UseSerialGC"]
"""README.md gives the reasons."""


def command(peer: Peer) -> list[str]:
    """Return the command of the peer, after building it if it has changed. Callers add the options of README.md.

    Raise `Unavailable` if Java or Maven is missing, `UserError` if Maven cannot build it.
    """
    java = _program("java", "openjdk-17-jdk-headless")
    _program("javac", "openjdk-17-jdk-headless")
    _build(_program("mvn", "maven"))
    return [java, *JVM, "-cp", f"{OUTPUT / peer / 'lib'}/*", MAIN[peer]]


def _program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Unavailable(
            f"the peers on the JVM need {name} (JDK 17, Maven): install it (Debian: apt-get install {package})."
        )
    return found


def _build(maven: str) -> None:
    """Build the peers unless they are up to date. Of concurrent callers one builds. A partial build does not count."""
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    built = OUTPUT / "built"
    with OUTPUT.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = _digest()
        if built.is_file() and built.read_text() == wanted:
            return
        shutil.rmtree(OUTPUT, ignore_errors=True)  # jars of other versions must not stay on the class path
        command = [maven, "--batch-mode", "--quiet", "-Dstyle.color=never", "--file", str(HERE / "pom.xml")]
        command += [f"-Doutput={OUTPUT}", "package"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"Maven cannot build the peers on the JVM: {_first_error(done.stdout) or done.stderr}")
        built.write_text(wanted)


def _first_error(said: str) -> str | None:
    errors = (line.partition("[ERROR]")[2].strip() for line in said.splitlines() if "[ERROR]" in line)
    return next((error for error in errors if error and error != "COMPILATION ERROR :"), None)


def _digest() -> str:
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(str(path.relative_to(HERE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    yield from sorted([*HERE.rglob("pom.xml"), *HERE.glob("*/src/**/*.java"), *HERE.glob("*/src/**/*.properties")])


def main() -> int:
    """Build, and say how the peers are run."""
    try:
        for peer in get_args(Peer):
            print(shlex.join(command(peer)))
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
