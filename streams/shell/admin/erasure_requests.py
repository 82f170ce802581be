"""Asking for an erasure: a request is put on every partition of the topic, since on any there may be something."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.contracts.erasures import encode
from streams.contracts.identity import names_somebody
from streams.errors import UserError
from streams.settings import Settings
from streams.shell.admin import topics


class NoCustomerNamed(UserError):
    """The id is none that a profile can have."""

    def __init__(self) -> None:
        super().__init__("this id names nobody: it is empty, a placeholder, or longer than 256 bytes.")


async def send_request(producer: Any, settings: Settings, person: str, identified: bool) -> str:
    """Put a request on its way; returns its id once every partition has it. `producer` is an `AIOKafkaProducer`.

    `person` is a customer id if `identified`, else an anonymous id. The request counts from when the broker has it: the
    clock of who asks may be wrong. Raises `NoCustomerNamed`, or what the broker refuses it with: then it has to be
    asked again, since some partitions may have it.
    """
    if not names_somebody(person):
        raise NoCustomerNamed
    request_id = str(uuid.uuid4())
    value, key = encode(person, identified, request_id), person.encode()
    sent = [
        await producer.send(settings.erasures_topic, value, key=key, partition=partition)
        for partition in range(settings.partitions)
    ]
    await asyncio.gather(*sent)
    return request_id


def run(settings: Settings, person: str, identified: bool) -> str:
    """`lifecycle erase`, for use outside an event loop; returns the request's id. Raises `UserError`."""
    return asyncio.run(_run(settings, person, identified))


async def _run(settings: Settings, person: str, identified: bool) -> str:
    for problem in await topics.check(settings):
        if problem.topic == settings.erasures_topic:
            raise UserError(problem.sentence)
    try:
        async with AIOKafkaProducer(bootstrap_servers=settings.broker, acks="all") as producer:
            return await send_request(producer, settings, person, identified)
    except KafkaError as error:
        raise UserError(
            f"the broker has not taken the request on every partition ({type(error).__name__}): ask again."
        ) from error
