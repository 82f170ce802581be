"""A worker whose clock is off by the ms that a file contains, for tests of clocks that jump."""

from __future__ import annotations

import sys
from pathlib import Path

from streams.settings import load
from streams.shell.worker import factory
from streams.shell.worker.command import run
from streams.transport import driver


def main(path: str) -> None:
    """Run `lifecycle worker` with this clock."""
    right, off = driver.wall_clock, Path(path)

    def clock() -> int:
        return right() + int(off.read_text() or "0")  # the file is empty while it is written

    driver.wall_clock = clock
    assert factory.create_app.__kwdefaults__ is not None
    factory.create_app.__kwdefaults__["clock"] = clock
    sys.exit(run(load()))
