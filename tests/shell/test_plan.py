"""`lifecycle plan` counts moves by track and stage, and a starting worker does not wait for all of them."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streams import playbooks
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.lifecycle.playbook import Playbook
from streams.core.lifecycle.stages import Stages
from streams.core.model.event import Event
from streams.core.profile.codec import pack
from streams.errors import UserError
from streams.settings import Settings
from streams.shell.commit.agreement import playbook_fingerprint
from streams.shell.worker import plan
from tests.support.customer_history import DAY, T0, click, order

FULL = playbooks.load("ecommerce-full")
DEFAULT = playbooks.load("ecommerce")
SECOND = playbooks.parse(
    "playbook: ecommerce-full\nversion: 2\ntracks: {lifecycle: {initial: visitor, transitions: []}}"
)
NAMESPACE = uuid.UUID(int=1)


def packed(playbook: Playbook, *events: Event) -> bytes:
    lifecycle = Lifecycle(playbook)
    profile = lifecycle.new("c-1", True)
    for event in events:
        lifecycle.apply(profile, event, [], Counter())
    return pack(profile)


BUYER = packed(FULL, order(0, "o-1", total=20_000))
SUBSCRIBER = packed(FULL, click(0, "subscription_started"))


def counted(playbook: Playbook, *records: bytes) -> plan.Moves:
    return plan.Moves().count(Stages(playbook, NAMESPACE), records, T0 + DAY)


def test_customers_move_by_track_and_stage() -> None:
    moves = counted(DEFAULT, BUYER, SUBSCRIBER, SUBSCRIBER)
    assert (moves.customers, moves.moving) == (3, 3)
    assert moves.by_stage["subscription", "subscriber", None] == 2
    assert moves.by_stage["tier", "silver", None] == 1
    assert not any(track == "lifecycle" for track, _, _ in moves.by_stage)
    shown = list(plan.lines(moves, 1))
    assert shown[0] == "Of 3 customers, 0 stay in their stages, and 3 move."
    assert "  subscription  subscriber -> (none)  2" in shown


def test_own_playbook_moves_nobody() -> None:
    assert list(plan.lines(counted(FULL, BUYER, SUBSCRIBER), 1)) == [
        "Of 2 customers, 2 stay in their stages, and 0 move."
    ]


class Group:
    """A group whose second partition cannot be read."""

    numbers = range(2)

    def __init__(self, committed: str) -> None:
        self.committed = committed

    async def fingerprints(self) -> list[str]:
        return [self.committed]

    async def profiles(self, number: int) -> dict[bytes, bytes]:
        if number:
            await asyncio.Event().wait()
        return {b"cc-1": BUYER}


async def check(monkeypatch: pytest.MonkeyPatch, playbook: Playbook, accept: bool = False) -> list[str]:
    @asynccontextmanager
    async def open_group(settings: Settings) -> AsyncIterator[Any]:
        yield Group(playbook_fingerprint(FULL))

    monkeypatch.setattr(plan, "open_group", open_group)
    said: list[str] = []
    await plan.check(Settings(), playbook, accept=accept, say=said.append, at_most_s=0.2)
    return said


async def test_starting_worker_says_what_it_has_counted_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    said = await check(monkeypatch, SECOND)
    assert "counted is the move to ecommerce-full, version 2" in said[0]
    assert "`lifecycle plan` counts everything" in said[1]
    assert said[2] == "Of 1 customers in the first 1 of 2 partitions, 0 stay in their stages, and 1 move."
    assert "  lifecycle     customer -> visitor  1" in said


async def test_worker_of_the_same_playbook_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await check(monkeypatch, FULL) == []


async def test_worker_of_another_playbook_is_refused_unless_it_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="start once with --accept-playbook"):
        await check(monkeypatch, DEFAULT)
    assert "  tier          silver -> (none)  1" in await check(monkeypatch, DEFAULT, accept=True)
