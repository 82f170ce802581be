"""Log of a worker on standard error, for an operator or for a log collector."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from streams.settings import Settings

LIBRARIES: Final = ("faust", "mode", "aiokafka")
PERSONAL: Final = ("aiokafka.conn", "aiokafka.producer.producer")
"""Loggers that write keys and values of records at level debug. They are never set to it."""
ORDINARY: Final = (
    "Heartbeat failed for group %s because it is rebalancing",  # how a member learns that another one comes or goes
    "Recovery rebalancing again",  # another one came before the first had settled
)
"""Beginnings of warnings of libraries about ordinary rebalances. Our own entries name the partitions that follow."""
INTERVAL_S: Final = 10.0


def to_stderr(settings: Settings) -> None:
    """Set up logging by the settings. Called once, by the worker."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else text)
    if settings.log_level != "debug":
        handler.addFilter(RepeatLimit())
    for name in PERSONAL:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)


class RepeatLimit(logging.Filter):
    """Filter that limits the entries of libraries.

    Faust logs each step of its services at level info; aiokafka logs every attempt while a broker is away. Entries of
    libraries below warning are dropped, and so are warnings about ordinary rebalances. The same warning is logged once
    in `INTERVAL_S` seconds, with the number of those dropped in between. At level `debug` the filter is not used.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._logged_at: dict[tuple[str, str], float] = {}
        self._dropped: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if the entry is to be written. Called by the handler."""
        message = str(record.msg)
        # A Faust service that is defined in this package logs under our name, in Faust's form.
        if record.name.partition(".")[0] not in LIBRARIES and not message.startswith("[^"):
            return True
        if record.levelno < logging.WARNING or message.rpartition("]: ")[2].startswith(ORDINARY):
            return False
        key, now = (record.name, message), self._clock()
        if now - self._logged_at.get(key, -INTERVAL_S) < INTERVAL_S:
            self._dropped[key] = self._dropped.get(key, 0) + 1
            return False
        self._logged_at[key] = now
        if dropped := self._dropped.pop(key, 0):
            record.msg = f"{message} (and {dropped} more like it before)"
        return True


class JsonFormatter(logging.Formatter):
    """Formatter that writes one JSON object per entry."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the entry as JSON. Called by the handler."""
        entry: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)
