"""A file system so small that it is soon full. Where only root could mount it, there is none."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(path: Path) -> Iterator[bool]:
    """One of 512 KB at a path; False where only root could mount it and this is somebody else."""
    path.mkdir(parents=True)
    mounted = os.geteuid() == 0 and mount("-t", "tmpfs", "-o", "size=512k", "none", str(path))
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(path)], check=False)


def mount(*options: str) -> bool:
    """Whether that could be mounted."""
    return subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0
