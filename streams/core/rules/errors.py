"""Errors in the text of a rule, with their place."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class RuleError(ValueError):
    """The text is not a valid rule. `message` names the allowed form; `start` and `end` are offsets in the text."""

    def __init__(self, message: str, start: int, end: int) -> None:
        super().__init__(message)
        self.message = message
        self.start = start
        self.end = end


def suggestion(wrong: str, allowed: Iterable[str]) -> str:
    """Return the end of an error message: the closest allowed name; else all names if there are few; else nothing."""
    known = sorted(allowed)
    close = get_close_matches(wrong[:64], known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known: {', '.join(known)}" if 0 < len(known) <= 15 else ""
