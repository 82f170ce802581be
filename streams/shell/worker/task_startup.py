"""The start of work on what was assigned: where the last commit left off, tasks and readers that go on from there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from faust.types import TP

from streams import deployment
from streams.core.engine.config import EngineConfig, LastCommit
from streams.core.engine.partition_engine import PartitionEngine
from streams.core.event_time.inputs import ERASURES, REPARTITION, upstream_number
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.event import Source
from streams.core.model.outputs import EmissionPolicy
from streams.core.model.sources import NOT_READ, StoredProgress, StoredRepartition, StoredUpstream
from streams.core.processing.budget import Budget
from streams.core.store.task_state import NO_COMMIT
from streams.errors import UserError
from streams.shell.commit.guarantee import Guarantee
from streams.shell.commit.metadata import (
    SaltChanged,
    decode_marker,
    decode_metadata,
    metadata_at_marker,
    salt_fingerprint,
)
from streams.shell.faults import CoPartitioningChanged, IdentityResolutionOff, NoOffset, StateBehind
from streams.shell.tasks.partition_state import PartitionState
from streams.shell.tasks.partition_task import PartitionTask
from streams.shell.tasks.repartition_task import RepartitionTask, name_of
from streams.transport.patience import patiently

if TYPE_CHECKING:
    from streams.shell.worker.application import App

log = logging.getLogger(__name__)

OFFSET_ATTEMPTS = 3
STEP = Budget(records=4096, deadlines=500, pending=128 << 10)
"""Some 30 ms. What a profile keeps fits a record with it: a batch takes 512 KiB, and a profile 64."""


class TaskStarter:
    """Used by the app, each time that partitions were assigned and the table is recovered."""

    def __init__(self, app: App, lifecycle: Lifecycle, guarantee: Guarantee) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._guarantee = guarantee

    async def begin(self, sources: frozenset[TP]) -> None:
        """The table is recovered: read these partitions from where the last commit left off. Raises `UserError`, which
        ends the worker."""
        app = self._app
        consumer, rebalances = app.kafka, app.rebalances
        consumer.fetches.clear()
        await patiently(app.check_topic_ids)
        await patiently(app.count_partitions)
        await patiently(app.watch.look_for_silence)
        await app.fenced()  # again: what is committed is final only then
        numbers, apart = app.work_of(sources)
        heard = self._heard_of(numbers)
        firsts = {TP(topic, 0) for source, topic in app.source_topics.items() if source not in app.not_co_partitioned}
        asked = sources | heard | self._formerly_of(numbers) | firsts
        committed = await patiently(consumer.committed_offsets, asked)
        for first in firsts:
            if first in committed and (mark := decode_metadata(committed[first].metadata)) and mark.reader:
                raise CoPartitioningChanged(first.topic, app.settings.partitions)
        for _ in range(OFFSET_ATTEMPTS):
            lost = [tp for tp in sources | heard if tp not in committed and (tp in heard or self._had_offset(tp))]
            if not lost:
                break
            await asyncio.sleep(1.0)  # the sentence makes people set offsets, so ask again before it is said
            committed = await patiently(consumer.committed_offsets, asked)
        else:
            raise NoOffset(lost[0])
        fresh = [tp for tp in sources if tp not in committed or self._was_left(tp)]
        earliest = await patiently(consumer.earliest_offsets, *fresh) if fresh else {}
        starts = {
            tp: max(earliest.get(tp, 0), committed[tp].offset) if tp in committed else earliest[tp] for tp in sources
        }
        metadata = {tp: offset.metadata for tp, offset in committed.items()}
        if app.is_superseded(rebalances):
            return  # these sources were ours: recovery asks again for those that are
        tasks = {}
        for number in numbers:
            of_task = {rank: TP(topic, number) for rank, topic in app.read_topics.items()}
            if missing := [topic for topic in app.task_topics.values() if TP(topic, number) not in sources]:
                raise UserError(
                    f"Partition {number} of {missing[0]} was not assigned together with the other source's: give all "
                    "input topics the same number of partitions, and all workers the same settings."
                )
            positions = {rank: starts[tp] for rank, tp in of_task.items() if rank not in app.not_co_partitioned}
            texts = {rank: metadata[tp] for rank, tp in of_task.items() if tp in metadata}
            tasks[number] = self.new_task(number, positions, texts)
        taken = self._taken(numbers)
        readers = {
            tp: self.new_repartition_task(
                source, tp, starts[tp], metadata.get(tp, ""), taken.get(upstream_number(source, tp.partition), -1)
            )
            for tp, source in apart.items()
        }
        for tp, offset in starts.items():
            await consumer.seek_source(tp, offset)
        if app.is_superseded(rebalances):
            return
        app.paused.clear()
        self._guarantee.begin(
            {TP(tp.topic, tp.partition): (o.offset, o.metadata) for tp, o in committed.items() if tp in sources},
            first={tp: (starts[tp], "") for tp in earliest},
        )
        app.tasks, app.repartition_tasks = tasks, readers
        app.metrics.assigned(tasks.keys(), readers.keys())
        app.health.recovered()
        app.add_future(app.committer.commit(app.working()))  # append times tell whether the clock can be trusted
        log.info("Processing partitions %s", numbers)
        if readers:
            log.info("Reading independently: %s", ", ".join(f"{tp.topic}/{tp.partition}" for tp in readers))

    def _had_offset(self, tp: TP) -> bool:
        """Whether the state is such that an offset of this partition must once have been committed."""
        app = self._app
        marker = decode_marker(app.table.data.partition(tp.partition).marker)
        if marker is None or tp.topic == app.settings.erasures_topic:  # what is read of it again is known
            return False
        source = next((source for source, topic in app.source_topics.items() if topic == tp.topic), None)
        if source is None:
            return marker.repartition is not None and not self._was_left(tp)
        return source not in app.not_co_partitioned  # what comes of one that is, `_heard_of` knows

    def _was_left(self, tp: TP) -> bool:
        """Whether it is of the activity topic, and that was not read any more: linking was off in between. Then its
        offset, and what is there, may have expired."""
        if tp.topic != self._app.settings.repartition_topic:
            return False
        marker = decode_marker(self._app.table.data.partition(tp.partition).marker)
        return marker is not None and marker.repartition is not None and marker.repartition.position == NOT_READ

    def _heard_of(self, numbers: Collection[int]) -> frozenset[TP]:
        """The partitions of topics that are read independently of which these tasks have had something: an offset of
        each must once have been committed."""
        app = self._app
        heard = {mark.number for mark in self._origins(numbers) if mark.taken >= 0 or mark.progress is not None}
        return frozenset(
            TP(app.source_topics[source], partition)
            for source in app.not_co_partitioned
            for partition in range(app.partition_counts[source])
            if upstream_number(source, partition) in heard
        )

    def _taken(self, numbers: Collection[int]) -> dict[int, int]:
        """By origin, the last offset that any of these tasks has had of it."""
        taken: dict[int, int] = {}
        for mark in self._origins(numbers):
            taken[mark.number] = max(mark.taken, taken.get(mark.number, -1))
        return taken

    def _origins(self, numbers: Collection[int]) -> Iterator[StoredUpstream]:
        """What was stored of origins by these tasks."""
        for number in numbers:
            marker = decode_marker(self._app.table.data.partition(number).marker)
            if marker is not None and marker.repartition is not None:
                yield from marker.repartition.upstreams

    def _formerly_of(self, numbers: Collection[int]) -> frozenset[TP]:
        """What these tasks read themselves before a topic was read independently, if they did."""
        app = self._app
        return frozenset(
            TP(app.source_topics[source], number)
            for source in app.not_co_partitioned
            for number in numbers
            if number < app.partition_counts[source]
        )

    def new_task(self, number: int, positions: Mapping[int, int], metadata: Mapping[int, str]) -> PartitionTask:
        """`positions` and `metadata` are by rank, the latter also of what the task reads no more."""
        app = self._app
        state = app.table.data.take(number)
        assert isinstance(state, PartitionState)
        marks = {rank: mark for rank, text in metadata.items() if (mark := decode_metadata(text))}
        for rank, mark in marks.items():
            app.same_topic(app.read_topics[rank], mark.topic_id)
            app.same_topic(app.changelog_topic, mark.changelog_id)
        marks = {rank: mark for rank, mark in marks.items() if not mark.reader}
        profiles, marker = state.profiles, decode_marker(state.marker)
        if marker is not None:
            profiles.commit = max(profiles.commit, marker.commit)
            if marker.salt and marker.salt != salt_fingerprint(deployment.marker_salt(app.settings)):
                raise SaltChanged
        # All offsets of a task are committed together. The activity topic's is behind after a time without linking.
        committed = max((mark.commit for mark in marks.values()), default=0)
        if marker is not None and not marks:
            # The broker keeps no metadata. The flush that this marker ends is complete; whether the outputs of its
            # deadlines left is not known, so they leave again, with the same ids.
            marks = {int(source): metadata_at_marker(marker, source) for source in Source}
            committed = marker.commit - 1
        if committed > profiles.commit:
            raise StateBehind(app.changelog_topic, number, committed, profiles.commit)
        started_at = min((mark.started_at for mark in marks.values()), default=app.clock())
        emit_after = app.settings.emit_after
        stray = NO_COMMIT if marker is None else marker.first - 1  # under which nobody writes who has the partition
        unsent = profiles.unsent(committed, stray)
        if app.settings.profiles:
            profiles.write_again(committed, stray)
        arrivals = (
            StoredRepartition(NOT_READ, []) if marker is None or marker.repartition is None else marker.repartition
        )
        flushed = 0 if marker is None else marker.commit
        if not app.settings.identity_resolution and any(given >= 0 for given in arrivals.numbers):  # it was on before
            whole, cut = profiles.unsent_items(committed, flushed)
            if whole or cut:
                raise IdentityResolutionOff(number, len(whole) + len(cut))
        engine = PartitionEngine(
            self._lifecycle,
            EngineConfig(
                partition=number,
                own=[source for source in Source if source not in app.not_co_partitioned],
                sources=deployment.source_specs(app.settings),
                emission=EmissionPolicy(
                    emit_after=emit_after
                    if isinstance(emit_after, int)
                    else started_at
                    if emit_after == "start"
                    else None,
                    max_delay=app.settings.max_emit_delay,
                ),
                budget=STEP,
                upstreams=[
                    (source, other)
                    for source in app.settings.upstream_sources
                    for other in range(app.partition_counts[source])
                    if other != number or source in app.not_co_partitioned
                ],
                tasks=app.settings.partitions if app.settings.identity_resolution else 0,
                event_time_ordering=app.settings.event_time_ordering,
            ),
            LastCommit(
                positions={source: positions[source] for source in Source if source in positions},
                progress={source: marks[source].progress for source in Source if source in marks},
                commit=committed,
                repartition=StoredRepartition(
                    positions.get(REPARTITION, NOT_READ), arrivals.upstreams, arrivals.numbers
                ),
                erasures=positions.get(ERASURES, 0),
                flushed=flushed,
            ),
            state=profiles,
        )
        if NOT_READ < arrivals.position < positions.get(REPARTITION, NOT_READ):
            engine.repartition_records_lost()  # somebody has set the offset: what was passed over is not waited for
        task = PartitionTask(
            number,
            engine,
            state,
            self._lifecycle,
            settings=app.settings,
            started_at=started_at,
            deliver=partial(self._guarantee.delivery, number),
            on_written=partial(app.table.data.set_persisted_offset, app.table.changelog_tp(number)),
            metrics=app.metrics,
            clock=app.clock,
            not_co_partitioned={source: app.partition_counts[source] for source in app.not_co_partitioned},
            topic_ids=app.topic_ids,
        )
        task.send_again(unsent)
        return task

    def new_repartition_task(self, source: Source, tp: TP, position: int, metadata: str, taken: int) -> RepartitionTask:
        """`taken` is the last offset that tasks here have had of the partition."""
        app = self._app
        mark = decode_metadata(metadata)
        if mark is not None:
            app.same_topic(tp.topic, mark.topic_id)
        playbook = self._lifecycle.playbook
        return RepartitionTask(
            source,
            tp.partition,
            decoder=deployment.decoders(app.settings, playbook.policy.currency, playbook.properties)[source],
            settings=app.settings,
            spec=deployment.source_specs(app.settings)[source],
            position=position,
            mark=StoredProgress() if mark is None else mark.progress,
            deliver=partial(self._guarantee.delivery, name_of(source, tp.partition)),
            taken=taken,
            slowest_anywhere=app.watch.slowest_anywhere,
            metrics=app.metrics,
            clock=app.clock,
            topic_ids=app.topic_ids,
        )
