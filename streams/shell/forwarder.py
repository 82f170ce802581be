"""What a task or a reader says to tasks on the activity topic: records that belong to them, and how far the sources
that it reads have come.

Whoever receives a record holds it until every other origin has come as far. So that nobody holds too much, a task reads
no further while it has more than a bound of bytes out that lie ahead of the slowest source there is: that one is never
held up by this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from typing import Any, Protocol

from streams.contracts.forwarding import PROGRESS, encode_reports, forwarding_header
from streams.core.activity import Activity, Source
from streams.core.sources import Report
from streams.core.watermark import SourceProgress
from streams.shell.guarantee import Delivery
from streams.shell.outbox import Record

CHANGED_MS = 200
PER_PARTITION_MS = 10
"""How often at most a task says how far its sources have come while records show that. It tells each partition."""
REPEAT_MS = 1_000
"""How often it says so if only time has passed. Who hears nothing for `FETCH_FRESH` takes no silence for granted."""


class Reached(Protocol):
    """Who knows how far the sources have come that are read here: the engine of a task, or a reader."""

    def progress(self, source: Source) -> SourceProgress:
        """A source's progress, to look at."""

    def report(self, source: Source) -> tuple[int | None, int | None]:
        """What to tell of a source: the time up to which it has spoken, and as of when it is drained."""

    def slowest(self) -> int | None:
        """The least progress of the sources that are read here."""

    def slowest_anywhere(self) -> int | None:
        """The least progress of any source, as far as is known."""


class Forwarder:
    """Of one task, or of one reader, from its start to its end."""

    def __init__(
        self,
        reached: Reached,
        delivery: Delivery,
        topic: str,
        number: int,
        others: Collection[int],
        sources: Iterable[Source],
    ) -> None:
        """`number` is the partition that is read, `others` those of the topic that may be forwarded to."""
        self._reached = reached
        self._delivery = delivery
        self._topic = topic
        self._number = number
        self._changed_ms = min(REPEAT_MS, max(CHANGED_MS, len(others) * PER_PARTITION_MS))
        self._others = others
        # What went before is known to be there: offsets are committed only behind what was acknowledged.
        self._last = {source: dict.fromkeys(self._others, -1) for source in sources}
        self._ahead: dict[Source, deque[tuple[int, int]]] = {source: deque() for source in self._last}
        """What may still wait for slower sources: event time, bytes."""
        self._bytes = dict.fromkeys(self._last, 0)
        self._told: list[object] = []
        self._told_at = 0

    def forward(self, source: Source, elsewhere: Iterable[tuple[Any, Activity, int]]) -> int:
        """Put the records of a chunk on their way, each to the partition that is given with it; how many there are."""
        last, size, count, latest = self._last[source], 0, 0, 0
        for record, activity, to in elsewhere:
            header = forwarding_header(source, self._number, record.offset, last[to], record.timestamp)
            last[to] = record.offset
            self._delivery.put(Record(self._topic, record.key, record.value, [*record.headers, header], partition=to))
            size += activity.size
            count += 1
            latest = max(latest, activity.at)
        if count:
            self._ahead[source].append((latest, size))
            self._bytes[source] += size
        return count

    def ahead_bytes(self, source: Source) -> int:
        """Bytes forwarded that lie ahead of the slowest source there is."""
        ahead, slowest = self._ahead[source], self._reached.slowest_anywhere()
        while ahead and slowest is not None and ahead[0][0] <= slowest:
            self._bytes[source] -= ahead.popleft()[1]
        return self._bytes[source]

    def report(self, now: int, *, at_once: bool = False) -> bool:
        """Say how far the sources have come, if it is time to, or `at_once`. Behind all that was forwarded so far.

        Whether it was said.
        """
        since = now - self._told_at
        if not at_once and 0 <= since < self._changed_ms:
            return False
        reached = self._reached
        shown = [(reached.progress(s).newest, reached.progress(s).drained_at() is None) for s in self._last]
        if not at_once and shown == self._told and 0 <= since < REPEAT_MS:
            return False
        self._told, self._told_at = list(shown), now
        slowest = reached.slowest()
        said = [(source, reached.report(source)) for source in self._last]
        for other in self._others:
            reports = [
                Report(source, self._number, self._last[source][other], progress, drained_at, slowest)
                for source, (progress, drained_at) in said
            ]
            self._delivery.put(Record(self._topic, None, encode_reports(reports), [(PROGRESS, b"")], partition=other))
        return True
