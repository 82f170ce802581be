"""Mount a file system that is soon full. Only root can mount it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(path: Path) -> Iterator[bool]:
    """Mount a file system of 512 KB for the length of the block. Yield whether it could be mounted."""
    path.mkdir(parents=True)
    mounted = os.geteuid() == 0 and mount("-t", "tmpfs", "-o", "size=512k", "none", str(path))
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(path)], check=False)


def mount(*options: str) -> bool:
    """Mount with these options of `mount`. Return True if that worked."""
    return subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0
