"""Ask the operating system about processes and ports."""

from __future__ import annotations

import time
from pathlib import Path

from streams.devtools.ports import is_listening


def process_ends(pid: int, within: float = 60.0) -> bool:
    """Return True if the process ends in time. A process that waits to be reaped has ended."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def accepts_connections(address: str) -> bool:
    """Return True if something listens at `127.0.0.1:port`."""
    return is_listening(int(address.rpartition(":")[2]))
