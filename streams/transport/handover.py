"""Records on their way from the consumer's thread to the app's: a poll is answered by what arrives.

That thread is not woken to be told of a poll for which there is nothing yet: while little happens, most of what a poll
costs is that threads wake up. It is awake when a fetch comes back, and looks whether a poll waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, NamedTuple

from faust.types import TP

Records = dict[TP, Any]


class _Poll(NamedTuple):
    partitions: Collection[TP]
    answer: asyncio.Future[Records]


class Handover:
    """At most one poll waits at a time."""

    def __init__(self) -> None:
        self._waiting: deque[_Poll] = deque()
        """Whoever takes a poll out of it, which only one of the threads can, has to answer it."""

    async def poll(self, partitions: Collection[TP], timeout: float, anything: Callable[[], bool]) -> Records | None:
        """What arrives within `timeout` (s) for these partitions; None if there is something already, to be fetched
        from the consumer's thread. Called on the app's. Raises what the fetch has failed with.
        """
        poll = _Poll(partitions, asyncio.get_running_loop().create_future())
        self._waiting.append(poll)  # before it is looked: what comes from now on finds it
        try:
            there = anything()
            if not there:
                await asyncio.wait((poll.answer,), timeout=timeout)
        except BaseException:  # nothing may be taken for a poll that is not there any more
            self._withdraw()
            poll.answer.cancel()
            raise
        if self._withdraw():
            return None if there else {}
        return await poll.answer

    def arrived(self, take: Callable[[Collection[TP]], Records]) -> None:
        """A fetch came back. Called on the consumer's thread; `take` gives what is there of these partitions."""
        try:
            poll = self._waiting.pop()
        except IndexError:
            return
        taken: Records | Exception
        try:
            taken = take(poll.partitions)
        except Exception as error:
            taken = error
        with suppress(RuntimeError):  # its loop is closed: the worker has ended
            poll.answer.get_loop().call_soon_threadsafe(_answer, poll.answer, taken)

    def _withdraw(self) -> bool:
        """Whether the poll still waited."""
        try:
            self._waiting.pop()
        except IndexError:
            return False
        return True


def _answer(answer: asyncio.Future[Records], taken: Records | Exception) -> None:
    if answer.done():  # cancelled, with the poll: the worker ends, and the next one reads from the last commit
        return
    if isinstance(taken, Exception):
        answer.set_exception(taken)
    else:
        answer.set_result(taken)
