"""Requests an erasure: writes the request to every partition of the erasures topic.

Every partition may hold records or state of the person.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams import deployment
from streams.contracts.erasures import encode
from streams.errors import UserError
from streams.settings import Settings
from streams.shell.admin import topics


class NoCustomerNamed(UserError):
    """No profile can have this id."""

    def __init__(self) -> None:
        super().__init__("this id names no customer: it is empty, a placeholder, or longer than 256 bytes.")


async def send_request(producer: Any, settings: Settings, person: str, identified: bool) -> str:
    """Write an erasure request, and return its id once every partition has it. `producer` is an `AIOKafkaProducer`.

    `person` is a customer id if `identified`, else an anonymous id. The time of the request is the broker's, because
    the requester's clock may be wrong. Raises `NoCustomerNamed`, or the error of the broker: the request must then be
    repeated, because only some partitions may have it.
    """
    identifiers = deployment.identifiers(settings)
    named = identifiers.of_customer(person) if identified else identifiers.of_other(person)
    if named is None:
        raise NoCustomerNamed
    request_id = str(uuid.uuid4())
    value, key = encode(named, identified, request_id), named.encode()
    sent = [
        await producer.send(settings.erasures_topic, value, key=key, partition=partition)
        for partition in range(settings.partitions)
    ]
    await asyncio.gather(*sent)
    return request_id


def run(settings: Settings, person: str, identified: bool) -> str:
    """Run `lifecycle erase`, and return the id of the request. Called outside an event loop. Raises `UserError`."""
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
            f"the broker has not accepted the request on every partition ({type(error).__name__}): repeat the request."
        ) from error
