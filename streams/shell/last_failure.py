"""Why the worker before ended by itself: its own metrics went with it.

Kept in a file of the data directory, written by `App.fail` and read by the next `App` in that directory.
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
    """One end of a worker."""

    reason: str
    """That of a `Fault`, or `OTHER`."""
    at: int
    """ms"""


def note(directory: Path, cause: BaseException | None, at: int) -> None:
    """Keep it. A directory that cannot be written only makes a line in the log: the worker ends in any case."""
    failure = LastFailure(cause.reason if isinstance(cause, Fault) else OTHER, at)
    try:
        (directory / FILE).write_bytes(msgspec.json.encode(failure))
    except OSError as error:
        log.warning("Why this worker ends cannot be noted for its metrics: %s", error.strerror)


def last(directory: Path) -> LastFailure | None:
    """The last one in this directory; None if there was none, or it cannot be read."""
    try:
        return msgspec.json.decode((directory / FILE).read_bytes(), type=LastFailure)
    except (OSError, msgspec.MsgspecError):
        return None
