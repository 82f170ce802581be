"""The creation of tasks from what their last commit has stored: recovered state, commit marker and offset metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from faust.types import TP

from streams import deployment
from streams.core.engine.config import EngineConfig, LastCommit
from streams.core.engine.partition_engine import PartitionEngine
from streams.core.event_time.inputs import ERASURES, REPARTITION
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.event import Source
from streams.core.model.outputs import EmissionPolicy, Output
from streams.core.model.sources import NOT_READ, StoredProgress, StoredRepartition
from streams.core.processing.budget import Budget
from streams.core.store.recent_commits import NO_COMMIT
from streams.shell.commit.guarantee import Guarantee
from streams.shell.commit.metadata import (
    SaltChanged,
    decode_marker,
    decode_metadata,
    metadata_at_marker,
    salt_fingerprint,
)
from streams.shell.faults import IdentityResolutionOff, StateBehind
from streams.shell.tasks.partition_state import PartitionState
from streams.shell.tasks.partition_task import PartitionTask
from streams.shell.tasks.repartition_task import RepartitionTask, name_of
from streams.shell.worker.context import WorkerContext

STEP = Budget(records=4096, deadlines=500, pending=128 << 10)
"""Some 30 ms of work. A profile of at most 64 KiB and its pending outputs fit one batch of 512 KiB, as one record."""


class StoredCommit(NamedTuple):
    """The last commit of a partition task, as its offset metadata and its commit marker show it."""

    last: LastCommit
    """The part that the engine gets, with the offsets at which reading starts."""
    repartition: StoredRepartition
    """The progress in the repartition topic as of the commit: reading may start behind its position."""
    stale: int
    """Commit number that no owner of the partition has used: a record with it was written by a stale owner."""
    started_at: int
    """Time at which this application was first started, ms."""


class TaskFactory:
    """Used at each assignment, once the state is recovered."""

    def __init__(
        self,
        context: WorkerContext,
        lifecycle: Lifecycle,
        guarantee: Guarantee,
        slowest_anywhere: Callable[[], int | None],
    ) -> None:
        """`slowest_anywhere` returns the least progress of any source, as far as this worker knows."""
        self._context = context
        self._lifecycle = lifecycle
        self._guarantee = guarantee
        self._slowest_anywhere = slowest_anywhere

    def partition_task(self, number: int, positions: Mapping[int, int], metadata: Mapping[int, str]) -> PartitionTask:
        """Return the task of a partition, with the outputs sent again that its last commit may not have sent.

        `positions` gives the offsets at which reading starts, `metadata` the metadata of the committed offsets, both by
        rank. There may be metadata of topics that the task no longer reads. Raises `UserError` if the stored state does
        not fit the settings or the topics.
        """
        context, topics = self._context, self._context.topics
        state = context.states.data.take(number)
        assert isinstance(state, PartitionState)
        stored = self._stored_commit(number, state, metadata, positions)
        unsent = self._restore(number, state, stored)
        engine = self._engine(number, state, stored)
        if NOT_READ < stored.repartition.position < positions.get(REPARTITION, NOT_READ):
            engine.repartition_records_lost()  # the offset was set by hand: do not wait for the records passed over
        task = PartitionTask(
            number,
            engine,
            state,
            self._lifecycle,
            settings=context.settings,
            started_at=stored.started_at,
            open_channel=partial(self._guarantee.open_channel, number),
            on_written=partial(context.states.data.set_persisted_offset, context.states.changelog_tp(number)),
            metrics=context.metrics,
            clock=context.clock,
            not_co_partitioned={source: topics.partition_counts[source] for source in topics.not_co_partitioned},
            topic_ids=topics.ids,
        )
        task.send_again(unsent)
        return task

    def repartition_task(self, source: Source, tp: TP, position: int, metadata: str, taken: int) -> RepartitionTask:
        """Return the task that repartitions `tp`, from `position` on.

        `taken` is the last offset of the partition that tasks of this worker have applied, -1 if there is none.
        """
        context = self._context
        stored = decode_metadata(metadata)
        if stored is not None:
            context.topics.check_id(tp.topic, stored.topic_id)
        return RepartitionTask(
            source,
            tp.partition,
            decoder=deployment.decoders(context.settings, self._lifecycle.playbook)[source],
            settings=context.settings,
            spec=deployment.source_specs(context.settings)[source],
            position=position,
            stored=StoredProgress() if stored is None else stored.progress,
            open_channel=partial(self._guarantee.open_channel, name_of(source, tp.partition)),
            taken=taken,
            slowest_anywhere=self._slowest_anywhere,
            metrics=context.metrics,
            clock=context.clock,
            topic_ids=context.topics.ids,
        )

    def _stored_commit(
        self, number: int, state: PartitionState, metadata: Mapping[int, str], positions: Mapping[int, int]
    ) -> StoredCommit:
        """Return the last commit, once topic ids and salt are verified, and that the state is as far as the offsets.

        Raises a `Fault` if one of them does not fit.
        """
        context, topics, profiles = self._context, self._context.topics, state.profiles
        marker = decode_marker(state.marker)
        stored = {rank: decoded for rank, text in metadata.items() if (decoded := decode_metadata(text))}
        for rank, of_topic in stored.items():
            topics.check_id(topics.by_rank[rank], of_topic.topic_id)
            topics.check_id(topics.changelog, of_topic.changelog_id)
        stored = {rank: of_topic for rank, of_topic in stored.items() if not of_topic.repartition_task}
        if marker is not None:
            profiles.commit = max(profiles.commit, marker.commit)
            if marker.salt and marker.salt != salt_fingerprint(deployment.marker_salt(context.settings)):
                raise SaltChanged
        # All offsets of a task are committed together. That of the repartition topic is behind after a time without
        # identity resolution.
        committed = max((of_topic.commit for of_topic in stored.values()), default=0)
        if marker is not None and not stored:
            # The broker keeps no metadata. The flush that this marker ends is complete; whether the outputs of its
            # deadlines were sent is not known, so they are sent again, with the same ids.
            stored = {int(source): metadata_at_marker(marker, source) for source in Source}
            committed = marker.commit - 1
        if committed > profiles.commit:
            raise StateBehind(topics.changelog, number, committed, profiles.commit)
        repartition = (None if marker is None else marker.repartition) or StoredRepartition(NOT_READ, [])
        last = LastCommit(
            commit=committed,
            flushed=0 if marker is None else marker.commit,
            positions={source: positions[source] for source in Source if source in positions},
            progress={source: stored[source].progress for source in Source if source in stored},
            repartition=StoredRepartition(
                positions.get(REPARTITION, NOT_READ), repartition.upstreams, repartition.numbers
            ),
            erasures=positions.get(ERASURES, 0),
        )
        return StoredCommit(
            last,
            repartition,
            stale=NO_COMMIT if marker is None else marker.first - 1,
            started_at=min((of_topic.started_at for of_topic in stored.values()), default=context.clock()),
        )

    def _restore(self, number: int, state: PartitionState, stored: StoredCommit) -> list[Output]:
        """Return the outputs to be sent again, and have documents written again if they may be missing.

        Raises `IdentityResolutionOff` if messages of the last commits are pending and can no longer be sent.
        """
        profiles, settings, last = state.profiles, self._context.settings, stored.last
        unsent = profiles.unsent_outputs(last.commit, stored.stale)
        if settings.profiles:
            profiles.write_again(last.commit, stored.stale)
        was_on = any(given >= 0 for given in stored.repartition.numbers)
        if not settings.identity_resolution and was_on:
            whole, cut = profiles.unsent_messages(last.commit, last.flushed)
            if whole or cut:
                raise IdentityResolutionOff(number, len(whole) + len(cut))
        return unsent

    def _engine(self, number: int, state: PartitionState, stored: StoredCommit) -> PartitionEngine:
        settings, topics = self._context.settings, self._context.topics
        return PartitionEngine(
            self._lifecycle,
            EngineConfig(
                partition=number,
                own=[source for source in Source if source not in topics.not_co_partitioned],
                sources=deployment.source_specs(settings),
                emission=self._emission(stored.started_at),
                budget=STEP,
                upstreams=[
                    (source, partition)
                    for source in settings.upstream_sources
                    for partition in range(topics.partition_counts[source])
                    if partition != number or source in topics.not_co_partitioned
                ],
                tasks=settings.partitions if settings.identity_resolution else 0,
                event_time_ordering=settings.event_time_ordering,
            ),
            stored.last,
            state=state.profiles,
        )

    def _emission(self, started_at: int) -> EmissionPolicy:
        settings = self._context.settings
        emit_after = settings.emit_after
        return EmissionPolicy(
            emit_after=emit_after if isinstance(emit_after, int) else started_at if emit_after == "start" else None,
            max_delay=settings.max_emit_delay,
        )
