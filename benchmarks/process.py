"""A peer as a process: the lines that it prints, with their times and the resources used until then."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from benchmarks import measure

ROOT = Path(__file__).parent.parent
STOP_S = 30.0


class Failed(Exception):
    """A peer ended, or did not do its work in time."""


class Said(NamedTuple):
    """A line of a peer's standard output."""

    line: str
    at: float
    """epoch seconds"""
    cpu_s: float
    """processor seconds used until then"""


class Process:
    """A process that is started when constructed and stopped at the end of a `with` block. It has its own session, so
    that its descendants are stopped too. Its standard error goes to `log`."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        with log.open("ab") as errors:
            self.started_at = time.time()
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self._lines: queue.Queue[Said] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def cpu_s(self) -> float:
        """Processor seconds used so far."""
        return measure.cpu_s(self._process.pid)

    @property
    def peak_rss_mb(self) -> float:
        """Largest resident size so far."""
        return measure.peak_rss_mb(self._process.pid)

    def go(self) -> None:
        """Give it a line on its standard input, if it waits for one."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: reading its next line raises `Failed`
            self._process.stdin.write("\n")
            self._process.stdin.flush()

    def line(self, timeout: float) -> Said:
        """Return its next line of output. Raise `Failed` if it ended or prints none within `timeout` seconds."""
        give_up = time.monotonic() + timeout
        while True:
            try:
                return self._lines.get(timeout=0.1)
            except queue.Empty:
                self.check()
                if time.monotonic() > give_up:
                    raise Failed(f"it said nothing within {timeout:.0f} s") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.stop()
        if error is not None:
            error.add_note("\n".join(["The last that it wrote:", *self._written()[-20:]]))

    def check(self) -> None:
        """Raise `Failed` if it has ended."""
        code = self._process.poll()
        if code is None:
            return
        self._reader.join(STOP_S)
        if self._lines.empty():
            raise Failed(f"it ended with code {code}: {(self._written() or ['it says nothing'])[-1]}")

    def wait(self) -> None:
        """Wait until it ends by itself. Raise `Failed` if it does not, or ends with another code than 0."""
        try:
            code = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"it did not end within {STOP_S:.0f} s") from None
        if code:
            raise Failed(f"it ended with code {code}")

    def stop(self) -> None:
        """Stop it with SIGTERM, and with SIGKILL after 30 s."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def _written(self) -> list[str]:
        """Return its lines on standard error."""
        return self._log.read_text(errors="replace").strip().splitlines()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(Said(line.strip(), time.time(), self.cpu_s))
