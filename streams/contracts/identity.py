"""Identifiers of people: which of those that producers send are none."""

from __future__ import annotations

from typing import Final

MAX_BYTES: Final = 256
"""Of any id, in UTF-8."""
ALWAYS_FIT: Final = MAX_BYTES // 4
"""So many characters fit whichever they are: no need to encode most ids."""

# What trackers send when they mean "nobody", beside zeros and dashes: all customers of such an id would become one.
_NOBODY: Final = frozenset({"-1", "null", "undefined", "none", "anonymous"})
_DOUBTFUL: Final = frozenset({"", "0", "-", *"nuaNUA"})
"""First characters of what may be nobody: hardly any id has to be looked at more closely."""


def fits(identifier: str) -> bool:
    """Whether an id of any kind is short enough. What is longer counts as absent: cut, two could become one."""
    return len(identifier) <= ALWAYS_FIT or len(identifier.encode()) <= MAX_BYTES


def names_somebody(identifier: str) -> bool:
    """Whether a customer or anonymous id is one. One that is not counts as absent."""
    if not fits(identifier):
        return False
    if identifier[:1] not in _DOUBTFUL:
        return True
    return identifier.strip("0-") != "" and identifier.lower() not in _NOBODY
