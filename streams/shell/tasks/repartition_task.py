"""A repartition task reads one partition of an input topic that has another number of partitions than there are tasks.
Every record is forwarded to the partition task of its customer.

It has no state. Its offset is committed behind what it forwarded, and the partition tasks know what they have applied.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from faust.types import TP

from streams.contracts.native import Decoder, MisplacedRecord
from streams.contracts.partitioning import Partitioner
from streams.contracts.rejected import Rejected
from streams.core.engine.partition_engine import LABELS
from streams.core.event_time.watermark import SourceProgress
from streams.core.identity.aliases import home_key, parts_of
from streams.core.model.event import Source
from streams.core.model.sources import Fetch, Rank, SourceSpec, StoredProgress
from streams.observe.prometheus import Metrics
from streams.observe.readings import RepartitionTaskReadings, SourceReadings
from streams.settings import Settings
from streams.shell.clock import ClockTrust
from streams.shell.commit.guarantee import Commit, Offsets, OnSent, OutputChannel
from streams.shell.commit.metadata import OffsetMetadata, encode
from streams.shell.tasks.dead_letters import DeadLetters
from streams.shell.tasks.forwarder import Forwarder
from streams.shell.tasks.task import Task
from streams.transport.chunks import Chunk


def name_of(source: Source, partition: int) -> str:
    """Return the name of a repartition task, also in its transactional id. No application id contains a slash."""
    return f"{LABELS[source]}/{partition}"


class RepartitionSnapshot(NamedTuple):
    """The offset up to which a repartition task has forwarded its partition."""

    offsets: Offsets
    channel: OutputChannel
    trust: ClockTrust

    async def write(self) -> Offsets:
        """Implement `TaskSnapshot.write`: what was forwarded is acknowledged with the offset, or before it."""
        as_of = self.trust.losses
        await self.channel.write(Commit(self.offsets))
        self.trust.judge(self.channel.skew, as_of)
        return self.offsets


class RepartitionTask(Task):
    """The repartitioning of one partition."""

    def __init__(
        self,
        source: Source,
        partition: int,
        *,
        decoder: Decoder,
        settings: Settings,
        spec: SourceSpec,
        position: int,
        stored: StoredProgress,
        taken: int,
        open_channel: Callable[[OnSent], OutputChannel],
        slowest_anywhere: Callable[[], int | None],
        metrics: Metrics,
        clock: Callable[[], int],
        topic_ids: Mapping[str, str],
    ) -> None:
        """`position` is the offset at which reading starts, `stored` the progress stored with it. `taken` is the last
        offset of the partition that tasks have applied, as far as the worker knows. `slowest_anywhere` returns the
        least progress of any source.
        """
        self.source = source
        self.partition = partition
        self.topic = settings.source_topics[source]
        super().__init__(
            {int(source): TP(self.topic, partition)},
            open_channel(lambda records: None),
            settings.max_buffer_bytes,
            metrics,
        )
        self.slowest_anywhere = slowest_anywhere
        self._label = LABELS[source]
        self._decoder = decoder
        self._settings = settings
        self._partitioner = Partitioner(settings.partitions, settings.partitioner)
        self._progress = SourceProgress(spec, position, stored)
        self._clock = clock
        self._topic_ids = topic_ids
        # Nothing leaves before the first commit, which also commits the first offset. So if tasks have records of a
        # partition without a committed offset, the offset was lost.
        self._channel.cut(outputs=True)
        self._dead_letters = DeadLetters(
            self._channel, metrics, settings.dead_letters_topic, self.topic, partition, self._label
        )
        self._forwarder = Forwarder(
            self, self._channel, settings.repartition_topic, partition, range(settings.partitions), [source]
        )
        self._taken = taken
        self._silence_counts = False
        self._changed = True

    # -- records in

    def process(self, source: Source, chunk: Chunk) -> None:
        """Decode a chunk of raw records, and forward each. See `Task.process`."""
        if not self._follows(source, chunk, self._progress.position):
            return
        started, began = self._clock(), time.perf_counter()
        if chunk.lost is not None:
            self._dead_letters.put_lost(chunk.lost, started)
        decoder = self._decoder
        decoded_before = decoder.counts.copy()
        misplaced: list[MisplacedRecord] = []
        for record in chunk:
            try:
                event = decoder.decode(
                    record.value, partition=self.partition, offset=record.offset, timestamp=record.timestamp
                )
            except Rejected as rejected:
                self._dead_letters.put(record, rejected)
                continue
            self._progress.observe(event.at, record.timestamp, started)
            home = self._partitioner.partition(event.customer.encode())
            misplaced.append((record, event, home))
            for part in parts_of(event) if self._settings.identity_resolution else ():
                home_of_part = self._partitioner.partition(home_key(part))
                if home_of_part != home:  # the task at `home` finds it in the record
                    misplaced.append((None, part, home_of_part))
        self._progress.position = chunk.next
        self._progress.reported_caught_up_at(started)
        self._changed = True
        if misplaced:
            self._metrics.forwarded(self._label, *self._forwarder.forward(self.source, misplaced))
        self._metrics.decoded(self._label, (decoder.counts - decoded_before).items())
        self._metrics.chunk(self._label, len(chunk), time.perf_counter() - began)

    def advance(self, fetches: Mapping[int, Fetch], silent: frozenset[Source]) -> None:
        """Let time pass, and report progress to the partition tasks. See `Task.advance`."""
        if self.closed:
            return
        fetch = fetches.get(self.source)
        if fetch is not None and not self._reaches(self.source, self._taken, fetch):
            fetch = None
        silence_counts = self.trust.given and self.source not in silent
        if silence_counts and not self._silence_counts:
            self._progress.distrust()
        self._silence_counts = silence_counts
        if fetch is not None and fetch.end >= self._progress.position:
            self._progress.observe_fetch(fetch)
        if self._forwarder.report(self._clock()):
            self._changed = True

    def _ahead_bytes(self, source: Source) -> int:
        return self._forwarder.ahead_bytes(source)

    # -- progress for the forwarder (`streams.shell.tasks.forwarder.ProgressSource`)

    def progress(self, source: Source) -> SourceProgress:
        """Implement `ProgressSource.progress`."""
        return self._progress

    def report(self, rank: Rank, /) -> tuple[int | None, int | None]:
        """Implement `ProgressSource.report`."""
        proves = self.trust.given or not self._settings.event_time_ordering
        return self.slowest(), self._progress.reported_caught_up_at(self._clock()) if proves else None

    def slowest(self) -> int | None:
        """Implement `ProgressSource.slowest`."""
        return self._progress.progress(self._clock(), silence_counts=self._silence_counts)

    # -- commits

    @property
    def must_commit(self) -> bool:
        return self._channel.full

    @property
    def forwards(self) -> bool:
        return True

    @property
    def awaited(self) -> bool:
        return self._forwarder.behind and self._channel.owes

    def snapshot(self, *, force: bool = False) -> RepartitionSnapshot | None:
        """Implement `Task.snapshot`. With `force` something is sent, whose acknowledgement shows the clock's skew."""
        if force:
            self._changed = self._forwarder.report(self._clock(), at_once=True)
        if not self._changed:
            return None
        self._changed = False
        self._channel.cut(outputs=False)
        metadata = OffsetMetadata(
            0, 0, self._progress.stored(None), topic_id=self._topic_ids.get(self.topic, ""), repartition_task=True
        )
        offsets = {(self.topic, self.partition): (self._progress.position, encode(metadata).decode())}
        return RepartitionSnapshot(offsets, self._channel, self.trust)

    # -- readings

    def position(self, source: Source) -> int:
        return self._progress.position

    def _read_positions(self) -> Mapping[int, int]:
        return {int(self.source): self._progress.position}

    def _done_positions(self) -> Mapping[int, int]:
        return self._read_positions()

    def readings(self) -> RepartitionTaskReadings:
        """Return the readings of the task for metrics."""
        progress = self._progress
        return RepartitionTaskReadings(
            self.partition,
            SourceReadings(
                self._label,
                progress.reached,
                progress.is_caught_up(self._clock()),
                progress.backfilling,
                self._forwarder.ahead_bytes(self.source),
            ),
        )
