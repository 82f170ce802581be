"""Why the worker before ended by itself: its own metrics went with it.

Kept in a file of the data directory, written by `App.fail` and read by the next `App` in that directory.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import msgspec

from streams.observe.catalogue import OTHER
from streams.shell import faults

log = logging.getLogger(__name__)

FILE: Final = "last-failure.json"
REASONS: Final[dict[type[BaseException], str]] = {
    faults.OutOfRange: "out_of_range",
    faults.TopicAnew: "topic_anew",
    faults.NoOffset: "no_offset",
    faults.Truncated: "truncated",
    faults.Hole: "hole",
    faults.StateBehind: "state_behind",
}
"""Those that the next worker does not get over by itself."""


class LastFailure(msgspec.Struct, frozen=True):
    """One end of a worker."""

    reason: str
    """One of `REASONS`, or `OTHER`."""
    at: int
    """ms"""


def note(directory: Path, cause: BaseException | None, at: int) -> None:
    """Keep it. A directory that cannot be written only makes a line in the log: the worker ends in any case."""
    failure = LastFailure(OTHER if cause is None else REASONS.get(type(cause), OTHER), at)
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
