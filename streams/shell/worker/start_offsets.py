"""The offsets at which reading starts after an assignment: where the last commit left off."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from aiokafka.structs import OffsetAndMetadata
from faust.types import TP

from streams.core.event_time.inputs import upstream_id
from streams.core.model.sources import NOT_READ, StoredUpstream, rank_of
from streams.shell.commit.metadata import CommitMarker, decode_marker, decode_metadata
from streams.shell.faults import CoPartitioningChanged, NoOffset
from streams.shell.tasks.partition_state import PartitionState
from streams.shell.worker.context import WorkerContext
from streams.transport.patience import patiently

OFFSET_ATTEMPTS = 3


class StartOffsets(NamedTuple):
    """The committed offsets of an assignment, and where to start."""

    starts: Mapping[TP, int]
    """The offset at which each assigned partition is read on."""
    committed: Mapping[TP, OffsetAndMetadata]
    """Committed offsets of the assigned partitions, and of others that show how their topics were read before."""
    earliest: Mapping[TP, int]
    """First offsets of the partitions without a committed offset that counts."""

    def metadata(self) -> dict[TP, str]:
        """Return the metadata of the committed offsets."""
        return {tp: offset.metadata for tp, offset in self.committed.items()}


class StartOffsetFinder:
    """Used at each assignment, once the state is recovered and the predecessors are fenced."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context

    async def find(self, sources: frozenset[TP], numbers: Collection[int]) -> StartOffsets:
        """Return where to start the assigned `sources`, which include those of the tasks `numbers`.

        Raises `NoOffset` if an offset that was once committed is missing, and `CoPartitioningChanged` if a topic was
        not co-partitioned before.
        """
        consumer, topics = self._context.kafka.consumer, self._context.topics
        reported = self._reported_to(numbers)
        firsts = {TP(topic, 0) for source, topic in topics.of_source.items() if source not in topics.not_co_partitioned}
        wanted = sources | reported | self._formerly_read_by(numbers) | firsts
        committed = await patiently(consumer.committed_offsets, wanted)
        for first in firsts:
            if (
                first in committed
                and (stored := decode_metadata(committed[first].metadata))
                and stored.repartition_task
            ):
                raise CoPartitioningChanged(first.topic, self._context.settings.partitions)
        for _ in range(OFFSET_ATTEMPTS):
            lost = [tp for tp in sources | reported if tp not in committed and (tp in reported or self._had_offset(tp))]
            if not lost:
                break
            await asyncio.sleep(1.0)  # the fault makes people set offsets, so ask again before it is raised
            committed = await patiently(consumer.committed_offsets, wanted)
        else:
            raise NoOffset(lost[0])
        fresh = [tp for tp in sources if tp not in committed or self._was_left(tp)]
        earliest = await patiently(consumer.earliest_offsets, *fresh) if fresh else {}
        starts = {
            tp: max(earliest.get(tp, 0), committed[tp].offset) if tp in committed else earliest[tp] for tp in sources
        }
        return StartOffsets(starts, committed, earliest)

    def taken(self, numbers: Collection[int]) -> dict[int, int]:
        """Return, by upstream partition, the last offset that any of these tasks has applied from it."""
        taken: dict[int, int] = {}
        for upstream in self._upstreams(numbers):
            taken[upstream.number] = max(upstream.taken, taken.get(upstream.number, -1))
        return taken

    def _marker(self, number: int) -> CommitMarker | None:
        state = self._context.states.data.partition(number)
        assert isinstance(state, PartitionState)
        return decode_marker(state.marker)

    def _had_offset(self, tp: TP) -> bool:
        """Return True if the state shows that an offset of this partition must once have been committed."""
        topics, marker = self._context.topics, self._marker(tp.partition)
        if marker is None or tp.topic == self._context.settings.erasures_topic:  # erasures may be read again
            return False
        source = next((source for source, topic in topics.of_source.items() if topic == tp.topic), None)
        if source is None:
            return marker.repartition is not None and not self._was_left(tp)
        return source not in topics.not_co_partitioned  # for the others see `_reported_to`

    def _was_left(self, tp: TP) -> bool:
        """Return True for a partition of the repartition topic that was no longer read, because identity resolution was
        off in between. Its offset and its records may have expired since.
        """
        if tp.topic != self._context.settings.repartition_topic:
            return False
        marker = self._marker(tp.partition)
        return marker is not None and marker.repartition is not None and marker.repartition.position == NOT_READ

    def _reported_to(self, numbers: Collection[int]) -> frozenset[TP]:
        """Return the partitions of topics that are not co-partitioned of which these tasks have received anything: an
        offset of each must once have been committed.
        """
        topics = self._context.topics
        reported = {up.number for up in self._upstreams(numbers) if up.taken >= 0 or up.progress is not None}
        return frozenset(
            tp
            for source in topics.not_co_partitioned
            for tp in topics.partitions_of(source)
            if upstream_id(rank_of(source), tp.partition) in reported
        )

    def _upstreams(self, numbers: Collection[int]) -> Iterator[StoredUpstream]:
        """Yield the stored progress of the upstream partitions of these tasks."""
        for number in numbers:
            marker = self._marker(number)
            if marker is not None and marker.repartition is not None:
                yield from marker.repartition.upstreams

    def _formerly_read_by(self, numbers: Collection[int]) -> frozenset[TP]:
        """Return the partitions that these tasks have read themselves if their topic was co-partitioned before."""
        topics = self._context.topics
        return frozenset(
            TP(topics.of_source[source], number)
            for source in topics.not_co_partitioned
            for number in numbers
            if number < topics.partition_counts[source]
        )
