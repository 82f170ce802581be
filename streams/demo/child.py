"""The worker process of the demo: started, watched, ended."""

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
_UNPRINTABLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\S\n ]|[\x00-\x08\x0e-\x1f]")
"""What moves the cursor, and the like."""


class WorkerGone(Exception):
    """The worker has ended by itself; the text says how, with the last lines it logged."""


class WorkerProcess:
    """`python -m streams.demo.worker PART` with these settings and no others. A context manager: at its end the worker
    is gone."""

    def __init__(self, part: str, settings: Mapping[str, str]) -> None:
        self._part = part
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        self._environment = environment | dict(settings)
        self._log = tempfile.TemporaryFile(prefix="lifecycle-demo-")  # noqa: SIM115 - closed on exit
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streams.demo.worker", self._part],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the demo, which ends it in order
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
        """Run beside what needs the worker: returns never, raises `WorkerGone`."""
        assert self._process is not None
        while (code := self._process.poll()) is None:
            await asyncio.sleep(interval)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        said = self._last_words()
        raise WorkerGone(f"the demo's worker {how}; " + (f"the last it said:\n{said}" if said else "it said nothing."))

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = _UNPRINTABLE.sub("", self._log.read().decode(errors="replace")).splitlines()
        return "\n".join(f"  {line}" for line in lines[-TAIL:] if line.strip())
