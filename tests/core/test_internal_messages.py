"""A message carries each field of an event."""

from __future__ import annotations

import dataclasses

from streams.core.identity.aliases import event_of_message, payload_of
from streams.core.model.event import EVENT, Event, Source
from streams.core.model.internal_messages import EventPayload, InternalMessage
from streams.core.model.items import Item
from streams.core.model.sources import InputId

OF_THE_MESSAGE = {"offset", "at", "customer", "identified", "role", "other", "moved"}
"""The fields of the event that its receiver applies which `InternalMessage` has, or implies."""


def full_event() -> Event:
    """Return an event with another value in each field, as its receiver applies it."""
    return Event(
        Source.ORDERS, 1, 2, 3, 4, "customer", True, "event-id", "type", "session", "cart", "checkout", "product",
        "category", 5, 6, "order", "store", 7, "channel", "coupon", "EUR", (Item("item", "c", 8, "CHF", 9),),
        {"property": 10}, EVENT, "device",
    )  # fmt: skip


def test_payload_has_the_fields_of_an_event_in_its_order() -> None:
    fields = [field.name for field in dataclasses.fields(Event)]
    assert set(fields) > OF_THE_MESSAGE
    assert list(EventPayload.__struct_fields__) == [name for name in fields if name not in OF_THE_MESSAGE]


def test_event_arrives_with_every_field() -> None:
    event = full_event()
    message = InternalMessage(
        stream=1, number=event.offset, cause=InputId(-1), offset=0, role=EVENT, at=event.at, customer="customer",
        other="device", event=payload_of(event),
    )  # fmt: skip
    assert event_of_message(message, 100) == event
