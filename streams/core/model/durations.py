"""The syntax of durations, such as `30d` or `1h30m`: the same in rules, playbooks, scenarios, settings and options."""

from __future__ import annotations

import re
from typing import Final

UNITS: Final[dict[str, int]] = {
    "w": 7 * 86_400_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1,
}  # fmt: skip
"""The ms of each unit, from the largest."""
PATTERN: Final = "(?=[0-9])" + "".join([f"(?:[0-9]{{1,13}}{unit})?" for unit in UNITS])
"""Regular expression of a duration, without groups: each unit at most once, the largest first."""

_DURATION: Final = re.compile(PATTERN)
_PART: Final = re.compile("([0-9]+)([a-z]+)")


def parse_duration(text: str) -> int | None:
    """Return the ms of a duration; None if the text is not one."""
    if _DURATION.fullmatch(text) is None:
        return None
    return sum([int(number) * UNITS[unit] for number, unit in _PART.findall(text)])
