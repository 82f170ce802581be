"""What a task or a reader says to tasks on the activity topic: what belongs to them, and how far it has come.

Whoever receives something holds it until every other origin has come as far. So that nobody holds too much, a task
reads no further while it has more than a bound of bytes out that lie ahead of the slowest source there is: that one is
never held up by this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from streams.contracts.repartition import PROGRESS, encode_item, encode_parts, encode_reports, forwarding_header
from streams.core.event_time.inputs import FIRST_MESSAGES, MESSAGE_STREAMS
from streams.core.event_time.watermark import SourceProgress
from streams.core.model.event import Event, Source
from streams.core.model.internal_messages import InternalMessage
from streams.core.model.sources import ProgressReport
from streams.shell.commit.guarantee import OutputChannel
from streams.shell.commit.outbox import Record

BEHIND_MS = 50
CHANGED_MS = 200
PER_PARTITION_MS = 10
"""How often at most a task says how far it has come while records show that: while others wait for it, and else. It
tells each partition."""
REPEAT_MS = 1_000
"""How often it says so if only time has passed. Who hears nothing for `FETCH_FRESH` takes no silence for granted."""

RUN_CHARACTERS = 32 << 10
"""A run of parts ends when its ids and types are so long together: also with escapes, it then fits a batch."""


class ProgressSource(Protocol):
    """Who knows how far the sources have come that are read here: the engine of a task, or a reader."""

    def progress(self, source: Source) -> SourceProgress:
        """A source's progress, to look at."""

    def report(self, rank: int, /) -> tuple[int | None, int | None]:
        """What to tell of a source or a stream: the time up to which it has spoken, and as of when it is drained."""

    def slowest(self) -> int | None:
        """The least progress of the sources that are read here."""

    def slowest_anywhere(self) -> int | None:
        """The least progress of any source, as far as is known."""


class Sent(NamedTuple):
    """What was put on its way."""

    records: int
    parts: int


class _Run:
    """Parts for one partition, to be one record. Those of one offset are in one: what was taken is known by offsets."""

    def __init__(self) -> None:
        self.parts: list[Event] = []
        self.characters = 0

    def add(self, part: Event) -> None:
        self.parts.append(part)
        self.characters += len(part.customer) + len(part.other or "") + len(part.event_id) + len(part.type)


class Forwarder:
    """Of one task, or of one reader, from its start to its end."""

    def __init__(
        self,
        reached: ProgressSource,
        delivery: OutputChannel,
        topic: str,
        number: int,
        others: Collection[int],
        sources: Iterable[Source],
        *,
        streams: bool = False,
    ) -> None:
        """`number` is the partition that is read, `others` those of the topic that may be forwarded to. With `streams`
        items are passed on too, and to `number` as well."""
        self._reached = reached
        self._delivery = delivery
        self._topic = topic
        self._number = number
        self.behind = False
        """Whether, by what was said last, others are to wait for what comes next."""
        self._behind_ms, self._changed_ms = (
            min(REPEAT_MS, max(least, len(others) * PER_PARTITION_MS)) for least in (BEHIND_MS, CHANGED_MS)
        )
        self._others = others
        self._sources = tuple(sources)
        self._streams = tuple(range(FIRST_MESSAGES, FIRST_MESSAGES + MESSAGE_STREAMS)) if streams else ()
        everybody = [*others, number] if streams else others
        # What went before is known to be there: offsets are committed only behind what was acknowledged.
        self._last: dict[int, dict[int, int]] = {source: dict.fromkeys(others, -1) for source in self._sources}
        self._last |= {stream: dict.fromkeys(everybody, -1) for stream in self._streams}
        self._ahead: dict[int, deque[tuple[int, int]]] = {rank: deque() for rank in self._last}
        """What may still wait for slower sources: event time, bytes."""
        self._bytes = dict.fromkeys(self._last, 0)
        self._told: list[object] = []
        self._told_at = 0

    def forward(self, source: Source, elsewhere: Iterable[tuple[Any, Event, int]]) -> Sent:
        """Put what is of a chunk on its way, see `streams.contracts.native.MisplacedRecord`."""
        last, size, records, parts, latest = self._last[source], 0, 0, 0, 0
        runs: dict[int, _Run] = {}
        for record, activity, to in elsewhere:
            if record is None:
                parts += 1
                run = runs.get(to)
                if run is None:
                    run = runs[to] = _Run()
                elif run.characters > RUN_CHARACTERS and activity.offset > run.parts[-1].offset:
                    self._end_run(source, to, run)
                    run = runs[to] = _Run()
                run.add(activity)
            else:
                records += 1
                self._end_run(source, to, runs.pop(to, None))  # it goes before
                header = forwarding_header(source, self._number, record.offset, last[to], record.timestamp)
                last[to] = record.offset
                headers = [*record.headers, header]
                self._delivery.put(Record(self._topic, record.key, record.value, headers, partition=to))
            size += activity.size
            latest = max(latest, activity.at)
        for to, run in runs.items():
            self._end_run(source, to, run)
        if size:
            self._is_out(source, latest, size)
        return Sent(records, parts)

    def message(self, item: InternalMessage, to: int) -> Record:
        """The record of an item for a partition, to be put at once: items are sent in the order of their numbers."""
        stream = FIRST_MESSAGES + item.stream
        last = self._last[stream]
        header, value = encode_item(item, self._number, last[to])
        last[to] = item.number
        self._is_out(stream, item.at, len(value))
        return Record(self._topic, item.customer.encode(), value, [header], partition=to)

    def ahead_bytes(self, source: Source) -> int:
        """Bytes forwarded, of the source or passed on, that lie ahead of the slowest source there is."""
        slowest, most = self._reached.slowest_anywhere(), 0
        for rank in (source, *self._streams):
            ahead = self._ahead[rank]
            while ahead and slowest is not None and ahead[0][0] <= slowest:
                self._bytes[rank] -= ahead.popleft()[1]
            most += self._bytes[rank]
        return most

    def report(self, now: int, *, at_once: bool = False) -> bool:
        """Say how far the task or the reader has come, if it is time to, or `at_once`. Behind all that was forwarded so
        far. Whether it was said.
        """
        since = now - self._told_at
        if not at_once and 0 <= since < (self._behind_ms if self.behind else self._changed_ms):
            return False
        reached = self._reached
        said = {rank: reached.report(rank) for rank in self._last}
        shown: list[object] = []
        for source in self._sources:
            shown.append((reached.progress(source).newest, said[source][1] is None))
        for stream in self._streams:  # at the end of everything it moves with time alone
            progress, drained_at = said[stream]
            shown.append((progress if drained_at is None else None, *self._last[stream].values()))
        if not at_once and shown == self._told and 0 <= since < REPEAT_MS:
            return False
        self._told, self._told_at = shown, now
        self.behind = any(drained_at is None for _, drained_at in said.values())
        for record in self._reports(said):
            self._delivery.put(record)
        return True

    def report_items(self) -> Iterator[Record]:
        """The records that say how far the streams have come, to be put behind items: others wait for both."""
        return self._reports({stream: self._reached.report(stream) for stream in self._streams})

    def _reports(self, said: Mapping[int, tuple[int | None, int | None]]) -> Iterator[Record]:
        slowest = self._reached.slowest()
        for to in [*self._others, self._number] if self._streams else self._others:
            reports = [
                ProgressReport(rank, self._number, self._last[rank][to], *of_rank, slowest)
                for rank, of_rank in said.items()
                if to in self._last[rank]
            ]
            yield Record(self._topic, None, encode_reports(reports), [(PROGRESS, b"")], partition=to)

    def _end_run(self, source: Source, to: int, run: _Run | None) -> None:
        if run is None:
            return
        last = self._last[source]
        header, value = encode_parts(source, self._number, last[to], run.parts)
        last[to] = run.parts[-1].offset
        self._delivery.put(Record(self._topic, None, value, [header], partition=to))

    def _is_out(self, rank: int, at: int, size: int) -> None:
        self._ahead[rank].append((at, size))
        self._bytes[rank] += size
