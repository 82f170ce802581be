"""A worker that kills itself within a commit if a file exists: its immediate outputs have been sent, and its state has
not. For tests of the outputs that another worker makes of the same events."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from streams.settings import load
from streams.shell.commit.changelog import Changelog
from streams.shell.worker.command import run


def main(path: str) -> None:
    """Run `lifecycle worker` with this fault."""
    write = Changelog.write
    now = Path(path)

    async def deadly(self: Any, changes: Any, marker: bytes) -> Any:
        changes = list(changes)
        if changes and now.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return await write(self, changes, marker)

    Changelog.write = deadly  # type: ignore[method-assign]
    sys.exit(run(load()))
