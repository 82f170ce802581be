"""The state with which a task starts, given the recovered state and the committed offsets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from streams import playbooks
from streams.core.event_time.inputs import ERASURES, REPARTITION
from streams.core.lifecycle.lifecycle import Lifecycle
from streams.core.model.alias import Alias
from streams.core.model.event import LINK, Source
from streams.core.model.internal_messages import InternalMessage
from streams.core.model.outputs import IdentityChange
from streams.core.model.sources import NOT_READ, InputId, StoredProgress, StoredRepartition
from streams.core.profile.codec import pack
from streams.core.profile.profile import Profile
from streams.settings import Settings
from streams.shell.commit.metadata import MARKER_KEY, CommitMarker, OffsetMetadata, encode
from streams.shell.faults import IdentityResolutionOff
from streams.shell.tasks.partition_state import PartitionState
from streams.shell.tasks.partition_task import PartitionTask
from streams.shell.worker.task_startup import TaskFactory
from tests.support.worker_context import FakeWorker

NOON = 1_763_719_200_000
ITEM = InternalMessage(
    stream=1,
    number=0,
    cause=InputId(-1),
    offset=3,
    role=LINK,
    at=NOON,
    customer="c",
    other="d",
    event_id="e",
    event_type="t",
)
TOLD = IdentityChange(
    id="i", type="linked", customer="c", occurred_at=NOON, anonymous_id="d", previous_customer=None, event_id="e",
    event_type="t",
)  # fmt: skip


class Beginning:
    """A partition with a device that has a pending output and a pending internal message of commit 5."""

    def __init__(self, *, identity_resolution: bool, flushed: int = 5) -> None:
        """`flushed` is the last whole flush."""
        self.state = PartitionState(0)
        profile = Profile("d", False)
        profile.alias, profile.next_deadline, profile.commit = Alias([("c", NOON)], NOON), NOON, 5
        profile.pending = [TOLD, ITEM]
        marker = encode(CommitMarker(flushed, NOON, {}, StoredRepartition(7, [], [-1, 0])))
        self.state.restore([(b"ad", pack(profile)), (MARKER_KEY, marker)], 1)
        self.settings = Settings(partitions=1, identity_resolution=identity_resolution)
        self.sent: list[Any] = []

    def begin(self, committed: dict[int, int]) -> PartitionTask:
        """`committed` gives the commit that the metadata of each offset names."""
        worker = FakeWorker(self.settings, clock=lambda: NOON)
        worker.table.partitions[0] = self.state
        guarantee: Any = SimpleNamespace(open_channel=lambda name, sent: SimpleNamespace(put=self.sent.append))
        texts = {
            rank: encode(OffsetMetadata(commit, NOON, StoredProgress())).decode() for rank, commit in committed.items()
        }
        positions = dict.fromkeys(self.settings.read_topics, 9)
        factory = TaskFactory(worker.context, Lifecycle(playbooks.load()), guarantee, lambda: None)
        return factory.partition_task(0, positions, texts)


@pytest.mark.parametrize(("committed", "flushed", "waits"), [(4, 5, True), (4, 4, True), (5, 5, False)])
def test_pending_internal_messages_prevent_a_start_without_identity_resolution(
    committed: int, flushed: int, waits: bool
) -> None:
    """They are left by a crash. A worker that ended in order has sent all its messages."""
    beginning = Beginning(identity_resolution=False, flushed=flushed)
    of_all = dict.fromkeys((*map(int, Source), ERASURES), committed)
    if waits:
        with pytest.raises(IdentityResolutionOff, match=r"partition 0 still has 1 .*once more with LIFECYCLE_"):
            beginning.begin(of_all)
        assert beginning.sent == []
    else:
        beginning.begin(of_all)
    if (committed, flushed) == (4, 5):
        on = Beginning(identity_resolution=True)
        on.begin(of_all)
        assert [record.topic for record in on.sent] == ["lifecycle-identities", "lifecycle-activity"]


@pytest.mark.parametrize(("of_sources", "again"), [(5, 0), (4, 2)])
def test_expired_offset_of_the_repartition_topic_repeats_nothing(of_sources: int, again: int) -> None:
    """Identity resolution was off in between, and the metadata names a commit from long ago."""
    beginning = Beginning(identity_resolution=True)
    beginning.begin({**dict.fromkeys((*map(int, Source), ERASURES), of_sources), REPARTITION: 2})
    assert len(beginning.sent) == again


def test_task_without_the_repartition_topic_records_that_in_its_commit() -> None:
    beginning = Beginning(identity_resolution=False)
    for identity_resolution, position in ((False, NOT_READ), (True, 9)):
        beginning.settings = Settings(partitions=1, identity_resolution=identity_resolution)
        snapshot = beginning.begin({int(source): 5 for source in Source}).engine.snapshot(force=True)
        assert snapshot is not None
        assert snapshot.commit > 6  # a stale owner may write a sixth
        if identity_resolution:
            assert snapshot.repartition is not None
            assert snapshot.repartition.position == position
