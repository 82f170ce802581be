"""Polls of one thread are answered by another: nothing is lost or taken twice, in any order of events."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Collection

import pytest
from faust.types import TP

from streams.transport.handover import Handover, Records

CLICKS = TP("clicks", 0)
LONG = 60.0


def nothing() -> bool:
    return False


def take(partitions: Collection[TP]) -> Records:
    return {tp: ["a record"] for tp in partitions}


def take_nothing(partitions: Collection[TP]) -> Records:
    raise AssertionError("nobody waits")


def fail(partitions: Collection[TP]) -> Records:
    raise KeyError("not authorised")


async def waiting(handover: Handover, timeout: float = LONG) -> asyncio.Task[Records | None]:
    poll = asyncio.create_task(handover.poll({CLICKS}, timeout, nothing))
    await asyncio.sleep(0)
    return poll


async def test_a_poll_that_waits_is_answered_by_what_arrives() -> None:
    handover = Handover()
    poll = await waiting(handover)
    await asyncio.to_thread(handover.arrived, take)
    assert await poll == {CLICKS: ["a record"]}
    handover.arrived(take_nothing)  # and answered once


async def test_records_that_arrive_without_a_poll_are_not_taken() -> None:
    handover = Handover()
    handover.arrived(take_nothing)
    assert await handover.poll({CLICKS}, LONG, lambda: True) is None
    handover.arrived(take_nothing)


async def test_poll_without_records_ends_after_its_timeout() -> None:
    handover = Handover()
    assert await handover.poll({CLICKS}, 0.001, nothing) == {}
    handover.arrived(take_nothing)


async def test_records_taken_as_a_poll_gives_up_are_not_lost() -> None:
    handover = Handover()

    def meanwhile() -> bool:
        handover.arrived(take)
        return True

    assert await handover.poll({CLICKS}, LONG, meanwhile) == {CLICKS: ["a record"]}


async def test_error_of_a_fetch_is_raised_by_the_poll() -> None:
    handover = Handover()
    poll = await waiting(handover)
    await asyncio.to_thread(handover.arrived, fail)
    with pytest.raises(KeyError, match="not authorised"):
        await poll


@pytest.mark.parametrize("outcome", [take, fail])
async def test_a_poll_that_is_cancelled_is_answered_no_more(outcome: object) -> None:
    handover = Handover()
    poll = await waiting(handover)
    poll.cancel()
    await asyncio.wait({poll})
    handover.arrived(take_nothing)
    poll = await waiting(handover)
    handover.arrived(outcome)  # type: ignore[arg-type]  # its answer is on the way
    poll.cancel()
    await asyncio.wait({poll})
    assert poll.cancelled()


async def test_a_poll_that_fails_is_answered_no_more() -> None:
    def unsound() -> bool:
        raise RuntimeError("mutated during iteration")

    handover = Handover()
    with pytest.raises(RuntimeError):
        await handover.poll({CLICKS}, LONG, unsound)
    handover.arrived(take_nothing)


def test_arrival_for_a_closed_loop_does_not_end_the_consumer_thread() -> None:
    handover = Handover()

    async def die() -> None:
        await waiting(handover)
        asyncio.get_running_loop().stop()

    loop = asyncio.new_event_loop()
    dying = loop.create_task(die())
    loop.run_forever()
    loop.close()
    taken: list[Collection[TP]] = []

    def take_and_note(partitions: Collection[TP]) -> Records:
        taken.append(partitions)
        return {}

    handover.arrived(take_and_note)
    assert taken == [{CLICKS}]
    assert dying.done()


async def test_two_threads_that_meet_in_any_order_lose_nothing() -> None:
    """Each record of the other thread arrives once, and in order."""
    handover, number = Handover(), 20_000
    there: deque[int] = deque()
    lock = threading.Lock()  # as the consumer's thread takes on its own event loop, one thing after another

    def take_all(partitions: Collection[TP]) -> Records:
        with lock:
            return {CLICKS: [there.popleft() for _ in range(len(there))]}

    def produce() -> None:
        for n in range(number):
            there.append(n)
            handover.arrived(take_all)

    producing = asyncio.create_task(asyncio.to_thread(produce))
    got: list[int] = []
    polls = 0
    while len(got) < number:
        polls += 1
        records = await handover.poll({CLICKS}, 0.0001 * (polls % 3), lambda: bool(there))
        if records is None:
            records = await asyncio.to_thread(take_all, {CLICKS})
        got += records.get(CLICKS, [])
    await producing
    assert got == list(range(number))
