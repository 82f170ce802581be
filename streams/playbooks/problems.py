"""What is wrong with a playbook, and where."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from streams.errors import UserError


class PlaybookProblem(NamedTuple):
    """One mistake. Lines and columns count from 1; the message says what is allowed."""

    line: int
    column: int
    message: str


class PlaybookError(UserError):
    """The playbook cannot be used. Its text is one line for each problem, as compilers write them."""

    def __init__(self, name: str, problems: Sequence[PlaybookProblem]) -> None:
        self.name = name
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(f"{name}:{line}:{column}: {message}" for line, column, message in self.problems))


def suggestion(wrong: str, allowed: Iterable[str]) -> str:
    """What was probably meant, or else all that is allowed if that is little; to be put behind a message."""
    known = list(allowed)
    if close := difflib.get_close_matches(wrong[:64], known, n=1, cutoff=0.6):
        return f"; did you mean {close[0]}?"
    return f"; allowed: {', '.join(known)}" if 0 < len(known) <= 15 else ""


def quoted(text: str) -> str:
    """A text of the user's, for a message."""
    return repr(text if len(text) <= 40 else text[:39] + "…")
