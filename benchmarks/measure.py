"""Resource usage of a process and its descendants: processor time and memory, as Linux accounts them."""

from __future__ import annotations

import os
import time
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Return user and system time, seconds, of a process, its threads and its descendants, also of ended ones.

    For running processes it is read from their CPU clocks, which count nanoseconds; for ended ones, from the times
    that their parents inherited, in ticks of 10 ms.
    """
    return sum(_own(process) + _inherited(process) for process in tree(pid))


def peak_rss_mb(pid: int) -> float:
    """Return the sum of the largest resident sizes (VmHWM) of a process and its descendants, MB of 10^6 bytes."""
    return sum(_high_water(process) for process in tree(pid)) / 1e6


def tree(pid: int) -> list[int]:
    """Return a process and its running descendants."""
    found = [pid]
    for process in found:
        try:
            tasks = list(Path(f"/proc/{process}/task").iterdir())
            found += [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def _own(pid: int) -> float:
    try:
        return time.clock_gettime(~pid << 3 | 2)  # the kernel's name for the CPU clock of a process
    except OSError:
        return 0.0


def _inherited(pid: int) -> float:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(after_name[13]) + int(after_name[14])) / _TICK


def _high_water(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
