"""An engine that is all there is: one partition holds everybody, and what it passes on comes back to it.

Whoever runs one without Kafka does: `play` and `scenario`. A worker sends items by the activity topic, each task to
all; how many there are makes no difference to what comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from streams.core.engine.config import EngineConfig
from streams.core.engine.partition_engine import PartitionEngine
from streams.core.event_time.inputs import FIRST_MESSAGES, MESSAGE_STREAMS
from streams.core.identity.aliases import PART_BYTES, event_of_message, parts_of
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.event import Event, Source
from streams.core.model.outputs import Effects, Output
from streams.core.model.sources import Fetch, ProgressReport, RepartitionedRecord, SourceSpec

END: Final = 1 << 60
"""Later than all times, ms."""

Made = tuple[Effects, list[Output]]
"""What a call did at once, and the outputs that waited for a commit."""


class Alone:
    """The engine with its own log of items. No time passes but what it is told."""

    def __init__(self, lifecycle: Lifecycle, *, identity_resolution: bool, event_time_ordering: bool) -> None:
        """`linking`: whether it is found out whose an anonymous id is. `by_time`: see `PartitionEngine`."""
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

    def apply(self, source: Source, events: list[Event], position: int, now: int) -> Effects:
        """As `PartitionEngine.apply`, of events alone."""
        return self.engine.apply(
            source, list(self._with_parts(events)) if self._identity_resolution else events, position, now
        )

    def advance(self, now: int, ended: Mapping[Source, Fetch]) -> Effects:
        """As `PartitionEngine.advance`."""
        return self.engine.advance(now, ended)

    def complete(self, before: int = END) -> None:
        """As `PartitionEngine.complete`; by default nothing more comes at all."""
        self.engine.complete(before)

    def commit(self, now: int, ended: Mapping[Source, Fetch]) -> Iterator[Made]:
        """Take what waits for a commit, and hand items on until nothing comes of it any more."""
        told: list[object] = []
        while True:
            snapshot = self.engine.snapshot()
            if snapshot is not None:
                yield Effects.none(), snapshot.outputs
            if not self._identity_resolution:
                return
            news: list[RepartitionedRecord | ProgressReport] = []
            for item in () if snapshot is None else snapshot.messages:
                stream, activity = item.stream, event_of_message(item, PART_BYTES)
                news.append(
                    RepartitionedRecord(FIRST_MESSAGES + stream, 0, item.number, self._last[stream], [activity])
                )
                self._last[stream] = item.number
            self.engine.messages_sent()
            said = [self.engine.report(FIRST_MESSAGES + stream) for stream in range(MESSAGE_STREAMS)]
            if not news and said == told:
                return
            told = list(said)
            for stream, (progress, drained_at) in enumerate(said):
                news.append(ProgressReport(FIRST_MESSAGES + stream, 0, self._last[stream], progress, drained_at, None))
            first, self._position = self._position, self._position + len(news)
            yield self.engine.receive(enumerate(news, first), self._position, now), []
            yield self.engine.advance(now, ended), []

    @staticmethod
    def _with_parts(events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            yield event
            yield from parts_of(event)
