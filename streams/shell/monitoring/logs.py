"""What a worker writes to standard error, for an operator or for a log collector."""

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
"""At debug they log what is sent and received, keys and values and all: never."""
INTERVAL_S: Final = 10.0


def to_stderr(settings: Settings) -> None:
    """Set logging up as the settings say; called once, by the worker."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else text)
    if settings.log_level != "debug":
        handler.addFilter(RepeatLimit())
    for name in PERSONAL:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)


class RepeatLimit(logging.Filter):
    """Keeps the libraries from drowning what matters.

    Faust tells each step of its services as news; aiokafka repeats itself with every attempt while a broker is away.
    Below warning they are not heard; the same warning is heard once in `INTERVAL_S` seconds, with the count of those
    in between. `debug` hears everything.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._heard: dict[tuple[str, str], float] = {}
        self._unheard: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Called by the handler: whether the entry is written."""
        message = str(record.msg)
        # A Faust service that is defined here logs under our name, in Faust's form.
        if record.name.partition(".")[0] not in LIBRARIES and not message.startswith("[^"):
            return True
        if record.levelno < logging.WARNING:
            return False
        key, now = (record.name, message), self._clock()
        if now - self._heard.get(key, -INTERVAL_S) < INTERVAL_S:
            self._unheard[key] = self._unheard.get(key, 0) + 1
            return False
        self._heard[key] = now
        if unheard := self._unheard.pop(key, 0):
            record.msg = f"{message} (and {unheard} more like it before)"
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object per entry."""

    def format(self, record: logging.LogRecord) -> str:
        """Called by the handler."""
        entry: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)
