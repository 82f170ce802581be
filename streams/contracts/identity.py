"""Identifiers: how ids are read, and which of them name nobody because producers send them in place of an id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MAX_BYTES: Final = 256
"""Most bytes of any id, in UTF-8."""
ALWAYS_FIT: Final = MAX_BYTES // 4
"""An id of at most so many characters fits, whichever they are. So most ids need not be encoded."""

PLACEHOLDERS: Final = frozenset({
    "-1", "0.0", "null", "nil", "none", "undefined", "unknown", "nan", "n/a", "true", "false", "anonymous", "anon",
    "guest", "(not set)", "[object object]", "distinct_id", "shopify-admin",
})  # fmt: skip
"""Values that scripts send for an unknown id, in any case, beside zeros and hyphens. Such an id would merge many
customers into one."""


def fits(identifier: str) -> bool:
    """Return True if an id of any kind is short enough. A longer one counts as absent: cut, two could become one."""
    return len(identifier) <= ALWAYS_FIT or len(identifier.encode()) <= MAX_BYTES


def changed_placeholders(changes: Iterable[str]) -> frozenset[str]:
    """Return the placeholders after changes such as `+demo` (added) and `-guest` (taken away).

    Raise `ValueError` with the reason.
    """
    placeholders = set(PLACEHOLDERS)
    for change in changes:
        sign, name = change[:1], change[1:].strip().lower()
        if sign not in ("+", "-") or not name:
            raise ValueError(f"{change!r} is neither + nor - before a placeholder, as in +demo,-guest")
        if sign == "+":
            placeholders.add(name)
        elif name in placeholders:
            placeholders.remove(name)
        elif not name.strip("0-"):
            raise ValueError(f"{name!r} always counts as absent, as all zeros and hyphens do")
        else:
            raise ValueError(f"{name!r} is not in the list, so it cannot be taken from it")
    return frozenset(placeholders)


class Identifiers:
    """The rules by which ids of customers, devices, carts and checkouts are read. Holds no state."""

    def __init__(self, placeholders: frozenset[str] = PLACEHOLDERS, fold_case: bool = False) -> None:
        """`placeholders`: in lower case. With `fold_case`, ids of customers are read in lower case."""
        self._placeholders = placeholders
        self._fold_case = fold_case
        self._longest = max([len(name) for name in placeholders], default=0)
        firsts = {name[0] for name in placeholders} | {"0", "-"}
        self._firsts = frozenset(["", *firsts, *[first.upper() for first in firsts]])

    def of_customer(self, value: str) -> str | None:
        """Return the id of a customer, None if it counts as absent."""
        return self.of_other(value.lower() if self._fold_case else value)

    def of_other(self, value: str) -> str | None:
        """Return the id of a device, a cart or a checkout, None if it counts as absent."""
        value = value.strip()
        # Few ids start as a placeholder does. The others need no further check.
        if value[:1] in self._firsts and (
            value.strip("0-") == "" or (len(value) <= self._longest and value.lower() in self._placeholders)
        ):
            return None
        return value if fits(value) else None


DEFAULT: Final = Identifiers()
