"""Sends records and messages that belong to other tasks over the repartition topic, and reports this task's progress.

A receiver buffers each of them until every other upstream partition has come as far. To bound these buffers, a task
reads no further while more than a limit of bytes that it sent lie ahead of the slowest source. The slowest source is
never paused by this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from streams.contracts.repartition import PROGRESS, encode_message, encode_parts, encode_reports, forwarding_header
from streams.core.event_time.inputs import FIRST_MESSAGES, MESSAGE_STREAMS
from streams.core.event_time.watermark import SourceProgress
from streams.core.model.event import Event, Source
from streams.core.model.internal_messages import InternalMessage
from streams.core.model.sources import ProgressReport, Rank
from streams.shell.commit.guarantee import OutputChannel
from streams.shell.commit.outbox import OutgoingRecord

BEHIND_MS = 50
CHANGED_MS = 200
PER_PARTITION_MS = 10
"""Least time between two reports when records have moved the progress: `BEHIND_MS` while other tasks wait for it, else
`CHANGED_MS`, and at least `PER_PARTITION_MS` for each receiving partition."""
REPEAT_MS = 1_000
"""Time between two reports if only time has passed. A task that receives none for `FETCH_FRESH` concludes nothing from
silence."""

RUN_CHARACTERS = 32 << 10
"""A run of parts ends when its ids and types have so many characters: it then fits a batch, also with escapes."""


class ProgressSource(Protocol):
    """The progress of the sources that a task reads: the engine of a partition task, or a repartition task."""

    def progress(self, source: Source) -> SourceProgress:
        """Return a source's progress, which is not to be changed."""

    def report(self, rank: Rank, /) -> tuple[int | None, int | None]:
        """Return the progress to report of a source or a message stream, and the time (ms) as of which it is caught up;
        None where that is not known.
        """

    def slowest(self) -> int | None:
        """Return the least progress of the sources that the task reads."""

    def slowest_anywhere(self) -> int | None:
        """Return the least progress of any source, as far as is known."""


class Forwarded(NamedTuple):
    """Numbers of records and parts that were forwarded."""

    records: int
    parts: int


class _Run:
    """Parts for one partition, sent as one record. All parts of one offset are in one run, since receivers know by
    offsets what they have taken.
    """

    def __init__(self) -> None:
        self.parts: list[Event] = []
        self.characters = 0

    def add(self, part: Event) -> None:
        self.parts.append(part)
        self.characters += len(part.customer) + len(part.other or "") + len(part.event_id) + len(part.type)


class Forwarder:
    """The forwarder of one task, from its start to its end."""

    def __init__(
        self,
        progress: ProgressSource,
        channel: OutputChannel,
        topic: str,
        number: int,
        others: Collection[int],
        sources: Iterable[Source],
        *,
        streams: bool = False,
    ) -> None:
        """`number` is the partition that is read, `others` the partitions of the topic that may be forwarded to. With
        `streams`, internal messages are sent too, also to `number` itself.
        """
        self._progress = progress
        self._channel = channel
        self._topic = topic
        self._number = number
        self.behind = False
        """True if, by the last report, other tasks wait for the next records."""
        self._behind_ms, self._changed_ms = (
            min(REPEAT_MS, max(least, len(others) * PER_PARTITION_MS)) for least in (BEHIND_MS, CHANGED_MS)
        )
        self._others = others
        self._sources = tuple(sources)
        self._streams = tuple(range(FIRST_MESSAGES, FIRST_MESSAGES + MESSAGE_STREAMS)) if streams else ()
        receivers = [*others, number] if streams else others
        # Everything sent before the start is on the topic: offsets are committed only behind acknowledged records.
        self._last: dict[int, dict[int, int]] = {source: dict.fromkeys(others, -1) for source in self._sources}
        self._last |= {stream: dict.fromkeys(receivers, -1) for stream in self._streams}
        self._ahead: dict[int, deque[tuple[int, int]]] = {rank: deque() for rank in self._last}
        """Event time and bytes of records that may still wait for slower sources, by rank."""
        self._bytes = dict.fromkeys(self._last, 0)
        self._last_report: list[object] = []
        self._reported_at = 0

    def forward(self, source: Source, misplaced: Iterable[tuple[Any, Event, int]]) -> Forwarded:
        """Forward the misplaced records of a chunk, see `streams.contracts.native.MisplacedRecord`."""
        last, size, records, parts, latest = self._last[source], 0, 0, 0, 0
        runs: dict[int, _Run] = {}
        for record, event, to in misplaced:
            if record is None:
                parts += 1
                run = runs.get(to)
                if run is None:
                    run = runs[to] = _Run()
                elif run.characters > RUN_CHARACTERS and event.offset > run.parts[-1].offset:
                    self._end_run(source, to, run)
                    run = runs[to] = _Run()
                run.add(event)
            else:
                records += 1
                self._end_run(source, to, runs.pop(to, None))  # the run goes before the record
                header = forwarding_header(source, self._number, record.offset, last[to], record.timestamp)
                last[to] = record.offset
                headers = [*record.headers, header]
                self._channel.put(OutgoingRecord(self._topic, record.key, record.value, headers, partition=to))
            size += event.size
            latest = max(latest, event.at)
        for to, run in runs.items():
            self._end_run(source, to, run)
        if size:
            self._note_sent(source, latest, size)
        return Forwarded(records, parts)

    def message(self, message: InternalMessage, to: int) -> OutgoingRecord:
        """Return the record of a message for a partition. Put it at once: messages go in the order of their numbers."""
        stream = FIRST_MESSAGES + message.stream
        last = self._last[stream]
        header, value = encode_message(message, self._number, last[to])
        last[to] = message.number
        self._note_sent(stream, message.at, len(value))
        return OutgoingRecord(self._topic, message.customer.encode(), value, [header], partition=to)

    def ahead_bytes(self, source: Source) -> int:
        """Return the bytes of forwarded records of the source, and of messages, ahead of the slowest source."""
        slowest, total = self._progress.slowest_anywhere(), 0
        for rank in (source, *self._streams):
            ahead = self._ahead[rank]
            while ahead and slowest is not None and ahead[0][0] <= slowest:
                self._bytes[rank] -= ahead.popleft()[1]
            total += self._bytes[rank]
        return total

    def report(self, now: int, *, at_once: bool = False) -> bool:
        """Report the task's progress, if it is time to, or `at_once`. Return True if it was reported.

        The reports go behind everything that was forwarded so far.
        """
        since = now - self._reported_at
        if not at_once and 0 <= since < (self._behind_ms if self.behind else self._changed_ms):
            return False
        source_progress = self._progress
        reports = {rank: source_progress.report(Rank(rank)) for rank in self._last}
        content: list[object] = []
        for source in self._sources:
            content.append((source_progress.progress(source).newest, reports[source][1] is None))
        for stream in self._streams:  # if it is caught up, its progress moves with time alone
            progress, caught_up_at = reports[stream]
            content.append((progress if caught_up_at is None else None, *self._last[stream].values()))
        if not at_once and content == self._last_report and 0 <= since < REPEAT_MS:
            return False
        self._last_report, self._reported_at = content, now
        self.behind = any(caught_up_at is None for _, caught_up_at in reports.values())
        for record in self._report_records(reports):
            self._channel.put(record)
        return True

    def report_messages(self) -> Iterator[OutgoingRecord]:
        """Return the progress reports of the message streams, to be put behind messages: other tasks wait for both."""
        return self._report_records({stream: self._progress.report(Rank(stream)) for stream in self._streams})

    def _report_records(self, reports: Mapping[int, tuple[int | None, int | None]]) -> Iterator[OutgoingRecord]:
        slowest = self._progress.slowest()
        for to in [*self._others, self._number] if self._streams else self._others:
            of_partition = [
                ProgressReport(Rank(rank), self._number, self._last[rank][to], *of_rank, slowest)
                for rank, of_rank in reports.items()
                if to in self._last[rank]
            ]
            yield OutgoingRecord(self._topic, None, encode_reports(of_partition), [(PROGRESS, b"")], partition=to)

    def _end_run(self, source: Source, to: int, run: _Run | None) -> None:
        if run is None:
            return
        last = self._last[source]
        header, value = encode_parts(source, self._number, last[to], run.parts)
        last[to] = run.parts[-1].offset
        self._channel.put(OutgoingRecord(self._topic, None, value, [header], partition=to))

    def _note_sent(self, rank: int, at: int, size: int) -> None:
        self._ahead[rank].append((at, size))
        self._bytes[rank] += size
