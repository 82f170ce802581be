"""Questions to a broker that may be away for as long as it likes: they are asked again until it answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from aiokafka.errors import KafkaError, KafkaTimeoutError

log = logging.getLogger(__name__)

FIRST_S: Final = 0.5
LONGEST_S: Final = 10.0
"""Between two attempts, doubling."""

T = TypeVar("T")


async def patiently(ask: Callable[..., Awaitable[T]], *args: object) -> T:
    """What `ask(*args)` answers. Raises only what asking again cannot mend. Cancel it if it is not wanted."""
    pause = FIRST_S
    while True:
        try:
            return await ask(*args)
        except (KafkaError, TimeoutError) as error:
            if not (isinstance(error, KafkaTimeoutError | TimeoutError) or error.retriable):
                raise
            log.warning("No answer from the broker (%s); asked again in %.1f s", type(error).__name__, pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_S)
