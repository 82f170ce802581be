"""The commits of a partition task: what each holds, how it is written, and what is sent again after a crash."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from streams import deployment
from streams.contracts.partitioning import Partitioner
from streams.core.engine.partition_engine import PartitionEngine
from streams.core.event_time.inputs import ERASURES, REPARTITION
from streams.core.identity.aliases import message_key
from streams.core.model.internal_messages import InternalMessage
from streams.core.model.outputs import Output, Snapshot
from streams.core.model.sources import StoredProgress
from streams.settings import Settings
from streams.shell.admin.topic_configs import changelog_topic
from streams.shell.clock import ClockTrust
from streams.shell.commit.guarantee import Commit, Offsets, OutputChannel
from streams.shell.commit.metadata import CommitMarker, OffsetMetadata, encode, salt_fingerprint
from streams.shell.commit.outbox import OutgoingRecord
from streams.shell.tasks.forwarder import Forwarder
from streams.shell.tasks.output_records import OutputRecords
from streams.shell.tasks.partition_state import PartitionState


class PartitionSnapshot(NamedTuple):
    """The snapshot of a partition task's engine. Outputs that are put later wait for those in it."""

    content: Snapshot
    commits: PartitionCommits
    channel: OutputChannel

    async def write(self) -> Offsets:
        """Implement `TaskSnapshot.write`."""
        return await self.commits.write(self)


class PartitionCommits:
    """Part of one partition task."""

    def __init__(
        self,
        number: int,
        engine: PartitionEngine,
        state: PartitionState,
        records: OutputRecords,
        forwarder: Forwarder | None,
        trust: ClockTrust,
        *,
        settings: Settings,
        started_at: int,
        playbook: str,
        topic_ids: Mapping[str, str],
        on_written: Callable[[int], None],
    ) -> None:
        """`playbook` is its fingerprint. See `PartitionTask` for the other arguments."""
        self._number = number
        self._engine = engine
        self._state = state
        self._records = records
        self._forwarder = forwarder
        self._trust = trust
        self._settings = settings
        self._topics = settings.read_topics
        self._partitioner = Partitioner(settings.partitions, settings.partitioner)
        self._started_at = started_at
        self._playbook = playbook
        self._topic_ids = topic_ids
        self._on_written = on_written
        self._salt = salt_fingerprint(deployment.marker_salt(settings))

    def take(self, channel: OutputChannel, *, force: bool) -> PartitionSnapshot | None:
        """Return a snapshot; None if there is nothing to commit. Records that are put later are for the next commit.

        The outputs of each customer are sent in the order made, and those of its deadlines only once the changelog has
        them.
        """
        content = self._engine.snapshot(force=force or channel.owes)
        if content is None:
            return None
        channel.cut(outputs=bool(content.outputs))
        return PartitionSnapshot(content, self, channel)

    async def write(self, snapshot: PartitionSnapshot) -> Offsets:
        """Write a snapshot, and note in the state what the changelog now has. Return the offsets."""
        content, channel, profiles = snapshot.content, snapshot.channel, self._state.profiles
        progress = {int(source): stored for source, stored in content.source_progress.items()}
        salt = self._salt if profiles.markers.number else ""
        marker = encode(
            CommitMarker(
                content.commit,
                self._started_at,
                progress,
                content.repartition,
                self._engine.first_commit,
                salt,
                playbook=self._playbook,
            )
        )
        outputs = (self._records.output(output, None) for output in content.outputs)
        latest: list[Iterable[OutgoingRecord]] = []
        if self._settings.profiles and content.changes:
            latest.append(self._records.documents(content.changes))
        if content.messages:
            latest.append(self.messages(content.messages))
        commit = Commit(self._offsets(content), content.changes, marker, outputs, chain(*latest) if latest else None)
        as_of = self._trust.losses
        flush = await channel.write(commit)
        assert flush is not None
        self._state.flushed(marker, flush)
        self._on_written(flush.last)
        self._trust.judge(channel.skew, as_of)
        return commit.offsets

    def unsent(self, outputs: Iterable[Output]) -> Iterator[OutgoingRecord]:
        """Return the records that are sent again at a start: `outputs`, which were pending in a commit that was not
        completed, and the internal messages of that commit.
        """
        for output in outputs:
            yield self._records.output(output, None)
        if self._engine.unsent:
            yield from self.messages(self._engine.unsent)

    def messages(self, messages: Iterable[InternalMessage]) -> Iterator[OutgoingRecord]:
        """Return the records of messages in the order of their numbers, then the progress reports that go behind them.

        Each record must be put before the next one is taken.
        """
        assert self._forwarder is not None
        for message in messages:
            yield self._forwarder.message(message, self._partitioner.partition(message_key(message)))
        self._engine.messages_sent()
        if self._forwarder.behind:
            yield from self._forwarder.report_messages()

    def _offsets(self, content: Snapshot) -> Offsets:
        """Return the offsets of a commit with their metadata, by topic and partition."""
        positions = {int(source): position for source, position in content.positions.items()}
        progress = {int(source): stored for source, stored in content.source_progress.items()}
        positions[ERASURES] = content.erasures
        if content.repartition is not None and REPARTITION in self._topics:
            positions[REPARTITION] = content.repartition.position
        return {
            (self._topics[rank], self._number): (
                position,
                encode(
                    OffsetMetadata(
                        content.commit,
                        self._started_at,
                        progress.get(rank, StoredProgress()),
                        topic_id=self._topic_ids.get(self._topics[rank], ""),
                        changelog_id=self._topic_ids.get(changelog_topic(self._settings), ""),
                        playbook=self._playbook,
                    )
                ).decode(),
            )
            for rank, position in positions.items()
        }
