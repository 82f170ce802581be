"""`lifecycle worker`: one member of the consumer group, in the foreground."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import faust
from aiokafka.errors import KafkaError

from streams import deployment
from streams.core.lifecycle.playbook import Playbook
from streams.errors import UserError
from streams.settings import Settings
from streams.shell.admin import topics
from streams.shell.commit.playbook_history import playbook_id
from streams.shell.monitoring import logs
from streams.shell.worker import plan
from streams.shell.worker.factory import create_app

log = logging.getLogger(__name__)


def run(settings: Settings, *, playbook: Playbook | None = None, accept_playbook: bool = False) -> int:
    """Work until SIGTERM or SIGINT, and return the exit code. Called by the command line and the demo.

    Raises `UserError` if something must be corrected before a worker can start. `playbook` replaces that of the
    settings. `accept_playbook`: start also with a playbook that `playbook_history.refusal` refuses.
    """
    logs.to_stderr(settings)
    if problems := asyncio.run(topics.check(settings)):
        raise UserError(" ".join(problem.sentence for problem in problems))
    if playbook is None:
        playbook = deployment.load_playbook(settings)
    log.info("The playbook is %s", playbook_id(playbook))
    asyncio.run(plan.check(settings, playbook, accept=accept_playbook, say=_say))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"LIFECYCLE_DATA_DIR={settings.data_dir} cannot be created: {error.strerror}. Set it to a directory that "
            "this user may write to."
        ) from None
    app = create_app(settings, playbook=playbook)
    loop.set_exception_handler(partial(_handle_loop_exception, lambda: app.failure is not None))
    # State is freed by counting references: cycles are rare, and searching all profiles for them costs a fifth of
    # the CPU. The records of a poll, two objects each, are freed in the same way: the threshold is above their number.
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    app.end = lambda error: signal.raise_signal(signal.SIGTERM)  # type: ignore[method-assign]  # it has been logged
    worker = _Worker(app, loop=loop, override_logging=False, redirect_stdouts=False, quiet=True)
    try:
        worker.execute_from_commandline()
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    except Exception:
        if app.failure is None:
            raise
        code = 1  # the failure was logged when it happened
    if worker.stop_requested and app.orderly:
        return 0  # Faust may raise an error if its start is interrupted: no failure
    return 1 if app.failure else code


def _say(line: str) -> None:
    """Write a line to the log and to standard output, where whoever starts a worker by hand reads it."""
    log.info("%s", line)
    print(line, flush=True)


def _handle_loop_exception(
    has_failed: Callable[[], bool], loop: asyncio.AbstractEventLoop, context: dict[str, Any]
) -> None:
    """Log an exception that nothing retrieved, but not the errors of a failed worker's clients.

    The error that ends an aiokafka producer is also left in each batch that the producer has not sent. It was logged
    when it made the worker fail.
    """
    of_client = isinstance(context.get("exception"), KafkaError) and not isinstance(context.get("future"), asyncio.Task)
    if of_client and has_failed():
        log.debug("Left by a client of a worker that has failed: %r", context["exception"])
    else:
        loop.default_exception_handler(context)


class _Worker(faust.Worker):
    """Faust's worker without its spinner."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.spinner = None
        self.stop_requested = False

    def _on_sigterm(self) -> None:
        self.stop_requested = True
        super()._on_sigterm()

    def _on_sigint(self) -> None:
        self._on_sigterm()
