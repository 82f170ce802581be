"""Identifiers of customers and devices. Recognizes the values that producers send in place of an id."""

from __future__ import annotations

from typing import Final

MAX_BYTES: Final = 256
"""Most bytes of any id, in UTF-8."""
ALWAYS_FIT: Final = MAX_BYTES // 4
"""An id of at most so many characters fits, whichever they are. So most ids need not be encoded."""

# Values that trackers send for an unknown customer, beside zeros and dashes. Such an id would merge many customers.
_PLACEHOLDERS: Final = frozenset({"-1", "null", "undefined", "none", "anonymous"})
_FIRST_CHARACTERS: Final = frozenset({"", "0", "-", *"nuaNUA"})
"""First characters of placeholders. Few ids have to be checked further."""


def fits(identifier: str) -> bool:
    """Return True if an id of any kind is short enough. A longer one counts as absent: cut, two could become one."""
    return len(identifier) <= ALWAYS_FIT or len(identifier.encode()) <= MAX_BYTES


def names_someone(identifier: str) -> bool:
    """Return True if a customer id or an anonymous id names someone. One that does not counts as absent."""
    if not fits(identifier):
        return False
    if identifier[:1] not in _FIRST_CHARACTERS:
        return True
    return identifier.strip("0-") != "" and identifier.lower() not in _PLACEHOLDERS
