"""Mistakes in a playbook, with their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from streams.errors import UserError


class PlaybookProblem(NamedTuple):
    """One mistake. Lines and columns count from 1. The message names the allowed form."""

    line: int
    column: int
    message: str


class PlaybookError(UserError):
    """The playbook cannot be used. The text has one line for each problem, in the form `name:line:column: message`."""

    def __init__(self, name: str, problems: Sequence[PlaybookProblem]) -> None:
        self.name = name
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(f"{name}:{line}:{column}: {message}" for line, column, message in self.problems))


def quoted(text: str) -> str:
    """Return a text of the user in quotes for a message, cut to 40 characters."""
    return repr(text if len(text) <= 40 else text[:39] + "…")
