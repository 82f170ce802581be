"""A partition task: it runs one engine, decodes its inputs, sends its outputs, and makes its commits.

All changes of its state happen in `process`, `receive`, `erase`, `advance` and `snapshot`, none of which awaits. The
clock and the producer are given, so that tests drive them.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping

from faust.types import TP

from streams import deployment
from streams.contracts import erasures
from streams.contracts.native import MisplacedRecord
from streams.contracts.partitioning import Partitioner
from streams.contracts.repartition import RepartitionDecoder
from streams.core.engine.partition_engine import LABELS, RANK_LABELS, PartitionEngine
from streams.core.event_time.inputs import ERASURES, REPARTITION
from streams.core.identity.shared_ids import SharedId
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.event import Source
from streams.core.model.outputs import Effects, Output
from streams.core.model.sources import Erasure, Fetch
from streams.core.store.task_state import record_key
from streams.observe.prometheus import Metrics
from streams.observe.readings import SourceReadings, TaskReadings
from streams.settings import Settings
from streams.shell.commit.agreement import playbook_fingerprint
from streams.shell.commit.guarantee import OnSent, OutputChannel
from streams.shell.faults import PartitionsAdded
from streams.shell.tasks.dead_letters import DeadLetters
from streams.shell.tasks.forwarder import Forwarder
from streams.shell.tasks.output_records import OutputRecords
from streams.shell.tasks.partition_commits import PartitionCommits, PartitionSnapshot
from streams.shell.tasks.partition_state import PartitionState
from streams.shell.tasks.task import Task
from streams.transport.chunks import Chunk

log = logging.getLogger(__name__)

LIVE_MS = 60_000
"""Deadlines fire live while the watermark is this close to the present. In a catch-up all of them fire late, so their
delays are not measured."""
SLICE = 256
"""Records decoded before they are applied: few enough to be still in the processor's cache then."""


class PartitionTask(Task):
    """The processing of one partition number."""

    def __init__(
        self,
        number: int,
        engine: PartitionEngine,
        state: PartitionState,
        lifecycle: Lifecycle,
        *,
        settings: Settings,
        started_at: int,
        open_channel: Callable[[OnSent], OutputChannel],
        on_written: Callable[[int], None],
        metrics: Metrics,
        clock: Callable[[], int],
        not_co_partitioned: Mapping[Source, int] | None = None,
        topic_ids: Mapping[str, str] | None = None,
    ) -> None:
        """`started_at` is when this application was first started (ms). `open_channel` opens the output channel.
        `on_written` is given the changelog offset up to which the state is contained in the changelog.
        `not_co_partitioned` gives the sources that repartition tasks read, with their partitions. `topic_ids` are those
        of the sources' topics and the changelog, as far as they are known.
        """
        self._not_co_partitioned = {int(source): count for source, count in (not_co_partitioned or {}).items()}
        self._topics = settings.read_topics
        records = OutputRecords(settings, lifecycle, state.profiles, metrics, clock)
        super().__init__(
            {rank: TP(topic, number) for rank, topic in self._topics.items() if rank not in self._not_co_partitioned},
            open_channel(records.sent),
            settings.max_buffer_bytes,
            metrics,
        )
        self.number = number
        self.engine = engine
        self.state = state
        self._profiles = state.profiles
        state.worked_on = True
        self._settings = settings
        self._partitioner = Partitioner(settings.partitions, settings.partitioner)
        self._clock = clock
        self._records = records
        playbook = lifecycle.playbook
        self._decoders = deployment.decoders(settings, playbook)
        self._identifiers = deployment.identifiers(settings)
        self._own = tuple(source for source in Source if source not in self._not_co_partitioned)
        self._forwards = frozenset(self._own).intersection(settings.forwarded_sources)
        self._repartition_decoder = RepartitionDecoder(
            {source: self._decoders[source] for source in settings.forwarded_sources},
            number,
            self._partitioner,
            identity_resolution=settings.identity_resolution,
        )
        self._dead_letters = {
            rank: DeadLetters(
                self._channel,
                metrics,
                settings.dead_letters_topic,
                topic,
                number,
                LABELS[Source(rank)] if rank < REPARTITION else None,
            )
            for rank, topic in self._topics.items()
        }
        self._forwarder: Forwarder | None = None
        sources = [source for source in self._own if source in settings.upstream_sources]
        if sources or settings.identity_resolution:
            others = [other for other in range(settings.partitions) if other != number]
            self._forwarder = Forwarder(
                engine,
                self._channel,
                settings.repartition_topic,
                number,
                others,
                sources,
                streams=settings.identity_resolution,
            )
        self._commits = PartitionCommits(
            number,
            engine,
            state,
            records,
            self._forwarder,
            self.trust,
            settings=settings,
            started_at=started_at,
            playbook=playbook_fingerprint(playbook, settings.identity_resolution, settings.event_time_ordering),
            topic_ids=topic_ids or {},
            on_written=on_written,
        )

    # -- records in

    def process(self, source: Source, chunk: Chunk) -> None:
        """Decode a chunk of raw records, apply what is due, put out what follows. See `Task.process`."""
        if not self._follows(source, chunk, self.engine.progress(source).position):
            return
        started, began = self._clock(), time.perf_counter()
        if chunk.lost is not None:
            self._dead_letters[source].put_lost(chunk.lost, started)
        decoder = self._decoders[source]
        decoded_before = decoder.counts.copy()
        caused_at = chunk[0].timestamp if len(chunk) else started
        misplaced: list[MisplacedRecord] = []
        for first in range(0, max(1, len(chunk)), SLICE):
            records = chunk[first : first + SLICE]
            events, rejected_of_slice, misplaced_of_slice = decoder.decode_all(
                records, self.number, self._partitioner, source in self._forwards
            )
            for record, rejected in rejected_of_slice:
                self._dead_letters[source].put(record, rejected)
            if misplaced_of_slice:
                misplaced += misplaced_of_slice
                forwarded = [event for record, event, _ in misplaced_of_slice if record is not None]
                self.engine.observe_forwarded(source, forwarded, started)
            # A chunk may end behind its last record, or hold none at all.
            position = records[-1].offset + 1 if first + SLICE < len(chunk) else chunk.next
            self._emit(self.engine.ingest(source, events, position, started), caused_at)
        if misplaced and self._forwarder is not None:
            self._metrics.forwarded(LABELS[source], *self._forwarder.forward(source, misplaced))
        self._report_if_awaited(started)
        self._metrics.decoded(LABELS[source], (decoder.counts - decoded_before).items())
        self._metrics.chunk(LABELS[source], len(chunk), time.perf_counter() - began)

    def receive(self, chunk: Chunk) -> None:
        """Process a chunk of the repartition topic: repartitioned records, messages, and progress of other tasks."""
        if not self._follows(REPARTITION, chunk, self.engine.repartition_position):
            return
        started = self._clock()
        if chunk.lost is not None:
            self._dead_letters[REPARTITION].put_lost(chunk.lost, started)
            self.engine.repartition_records_lost()
        received, rejected_records = self._repartition_decoder.read(chunk)
        for _, content in received:
            if content.partition >= self._not_co_partitioned.get(content.rank, math.inf):
                raise PartitionsAdded(self._topics[content.rank])
        for record, rejected in rejected_records:
            self._dead_letters[REPARTITION].put(record, rejected)
        self._emit(self.engine.receive(received, chunk.next, started), chunk[0].timestamp if len(chunk) else started)
        self._report_if_awaited(started)

    def erase(self, chunk: Chunk) -> None:
        """Process a chunk of the topic of erasure requests."""
        if not self._follows(ERASURES, chunk, self.engine.erasures_position):
            return
        started = self._clock()
        if chunk.lost is not None:
            self._dead_letters[ERASURES].put_lost(chunk.lost, started)
        requests, rejected_records = erasures.decode_all(chunk, self.number, self._partitioner, self._identifiers)
        for record, rejected in rejected_records:
            self._dead_letters[ERASURES].put(record, rejected)
        self._emit(self.engine.erase(requests, chunk.next), started)
        for request in requests:
            if request.home:  # only a reader who knows the id can verify that the hash is that of this customer
                log.info("Erased, request %s: %s", request.request_id, self._hash_of(request))

    def _hash_of(self, request: Erasure) -> str:
        key = record_key(request.customer, request.identified)
        return self._profiles.markers.key_of(key)[1:].hex()

    # -- time

    def advance(self, fetches: Mapping[int, Fetch], silent: frozenset[Source]) -> None:
        """Apply what was waiting, fire due deadlines, and report progress to other tasks. See `Task.advance`."""
        if self.closed:
            return
        applied = self._profiles.applied
        fetches = {rank: fetch for rank, fetch in fetches.items() if self._reaches(rank, applied[rank], fetch)}
        now, watermark = self._clock(), self.engine.watermark
        of_sources = {source: fetches[source] for source in Source if source in fetches}
        effects = self.engine.advance(now, of_sources, silent=silent, clock_trusted=self.trust.given)
        self._emit(effects, now)
        if self._forwarder is not None:
            self._forwarder.report(now)
        for shared in self.engine.take_shared_ids(self._settings.shared_id_devices_here):
            self._report_shared(shared)
        if effects.deadlines and watermark is not None and now - watermark < LIVE_MS:
            self._metrics.deadlines_fired((now - deadline) / 1000 for deadline in effects.deadlines)

    def _report_shared(self, shared: SharedId) -> None:
        """Report a customer id of many devices, by a record with it: the id itself may be personal data."""
        source = Source(shared.source)
        self._metrics.shared_customer_id()
        log.warning(
            "One customer_id has over %d devices, %d of them on this partition: it may be a placeholder. "
            "It is in the record at offset %d of %s, partition %d. If it names nobody, add it to "
            "LIFECYCLE_ID_PLACEHOLDERS.",
            self._settings.shared_id_devices,
            shared.devices,
            shared.offset,
            self._settings.source_topics[source],
            self.number if shared.partition < 0 else shared.partition,
        )

    def _report_if_awaited(self, now: int) -> None:
        """Report progress before the next `advance` if other tasks wait for it."""
        if self._forwarder is not None and self._forwarder.behind:
            self._forwarder.report(now)

    def _emit(self, effects: Effects, caused_at: int) -> None:
        if effects.outputs:
            put, record_of = self._channel.put, self._records.output
            for output in effects.outputs:
                put(record_of(output, caused_at))
        self._metrics.engine_counts(effects.counts)

    # -- limits

    def _ahead_bytes(self, source: Source) -> int:
        waiting = self.engine.buffered_bytes(source)
        if waiting > self._max_buffer_bytes // 2 and self.engine.waits_for_more(source):
            waiting = 0
        if self._forwarder is not None and source in self._settings.upstream_sources:
            waiting = max(waiting, self._forwarder.ahead_bytes(source))
        return waiting

    @property
    def unfinished(self) -> bool:
        return self.engine.unfinished

    # -- commits

    @property
    def must_commit(self) -> bool:
        """True if the task should not go on without a commit: what is not committed cannot be evicted or sent."""
        return self._profiles.full or self.engine.full or self._channel.full

    @property
    def forwards(self) -> bool:
        return self._forwarder is not None

    @property
    def awaited(self) -> bool:
        behind = self._forwarder is not None and self._forwarder.behind
        return behind and (self.engine.has_messages or self._channel.owes)

    def snapshot(self, *, force: bool = False) -> PartitionSnapshot | None:
        return self._commits.take(self._channel, force=force)

    def send_again(self, outputs: Iterable[Output]) -> None:
        """Put the outputs that recovery found in profiles of a commit that was not completed, and its messages.

        Called before anything else is put.
        """
        for record in self._commits.unsent(outputs):
            self._channel.put(record)

    # -- readings

    def readings(self, fetches: Mapping[int, Fetch]) -> TaskReadings:
        """Return the readings of the task for metrics. `fetches` are by rank."""
        engine, now = self.engine, self._clock()
        sources = tuple(
            SourceReadings(
                LABELS[source],
                engine.progress(source).reached,
                engine.progress(source).is_caught_up(now),
                engine.progress(source).backfilling,
                engine.buffered_bytes(source),
            )
            for source in self._own
        )
        state = self._profiles
        blocked_by, of_partition = engine.watermark_blocked_by()
        requests = fetches.get(ERASURES)
        return TaskReadings(
            partition=self.number,
            watermark=engine.watermark,
            blocked_by=RANK_LABELS[blocked_by],
            blocked_by_partition=self.number if of_partition is None else of_partition,
            repartition_buffered_bytes=engine.repartition_buffered_bytes(),
            sources=sources,
            timers=len(state.timers),
            aliases=state.aliases,
            largest_profile_bytes=state.largest,
            population=tuple(sorted(state.population.items())),
            places=tuple((track, stage, number) for (track, stage), number in sorted(state.places.items())),
            erasures_waiting=0 if requests is None else max(0, requests.end - engine.erasures_done),
            erasure_residue=len(state.residue.markers),
        )

    def position(self, source: Source) -> int:
        return self.engine.positions()[source]

    def _read_positions(self) -> Mapping[int, int]:
        positions: dict[int, int] = {int(source): self.engine.progress(source).position for source in self._own}
        return positions | {REPARTITION: self.engine.repartition_position, ERASURES: self.engine.erasures_position}

    def _done_positions(self) -> Mapping[int, int]:
        return dict(self.engine.committable().items())
