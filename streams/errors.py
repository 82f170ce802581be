"""The one error a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Something the user must put right. Its text is one clear sentence that says what and how.

    Raised anywhere outside the core; the command line prints it as `lifecycle: …` and exits with code 2.
    """
