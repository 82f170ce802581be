"""A worker that kills itself in a commit, where a file says so: its outputs of activities have left, its state has not.

For tests of what another one makes of the same events.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from streams.settings import load
from streams.shell.changelog import Changelog
from streams.shell.worker import run


def main(path: str) -> None:
    """`lifecycle worker`, but for that."""
    write = Changelog.write
    now = Path(path)

    async def deadly(self: Any, changes: Any, marker: bytes) -> Any:
        changes = list(changes)
        if changes and now.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return await write(self, changes, marker)

    Changelog.write = deadly  # type: ignore[method-assign]
    sys.exit(run(load()))
