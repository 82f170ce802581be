"""Workers that kill themselves at a chosen step of an erasure."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from streams.core.store.erasure_markers import is_marker
from streams.settings import load
from streams.shell.commit.changelog import Changelog
from streams.shell.commit.committer import Committer
from streams.shell.tasks.partition_commits import PartitionSnapshot
from streams.shell.tasks.partition_task import PartitionTask
from streams.shell.worker.command import run
from streams.transport.rocks import Database

STEPS = (
    "read", "mark in the changelog", "commit written", "commit done", "tombstone in the changelog", "tombstone done",
)  # fmt: skip
"""The request is applied in memory; its erasure marker is in the changelog (with `exactly_once` in an open
transaction); all is written but offsets (with `exactly_once` these too); the offsets are committed. The last two are
the same for the commit with the tombstone."""

REWRITING = "files being rewritten"
"""The last step, with RocksDB only."""


def program(step: str) -> str:
    """Return a program for `ProcessCluster.start_worker`."""
    return f"from tests.integration import erasure_faults; erasure_faults.main({step!r})"


def main(step: str) -> None:
    """Run a worker that kills itself at that step."""
    reached: set[str] = set()

    def reach(at: str) -> None:
        reached.add(at)
        if at == step:
            os.kill(os.getpid(), signal.SIGKILL)

    task, changelog, committer, database = PartitionTask, Changelog, Committer, Database
    erase, write, write_all = task.erase, changelog.write, PartitionSnapshot.write
    commit, rewrite = committer.commit, database.rewritten

    def erasing(self: Any, chunk: Any) -> None:
        erase(self, chunk)
        if len(chunk):
            reach("read")

    async def flushing(self: Any, changes: Any, marker: bytes) -> Any:
        changes = list(changes)
        flush = await write(self, changes, marker)
        if any(is_marker(key) for key, _ in changes):
            reach("mark in the changelog")
        if any(value is None for _, value in changes):
            reach("tombstone in the changelog")
        return flush

    async def writing(self: Any) -> Any:
        result = await write_all(self)
        if "mark in the changelog" in reached:
            reach("commit written")
        return result

    async def committing(self: Any, *args: Any, **kwargs: Any) -> None:
        await commit(self, *args, **kwargs)
        if "commit written" in reached:
            reach("commit done")
        if "tombstone in the changelog" in reached:
            reach("tombstone done")

    def rewriting(self: Any) -> bool:
        done = rewrite(self)
        reach(REWRITING)
        return done

    patched: Any = task
    patched.erase = erasing
    patched = PartitionSnapshot
    patched.write = writing
    patched = changelog
    patched.write = flushing
    patched = committer
    patched.commit = committing
    patched = database
    patched.rewritten = rewriting
    sys.exit(run(load()))
