"""Why the worker before ended by itself, and how often that was: its own metrics went with it.

Kept in a file of the data directory, written by `App` when it ends and read by the next `App` in that directory.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import msgspec

from streams.errors import Fault
from streams.observe.catalogue import OTHER

log = logging.getLogger(__name__)

FILE: Final = "last-failure.json"


class LastFailure(msgspec.Struct, frozen=True):
    """The last end of a worker, and how many there were."""

    reason: str
    """That of a `Fault`, or `OTHER`."""
    at: int
    """ms"""
    times: dict[str, int] = {}
    """By reason, this one included."""


def note(directory: Path, cause: BaseException, at: int) -> None:
    """Keep it. A directory that cannot be written only makes a line in the log: the worker ends in any case."""
    reason, before = cause.reason if isinstance(cause, Fault) else OTHER, last(directory)
    times = {} if before is None else before.times
    failure = LastFailure(reason, at, {**times, reason: times.get(reason, 0) + 1})
    written = directory / f"{FILE}.new"
    try:
        written.write_bytes(msgspec.json.encode(failure))
        written.replace(directory / FILE)  # on a full disk the one before stays
    except OSError as error:
        log.warning("Why this worker ends cannot be noted for its metrics: %s", error.strerror)


def last(directory: Path) -> LastFailure | None:
    """The last one in this directory; None if there was none, or it cannot be read."""
    try:
        return msgspec.json.decode((directory / FILE).read_bytes(), type=LastFailure)
    except (OSError, msgspec.MsgspecError):
        return None
