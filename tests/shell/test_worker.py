"""The log of the event loop of a worker: exceptions that nothing retrieved."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from functools import partial

import pytest
from aiokafka.errors import KafkaError, ProducerFenced

from streams.shell.worker.command import _handle_loop_exception


def leave_a_future(error: Exception) -> None:
    """Leave a failed future behind, as a batch of an ended producer does."""
    asyncio.get_running_loop().create_future().set_exception(error)


def leave_a_task(error: Exception) -> None:
    async def work() -> None:
        raise error

    asyncio.ensure_future(work()).add_done_callback(lambda task: None)


async def said_of(
    leave: Callable[[Exception], None], error: Exception, failure: str | None, caplog: pytest.LogCaptureFixture
) -> list[str]:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(partial(_handle_loop_exception, lambda: failure is not None))
    try:
        with caplog.at_level(logging.INFO):
            leave(error)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            del error
            gc.collect()
        return [record.getMessage().splitlines()[0] for record in caplog.records]
    finally:
        loop.set_exception_handler(None)


async def test_failure_of_the_worker_is_not_logged_again_for_each_batch(caplog: pytest.LogCaptureFixture) -> None:
    assert await said_of(leave_a_future, ProducerFenced(), "Another worker has taken over", caplog) == []


@pytest.mark.parametrize(
    ("leave", "error", "failure"),
    [
        (leave_a_future, ProducerFenced(), None),
        (leave_a_future, KeyError("a defect"), "Another worker has taken over"),
        (leave_a_task, KafkaError("no such thing"), "Another worker has taken over"),
    ],
    ids=["of one that has not failed", "not a client's", "of a task"],
)
async def test_other_unretrieved_exceptions_are_logged(
    leave: Callable[[Exception], None], error: Exception, failure: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    [said] = await said_of(leave, error, failure, caplog)
    assert said.endswith("exception was never retrieved")
