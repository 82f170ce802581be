"""The end of a worker: why it ends, and that it ends in time."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from streams.errors import Fault, UserError
from streams.settings import Settings
from streams.shell.faults import ShutdownForced
from streams.shell.monitoring import last_failure
from streams.shell.worker.context import TaskRegistry

log = logging.getLogger(__name__)

EXIT_FORCED = 70
"""Exit code of a worker whose shutdown took too long (EX_SOFTWARE)."""
STUCK_S = 2.0
"""Seconds after which a process that no Python thread can end is ended without one; its exit code is then 1."""


class Lifetime:
    """The end of one worker: its failure, its stop, and whether everything is committed."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], int],
        tasks: TaskRegistry,
        end: Callable[[RuntimeError], object],
    ) -> None:
        """`end` ends the process's Faust worker. It may be called in any thread, and does not wait."""
        self.failure: str | None = None
        """Reason for which the worker ends by itself."""
        self.stopping = False
        self.all_committed = True
        """True if nothing that was released is uncommitted."""
        self._directory: Path = settings.data_dir
        self._timeout_s = settings.shutdown_timeout / 1000
        self._clock = clock
        self._tasks = tasks
        self._end = end

    @property
    def orderly(self) -> bool:
        """True if the worker may end as it is: everything is committed, and nothing has failed."""
        return self.failure is None and self.all_committed and not self._tasks.all()

    @property
    def ends(self) -> bool:
        """True if the worker has failed or is stopping."""
        return self.failure is not None or self.stopping

    def fail(self, cause: BaseException) -> None:
        """End the worker without another commit. Only the first call counts.

        The log gives the sentence of a `UserError`, with the reason and the remedy; the next worker's metrics name the
        reason of a `Fault`. Any other exception is unforeseen, and is logged with its traceback.
        """
        if self.failure is None:
            foreseen = isinstance(cause, UserError)
            self.failure = str(cause) if foreseen else f"{type(cause).__name__}: {cause}"
            self._tasks.remove_all()
            behind = cause.behind if isinstance(cause, Fault) else None if foreseen else cause
            log.critical("%s", self.failure, exc_info=behind)
            last_failure.note(self._directory, cause, self._clock())
            self.start_exit_timer()
            self._end(RuntimeError(self.failure))

    def start_exit_timer(self) -> None:
        """End the process after the shutdown timeout, whatever still runs."""
        timer = threading.Timer(self._timeout_s, self.force_exit)
        timer.daemon = True
        timer.start()
        if sys.__stderr__ is not None:  # and if a library does not give the interpreter back, so that no thread runs
            faulthandler.dump_traceback_later(self._timeout_s + STUCK_S, exit=True, file=sys.__stderr__)

    def force_exit(self) -> None:
        """End the process now. Called in a thread of its own when shutdown takes too long."""
        orderly, fault = self.orderly, ShutdownForced()
        log.log(logging.ERROR if orderly else logging.CRITICAL, "%s", fault)
        if self.failure is None and not orderly:
            last_failure.note(self._directory, fault, self._clock())
        logging.shutdown()
        os._exit(0 if orderly else EXIT_FORCED)
