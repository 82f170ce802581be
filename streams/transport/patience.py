"""Requests that are repeated until the broker answers, however long it is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from aiokafka.errors import KafkaError, KafkaTimeoutError

log = logging.getLogger(__name__)

FIRST_S: Final = 0.5
LONGEST_S: Final = 10.0
"""Pause between two attempts. It doubles from the first to the longest."""

T = TypeVar("T")


async def patiently(ask: Callable[..., Awaitable[T]], *args: object) -> T:
    """Return the result of `ask(*args)`, repeated until it succeeds. Raises only errors that are not transient.

    Cancel it if the result is no longer wanted.
    """
    pause = FIRST_S
    while True:
        try:
            return await ask(*args)
        except (KafkaError, TimeoutError) as error:
            if not (isinstance(error, KafkaTimeoutError | TimeoutError) or error.retriable):
                raise
            log.warning("No answer from the broker (%s): trying again in %.1f s", type(error).__name__, pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_S)
