"""`python -m streams.demo.worker history|live`: a worker that the demo starts, and that ends with it.

It is the ordinary worker with the settings of its environment. Standard input is a pipe that the demo keeps open: when
it closes, however the demo ended, the worker ends too.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Final

from streams.demo.configuration import PhaseName
from streams.errors import UserError
from streams.settings import load
from streams.shell.worker.command import run

GRACE: Final = 5.0
"""Seconds for an orderly end."""


def main(phase: PhaseName) -> int:
    """Run the worker until it is stopped, and return its exit code."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        return run(load())
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main("live" if sys.argv[1:] == ["live"] else "history"))
