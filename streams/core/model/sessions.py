"""The sessions of a profile.

Profiles pack this struct field by field, in their order: append new fields with a default, never insert or remove.
"""

from __future__ import annotations

import msgspec


class Sessions(msgspec.Struct, array_like=True, gc=False):
    """The number of a customer's sessions, and the times of the latest."""

    count: int = 0
    start: int = 0
    """Start of the last session, ms."""
    end: int = 0
    """End, so far, of the last session, ms."""
    earlier: bytes = b""
    """The sessions before the last, as far as they are kept: see `streams.core.profile.sessions`."""
