"""The worker process of a phase."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Self

from streams.settings import PREFIX

STOP_TIMEOUT = 5.0
TAIL = 6
"""Lines of the log that `WorkerExited` shows."""
_UNPRINTABLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\S\n ]|[\x00-\x08\x0e-\x1f]")
"""Control sequences and control characters, which could move the cursor."""


class WorkerExited(Exception):
    """The worker ended by itself. The text has its exit code or signal, and its last log lines."""


class WorkerProcess:
    """A context manager that runs `python -m streams.demo.worker PHASE` with these settings and no others.

    The worker has ended when the context ends.
    """

    def __init__(self, phase: str, settings: Mapping[str, str]) -> None:
        self._phase = phase
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        self._environment = environment | dict(settings)
        self._log = tempfile.TemporaryFile(prefix="lifecycle-demo-")  # noqa: SIM115 - closed on exit
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streams.demo.worker", self._phase],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches only the demo, which then ends the worker
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            self._log.close()

    async def watch(self, interval: float = 0.25) -> None:
        """Raise `WorkerExited` when the worker ends. Never returns; runs beside the code that needs the worker."""
        assert self._process is not None
        while (code := self._process.poll()) is None:
            await asyncio.sleep(interval)
        ending = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        lines = self._last_log_lines()
        log = f"its last log lines:\n{lines}" if lines else "it logged nothing."
        raise WorkerExited(f"the demo's worker {ending}; {log}")

    def _last_log_lines(self) -> str:
        self._log.seek(0)
        lines = _UNPRINTABLE.sub("", self._log.read().decode(errors="replace")).splitlines()
        return "\n".join(f"  {line}" for line in lines[-TAIL:] if line.strip())
