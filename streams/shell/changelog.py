"""Writing a partition's changelog: one batch after another, then a marker record in a batch of its own.

The marker ends each flush. Its append time is the broker's clock, against which the worker's is held. It has a batch of
its own because the embedded broker tells the end of a partition by the start of the last batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, NamedTuple

from streams.shell.batches import batches
from streams.shell.marks import MARKER_KEY

LOG_APPEND_TIME = 1

Change = tuple[bytes, bytes | None]
"""Key and value; None deletes."""


class Flush(NamedTuple):
    """Where a flush came to lie in the changelog."""

    first: int
    last: int
    """Offset of the marker."""
    whole: bool
    """Nobody else's records lie between, and none twice."""


class Changelog:
    """The changelog of one partition. Used by its task at each commit."""

    def __init__(
        self,
        producer: Callable[[], Any],
        topic: str,
        partition: int,
        *,
        clock: Callable[[], int],
        on_written: Callable[[int], None],
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._partition = partition
        self._clock = clock
        self._on_written = on_written
        self.skew: int | None = None
        """The worker's clock less the broker's at the last write, ms: 0 if the append time lies within the time the
        write took. None before the first write, and where the topic does not keep append times."""

    async def write(self, changes: Iterable[Change], marker: bytes) -> Flush:
        """Write changes and marker; returns when the broker has all of it. Raises what a send has failed with."""
        producer = self._producer()
        filled = list(batches(producer.create_batch, changes, _append, self._too_large))  # all, before any is sent
        offsets = []
        for batch, contents in filled:
            sent = await (await producer.send_batch(batch, self._topic, partition=self._partition))
            offsets.append((sent.offset, len(contents)))
        last = producer.create_batch()
        _append(last, (MARKER_KEY, marker))
        began = self._clock()
        metadata = await (await producer.send_batch(last, self._topic, partition=self._partition))
        ended = self._clock()
        if metadata.timestamp_type == LOG_APPEND_TIME:
            self.skew = max(0, began - metadata.timestamp) or min(0, ended - metadata.timestamp)
        offsets.append((metadata.offset, 1))
        self._on_written(metadata.offset)
        whole = all(first + records == following for (first, records), (following, _) in pairwise(offsets))
        return Flush(offsets[0][0], metadata.offset, whole)

    def _too_large(self, change: Change) -> str:
        return f"a profile of {len(change[1] or b'')} bytes does not fit a batch of {self._topic}"


def _append(batch: Any, change: Change) -> object:
    return batch.append(key=change[0], value=change[1], timestamp=None)
