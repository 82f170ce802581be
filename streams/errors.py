"""The errors that a user is meant to read."""

from __future__ import annotations

from typing import ClassVar


class UserError(Exception):
    """Something the user must put right. Its text is one clear sentence that says what and how.

    Raised anywhere outside the core; the command line prints it as `lifecycle: …` and exits with code 2.
    """


class Fault(UserError):
    """What ends a worker that runs."""

    reason: ClassVar[str]
    """What metrics call it."""
    passes: ClassVar[bool] = False
    """Whether the next worker may get over it by itself."""
    behind: BaseException | None = None
    """What is logged with it, traceback and all; None where the sentence says all there is."""
