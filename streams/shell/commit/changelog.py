"""The writer of a partition's changelog: one batch after another, then the commit marker.

The marker ends each flush. Its append time is that of the broker's clock, with which the worker's clock is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, pairwise
from typing import Any, NamedTuple

from streams.shell.commit.batches import batches
from streams.shell.commit.metadata import MARKER_KEY

LOG_APPEND_TIME = 1

Change = tuple[bytes, bytes | None]
"""Key and value; None deletes."""


class Flush(NamedTuple):
    """The place of a flush in the changelog."""

    first: int
    """Offset of its first record."""
    last: int
    """Offset of the marker."""
    whole: bool
    """True if the flush is contiguous: it has no record twice, and no other writer's record lies within."""


class Changelog:
    """The changelog of one partition. Used by its task at each commit."""

    def __init__(
        self,
        producer: Callable[[], Any],
        topic: str,
        partition: int,
        *,
        clock: Callable[[], int],
        separate_marker: bool = True,
    ) -> None:
        """`separate_marker`: the marker has a batch of its own, because the embedded broker takes the start of the last
        batch for the end of a partition.
        """
        self._producer = producer
        self._topic = topic
        self._partition = partition
        self._clock = clock
        self._separate_marker = separate_marker
        self.skew: int | None = None
        """Skew that the last write showed, see `skew_of`. None before the first write, and where the topic keeps no
        append times."""

    async def write(self, changes: Iterable[Change], marker: bytes) -> Flush:
        """Write changes and marker. Return when the broker has all of it. Raise what a send failed with."""
        producer = self._producer()
        ending = (MARKER_KEY, marker)
        records = changes if self._separate_marker else chain(changes, [ending])
        filled = list(batches(producer.create_batch, records, _append, self._too_large))  # all, before any is sent
        if self._separate_marker:
            marker_batch = producer.create_batch()
            _append(marker_batch, ending)
            filled.append((marker_batch, [ending]))
        offsets = []
        for batch, contents in filled:
            began = self._clock()
            metadata = await (await producer.send_batch(batch, self._topic, partition=self._partition))
            offsets.append((metadata.offset, len(contents)))
        if (skew := skew_of(metadata, began, self._clock())) is not None:
            self.skew = skew
        whole = all(first + records == following for (first, records), (following, _) in pairwise(offsets))
        return Flush(offsets[0][0], offsets[-1][0] + offsets[-1][1] - 1, whole)

    def _too_large(self, change: Change) -> str:
        return f"a profile of {len(change[1] or b'')} bytes does not fit a batch of {self._topic}"


def skew_of(metadata: Any, began: int, ended: int) -> int | None:
    """Return the worker's clock less the broker's, ms: 0 if the append time of an acknowledged batch (`metadata`) lies
    within the time that its sending took. None where the topic does not keep append times.
    """
    if metadata.timestamp_type != LOG_APPEND_TIME:
        return None
    appended: int = metadata.timestamp
    return max(0, began - appended) or min(0, ended - appended)


def _append(batch: Any, change: Change) -> object:
    return batch.append(key=change[0], value=change[1], timestamp=None)
