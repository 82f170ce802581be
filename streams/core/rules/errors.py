"""What is wrong with a rule's text, and where."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class RuleError(ValueError):
    """The text is no rule. `message` is a sentence that says what is allowed; `start` and `end` are offsets in it."""

    def __init__(self, message: str, start: int, end: int) -> None:
        super().__init__(message)
        self.message = message
        self.start = start
        self.end = end


def suggestion(wrong: str, allowed: Iterable[str]) -> str:
    """A sentence that names what was probably meant, or else all that is allowed if that is little."""
    known = sorted(allowed)
    close = get_close_matches(wrong[:64], known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known: {', '.join(known)}" if 0 < len(known) <= 12 else ""
