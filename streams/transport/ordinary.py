"""Ordinary topics beside chunked ones, at a rebalance: no record is skipped, and what was done is not done again.

Else they go Faust's own way, with its guarantee: at least once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Any

from faust.types import TP

from streams.transport.patience import patiently

log = logging.getLogger(__name__)


async def commit(consumer: Any) -> None:
    """Called when a rebalance begins: commit what agents have done, which Faust then forgets. They begin nothing more.

    A broker that is away is waited for as long as a member may take for a rebalance.
    """
    if not consumer._acked:
        return
    app = consumer.app
    app.flow_control.suspend()
    app.flow_control.clear()
    try:
        async with asyncio.timeout(app.conf.broker_rebalance_timeout):
            await consumer.maybe_wait_for_commit_to_finish()  # which began before the last of it was done
            await consumer.force_commit()
    except TimeoutError:
        log.warning("What was done of ordinary topics could not be committed in time: it will be done again")


async def seek(consumer: Any, tps: Collection[TP]) -> None:
    """Called when the tables are recovered: read from what the group has committed, or from the beginning.

    A poll of before the rebalance may have moved the consumer on, and what it brought was dropped.
    """
    if not tps:
        return
    committed = await patiently(consumer.committed_offsets, tps)
    fresh = [tp for tp in tps if tp not in committed]
    starts = dict(await patiently(consumer.earliest_offsets, *fresh)) if fresh else {}
    starts |= {tp: offset.offset for tp, offset in committed.items()}
    await consumer.seek_wait(starts)
    consumer._committed_offset.update({tp: offset.offset or None for tp, offset in committed.items()})
