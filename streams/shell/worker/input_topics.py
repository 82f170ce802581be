"""The topics that a worker reads: their names, partition counts and ids, and the work that an assignment brings."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from faust.types import TP

from streams.core.model.event import Source
from streams.settings import Settings
from streams.shell.admin.topic_configs import changelog_topic
from streams.shell.faults import CoPartitioningChanged, PartitionCountChanged, TopicRecreated


class TopicQueries(Protocol):
    """The part of the consumer that answers questions about topics."""

    async def topic_ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the ids of topics, where the broker has ids."""

    async def partition_counts(self, topics: Collection[str]) -> dict[str, int]:
        """Return the number of partitions of each topic."""


class InputTopics:
    """The topics that one worker reads."""

    def __init__(self, settings: Settings) -> None:
        self.changelog = changelog_topic(settings)
        self.of_source = settings.source_topics
        """Names by source."""
        self.by_rank = settings.read_topics
        """Names of all topics that are read, by rank."""
        self.not_co_partitioned: frozenset[Source] = frozenset()
        """Sources whose topics have another number of partitions than there are tasks."""
        self.partition_counts = dict.fromkeys(Source, settings.partitions)
        """Partitions of each source's topic, as of the last assignment."""
        self.ids: dict[str, str] = {}
        """Topic ids, as they were when each topic was first seen."""
        self._tasks = settings.partitions

    def of_tasks(self) -> dict[int, str]:
        """Return the topics that partition tasks read, by rank: all but those that are not co-partitioned."""
        return {rank: topic for rank, topic in self.by_rank.items() if rank not in self.not_co_partitioned}

    def work_of(self, sources: Collection[TP]) -> tuple[list[int], dict[TP, Source]]:
        """Return the numbers of the partition tasks, and the partitions of the repartition tasks, of an assignment."""
        read_by_tasks = self.of_tasks().values()
        sources_by_topic = {self.of_source[source]: source for source in self.not_co_partitioned}
        numbers = {tp.partition for tp in sources if tp.topic in read_by_tasks}
        repartition = {tp: sources_by_topic[tp.topic] for tp in sorted(sources) if tp.topic in sources_by_topic}
        return sorted(numbers), repartition

    def partitions_of(self, source: Source) -> list[TP]:
        """Return all partitions of a source's topic."""
        return [TP(self.of_source[source], number) for number in range(self.partition_counts[source])]

    async def check_ids(self, consumer: TopicQueries) -> None:
        """Raise `TopicRecreated` if a topic is another one than before."""
        names = {*self.by_rank.values(), self.changelog}
        for topic, topic_id in (await consumer.topic_ids(names)).items():
            self.check_id(topic, topic_id)
            self.ids[topic] = topic_id

    def check_id(self, topic: str, topic_id: str) -> None:
        """Raise `TopicRecreated` if the topic is known by another id. An empty id proves nothing."""
        known = self.ids.get(topic, "")
        if topic_id and known and topic_id != known:
            raise TopicRecreated(topic)

    async def count_partitions(self, consumer: TopicQueries) -> None:
        """Count the partitions of the sources' topics again. Raise a fault if this worker cannot read them so."""
        counts: Mapping[str, int] = await consumer.partition_counts(self.of_source.values())
        for source, topic in self.of_source.items():
            count = counts[topic]
            if source in self.not_co_partitioned and count == self._tasks:
                raise CoPartitioningChanged(topic, self._tasks)
            if source not in self.not_co_partitioned and count != self._tasks:
                raise PartitionCountChanged(topic, count, self._tasks)
            self.partition_counts[source] = count
