"""Objects made from the settings."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from streams import deployment
from streams.contracts.rejected import Rejected
from streams.core.model.currencies import PRICE_UNIT
from streams.core.model.event import Source
from streams.core.model.policy import Policy
from streams.core.rules import Type
from streams.settings import Settings

AT = 1_795_255_200_000


def test_decoders_follow_the_settings_and_the_playbook() -> None:
    settings = Settings(max_future_skew=1_000, currency="JPY")
    playbook = msgspec.structs.replace(deployment.load_playbook(settings), properties={"score": Type.NUMBER})
    decoder = deployment.decoders(settings, playbook)[Source.CLICKSTREAM]
    event = {"type": "mine", "customer_id": "a", "occurred_at": AT, "price": 5, "properties": {"score": 7}}
    value = json.dumps(event).encode()
    activity = decoder.decode(value, partition=0, offset=0, timestamp=AT - 1_000)
    assert (activity.price, activity.currency, activity.properties) == (5 * PRICE_UNIT, "JPY", {"score": 7})
    with pytest.raises(Rejected, match="clock_skew"):
        decoder.decode(value, partition=0, offset=0, timestamp=AT - 1_001)


def test_policy_of_the_playbook_has_the_numbers_of_the_settings() -> None:
    given: dict[str, Any] = {"currency": "USD", "lateness": 7, "device_expiry": 8, "cart_id_expiry": 9}
    settings = Settings(**given)
    assert deployment.load_playbook(settings).policy == Policy(**given)
    assert deployment.load_playbook(settings, "ecommerce").policy == Policy(**given)


def test_ids_are_read_as_the_settings_say() -> None:
    settings = Settings(id_case="fold", id_placeholders=("+shop", "-guest"))
    decoder = deployment.decoders(settings, deployment.load_playbook(settings))[Source.CLICKSTREAM]
    event = {"type": "page_viewed", "customer_id": " Ann@Shop.Example ", "anonymous_id": "guest", "occurred_at": AT}
    found = [
        decoder.decode(json.dumps(event | {"customer_id": name}).encode(), partition=0, offset=0, timestamp=AT).customer
        for name in (event["customer_id"], "SHOP")
    ]
    assert found == ["ann@shop.example", "guest"]
