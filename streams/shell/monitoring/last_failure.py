"""Reason and number of past failures of workers in a data directory, for the metrics of the next worker.

A worker's own metrics end with it. `App` writes the file when it fails, and the next `App` in that directory reads it.
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
    """Last failure of a worker, and the number of failures."""

    reason: str
    """Reason of a `Fault`, or `OTHER`."""
    at: int
    """Time of the failure, ms."""
    times: dict[str, int] = {}
    """Number of failures by reason, this one included."""


def note(directory: Path, cause: BaseException, at: int) -> None:
    """Write the failure to the file. If that fails, only log a warning: the worker ends in any case."""
    reason, before = cause.reason if isinstance(cause, Fault) else OTHER, last(directory)
    times = {} if before is None else before.times
    failure = LastFailure(reason, at, {**times, reason: times.get(reason, 0) + 1})
    written = directory / f"{FILE}.new"
    try:
        written.write_bytes(msgspec.json.encode(failure))
        written.replace(directory / FILE)  # on a full disk the previous one stays
    except OSError as error:
        log.warning("The reason of this failure cannot be kept for the next worker's metrics: %s", error.strerror)


def last(directory: Path) -> LastFailure | None:
    """Return the last failure in this directory; None if there was none, or if the file cannot be read."""
    try:
        return msgspec.json.decode((directory / FILE).read_bytes(), type=LastFailure)
    except (OSError, msgspec.MsgspecError):
        return None
