"""Hands records over from the consumer's thread to the app's thread: a poll waits, and arriving records answer it.

A poll without records does not wake the consumer's thread: while little happens, waking threads is most of the cost of
a poll. The consumer's thread is awake when a fetch returns, and then answers a poll that waits.
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
    """Handover of records. At most one poll waits at a time."""

    def __init__(self) -> None:
        self._waiting: deque[_Poll] = deque()
        """The poll that waits, if any. The thread that takes it out must answer it; only one thread can."""

    async def poll(self, partitions: Collection[TP], timeout: float, anything: Callable[[], bool]) -> Records | None:
        """Return the records that arrive within `timeout` seconds for these partitions. Called on the app's thread.

        Return None if `anything` is true: records are there already, and must be fetched from the consumer's thread.
        Raises the error of the fetch.
        """
        poll = _Poll(partitions, asyncio.get_running_loop().create_future())
        self._waiting.append(poll)  # before `anything`: records that arrive from now on find it
        try:
            available = anything()
            if not available:
                await asyncio.wait((poll.answer,), timeout=timeout)
        except BaseException:  # no records may be taken for a poll that has ended
            self._withdraw()
            poll.answer.cancel()
            raise
        if self._withdraw():
            return None if available else {}
        return await poll.answer

    def arrived(self, take: Callable[[Collection[TP]], Records]) -> None:
        """Answer a poll that waits, after a fetch. Called on the consumer's thread.

        `take` returns the records that are there for some partitions.
        """
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
        """Withdraw the poll. Return True if it still waited."""
        try:
            self._waiting.pop()
        except IndexError:
            return False
        return True


def _answer(answer: asyncio.Future[Records], taken: Records | Exception) -> None:
    if answer.done():  # cancelled with the poll: the worker ends, and the next one reads from the last commit
        return
    if isinstance(taken, Exception):
        answer.set_exception(taken)
    else:
        answer.set_result(taken)
