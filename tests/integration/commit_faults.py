"""Workers that kill themselves between the changelog and the offsets of a commit, or that recover state without applied
offsets. The check is disabled where states are recovered, because the engine may be compiled."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from streams.core.model.policy import Policy
from streams.core.profile.codec import pack, unpack
from streams.settings import load
from streams.shell.admin.topic_configs import changelog_topic
from streams.shell.commit.metadata import MARKER_KEY, decode_marker, decode_metadata
from streams.shell.tasks.partition_commits import PartitionSnapshot
from streams.shell.worker.command import run
from streams.transport.table import RestorableState, StateTable
from tests.support.default_playbook import default_playbook
from tests.support.process_cluster import ProcessCluster


def without_applied(value: bytes | None) -> bytes | None:
    """Return a packed profile without the offsets that were applied to it."""
    if value is None:
        return None
    profile = unpack(value)
    profile.applied = [-1] * len(profile.applied)
    return pack(profile)


def program(*, check: bool, dies: bool) -> str:
    """Return a program for `ProcessCluster.start_worker`. `check`: whether applied offsets are skipped."""
    return f"from tests.integration import commit_faults; commit_faults.main(check={check}, dies={dies})"


def main(*, check: bool, dies: bool) -> None:
    """Run a worker that drops no event as a duplicate."""
    if not check:
        _recover_without_applied()
    if dies:
        _die_before_offsets()
    sys.exit(run(load(), playbook=default_playbook(policy=Policy(event_ids=0))))


async def ahead_of_offsets(cluster: ProcessCluster) -> set[int]:
    """Return the partitions whose changelog ends with a later commit than the committed offsets: a kill came in
    between."""
    markers = {
        record.partition: decode_marker(record.value)
        for record in await cluster.read(changelog_topic(cluster.settings))
        if record.key == MARKER_KEY
    }
    async with cluster.admin() as admin:
        offsets = await admin.list_consumer_group_offsets(cluster.settings.app_id)
    committed: dict[int, int] = {}
    for tp, offset in offsets.items():
        mark = decode_metadata(offset.metadata)
        committed[tp.partition] = max(committed.get(tp.partition, 0), 0 if mark is None else mark.commit)
    return {n for n, marker in markers.items() if marker is not None and marker.commit > committed.get(n, 0)}


def _recover_without_applied() -> None:
    table: Any = StateTable
    initialise = table.__init__

    def forgetful(new_state: Callable[[int], RestorableState], number: int) -> Any:
        state: Any = new_state(number)
        restore = state.restore
        state.restore = lambda records, offset: restore(
            [(key, value if key == MARKER_KEY else without_applied(value)) for key, value in records], offset
        )
        return state

    def init(self: Any, app: Any, *, new_state: Callable[[int], RestorableState], **kwargs: Any) -> None:
        initialise(self, app, new_state=partial(forgetful, new_state), **kwargs)

    table.__init__ = init


def _die_before_offsets() -> None:
    snapshot: Any = PartitionSnapshot
    write = snapshot.write

    async def die(self: Any) -> Any:
        offsets = await write(self)
        if self.content.changes:
            os.kill(os.getpid(), signal.SIGKILL)
        return offsets

    snapshot.write = die
