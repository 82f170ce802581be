"""The committed state of a group, read without joining it: the playbooks of its commits, and its profiles.

Nothing is written, and no offset is committed. A group at work is not affected.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.core.store.erasure_markers import is_marker
from streams.settings import Settings
from streams.shell.admin import cluster
from streams.shell.admin.topic_configs import changelog_topic
from streams.shell.commit.metadata import MARKER_KEY, decode_marker, decode_metadata
from streams.transport.topic_metadata import partition_counts

ATTEMPTS_S: Final = 20.0
"""Seconds for which the group's coordinator is asked again: it may still be loading its groups."""
TAIL: Final = 2_000
"""Records at the end of a changelog partition among which its last commit marker is sought."""
QUIET_S: Final = 10.0
"""Seconds without progress after which a partition counts as read: what follows is in an open transaction."""


class GroupState:
    """Made by `open_group`."""

    def __init__(self, settings: Settings, partitions: dict[str, int], admin: AIOKafkaAdminClient) -> None:
        """`partitions`: the number of partitions of each topic."""
        self._settings = settings
        self._partitions = partitions
        self._admin = admin
        self._changelog = changelog_topic(settings)

    @property
    def numbers(self) -> range:
        """The numbers of the partitions that have state; empty before the first start."""
        return range(self._partitions.get(self._changelog, 0))

    async def fingerprints(self) -> list[str]:
        """Return the playbook fingerprint of each last commit that names one.

        The metadata of offsets names it, and the commit markers, which are read where no offset names one: the broker
        keeps no metadata, the offsets have expired, or only repartition tasks read the topics.
        """
        wanted = [
            TopicPartition(topic, number)
            for topic in self._settings.source_topics.values()
            for number in range(self._partitions.get(topic, 0))
        ]
        committed = await self._committed(wanted)
        stored = [decode_metadata(offset.metadata or "") for offset in committed.values() if offset.offset >= 0]
        if named := [metadata.playbook for metadata in stored if metadata is not None and metadata.playbook]:
            return named
        return [found for number in self.numbers if (found := await self._of_marker(number))]

    async def profiles(self, number: int) -> dict[bytes, bytes]:
        """Return the packed profiles and aliases of a partition, by their keys in the changelog."""
        records: dict[bytes, bytes] = {}
        async for record in self._read(number, None):
            if record.key is None or record.key == MARKER_KEY or is_marker(record.key):
                continue
            if record.value is None:
                records.pop(record.key, None)
            else:
                records[record.key] = record.value
        return records

    async def _committed(self, wanted: list[TopicPartition]) -> dict[TopicPartition, Any]:
        deadline = time.monotonic() + ATTEMPTS_S
        while wanted:
            try:
                found: dict[TopicPartition, Any] = await self._admin.list_consumer_group_offsets(
                    self._settings.app_id, partitions=wanted
                )
                return found
            except KafkaError as error:
                if not error.retriable or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.5)
        return {}

    async def _of_marker(self, number: int) -> str:
        playbook = ""
        async for record in self._read(number, TAIL):
            if record.key == MARKER_KEY and (marker := decode_marker(record.value)) is not None:
                playbook = marker.playbook
        return playbook

    async def _read(self, number: int, last: int | None) -> AsyncIterator[Any]:
        """Yield the committed records of a changelog partition up to its present end; only about the `last` ones."""
        tp = TopicPartition(self._changelog, number)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.broker,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            consumer.assign([tp])
            start, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
            consumer.seek(tp, start if last is None else max(start, end - last))
            position, moved_at = -1, time.monotonic()
            while (at := await consumer.position(tp)) < end and time.monotonic() - moved_at < QUIET_S:
                if at > position:
                    position, moved_at = at, time.monotonic()
                for records in (await consumer.getmany(tp, timeout_ms=500, max_records=5_000)).values():
                    for record in records:
                        yield record
        finally:
            await consumer.stop()


@asynccontextmanager
async def open_group(settings: Settings) -> AsyncIterator[GroupState]:
    """Yield the state of the group. Raises `UserError` if the broker does not answer."""
    async with cluster.connect(settings) as admin:
        yield GroupState(settings, await partition_counts(admin), admin)
