"""Requests are repeated while the broker is away; other errors are raised."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, TopicAuthorizationFailedError

from streams.transport import patience
from streams.transport.patience import patiently


async def test_request_is_repeated_until_the_broker_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    errors = [KafkaTimeoutError(), KafkaConnectionError(), NodeNotReadyError(), TimeoutError()] * 3

    async def ask(what: str) -> str:
        if errors:
            raise errors.pop()
        return f"{what}: 7"

    assert await patiently(ask, "end") == "end: 7"
    assert pauses[:5] == [0.5, 1, 2, 4, 8]
    assert set(pauses[5:]) == {patience.LONGEST_S}
    assert len(pauses) == 12


async def test_error_that_a_retry_cannot_help_is_raised() -> None:
    async def ask() -> None:
        raise TopicAuthorizationFailedError

    with pytest.raises(TopicAuthorizationFailedError):
        await patiently(ask)
