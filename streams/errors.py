"""Errors for users to read."""

from __future__ import annotations

from typing import ClassVar


class UserError(Exception):
    """A mistake or a state that the user must correct. Its text is one sentence with the problem and the remedy.

    Raised anywhere outside the core; the command line prints it as `lifecycle: …` and exits with code 2.
    """


class Fault(UserError):
    """A reason for which a running worker ends."""

    reason: ClassVar[str]
    """Name in metrics."""
    passes: ClassVar[bool] = False
    """True if the next worker may run without help."""
    behind: BaseException | None = None
    """Error whose traceback is logged with the sentence; None if the sentence is enough."""
