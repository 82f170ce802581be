"""One engine without Kafka: its single partition holds all customers, and its internal messages come back to it.

Used by the replay, the backtest and scenarios. The tasks of a worker exchange internal messages over the repartition
topic. The outputs are the same, however many tasks there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from streams.core.engine.config import EngineConfig
from streams.core.engine.partition_engine import PartitionEngine
from streams.core.event_time.inputs import MESSAGE_STREAMS, message_rank
from streams.core.identity.aliases import PART_BYTES, event_of_message, parts_of
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.event import Event, Source
from streams.core.model.outputs import Effects, Output
from streams.core.model.sources import Fetch, ProgressReport, RepartitionedRecord, SourceSpec

END: Final = 1 << 60
"""A time after all others, ms."""

CommitResult = tuple[Effects, list[Output]]
"""Effects of a call, and the outputs that waited for a commit."""


class SingleEngine:
    """An engine with its own log of internal messages. Only the caller moves time."""

    def __init__(self, lifecycle: Lifecycle, *, identity_resolution: bool, event_time_ordering: bool) -> None:
        """`identity_resolution`, `event_time_ordering`: the settings of these names."""
        self.engine = PartitionEngine(
            lifecycle,
            EngineConfig(
                sources=dict.fromkeys(Source, SourceSpec(delay=0)),
                tasks=1 if identity_resolution else 0,
                event_time_ordering=event_time_ordering,
            ),
        )
        self._identity_resolution = identity_resolution
        self._last = [-1] * MESSAGE_STREAMS
        self._position = 0

    def ingest(self, source: Source, events: list[Event], position: int, now: int) -> Effects:
        """Call `PartitionEngine.ingest` with the events, and with their parts if identities are resolved."""
        return self.engine.ingest(
            source, list(self._with_parts(events)) if self._identity_resolution else events, position, now
        )

    def advance(self, now: int, ended: Mapping[Source, Fetch]) -> Effects:
        """Call `PartitionEngine.advance`."""
        return self.engine.advance(now, ended)

    def complete(self, before: int = END) -> None:
        """Call `PartitionEngine.complete`. By default, no further event comes at all."""
        self.engine.complete(before)

    def commit(self, now: int, ended: Mapping[Source, Fetch]) -> Iterator[CommitResult]:
        """Commit and deliver internal messages until there are no messages and no new progress. Yield each result."""
        reported: list[object] = []
        while True:
            snapshot = self.engine.snapshot()
            if snapshot is not None:
                yield Effects.none(), snapshot.outputs
            if not self._identity_resolution:
                return
            received: list[RepartitionedRecord | ProgressReport] = []
            for message in () if snapshot is None else snapshot.messages:
                stream, event = message.stream, event_of_message(message, PART_BYTES)
                received.append(
                    RepartitionedRecord(message_rank(stream), 0, message.number, self._last[stream], [event])
                )
                self._last[stream] = message.number
            self.engine.messages_sent()
            reports = [self.engine.report(message_rank(stream)) for stream in range(MESSAGE_STREAMS)]
            if not received and reports == reported:
                return
            reported = list(reports)
            for stream, (progress, caught_up_at) in enumerate(reports):
                last = self._last[stream]
                received.append(ProgressReport(message_rank(stream), 0, last, progress, caught_up_at, None))
            first, self._position = self._position, self._position + len(received)
            yield self.engine.receive(enumerate(received, first), self._position, now), []
            yield self.engine.advance(now, ended), []

    @staticmethod
    def _with_parts(events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            yield event
            yield from parts_of(event)
