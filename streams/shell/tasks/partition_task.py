"""A partition task: one engine with its inputs decoded, its outputs sent, its commits carried through.

All that happens to state happens in `process`, `advance` and the first step of `commit`, none of which awaits. The
clock and the producer are given, so that tests drive them.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import orjson
from faust.types import TP

from streams.contracts import erasures
from streams.contracts.native import MisplacedRecord
from streams.contracts.outputs import Encoder
from streams.contracts.partitioning import Partitioner
from streams.contracts.profiles import profile_document
from streams.contracts.repartition import RepartitionDecoder
from streams.core.engine.partition_engine import LABELS, RANK_LABELS, PartitionEngine
from streams.core.event_time.inputs import ERASURES, REPARTITION
from streams.core.identity.aliases import message_key
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.event import Source
from streams.core.model.outputs import (
    Effects,
    IdentityChange,
    InternalMessage,
    Output,
    Snapshot,
    StageChange,
    Triggered,
)
from streams.core.model.sources import Erasure, Fetch, StoredProgress
from streams.core.profile.codec import unpack
from streams.core.store.task_state import record_key
from streams.observe.prometheus import Metrics
from streams.observe.readings import SourceReadings, TaskReadings
from streams.settings import Settings
from streams.shell.admin.topics import changelog_topic
from streams.shell.clock import ClockTrust
from streams.shell.commit.agreement import playbook_fingerprint
from streams.shell.commit.guarantee import Commit, Offsets, OnSent, OutputChannel
from streams.shell.commit.metadata import CommitMarker, OffsetMetadata, encode, salt_fingerprint
from streams.shell.commit.outbox import Record
from streams.shell.faults import ELECTION_MS, PartitionsAdded, RecordsMissing, Truncated
from streams.shell.tasks.dead_letters import DeadLetters
from streams.shell.tasks.forwarder import Forwarder
from streams.shell.tasks.partition_state import PartitionState

log = logging.getLogger(__name__)

LIVE_MS = 60_000
"""A watermark within this of the present is live; what fires in a catch-up says nothing of how late deadlines are."""


SLICE = 256
"""Records decoded before they are applied: so few that they are still in the processor's cache when they are."""


class PartitionTask:
    """Owned by the app from the assignment of a partition to its revocation."""

    def __init__(
        self,
        number: int,
        engine: PartitionEngine,
        state: PartitionState,
        lifecycle: Lifecycle,
        *,
        settings: Settings,
        started_at: int,
        deliver: Callable[[OnSent], OutputChannel],
        on_written: Callable[[int], None],
        metrics: Metrics,
        clock: Callable[[], int],
        not_co_partitioned: Mapping[Source, int] | None = None,
        topic_ids: Mapping[str, str] | None = None,
    ) -> None:
        """`on_written` is told up to which offset of the changelog the state is contained in it. `independent`: the
        sources that readers read, with their partitions. `topic_ids`: of the sources' topics and the changelog, as far
        as they are known.
        """
        self.number = number
        self.engine = engine
        self.state = state
        self._profiles = state.profiles
        state.worked_on = True
        self._salt = salt_fingerprint(settings.salt_of_marks)
        self._lifecycle = lifecycle
        self._playbook = playbook_fingerprint(
            lifecycle.playbook, settings.identity_resolution, settings.event_time_ordering
        )
        self.read = {
            rank: TP(topic, number)
            for rank, topic in settings.read_topics.items()
            if rank not in (not_co_partitioned or {})
        }
        """What it reads, by rank."""
        self.closed = False
        """Whether it was let go: then nothing may happen to its state any more."""
        self.trust = ClockTrust()
        self._settings = settings
        self._started_at = started_at
        self._partitioner = Partitioner(settings.partitions, settings.partitioner)
        self._delivery = deliver(self.sent)
        self._on_written = on_written
        self._metrics = metrics
        self._clock = clock
        self._topics = settings.read_topics
        self._topic_ids = topic_ids or {}
        self._short_since: dict[int, int] = {}
        """By rank, when a topic was first seen to end before what was applied from it."""
        self._encoder = Encoder(settings.ce_source)
        playbook = lifecycle.playbook
        self._decoders = settings.decoders(playbook.policy.currency, playbook.properties)
        self._not_co_partitioned = {int(source): count for source, count in (not_co_partitioned or {}).items()}
        self._own = tuple(source for source in Source if source not in self._not_co_partitioned)
        self._forwards = frozenset(self._own).intersection(settings.forwarded_sources)
        decoders = {source: self._decoders[source] for source in settings.forwarded_sources}
        self._reader = RepartitionDecoder(
            decoders, number, self._partitioner, identity_resolution=settings.identity_resolution
        )
        self._letters = {
            rank: DeadLetters(
                self._delivery,
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
                self._delivery,
                settings.repartition_topic,
                number,
                others,
                sources,
                streams=settings.identity_resolution,
            )

    # -- records in

    def process(self, source: Source, chunk: Any) -> None:
        """Decode a chunk of raw records, apply what is due, put out what follows.

        A chunk from before a seek is passed over. Raises `RecordsMissing` if records between are missing.
        """
        if not self._follows(source, chunk, self.engine.progress(source).position):
            return
        started, began = self._clock(), time.perf_counter()
        if chunk.lost is not None:
            self._letters[source].put_lost(chunk.lost, started)
        decoder = self._decoders[source]
        rejected_before, cut_before = decoder.rejected_identifiers, decoder.cut_strings
        caused_at = chunk[0].timestamp if len(chunk) else started
        sent: list[MisplacedRecord] = []
        for first in range(0, max(1, len(chunk)), SLICE):
            records = chunk[first : first + SLICE]
            activities, refused, elsewhere = decoder.decode_all(
                records, self.number, self._partitioner, source in self._forwards
            )
            for record, rejected in refused:
                self._letters[source].put(record, rejected)
            if elsewhere:
                sent += elsewhere
                forwarded = [activity for record, activity, _ in elsewhere if record is not None]
                self.engine.observe_forwarded(source, forwarded, started)
            # A chunk may end behind its last record, or hold none at all.
            position = records[-1].offset + 1 if first + SLICE < len(chunk) else chunk.next
            self._emit(self.engine.apply(source, activities, position, started), caused_at)
        if sent and self._forwarder is not None:
            self._metrics.forwarded(LABELS[source], *self._forwarder.forward(source, sent))
        self._tell_who_waits(started)
        self._metrics.strings(
            LABELS[source], decoder.rejected_identifiers - rejected_before, decoder.cut_strings - cut_before
        )
        self._metrics.chunk(LABELS[source], len(chunk), time.perf_counter() - began)

    def receive(self, chunk: Any) -> None:
        """As `process`, of the activity topic: what other tasks forwarded here, and how far they have come."""
        if not self._follows(REPARTITION, chunk, self.engine.repartition_position):
            return
        started = self._clock()
        if chunk.lost is not None:
            self._letters[REPARTITION].put_lost(chunk.lost, started)
            self.engine.repartition_records_lost()
        news, refused = self._reader.read(chunk)
        for _, one in news:
            if one.partition >= self._not_co_partitioned.get(one.rank, math.inf):
                raise PartitionsAdded(self._topics[one.rank])
        for record, rejected in refused:
            self._letters[REPARTITION].put(record, rejected)
        self._emit(self.engine.receive(news, chunk.next, started), chunk[0].timestamp if len(chunk) else started)
        self._tell_who_waits(started)

    def erase(self, chunk: Any) -> None:
        """As `process`, of the topic of erasure requests."""
        if not self._follows(ERASURES, chunk, self.engine.erasures_position):
            return
        started = self._clock()
        if chunk.lost is not None:
            self._letters[ERASURES].put_lost(chunk.lost, started)
        requests, refused = erasures.decode_all(chunk, self.number, self._partitioner)
        for record, rejected in refused:
            self._letters[ERASURES].put(record, rejected)
        self._emit(self.engine.erase(requests, chunk.next), started)
        for request in requests:
            if request.home:  # the hash tells those who know an id that it was this one, and nobody else
                log.info("Erased, request %s: %s", request.request_id, self._hash_of(request))

    def _hash_of(self, request: Erasure) -> str:
        key = record_key(request.customer, request.identified)
        return self._profiles.markers.key_of(key)[1:].hex()

    def _follows(self, rank: int, chunk: Any, position: int) -> bool:
        """Whether a chunk is what comes next in its topic. Raises `RecordsMissing` if records before it are missing."""
        if self.closed:
            return False
        if chunk.start > position:
            raise RecordsMissing(self._topics[rank], self.number, position, chunk.start)
        return bool(chunk.start == position)

    def advance(self, fetches: Mapping[int, Fetch], silent: frozenset[Source]) -> None:
        """Let time pass: apply what was waiting, fire what has come due, and tell the others.

        `fetches` are by rank: of the sources, and of the activity topic.
        """
        if self.closed:
            return
        fetches = {rank: fetch for rank, fetch in fetches.items() if self._reaches(rank, fetch)}
        now, watermark = self._clock(), self.engine.watermark
        of_sources = {source: fetches[source] for source in Source if source in fetches}
        effects = self.engine.advance(now, of_sources, silent=silent, clock_trusted=self.trust.given)
        self._emit(effects, now)
        if self._forwarder is not None:
            self._forwarder.report(now)
        if effects.deadlines and watermark is not None and now - watermark < LIVE_MS:
            self._metrics.deadlines_fired((now - deadline) / 1000 for deadline in effects.deadlines)

    def _tell_who_waits(self, now: int) -> None:
        """Others that wait for this task hear of what it reads, and not only as time passes."""
        if self._forwarder is not None and self._forwarder.behind:
            self._forwarder.report(now)

    def _reaches(self, rank: int, fetch: Fetch) -> bool:
        """Whether the end that a fetch shows can be the end. Raises `Truncated` if it stays before what was applied."""
        applied = self._profiles.applied[rank]
        if applied < fetch.end:
            self._short_since.pop(rank, None)
            return True
        if fetch.sent_at - self._short_since.setdefault(rank, fetch.sent_at) >= ELECTION_MS:
            raise Truncated(self._topics[rank], self.number, applied, fetch.end)
        return False

    def must_pause(self, source: Source) -> bool:
        """Whether the source is so far ahead of others that it must be paused."""
        return self._ahead_bytes(source) > self._settings.max_buffer_bytes

    def _ahead_bytes(self, source: Source) -> int:
        waiting = self.engine.buffered_bytes(source)
        if waiting > self._settings.max_buffer_bytes // 2 and self.engine.waits_for_more(source):
            waiting = 0
        if self._forwarder is not None and source in self._settings.upstream_sources:
            waiting = max(waiting, self._forwarder.ahead_bytes(source))
        return waiting

    @property
    def must_commit(self) -> bool:
        """Whether it should not go on without a commit: what is not committed cannot be packed away, or sent."""
        return self._profiles.full or self.engine.full or self._delivery.full

    @property
    def forwards(self) -> bool:
        """Whether others may ever wait for what only a commit sends."""
        return self._forwarder is not None

    @property
    def awaited(self) -> bool:
        """Whether they do."""
        behind = self._forwarder is not None and self._forwarder.behind
        return behind and (self.engine.has_messages or self._delivery.owes)

    @property
    def unfinished(self) -> bool:
        """Whether `advance` has more to do at once, after a commit if it `must_commit`."""
        return self.engine.unfinished

    def may_resume(self, source: Source) -> bool:
        """Whether a paused source may go on: at half the bound, so that it does not flutter."""
        return self._ahead_bytes(source) <= self._settings.max_buffer_bytes // 2

    # -- records out

    async def flush(self) -> None:
        """Send what need not wait for the commit. Does not wait for acknowledgements."""
        await self._delivery.flush()

    def snapshot(self, *, force: bool = False) -> Snapshot | None:
        """What a commit has to write; `force` for one even if nothing happened. `write` must follow.

        Each customer's outputs are sent in the order made, and those of its deadlines only once the changelog has them.
        """
        snapshot = self.engine.snapshot(force=force or self._delivery.owes)
        if snapshot is not None:
            self._delivery.cut(outputs=bool(snapshot.outputs))
        return snapshot

    async def write(self, snapshot: Snapshot) -> Offsets:
        """Carry a commit through; its offsets, which are committed with it, or by whoever called, behind it."""
        marks = {int(source): mark for source, mark in snapshot.marks.items()}
        salt = self._salt if self._profiles.markers.number else ""
        first = self.engine.first_commit
        marker = encode(CommitMarker(snapshot.commit, self._started_at, marks, snapshot.arrivals, first, salt))
        outputs = (self._record(output, None) for output in snapshot.outputs)
        latest: list[Iterable[Record]] = []
        if self._settings.profiles and snapshot.changes:
            latest.append(self._profiles_of(snapshot))
        if snapshot.messages:
            latest.append(self._items(snapshot.messages))
        commit = Commit(self._offsets(snapshot), snapshot.changes, marker, outputs, chain(*latest) if latest else None)
        as_of = self.trust.losses
        flush = await self._delivery.write(commit)
        assert flush is not None
        self.state.flushed(marker, flush)
        self._on_written(flush.last)
        self.trust.judge(self.skew, as_of)
        return commit.offsets

    def _offsets(self, snapshot: Snapshot) -> Offsets:
        """The offsets of a commit, with metadata, by topic and partition."""
        positions = {int(source): position for source, position in snapshot.positions.items()}
        marks = {int(source): mark for source, mark in snapshot.marks.items()}
        positions[ERASURES] = snapshot.erasures
        if snapshot.arrivals is not None and REPARTITION in self._topics:
            positions[REPARTITION] = snapshot.arrivals.position
        return {
            (self._topics[rank], self.number): (
                position,
                encode(
                    OffsetMetadata(
                        snapshot.commit,
                        self._started_at,
                        marks.get(rank, StoredProgress()),
                        topic_id=self._topic_ids.get(self._topics[rank], ""),
                        changelog_id=self._topic_ids.get(changelog_topic(self._settings), ""),
                        playbook=self._playbook,
                    )
                ).decode(),
            )
            for rank, position in positions.items()
        }

    def send_again(self, unsent: list[Output]) -> None:
        """Outputs that recovery found in profiles of a commit that did not go through, and the engine's items of it.

        Before anything else is put.
        """
        for output in unsent:
            self._delivery.put(self._record(output, None))
        if self.engine.unsent:
            for record in self._items(self.engine.unsent):
                self._delivery.put(record)

    # -- what is to be seen

    @property
    def skew(self) -> int | None:
        """The worker's clock less the broker's, ms."""
        return self._delivery.skew

    def readings(self, fetches: Mapping[int, Fetch]) -> TaskReadings:
        """The task as it stands; `fetches` by rank."""
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
        held_by, of_partition = engine.watermark_blocked_by()
        requests = fetches.get(ERASURES)
        return TaskReadings(
            partition=self.number,
            watermark=engine.watermark,
            blocked_by=RANK_LABELS[held_by],
            blocked_by_partition=self.number if of_partition is None else of_partition,
            repartition_buffered_bytes=engine.repartition_buffered_bytes(),
            sources=sources,
            timers=len(state.timers),
            aliases=state.aliases,
            largest_profile_bytes=state.largest,
            population=tuple(sorted(state.population.items())),
            places=tuple((track, stage, number) for (track, stage), number in sorted(state.places.items())),
            erasures_waiting=0 if requests is None else max(0, requests.end - engine.erasures_done),
            erasure_residue=len(state.residue.marks),
        )

    def position(self, source: Source) -> int:
        """The offset up to which everything is applied."""
        return self.engine.positions()[source]

    def next_offsets(self) -> dict[TP, int]:
        """Of all that it reads, the offset up to which everything was handed to the engine."""
        positions: dict[int, int] = {int(source): self.engine.progress(source).position for source in self._own}
        positions |= {REPARTITION: self.engine.repartition_position, ERASURES: self.engine.erasures_position}
        return {tp: positions[rank] for rank, tp in self.read.items()}

    def lag(self, fetches: Mapping[int, Fetch]) -> dict[tuple[str, int], int]:
        """Records not yet applied, by topic and partition."""
        positions = self.engine.committable()
        return {
            (self._topics[rank], self.number): max(0, fetch.end - positions[rank]) for rank, fetch in fetches.items()
        }

    # -- inside

    def _items(self, passed: Iterable[InternalMessage]) -> Iterator[Record]:
        """Items in their order, each given when those before it are put; then what is reported goes behind them."""
        assert self._forwarder is not None
        for item in passed:
            yield self._forwarder.message(item, self._partitioner.partition(message_key(item)))
        self.engine.messages_sent()
        if self._forwarder.behind:
            yield from self._forwarder.report_items()

    def _emit(self, effects: Effects, caused_at: int) -> None:
        for output in effects.outputs:
            self._delivery.put(self._record(output, caused_at))
        self._metrics.engine_counts(effects.counts)

    def _record(self, output: Output, caused_at: int | None) -> Record:
        encoded = self._encoder.encode(output)
        return Record(self._topic_of(output), encoded.key, encoded.value, encoded.headers, None, output, caused_at)

    def _topic_of(self, output: Output) -> str:
        if isinstance(output, StageChange):
            return self._settings.stage_changes_topic
        if isinstance(output, IdentityChange):
            return self._settings.identities_topic
        return self._settings.triggers_topic if isinstance(output, Triggered) else self._settings.abandonments_topic

    def sent(self, records: Sequence[Record]) -> None:
        """Called by the outbox: these records of one topic are acknowledged."""
        outputs = [record.output for record in records if record.output is not None]
        if outputs:
            now = self._clock()
            self._metrics.outputs_sent(outputs)
            self._metrics.output_latency(
                records[0].topic,
                [(now - record.caused_at) / 1000 for record in records if record.caused_at is not None],
            )

    def _profiles_of(self, snapshot: Snapshot) -> Iterator[Record]:
        for key, value in snapshot.changes:
            if key.startswith((b"a", b"c")):  # not of a cart or a checkout, and no mark
                yield self._document(key, value)

    def _document(self, key: bytes, value: bytes | None) -> Record:
        """What is to be on the profiles topic under the id of a customer or a device, whose record is now as given.

        Who has ended (forgotten, erased, or a device that is found to be a customer's) has no document; where there is
        no record any more, a zombie may have published one. But a device may have the id of a customer, and then the
        topic has one place for both: what is there is the document of who lives.
        """
        customer = key[1:]
        for record in (value, self._profiles.written(record_key(customer.decode(), not key.startswith(b"c")))):
            if record is not None and (profile := unpack(record)).stage is not None:
                document = orjson.dumps(profile_document(profile, self._lifecycle.summary(profile)))
                return Record(self._settings.profiles_topic, customer, document)
        return Record(self._settings.profiles_topic, customer, None)
