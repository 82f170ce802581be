"""`lifecycle worker`: one member of the consumer group, in the foreground."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

import faust

from streams.core.policy import Policy
from streams.errors import UserError
from streams.settings import Settings
from streams.shell import topics
from streams.shell.factory import create_app


def run(settings: Settings, *, policy: Policy | None = None) -> int:
    """Work until SIGTERM or SIGINT; returns the exit code. Called by the command line and the demo.

    Raises `UserError` for what has to be put right before a worker can start. `policy` replaces the playbook's.
    """
    _log_to_stderr(settings)
    if problems := asyncio.run(topics.check(settings)):
        raise UserError(" ".join(problem.sentence for problem in problems))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    app = create_app(settings, policy=policy)
    worker = _Worker(app, loop=loop, override_logging=False, redirect_stdouts=False, quiet=True)
    try:
        worker.execute_from_commandline()
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    except Exception:
        if app.failure is None:
            raise
        code = 1  # it was logged when it happened
    return 1 if app.failure else code


class _Worker(faust.Worker):
    """Faust's worker without its spinner."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.spinner = None

    def _on_sigint(self) -> None:
        self._on_sigterm()


def _log_to_stderr(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_JsonFormatter() if settings.log_format == "json" else text)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    # Faust tells every step of a rebalance as news, aiokafka every reconnection: an operator who wants them has debug.
    if settings.log_level != "debug":
        for name in ("faust", "mode", "aiokafka"):
            logging.getLogger(name).setLevel(logging.WARNING)


class _JsonFormatter(logging.Formatter):
    """One JSON object per entry."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)
