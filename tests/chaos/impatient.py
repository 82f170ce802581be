"""A worker whose producers give up after 2 s, for tests of sends that fail."""

from __future__ import annotations

import sys
from typing import Any

from streams.settings import Settings, load
from streams.shell.monitoring import logs
from streams.shell.worker import factory
from streams.shell.worker.command import run
from streams.transport import transactions

REQUEST_TIMEOUT_S = 2.0


def main() -> None:
    """Run `lifecycle worker` with this setting."""
    usual = factory.faust_configuration

    def impatient(settings: Settings) -> dict[str, Any]:
        return usual(settings) | {"producer_request_timeout": REQUEST_TIMEOUT_S}

    factory.faust_configuration = impatient
    transactions.REQUEST_TIMEOUT_MS = int(REQUEST_TIMEOUT_S * 1000)
    logs.INTERVAL_S = 0.0  # type: ignore[misc]  # each time-out is looked for in the log
    sys.exit(run(load()))
